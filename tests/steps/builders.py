"""Run folders that tests make."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kit.core import layout
from kit.corpus.store.shard import FailedCell
from kit.options.resolve import RunConfig
from kit.options.session import Session
from kit.system.fsio import sha256_file, write_json
from tests.corpus.builders import plan, shard_of
from tests.options.builders import run_in

#: Options of a run that is over quickly.
QUICK = ("--cqs", "25,37", "--seeds", "0,1", "--epochs", "3", "--device", "cpu", "--box", "testbox")


def run_folder(folder: Path, **options: object) -> tuple[RunConfig, Session]:
    """A run folder with a corpus of four sources that a network learns quickly, as `corpus` leaves it."""
    write_json(folder / layout.PREREQS, {"box": "testbox"})
    shard_of(folder / layout.CORPUS, plan(("Highway", "Park", "Tango", "Crowd"), cqs=(19, 31, 43), frames=12))
    return run_in(folder, **options)


def judged_run(
    folder: Path,
    *,
    sources: int = 4,
    encoders: Sequence[str] = ("libx264", "libx265"),
    cqs: Sequence[int] = (19, 31, 43),
    frames: int = 12,
    noise: float = 12.0,
    failed: Sequence[FailedCell] = (),
    **options: object,
) -> Path:
    """A run folder with a verdict, whose predictions are the targets with noise (VMAF points): HOLD by default.

    With ``failed`` cells it is INVALID.
    """
    from kit.steps import step_03_train, step_04_verdict
    from kit.training import folds, predictions, table
    from kit.verdict.baselines import Baseline, expected_baselines

    write_json(folder / layout.PREREQS, {"box": "testbox", "ffmpeg": {"version": "7.1"}})
    cells = plan([f"Clip{number}" for number in range(sources)], encoders, cqs, frames=frames)
    shard = shard_of(folder / layout.CORPUS, cells, failed)
    config, session = run_in(folder, **({"epochs": 3} | options))
    generator = np.random.default_rng(5)
    if not failed:
        rows = table.load(shard)
        parts = folds.by_group(rows, config.folds)
        found, *others = (
            step_03_train._columns(
                shard,
                rows,
                [
                    (seed, fold, np.clip(rows.target[fold.held] + generator.normal(0, off, len(fold.held)), 0, 100))
                    for seed in config.seeds
                    for fold in parts
                ],
            )
            for off in (noise, 2 * noise, 2 * noise, noise)
        )
        predictions.write(folder / layout.PREDICTIONS, found)
        baselines = {}
        for name, other in zip(expected_baselines(config.arch), others, strict=True):
            predictions.write(folder / layout.baseline_predictions(name), other)
            baseline = Baseline(predictions=other, problems=(), model=None)
            baselines[name] = step_03_train._baseline_json(config, name, baseline)
        losses = np.geomspace(900, 4, config.epochs)
        spent = {seed: step_03_train._Spent(seconds=1.0, loss=losses * (1 + seed / 9)) for seed in config.seeds}
        study = step_03_train._Study(rows=rows, parts=parts, file=layout.PREDICTIONS)
        for name, report in step_03_train._reports(config, shard, study, found, spent):
            step_03_train._write(config, shard, session, name, report)
        digest = sha256_file(folder / layout.PREDICTIONS)
        told = {
            "corpus_sha256": shard.corpus_sha256,
            "seeds": list(config.seeds),
            "epochs": config.epochs,
            "arch": config.arch,
            "folds": config.folds,
            "holdout": [],
            "predictions_sha256": digest,
            "baselines": baselines,
            "problems": [],
            "schema_version": 1,
        }
        write_json(folder / layout.TRAINING, told)
        trained = step_03_train.load(config, session)
    else:
        trained = step_03_train.run(config, shard, session)
    step_04_verdict.run(config, trained, session)
    return folder
