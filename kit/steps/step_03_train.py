"""Step 3: leave-one-source-out training of every seed, and what each member predicts for what it never saw."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kit import contract, evidence, layout
from kit.config import RunConfig
from kit.corpus import shard as shards
from kit.corpus.shard import Shard
from kit.errors import BadInput, InvalidEvidence
from kit.fsio import read_json, sha256_file, write_json
from kit.metrics import Agreement
from kit.platforms.detect import usable_cores
from kit.provenance import block
from kit.results import Training
from kit.session import Session
from kit.training import folds, predictions, table
from kit.training.checkpoints import Checkpoint
from kit.training.folds import Fold
from kit.training.predictions import Predictions
from kit.training.recipe import Recipe, architecture

NAME = "train"


def run(config: RunConfig, previous: Shard, session: Session) -> Training:
    """Train every (seed, group), write predictions and one report a seed.

    Evidence that cannot become valid (a failed cell that is not waived, too few groups) is not trained on; it is
    passed on as such.
    """
    _forget(config)
    problems = [f"cell {name} failed: {why}" for name, why in shards.failures_table(previous.lacking)]
    found = None
    if not problems:
        try:
            found, problems = _train(config, previous, session)
        except InvalidEvidence as error:
            problems = list(error.problems)
    predictions_file = config.out_dir / layout.PREDICTIONS
    summary = {
        "schema_version": contract.SCHEMA_VERSION,
        "corpus_sha256": previous.corpus_sha256,
        "seeds": list(config.seeds),
        "epochs": config.epochs,
        "arch": config.arch,
        "predictions_sha256": sha256_file(predictions_file) if predictions_file.is_file() else None,
        "problems": problems,
    }
    write_json(config.out_dir / layout.TRAINING, summary)
    for line in problems:
        session.ui.say(f"Evidence not valid: {line}")
    return Training(shard=previous, seeds=config.seeds, predictions=found, problems=tuple(problems))


def _forget(config: RunConfig) -> None:
    """Remove what an earlier training left: predictions and reports of two trainings must not lie side by side."""
    folder = config.out_dir / layout.LOSO
    for path in (*folder.glob("*.json"), *folder.glob("*.parquet")):
        path.unlink()


def _train(config: RunConfig, shard: Shard, session: Session) -> tuple[Predictions, list[str]]:
    rows = table.load(shard)
    parts = folds.leave_one_group_out(rows)
    trained = _members(config, shard, session, rows, parts)
    members = [(seed, fold, trained[seed, fold.held_out].arrays["predictions"])
               for seed in config.seeds for fold in parts]  # fmt: skip
    seconds = {seed: sum(trained[seed, fold.held_out].seconds for fold in parts) for seed in config.seeds}
    problems = [f"seed {seed}, held out {fold.held_out}: predictions are not finite"
                for seed, fold, predicted in members if not np.isfinite(predicted).all()]  # fmt: skip
    finite = [member for member in members if np.isfinite(member[2]).all()]
    found = _columns(shard, rows, finite)
    predictions.write(config.out_dir / layout.PREDICTIONS, found)
    try:
        result = evidence.loso(found)
    except InvalidEvidence as error:
        return found, problems + list(error.problems)
    for seed, agreements in result.members.items():
        report = seed_report(config, shard, parts=parts, seed=seed, agreements=agreements, seconds=seconds[seed])
        report["run_provenance"] = block(
            config, session, inputs={"corpus": shard.folder / shards.MANIFEST}, outputs=[layout.seed_report(seed)]
        )
        write_json(config.out_dir / layout.seed_report(seed), report)
    return found, problems


def _members(
    config: RunConfig, shard: Shard, session: Session, rows: table.Table, parts: tuple[Fold, ...]
) -> Mapping[tuple[int, str], Checkpoint]:
    """Every member by seed and label of what it holds out; those that are there are not trained again."""
    from kit.training.device import choose
    from kit.training.members import Ensemble

    device = choose(config.device)
    ensemble = Ensemble(
        table=rows, folds=parts, seeds=config.seeds, recipe=Recipe(epochs=config.epochs, arch=config.arch),
        corpus_sha256=shard.corpus_sha256, device=device.kind, workers=usable_cores(),
        folder=config.out_dir / layout.CHECKPOINTS,
    )  # fmt: skip
    count, there = len(config.seeds) * len(parts), len(ensemble.finished())
    session.ui.say(f"Training {count} members of {config.arch} on {device.kind} ({device.reason})"
                   + (f"; {there} of them are there already" if there else ""))  # fmt: skip
    with session.ui.progress("Training", (count - there) * config.epochs, "epochs") as advance:
        return ensemble.run(session.processes, lambda epochs: advance("", epochs))


def _columns(shard: Shard, rows: table.Table, members: list[tuple[int, Fold, NDArray[np.float32]]]) -> Predictions:
    keys = np.array([entry.key for entry in rows.cells])
    held = [fold.held for _, fold, _ in members]
    every = np.concatenate(held) if held else np.empty(0, dtype=np.int64)
    counts = [len(part) for part in held]
    return predictions.from_columns(
        shard.corpus_sha256,
        {
            "seed": np.repeat(np.array([seed for seed, _, _ in members], dtype=np.int32), counts),
            "fold": np.repeat(np.array([fold.held_out for _, fold, _ in members], dtype=np.str_), counts),
            "cell_key": keys[rows.cell[every]],
            "frame_index": rows.frame[every],
            "target": rows.target[every],
            "prediction": np.concatenate([part for *_, part in members] or [np.empty(0, dtype=np.float32)]),
        },
    )


def seed_report(
    config: RunConfig,
    shard: Shard,
    *,
    parts: tuple[Fold, ...],
    seed: int,
    agreements: Mapping[str, Agreement],
    seconds: float,
) -> dict[str, object]:
    """The content of ``loso_seed{N}.json``, without its provenance."""
    rows_of = {fold.held_out: (len(fold.train), len(fold.held)) for fold in parts}
    plccs = np.array([fold.plcc for fold in agreements.values()])
    return {
        "schema_version": contract.SCHEMA_VERSION,
        "seed": seed,
        "corpus": {"path": layout.CORPUS, "sha256": shard.corpus_sha256},
        "n_folds": len(agreements),
        "folds": [
            {
                "held_out": held_out, "n_train": rows_of[held_out][0], "n_val": rows_of[held_out][1],
                "plcc": fold.plcc, "srocc": fold.srocc, "krocc": fold.krocc, "rmse": fold.rmse, "bias": fold.bias,
            }
            for held_out, fold in agreements.items()
        ],
        "mean_plcc": evidence.LosoResult(members={seed: agreements}).mean_plccs()[seed],
        "std_plcc": float(plccs.std()),
        "min_plcc": float(plccs.min()),
        "max_plcc": float(plccs.max()),
        "mean_srocc": float(np.mean([fold.srocc for fold in agreements.values()])),
        "mean_rmse": float(np.mean([fold.rmse for fold in agreements.values()])),
        "arch": config.arch,
        "epochs": config.epochs,
        "batch_size": contract.BATCH_SIZE,
        "lr": contract.LEARNING_RATE,
        "weight_decay": contract.WEIGHT_DECAY,
        "num_codecs": len(contract.ENCODER_VOCAB) if architecture(config.arch).codec_aware else 0,
        "encoder_vocab_version": contract.ENCODER_VOCAB_VERSION,
        "wall_time_s": round(seconds, 3),
    }  # fmt: skip


def load(config: RunConfig, session: Session) -> Training:
    """What an earlier run of this step left.

    Raises:
        Missing: the step has not been run.
        BadInput: it was run on another corpus, or with other seeds.
    """
    path = config.out_dir / layout.TRAINING
    value: Any = read_json(path, left_by="train")
    shard = shards.read_manifest(config.out_dir / layout.CORPUS)
    try:
        corpus, seeds, problems = value["corpus_sha256"], tuple(value["seeds"]), tuple(value["problems"])
        epochs, arch, digest = value["epochs"], value["arch"], value["predictions_sha256"]
    except (KeyError, TypeError) as error:
        raise BadInput(f"{path} was not written by this version: {error!r}", hint="Run `train` again.") from error
    if corpus != shard.corpus_sha256:
        raise BadInput("the corpus has changed since it was trained on", hint="Run `train` again.")
    if set(seeds) != set(config.seeds):
        raise BadInput(f"trained were the seeds {list(seeds)}, asked for are {list(config.seeds)}",
                       hint="Run `train` again, or leave --seeds out.")  # fmt: skip
    if epochs != config.epochs:
        raise BadInput(f"trained were {epochs} epochs, asked for are {config.epochs}",
                       hint="Run `train` again, or leave --epochs out.")  # fmt: skip
    if arch != config.arch:
        raise BadInput(f"trained was {arch}, asked for is {config.arch}",
                       hint="Run `train` again, or leave --arch out.")  # fmt: skip
    predictions_file = config.out_dir / layout.PREDICTIONS
    if digest is not None and (not predictions_file.is_file() or sha256_file(predictions_file) != digest):
        raise BadInput(f"{predictions_file} is not what was trained", hint="Run `train` again.")
    found = None if problems else predictions.read(predictions_file)
    return Training(shard=shard, seeds=seeds, predictions=found, problems=problems)
