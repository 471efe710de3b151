"""A run folder that came out of a bundle, read part by part.

Nothing is executed or unpickled. Parquet and ONNX of other boxes are read in a process with limits
(:mod:`kit.verify.process`).
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kit.core import contract, layout
from kit.core.errors import BadInput, CheckFailed
from kit.core.inputs import DEFAULT_INPUTS, Inputs, known_inputs
from kit.corpus.store import received
from kit.corpus.store import shard as shards
from kit.corpus.store.shard import Shard
from kit.steps.loso_folder import read_baselines, read_unseen
from kit.system import validation
from kit.system.fsio import read_json
from kit.training import folds, predictions, table
from kit.training.folds import Fold
from kit.training.predictions import Predictions
from kit.training.recipe import Recipe, named_recipe
from kit.training.table import Table
from kit.verdict.baselines import Baseline
from kit.verdict.judge import Judgement, Training, judge
from kit.verdict.out_of_fold import MemberAgreement, member_agreement
from kit.verdict.rules import RULES, Rules
from kit.verify.differences import listed
from kit.video.scorers.formula import formula_of


class ReceivedRun:
    """A run folder that came out of a bundle; each part is read when a check needs it.

    Args:
        folder: where it was unpacked; ``manifest.json`` is in it.
        most_epochs: that its training may have.
    """

    def __init__(self, folder: Path, most_epochs: int = contract.MOST_EPOCHS) -> None:
        self.folder = folder
        self.most_epochs = most_epochs

    def document(self, name: str, schema: str) -> dict[str, Any]:
        """Read a JSON file that must fit its schema."""
        value: Any = read_json(self.folder / name)
        if problems := validation.problems(schema, value):
            raise CheckFailed(f"{name}: " + listed(problems))
        document: dict[str, Any] = value
        return document

    @cached_property
    def manifest(self) -> dict[str, Any]:
        return self.document(layout.MANIFEST, "manifest")

    @property
    def word(self) -> str | None:
        """The verdict that the manifest names; None for a shard alone."""
        word: str | None = self.manifest["verdict"]
        return word

    @cached_property
    def verdict(self) -> dict[str, Any]:
        name = layout.verdict_file(str(self.word))
        value: Any = read_json(self.folder / name)
        first = isinstance(value, dict) and value.get("schema_version") == 1
        return self.document(name, "verdict_1" if first else "verdict")

    @property
    def rules(self) -> Rules:
        """The rules of the version of its verdict."""
        return RULES[self.verdict["schema_version"]]

    @cached_property
    def training(self) -> dict[str, Any]:
        """The content of ``training.json``."""
        return self.document(layout.TRAINING, "training")

    @cached_property
    def shard(self) -> Shard:
        return received.read_shard(self.folder / layout.CORPUS, layout.CORPUS)

    @cached_property
    def rows(self) -> Table:
        """The rows of every cell, each cell fully checked."""
        cells = sorted(self.shard.cells, key=shards.by_key)
        rows = ((entry, received.read_cell(self.shard, entry).rows) for entry in cells)
        return table.gathered(rows, self.inputs)

    @cached_property
    def inputs(self) -> Inputs:
        """The inputs of its networks: the vocabulary version of the ensemble's report, or the default."""
        try:
            report: Any = read_json(self.folder / layout.ENSEMBLE_REPORT)
            return known_inputs(encoder_vocab_version=report["encoder_vocab_version"])
        except (BadInput, KeyError, TypeError):  # a damaged report fails the checks of documents and reports
            return DEFAULT_INPUTS

    @cached_property
    def predictions(self) -> Predictions:
        return predictions.read(self.folder / layout.PREDICTIONS)

    def rows_of(self, stored: Predictions) -> NDArray[np.int64]:
        """Return the index in ``rows`` of each prediction."""
        first_row = dict(
            zip((entry.key for entry in self.rows.cells), np.flatnonzero(self.rows.frame == 0).tolist(), strict=True)
        )
        starts = np.array([first_row[key] for key in stored.cells], dtype=np.int64)
        return starts[stored.cell] + stored.frame

    @cached_property
    def unseen(self) -> dict[str, Baseline] | None:
        """Predictions for held-out encoders by architecture."""
        return read_unseen(self.folder, self.training)

    @cached_property
    def baselines(self) -> dict[str, Baseline]:
        return read_baselines(self.folder, self.training)

    @property
    def recipe(self) -> Recipe:
        return self.recipe_of(self.training["arch"])

    def recipe_of(self, arch: str) -> Recipe:
        """Return how an architecture, the ensemble's or a baseline's, was trained."""
        return named_recipe(
            self.training.get("recipe"),
            epochs=self.training["epochs"],
            arch=arch,
            inputs=self.inputs,
            max_rows_per_source=self.training.get("max_rows_per_source"),
        )

    @property
    def folds(self) -> tuple[Fold, ...]:
        """The folds that the predictions were made in."""
        parts = folds.by_group(self.rows, self.training["folds"])
        return folds.thinned(self.rows, parts, self.training.get("max_rows_per_source"))

    @cached_property
    def members(self) -> MemberAgreement:
        """Agreement of every member."""
        return member_agreement(self.predictions)

    @property
    def trained(self) -> Training:
        """The input of the verdict step."""
        predicted = (self.folder / layout.PREDICTIONS).is_file()
        return Training(
            shard=self.shard,
            seeds=tuple(self.training["seeds"]),
            folds=self.training["folds"],
            holdout=tuple(self.training["holdout"]),
            max_rows_per_source=self.training.get("max_rows_per_source"),
            predictions=self.predictions if predicted else None,
            problems=tuple(self.training["problems"]),
            baselines=self.baselines if predicted else {},
            unseen=self.unseen if predicted else None,
            rows=self.rows if predicted else None,
            formula=formula_of(self.shard.teacher),
        )

    @cached_property
    def judged(self) -> Judgement:
        """Gates and evidence computed again."""
        trained = self.trained
        failed = self.shard.problems
        problems = [*failed, *(line for line in trained.problems if line not in failed)]
        return judge(trained, problems, lambda _: self.members, self.rules)
