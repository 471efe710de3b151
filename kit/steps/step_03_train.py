"""Step 3: leave-one-source-out training of every seed, and what each member predicts for what it never saw."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kit.core import contract, layout
from kit.core.errors import BadInput, InvalidEvidence
from kit.corpus.store import shard as shards
from kit.corpus.store.shard import Shard
from kit.options.provenance import block
from kit.options.resolve import RunConfig
from kit.options.session import Session
from kit.system.fsio import read_json, sha256_file, write_json
from kit.training import folds, predictions, table
from kit.training.checkpoints import Checkpoint
from kit.training.folds import Fold
from kit.training.predictions import Predictions
from kit.training.run_members import fit, recipe
from kit.training.table import Table
from kit.verdict import evidence
from kit.verdict.baselines import Baseline, expected_baselines
from kit.verdict.evidence import ENSEMBLE
from kit.verdict.judge import Training, cell_facts
from kit.verdict.seed_report import holdout_report, seed_report

if TYPE_CHECKING:
    from kit.models.model_file import ModelFile

log = logging.getLogger("kit")

NAME = "train"
#: Members by seed and label of what they hold out.
_Members = Mapping[tuple[int, str], Checkpoint]


def check(config: RunConfig) -> None:
    """Refuse a ``--baseline`` that cannot be used before anything is made.

    Raises:
        BadInput, CheckFailed: as :func:`kit.models.model_file.baseline_model`.
    """
    _asked_baseline(config)


def run(config: RunConfig, previous: Shard, session: Session) -> Training:
    """Train every (seed, fold), write predictions and one report a seed; the same for what ``--holdout`` asks for.

    Evidence that cannot become valid (a failed cell that is not waived, too few groups) is not trained on; it is
    passed on as such.
    """
    _forget(config)
    problems = [f"cell {name} failed: {why}" for name, why in shards.failures_table(previous.lacking)]
    shipped = _asked_baseline(config)
    found, rows = None, None
    baselines: dict[str, Baseline] = {}
    if not problems:
        try:
            rows = table.load(previous)
            found, problems, baselines = _train(config, previous, session, rows, shipped)
        except InvalidEvidence as error:
            problems = list(error.problems)
    predictions_file = config.out_dir / layout.PREDICTIONS
    summary = {
        "schema_version": contract.SCHEMA_VERSION,
        "corpus_sha256": previous.corpus_sha256,
        "seeds": list(config.seeds),
        "epochs": config.epochs,
        "arch": config.arch,
        "folds": config.folds,
        "holdout": list(config.holdout),
        "predictions_sha256": sha256_file(predictions_file) if predictions_file.is_file() else None,
        "baselines": {name: _baseline_json(config, name, baseline) for name, baseline in baselines.items()},
        "problems": problems,
    }
    write_json(config.out_dir / layout.TRAINING, summary)
    for line in problems:
        log.warning("evidence is not valid: %s", line)
    return Training(
        shard=previous,
        seeds=config.seeds,
        folds=config.folds,
        holdout=config.holdout,
        predictions=found,
        problems=tuple(problems),
        baselines=baselines,
        rows=rows,
    )


def _asked_baseline(config: RunConfig) -> ModelFile | None:
    if config.baseline is None:
        return None
    from kit.models.model_file import baseline_model  # late: it needs onnxruntime

    return baseline_model(config.baseline)


def _forget(config: RunConfig) -> None:
    """Remove what an earlier training left: predictions and reports of two trainings must not lie side by side."""
    folder = config.out_dir / layout.LOSO
    for path in (*folder.glob("*.json"), *folder.glob("*.parquet")):
        path.unlink()


@dataclass(frozen=True, kw_only=True)
class _Spent:
    """What the training of a seed took and how it went: seconds, and the loss of each epoch [epochs]."""

    seconds: float
    loss: NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class _Study:
    """What is trained together: rows, folds, and the file of what their members predict."""

    rows: Table
    parts: tuple[Fold, ...]
    file: str


def _train(
    config: RunConfig, shard: Shard, session: Session, rows: Table, shipped: ModelFile | None
) -> tuple[Predictions, list[str], dict[str, Baseline]]:
    study = _Study(rows=rows, parts=folds.by_group(rows, config.folds), file=layout.PREDICTIONS)
    holdouts = {by: _held_out(shard, rows, by) for by in config.holdout}
    beside = expected_baselines(config.arch)
    trained = fit(config, shard, session, study.rows, study.parts, what="Training", beside=beside)
    found, problems, spent = _predicted(config, shard, study, trained[config.arch])
    if not problems:
        try:
            for name, report in _reports(config, shard, study, found, spent):
                _write(config, shard, session, name, report)
        except InvalidEvidence as error:
            problems = list(error.problems)
    baselines = {name: _baseline(config, shard, study, name, trained[name]) for name in beside}
    if shipped is not None:
        baselines[contract.SHIPPED] = _shipped(config, shard, study, shipped)
    for by, held_out in holdouts.items():
        problems += [f"--holdout {by}: {problem}" for problem in _hold_out(config, shard, session, by, held_out)]
    return found, problems, baselines


def _baseline(config: RunConfig, shard: Shard, study: _Study, name: str, trained: _Members) -> Baseline:
    """What members of another architecture predict. That one of them failed is no reason to doubt the ensemble."""
    study = replace(study, file=layout.baseline_predictions(name))
    found, problems, _ = _predicted(config, shard, study, trained)
    if problems:
        (config.out_dir / study.file).unlink()
    return Baseline(predictions=None if problems else found, problems=tuple(problems), model=None)


def _shipped(config: RunConfig, shard: Shard, study: _Study, model: ModelFile) -> Baseline:
    """What a model that is there says of every row; it is its own only seed."""
    scores, _ = model.scores(study.rows.features, study.rows.codec)
    found = _columns(shard, study.rows, [(ENSEMBLE, fold, scores[fold.held]) for fold in study.parts])
    predictions.write(config.out_dir / layout.baseline_predictions(contract.SHIPPED), found)
    return Baseline(predictions=found, problems=(), model=model.identity)


def _baseline_json(config: RunConfig, name: str, baseline: Baseline) -> dict[str, object]:
    path = config.out_dir / layout.baseline_predictions(name)
    return {
        "predictions_sha256": None if baseline.predictions is None else sha256_file(path),
        "problems": list(baseline.problems),
        "model": baseline.model,
    }


def _held_out(shard: Shard, rows: Table, by: str) -> _Study:
    """Rows and folds of a hold-out; cells that several boxes made are in none."""
    if by == "encoder":
        return _Study(rows=rows, parts=folds.by_encoder(rows), file=layout.holdout_predictions(by))
    boxes = {
        entry.key: sorted({str(seen.get("box")) for seen in shards.observations(shard, entry)}) for entry in shard.cells
    }
    alone = table.only(rows, {key for key, names in boxes.items() if len(names) == 1})
    parts = folds.by_box(alone, [boxes[entry.key][0] for entry in alone.cells])
    return _Study(rows=alone, parts=parts, file=layout.holdout_predictions(by))


def _predicted(
    config: RunConfig, shard: Shard, study: _Study, trained: _Members
) -> tuple[Predictions, list[str], dict[int, _Spent]]:
    """Write what every seed predicts in every fold; also what is not finite, and what each seed spent."""
    members = [
        (seed, fold, trained[seed, fold.held_out].arrays["predictions"])
        for seed in config.seeds
        for fold in study.parts
    ]
    spent = {seed: _spent([trained[seed, fold.held_out] for fold in study.parts]) for seed in config.seeds}
    problems = [
        f"seed {seed}, held out {fold.held_out}: predictions are not finite"
        for seed, fold, predicted in members
        if not np.isfinite(predicted).all()
    ]
    problems += [
        f"seed {seed}: the training loss is not finite"
        for seed, one in spent.items()
        if not problems and not np.isfinite(one.loss).all()
    ]
    found = _columns(shard, study.rows, [member for member in members if np.isfinite(member[2]).all()])
    predictions.write(config.out_dir / study.file, found)
    return found, problems, spent


def _spent(members: Sequence[Checkpoint]) -> _Spent:
    losses = np.stack([member.arrays["training_loss"] for member in members]).astype(np.float64)
    return _Spent(seconds=sum(member.seconds for member in members), loss=losses.mean(axis=0))


def _reports(
    config: RunConfig, shard: Shard, study: _Study, found: Predictions, spent: Mapping[int, _Spent]
) -> Iterator[tuple[str, dict[str, object]]]:
    """File and content of each seed's report, and of the ensemble mean's."""
    cells = cell_facts(shard, config.folds)
    averaged = evidence.ensemble_mean(found)
    agreements = {**evidence.loso(found).members, **evidence.loso(averaged).members}
    parts = {seed: found.part(rows) for seed, rows in found.seeds()} | {ENSEMBLE: averaged}
    every = _Spent(
        seconds=sum(one.seconds for one in spent.values()),
        loss=np.mean([one.loss for one in spent.values()], axis=0),
    )
    for seed, part in parts.items():
        yield (
            layout.ENSEMBLE_REPORT if seed == ENSEMBLE else layout.seed_report(seed),
            seed_report(
                recipe(config),
                shard.corpus_sha256,
                scheme=config.folds,
                parts=study.parts,
                found=part,
                cells=cells,
                seed=seed,
                agreements=agreements[seed],
                seconds=spent.get(seed, every).seconds,
                training_loss=spent.get(seed, every).loss.tolist(),
            ),
        )


def _hold_out(config: RunConfig, shard: Shard, session: Session, by: str, study: _Study) -> Sequence[str]:
    """Train a hold-out and write its report; what is wrong with it."""
    session.ui.say(f"Held out as well: each {by} in turn ({', '.join(fold.held_out for fold in study.parts)})")
    if aside := len(shard.cells) - len(study.rows.cells):
        session.ui.say(f"{aside} cells that several boxes made are set aside")
    trained = fit(config, shard, session, study.rows, study.parts, what="Training")
    found, problems, _ = _predicted(config, shard, study, trained[config.arch])
    if problems:
        return problems
    try:
        report = holdout_report(by, shard.corpus_sha256, parts=study.parts, found=found)
    except InvalidEvidence as error:
        return error.problems
    _write(config, shard, session, layout.holdout_report(by), report)
    return ()


def _write(config: RunConfig, shard: Shard, session: Session, name: str, report: dict[str, object]) -> None:
    inputs = {"corpus": shard.folder / shards.MANIFEST}
    report["run_provenance"] = block(config, session, inputs=inputs, outputs=[name])
    write_json(config.out_dir / name, report)


def _columns(shard: Shard, rows: Table, members: list[tuple[int, Fold, NDArray[np.float32]]]) -> Predictions:
    labels = tuple(sorted({fold.held_out for _, fold, _ in members}))
    keys = tuple(entry.key for entry in rows.cells)
    held = [fold.held for _, fold, _ in members]
    every = np.concatenate(held) if held else np.empty(0, dtype=np.int64)
    counts = [len(part) for part in held]
    return predictions.from_codes(
        shard.corpus_sha256,
        labels,
        keys,
        {
            "seed": np.repeat(np.array([seed for seed, _, _ in members], dtype=np.int32), counts),
            "fold": np.repeat(np.array([labels.index(fold.held_out) for _, fold, _ in members], np.int32), counts),
            "cell_key": rows.cell[every],
            "frame_index": rows.frame[every],
            "target": rows.target[every],
            "prediction": np.concatenate([part for *_, part in members] or [np.empty(0, dtype=np.float32)]),
        },
    )


def load(config: RunConfig, session: Session) -> Training:
    """What an earlier run of this step left.

    Raises:
        Missing: the step has not been run.
        BadInput: it was run on another corpus, or with other seeds.
    """
    path = config.out_dir / layout.TRAINING
    value: Any = read_json(path, written_by="train")
    shard = shards.read_manifest(config.out_dir / layout.CORPUS)
    try:
        corpus, problems, digest = value["corpus_sha256"], tuple(value["problems"]), value["predictions_sha256"]
        seeds = tuple(value["seeds"])
        differing = [name for name in ("epochs", "arch", "folds") if value[name] != getattr(config, name)]
        holdout, _ = tuple(value["holdout"]), value["baselines"]
    except (KeyError, TypeError) as error:
        raise BadInput(f"{path} was not written by this version: {error!r}", hint="Run `train` again.") from error
    if corpus != shard.corpus_sha256:
        raise BadInput("the corpus has changed since it was trained on", hint="Run `train` again.")
    differing += ["seeds"] * (set(seeds) != set(config.seeds)) + ["holdout"] * (set(holdout) != set(config.holdout))
    for name in differing:
        asked = getattr(config, name)
        raise BadInput(
            f"trained was with {name} {_shown(value[name])}, asked for is {_shown(asked)}",
            hint=f"Run `train` again, or leave --{name} out.",
        )
    predictions_file = config.out_dir / layout.PREDICTIONS
    if digest is not None and (not predictions_file.is_file() or sha256_file(predictions_file) != digest):
        raise BadInput(f"{predictions_file} is not what was trained", hint="Run `train` again.")
    found = None if problems else predictions.read(predictions_file)
    return Training(
        shard=shard,
        seeds=seeds,
        folds=config.folds,
        holdout=holdout,
        predictions=found,
        problems=problems,
        baselines={} if problems else _load_baselines(config, value["baselines"]),
        rows=None if problems else table.load(shard),
    )


def _load_baselines(config: RunConfig, told: Mapping[str, Any]) -> dict[str, Baseline]:
    found = {}
    for name, baseline in told.items():
        path, digest = config.out_dir / layout.baseline_predictions(name), baseline["predictions_sha256"]
        if digest is not None and (not path.is_file() or sha256_file(path) != digest):
            raise BadInput(f"{path} is not what was trained", hint="Run `train` again.")
        found[name] = Baseline(
            predictions=None if digest is None else predictions.read(path),
            problems=tuple(baseline["problems"]),
            model=baseline["model"],
        )
    return found


def _shown(value: object) -> str:
    return (", ".join(map(str, value)) or "none") if isinstance(value, list | tuple) else str(value)
