"""Everything that a received run folder says and that follows from other parts of it is found out again.

Nothing is executed or unpickled. What reads Parquet and ONNX of strangers belongs into a process with limits
(:mod:`kit.verify.process`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from kit.core import contract, layout
from kit.core.errors import CheckFailed
from kit.corpus.store import received
from kit.corpus.store import shard as shards
from kit.corpus.store.shard import Shard
from kit.system import validation
from kit.system.fsio import read_json, sha256_file
from kit.training import predictions as prediction_file
from kit.training import table
from kit.training.predictions import Predictions
from kit.training.recipe import Recipe
from kit.training.table import Table
from kit.verdict import evidence, judge
from kit.verdict.baselines import Baseline, expected_baselines
from kit.verdict.evidence import LosoResult
from kit.verdict.gate import ExpertReport, thresholds_sha256
from kit.verdict.judge import Judgement, Training, cell_facts
from kit.verdict.seed_report import seed_report
from kit.video.scorers import golden

#: Figures are computed again on other machines: sums of doubles in another order differ by less than this, relatively.
SAME = 1e-9
#: Lines of a finding.
_MOST = 8


class ReceivedRun:
    """A run folder that came out of a bundle, read part by part as checks ask for it.

    Args:
        folder: where it was unpacked; it holds ``manifest.json``.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @cached_property
    def manifest(self) -> dict[str, Any]:
        return self.document(layout.MANIFEST, "manifest")

    def document(self, name: str, schema: str) -> dict[str, Any]:
        """A JSON file that is as its schema says."""
        value: Any = read_json(self.folder / name)
        if problems := validation.problems(schema, value):
            raise CheckFailed(f"{name}: " + listed(problems))
        found: dict[str, Any] = value
        return found

    @property
    def word(self) -> str | None:
        """The verdict that the manifest names; None for a shard alone."""
        word: str | None = self.manifest["verdict"]
        return word

    @cached_property
    def verdict(self) -> dict[str, Any]:
        return self.document(layout.verdict_file(str(self.word)), "verdict")

    @cached_property
    def training(self) -> dict[str, Any]:
        return self.document(layout.TRAINING, "training")

    @cached_property
    def shard(self) -> Shard:
        return received.read_shard(self.folder / layout.CORPUS, layout.CORPUS)

    @cached_property
    def rows(self) -> Table:
        """Every cell, all that can be checked of it checked."""
        cells = sorted(self.shard.cells, key=shards.by_key)
        return table.gathered((entry, received.read_cell(self.shard, entry).rows) for entry in cells)

    @cached_property
    def predictions(self) -> Predictions:
        return prediction_file.read(self.folder / layout.PREDICTIONS)

    @property
    def recipe(self) -> Recipe:
        return Recipe(epochs=self.training["epochs"], arch=self.training["arch"])

    @property
    def trained(self) -> Training:
        """What the verdict step was given."""
        there = (self.folder / layout.PREDICTIONS).is_file()
        return Training(
            shard=self.shard,
            seeds=tuple(self.training["seeds"]),
            folds=self.training["folds"],
            holdout=tuple(self.training["holdout"]),
            predictions=self.predictions if there else None,
            problems=tuple(self.training["problems"]),
            baselines=self.baselines if there else {},
            rows=self.rows if there else None,
        )

    @cached_property
    def baselines(self) -> dict[str, Baseline]:
        """What the ensemble was compared with."""
        return {
            name: Baseline(
                predictions=self._baseline(name) if told["predictions_sha256"] else None,
                problems=tuple(told["problems"]),
                model=told["model"],
            )
            for name, told in self.training["baselines"].items()
        }

    def _baseline(self, name: str) -> Predictions:
        return prediction_file.read(self.folder / layout.baseline_predictions(name))

    @cached_property
    def members(self) -> LosoResult:
        """Agreement of every member."""
        return evidence.loso(self.predictions)

    @cached_property
    def judged(self) -> Judgement:
        """Gates and evidence as the kit gives them for what is in the bundle."""
        trained = self.trained
        lacking = [f"cell {name} failed: {why}" for name, why in shards.failures_table(self.shard.lacking)]
        problems = [*lacking, *(line for line in trained.problems if line not in lacking)]
        return judge.judge(trained, problems, lambda _: self.members)


def listed(lines: Sequence[str]) -> str:
    more = len(lines) - _MOST
    return "; ".join(lines[:_MOST]) + (f"; and {more} more" if more > 0 else "")


def _documents(seen: ReceivedRun) -> str:
    names = [layout.MANIFEST]
    _ = seen.manifest
    if seen.word is not None:
        _, _ = seen.verdict, seen.training
        names += [layout.verdict_file(seen.word), layout.TRAINING]
        if seen.word != "INVALID":
            names += [layout.ENSEMBLE_REPORT, *map(layout.seed_report, seen.training["seeds"])]
            for name in names[3:]:
                seen.document(name, "seed_report")
    return f"{len(names)} files are as their schemas say"


def _one_verdict(seen: ReceivedRun) -> str:
    words = layout.verdicts_in(seen.folder)
    wanted = [] if seen.word is None else [seen.word]
    if words != wanted or (seen.word is not None and seen.verdict["verdict"] != seen.word):
        raise CheckFailed(f"the manifest says {seen.word or 'none'}, there are {', '.join(words) or 'none'}")
    return seen.word or "none: a shard alone"


def _cells(seen: ReceivedRun) -> str:
    _ = seen.rows
    groups = read_json(seen.folder / layout.CORPUS / shards.GROUPS)
    if problems := unlike(groups, shards.groups_document(seen.shard), where=shards.GROUPS):
        raise CheckFailed(listed(problems))
    return f"{len(seen.shard.cells)} cells, {seen.shard.rows} rows"


def _scorer(seen: ReceivedRun) -> str:
    """The golden answers that every box gave with the model of the table."""
    off = {
        f"{box.name}, {pair}": abs(float(scorer["golden"].get(pair, math.inf)) - expected[-1])
        for box in seen.shard.boxes
        for scorer in box.scorers
        for pair, expected in golden.EXPECTED.items()
    }
    if far := [
        f"{name} is off by {value:.3g}" for name, value in off.items() if not value <= contract.GOLDEN_TOLERANCE
    ]:
        raise CheckFailed(listed(far))
    return f"off by {max(off.values()):.2g} at most" if off else "no answers: what an import does not tell"


def _predictions(seen: ReceivedRun) -> str:
    path = seen.folder / layout.PREDICTIONS
    digest = sha256_file(path)
    for name, told in (("verdict", seen.verdict["evidence"]), ("training.json", seen.training)):
        if told["predictions_sha256"] != digest:
            raise CheckFailed(f"the {name} is about {str(told['predictions_sha256'])[:12]}, there is {digest[:12]}")
    if seen.predictions.corpus_sha256 != seen.shard.corpus_sha256:
        raise CheckFailed("they were made of another corpus")
    problems = evidence.completeness_problems(
        seen.predictions, cell_facts(seen.shard, seen.training["folds"]), seen.training["seeds"]
    )
    low, high = contract.SCORE_RANGE
    values = seen.predictions.prediction
    if outside := int(np.count_nonzero(~((values >= low) & (values <= high)))):
        problems.append(f"{outside} predictions lie outside {low:g} to {high:g}")
    if problems:
        raise CheckFailed(listed(problems))
    return f"{len(seen.predictions)} predictions of {len(seen.training['seeds'])} seeds"


def _baselines(seen: ReceivedRun) -> str:
    """The rows of every baseline are the ensemble's, and none is left out that the kit trains."""
    told = seen.training["baselines"]
    expected = set(expected_baselines(seen.training["arch"]))
    if told.keys() - {contract.SHIPPED} != expected:
        raise CheckFailed(
            f"there are {', '.join(sorted(told)) or 'none'}, expected {', '.join(sorted(expected)) or 'none'}"
        )
    ((_, first), *_) = seen.predictions.seeds()
    low, high = contract.SCORE_RANGE
    for name, found in told.items():
        if (name == contract.SHIPPED) != (found["model"] is not None):
            raise CheckFailed(f"{name} is {'no' if found['model'] is None else 'a'} model that was given")
        if found["predictions_sha256"] is None:
            continue
        digest = sha256_file(seen.folder / layout.baseline_predictions(name))
        if digest != found["predictions_sha256"]:
            raise CheckFailed(
                f"training.json is about {found['predictions_sha256'][:12]} of {name}, there is {digest[:12]}"
            )
        own, scores = seen.baselines[name].predictions, seen.predictions
        wanted = (
            scores
            if name != contract.SHIPPED
            else replace(scores.part(first), seed=np.full(first.stop - first.start, evidence.ENSEMBLE, dtype=np.int32))
        )
        if own is None or not own.same_rows(wanted):
            raise CheckFailed(f"{name} has other rows, targets or folds than the ensemble")
        if not ((own.prediction >= low) & (own.prediction <= high)).all():
            raise CheckFailed(f"{name} has predictions outside {low:g} to {high:g}")
    return f"{', '.join(sorted(told)) or 'none'}; rows as the ensemble's"


def _targets(seen: ReceivedRun) -> str:
    """The stored targets against the shard's own rows."""
    rows, found = seen.rows, seen.predictions
    place = {entry.key: index for index, entry in enumerate(rows.cells)}
    start = np.concatenate([[0], np.cumsum([entry.rows for entry in rows.cells])])[:-1]
    of_cell = np.array([start[place[key]] for key in found.cells], dtype=np.int64)
    expected = rows.target[of_cell[found.cell] + found.frame]
    if wrong := np.flatnonzero(expected != found.target).tolist():
        first = wrong[0]
        raise CheckFailed(
            f"{len(wrong)} targets are not the corpus's scores, the first of cell {found.cells[found.cell[first]][:12]}"
            f", frame {found.frame[first]}: {found.target[first]:.6g}, the corpus says {expected[first]:.6g}"
        )
    return f"{len(found)} targets are the corpus's scores"


def _reports(seen: ReceivedRun) -> str:
    cells, found = cell_facts(seen.shard, seen.training["folds"]), seen.predictions
    averaged = evidence.ensemble_mean(found)
    agreements = {**seen.members.members, **evidence.loso(averaged).members}
    parts = {seed: found.part(rows) for seed, rows in found.seeds()} | {evidence.ENSEMBLE: averaged}
    folds = folds_of(seen)
    problems = []
    for seed, part in parts.items():
        name = layout.ENSEMBLE_REPORT if seed == evidence.ENSEMBLE else layout.seed_report(seed)
        told = seen.document(name, "seed_report")
        again = seed_report(
            seen.recipe,
            seen.shard.corpus_sha256,
            scheme=seen.training["folds"],
            parts=folds,
            found=part,
            cells=cells,
            seed=seed,
            agreements=agreements[seed],
            seconds=told["wall_time_s"],
            training_loss=told["training_loss"],
        )
        # how a training went follows from nothing in a bundle: it is taken as told, a number an epoch
        if len(told["training_loss"]) != seen.recipe.epochs:
            problems.append(f"{name}: {len(told['training_loss'])} training losses of {seen.recipe.epochs} epochs")
        problems += [f"{name}, {line}" for line in unlike(told, again, skip=("run_provenance",))]
    if problems:
        raise CheckFailed(listed(problems))
    return f"{len(parts)} reports say what the predictions say"


def folds_of(seen: ReceivedRun) -> tuple[Any, ...]:
    """The folds that the predictions were made in."""
    from kit.training.folds import by_group

    return by_group(seen.rows, seen.training["folds"])


def _gate(seen: ReceivedRun) -> str:
    judged, decided_by = seen.judged, seen.verdict["decided_by"]
    gates = {
        "gate": (contract.GATE_THRESHOLDS, judge.gate_as_json(judged.gate)),
        "expert_gate": (contract.EXPERT_THRESHOLDS, judge.expert_as_json(judged.expert)),
    }
    for name, (thresholds, again) in gates.items():
        told, pinned = seen.verdict[name], thresholds_sha256(thresholds)
        if told["thresholds_sha256"] != pinned:
            raise CheckFailed(
                f"{name}: thresholds with the hash {str(told['thresholds_sha256'])[:12]}, the kit's have {pinned[:12]}"
            )
        if problems := unlike(told, again, where="" if name == "gate" else name):
            raise CheckFailed(listed(problems))
    if (word := judged.word(decided_by)) != seen.word:
        raise CheckFailed(f"the bundle says {seen.word}, the evidence {word} by the {decided_by} gate")
    return f"{word} by the {decided_by} gate: {_summary(gates['gate'][1])}{_expert(judged.expert)}"


def _expert(gate: ExpertReport) -> str:
    if not gate.checks:
        return ""
    return "; the expert gate is " + ("passed" if gate.passed else f"not passed: {', '.join(gate.failing)}")


def _summary(gate: Mapping[str, Any]) -> str:
    if gate["mean_plcc"] is None:
        return "no figures"
    return f"mean PLCC {gate['mean_plcc']:.4f}, spread {gate['plcc_spread']:.4f}"


def _evidence(seen: ReceivedRun) -> str:
    found = seen.judged.evidence
    problems = unlike(seen.verdict["evidence"], found, skip=("predictions_sha256",), where="evidence")
    corpus = judge.corpus_summary(seen.trained)
    problems += unlike(seen.verdict["corpus"], corpus, where="corpus")
    if list(seen.verdict["seeds"]) != list(seen.training["seeds"]):
        problems.append(f"seeds: {seen.verdict['seeds']}, trained were {seen.training['seeds']}")
    if seen.verdict["demo"] != seen.shard.demo or seen.manifest["demo"] != seen.shard.demo:
        problems.append(f"demo: the corpus says {seen.shard.demo}")
    if problems:
        raise CheckFailed(listed(problems))
    return "every field follows from the corpus and the predictions"


def unlike(told: Any, again: Any, *, skip: Sequence[str] = (), where: str = "", same: float = SAME) -> list[str]:
    """Where two JSON values differ; numbers may, relatively, by ``same``."""
    if isinstance(told, dict) and isinstance(again, Mapping):
        names = sorted((told.keys() | again.keys()) - set(skip))
        inside = f"{where}." if where else ""
        return [
            line
            for name in names
            for line in unlike(told.get(name), again.get(name), where=f"{inside}{name}", same=same)
        ]
    if isinstance(told, list) and isinstance(again, list | tuple) and len(told) == len(again):
        return [
            line
            for index, pair in enumerate(zip(told, again, strict=True))
            for line in unlike(*pair, where=f"{where}[{index}]", same=same)
        ]
    numbers = isinstance(told, int | float) and isinstance(again, int | float)
    if numbers and not isinstance(told, bool) and not isinstance(again, bool):
        equal = math.isclose(told, again, rel_tol=same, abs_tol=same)
    else:
        equal = type(told) is type(again) and told == again
    return [] if equal else [f"{where}: {_short(told)}, computed again {_short(again)}"]


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:60] + "…"


Checks = tuple[tuple[str, str, Callable[[ReceivedRun], str]], ...]

#: Of every bundle, and of one with a verdict: name, what is expected, how it is found.
ALWAYS: Checks = (
    ("documents", "JSON as the kit's schemas say", _documents),
    ("verdict file", "the one that the manifest names, and no other", _one_verdict),
    ("cells", "keys, hashes, row counts and ranges as the corpus's manifest says", _cells),
    ("scorer", f"golden answers within {contract.GOLDEN_TOLERANCE:g} VMAF points", _scorer),
)
PREDICTED: Checks = (
    ("predictions", "each row once a seed, in the fold that holds out its group", _predictions),
    ("targets", "the scores in the corpus", _targets),
    ("baselines", "all that the kit trains, with the ensemble's rows", _baselines),
    ("reports", "what the predictions say", _reports),
)
JUDGED: Checks = (
    ("gate", "the kit's thresholds, applied to the predictions", _gate),
    ("evidence", "what corpus and predictions say", _evidence),
)
