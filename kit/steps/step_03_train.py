"""Step 3: leave-one-source-out training of every seed, and the out-of-fold predictions of every member."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from kit.core import contract, layout
from kit.core.errors import InvalidEvidence
from kit.corpus.store import shard as shards
from kit.corpus.store.shard import Shard
from kit.options.resolve import RunConfig
from kit.options.session import Session
from kit.steps import loso_folder, unseen_encoders
from kit.training import folds, predictions, table
from kit.training.folds import Fold
from kit.training.members import Ensemble, Members
from kit.training.predictions import Predictions
from kit.training.recipe import solver_of
from kit.training.run_members import run_recipe, train_members
from kit.training.table import Table
from kit.verdict.baselines import Baseline, convergence, expected_baselines
from kit.verdict.gate import seed_problems
from kit.verdict.judge import Training, cell_facts
from kit.verdict.out_of_fold import ENSEMBLE, member_agreement
from kit.verdict.seed_report import History, holdout_report, report_file, seed_reports, with_ensemble
from kit.video.scorers.formula import formula_of

if TYPE_CHECKING:
    from kit.models.model_file import ModelFile

log = logging.getLogger("kit")

NAME = "train"


@dataclass(frozen=True, kw_only=True)
class _CrossValidation:
    """Rows of a run and the folds they are split into; the predictions of its members go to ``file``."""

    config: RunConfig
    session: Session
    shard: Shard
    rows: Table
    folds: tuple[Fold, ...]
    file: str

    def train(self, beside: Sequence[str] = ()) -> Mapping[str, Members]:
        """Train every member, by architecture; ``beside`` names other architectures to train as well."""
        archs = (self.config.arch, *beside)
        seeds = {arch: self.config.seeds[: contract.BASELINE_SEEDS.get(arch)] for arch in beside}
        ensembles = [
            Ensemble(
                rows=self.rows,
                corpus_sha256=self.shard.corpus_sha256,
                members=list(product(seeds.get(arch, self.config.seeds), self.folds)),
                recipe=run_recipe(self.config, arch),
                device=self.config.device,
                folder=self.config.out_dir / layout.CHECKPOINTS,
            )
            for arch in archs
        ]
        trained = train_members(ensembles, self.session.processes, self.session.ui, title="Training")
        return dict(zip(archs, trained, strict=True))

    def write_predictions(self, members: Sequence[tuple[int, Fold, NDArray[np.float32]]]) -> Predictions:
        """Write the scores (seed, fold, [its rows]) of members."""
        scores = predictions.from_members(self.shard.corpus_sha256, self.rows, members)
        predictions.write(self.config.out_dir / self.file, scores)
        return scores

    def write_report(self, name: str, report: Mapping[str, object]) -> None:
        loso_folder.write_report(self.config, self.session, self.shard, name, report)


def check(config: RunConfig) -> None:
    """Refuse a ``--baseline`` that cannot be used before anything is made.

    Raises:
        BadInput, CheckFailed: as :func:`kit.models.model_file.baseline_model`.
    """
    _shipped_model(config)


def run(config: RunConfig, previous: Shard, session: Session) -> Training:
    """Train every member, write predictions and a report for each seed; the same for each ``--holdout``.

    Evidence that cannot become valid (a failed cell that is not waived, too few groups or seeds) is not trained on: the
    training is returned with its problems.
    """
    loso_folder.clear(config.out_dir)
    shipped = _shipped_model(config)
    problems = [*previous.problems, *seed_problems(len(config.seeds))]
    scores, rows = None, None
    baselines: dict[str, Baseline] = {}
    unseen: Mapping[str, Baseline] | None = None
    if not problems:
        try:
            rows = table.load(previous)
            scores, problems, baselines = _train(config, previous, session, rows, shipped)
            unseen = None if problems else unseen_encoders.train(config, session, previous, rows)
        except InvalidEvidence as error:
            problems = list(error.problems)
    training = Training(
        shard=previous,
        seeds=config.seeds,
        folds=config.folds,
        holdout=config.holdout,
        max_rows_per_source=config.max_rows_per_source,
        predictions=scores,
        problems=tuple(problems),
        baselines=baselines,
        unseen=unseen,
        rows=rows,
        formula=formula_of(previous.teacher),
    )
    loso_folder.write_summary(config, training)
    for problem in problems:
        log.warning("evidence is not valid: %s", problem)
    return training


def load(config: RunConfig, session: Session) -> Training:
    """Return the training that an earlier run of this step wrote.

    Raises:
        Missing, BadInput: as :func:`kit.steps.loso_folder.load`.
    """
    return loso_folder.load(config)


def _shipped_model(config: RunConfig) -> ModelFile | None:
    if config.baseline is None:
        return None
    from kit.models.model_file import baseline_model  # late: it needs onnxruntime

    return baseline_model(config.baseline)


def _train(
    config: RunConfig, shard: Shard, session: Session, rows: Table, shipped: ModelFile | None
) -> tuple[Predictions, list[str], dict[str, Baseline]]:
    """Train the ensemble, its baselines and the hold-outs; return predictions, problems and baselines."""
    main = _CrossValidation(
        config=config,
        session=session,
        shard=shard,
        rows=rows,
        folds=folds.thinned(rows, folds.by_group(rows, config.folds), config.max_rows_per_source),
        file=layout.PREDICTIONS,
    )
    holdouts = {by: _hold_out(main, by) for by in config.holdout}
    archs = expected_baselines(config.arch)
    trained = main.train(beside=archs)
    scores, problems = _write_scores(main, trained[config.arch])
    if not problems:
        try:
            _write_seed_reports(main, scores, trained[config.arch])
        except InvalidEvidence as error:
            problems = list(error.problems)
    baselines = {arch: _baseline(main, arch, trained[arch]) for arch in archs}
    if shipped is not None:
        baselines[contract.SHIPPED] = _shipped_baseline(main, shipped)
    for by, validation in holdouts.items():
        problems += [f"--holdout {by}: {line}" for line in _train_holdout(validation, by)]
    return scores, problems, baselines


def _baseline(main: _CrossValidation, arch: str, trained: Members) -> Baseline:
    """Write the predictions of another architecture. A failed member of it does not invalidate the ensemble."""
    config = replace(main.config, seeds=main.config.seeds[: contract.BASELINE_SEEDS.get(arch)])
    own = replace(main, config=config, file=layout.baseline_predictions(arch))
    scores, problems = _write_scores(own, trained)
    if problems:
        (own.config.out_dir / own.file).unlink()
    loss = np.mean([history.loss for history in _histories(own, trained).values()], axis=0)
    return Baseline(
        predictions=None if problems else scores,
        problems=tuple(problems),
        model=None,
        convergence=None if problems or solver_of(arch) == contract.LEAST_SQUARES else convergence(loss),
    )


def _shipped_baseline(main: _CrossValidation, model: ModelFile) -> Baseline:
    """Score every row with the shipped model; it is one seed, the ``ENSEMBLE``."""
    own = replace(main, file=layout.baseline_predictions(contract.SHIPPED))
    rows = table.with_inputs(own.rows, model.inputs)
    values, _ = model.scores(rows.features, rows.codec)
    scores = own.write_predictions([(ENSEMBLE, fold, values[fold.held]) for fold in own.folds])
    return Baseline(predictions=scores, problems=(), model=model.identity)


def _write_scores(validation: _CrossValidation, trained: Members) -> tuple[Predictions, list[str]]:
    """Write the predictions of every member that are finite; return them, and a line for what is not finite."""
    members = [
        (seed, fold, trained[seed, fold.held_out].arrays["predictions"])
        for seed in validation.config.seeds
        for fold in validation.folds
    ]
    finite = [member for member in members if np.isfinite(member[2]).all()]
    problems = [
        f"seed {seed}, held out {fold.held_out}: predictions are not finite"
        for seed, fold, values in members
        if not np.isfinite(values).all()
    ]
    problems = problems or [
        f"seed {seed}: the training loss is not finite"
        for seed, history in _histories(validation, trained).items()
        if not np.isfinite(history.loss).all()
    ]
    return validation.write_predictions(finite), problems


def _histories(validation: _CrossValidation, trained: Members) -> dict[int, History]:
    histories = {}
    for seed in validation.config.seeds:
        members = [trained[seed, fold.held_out] for fold in validation.folds]
        losses = np.stack([member.arrays["training_loss"] for member in members]).astype(np.float64)
        histories[seed] = History(seconds=sum(member.seconds for member in members), loss=losses.mean(axis=0))
    return histories


def _write_seed_reports(main: _CrossValidation, scores: Predictions, trained: Members) -> None:
    reports = seed_reports(
        run_recipe(main.config),
        main.shard.corpus_sha256,
        scheme=main.config.folds,
        folds=main.folds,
        predictions=scores,
        members=member_agreement(scores),
        cells=cell_facts(main.shard, main.config.folds),
        histories=with_ensemble(_histories(main, trained)),
    )
    for seed, report in reports.items():
        main.write_report(report_file(seed), report)


def _hold_out(main: _CrossValidation, by: str) -> _CrossValidation:
    """Split the rows by encoder or by box; a cell that several boxes made belongs to no box and is left out."""
    file = layout.holdout_predictions(by)
    if by == "encoder":
        parts = folds.thinned(main.rows, folds.by_encoder(main.rows), main.config.max_rows_per_source)
        return replace(main, folds=parts, file=file)
    boxes = {
        entry.key: sorted({str(observed.get("box")) for observed in shards.observations(main.shard, entry)})
        for entry in main.shard.cells
    }
    rows = table.only(main.rows, {key for key, names in boxes.items() if len(names) == 1})
    parts = folds.by_box(rows, [boxes[entry.key][0] for entry in rows.cells])
    return replace(main, rows=rows, folds=folds.thinned(rows, parts, main.config.max_rows_per_source), file=file)


def _train_holdout(validation: _CrossValidation, by: str) -> Sequence[str]:
    """Train a hold-out and write its report; return its problems."""
    labels = ", ".join(fold.held_out for fold in validation.folds)
    validation.session.ui.say(f"Hold-out: each {by} in turn ({labels})")
    if left_out := len(validation.shard.cells) - len(validation.rows.cells):
        validation.session.ui.say(f"{left_out} cells are left out: several boxes made them")
    scores, problems = _write_scores(validation, validation.train()[validation.config.arch])
    if problems:
        return problems
    try:
        report = holdout_report(by, validation.shard.corpus_sha256, folds=validation.folds, predictions=scores)
    except InvalidEvidence as error:
        return error.problems
    validation.write_report(layout.holdout_report(by), report)
    return ()
