"""Run folders for tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from kit.core import contract, layout
from kit.core.values import Cell
from kit.corpus.store.cellfile import CellRows
from kit.corpus.store.shard import FailedCell, Shard
from kit.options.resolve import RunConfig
from kit.options.session import Session
from kit.system.fsio import write_json
from kit.training import folds
from kit.training.folds import Fold
from kit.training.predictions import Predictions
from kit.training.table import Table
from kit.video.scorers.teachers import CANONICAL
from tests.corpus.builders import formula_rows, plan, rows_of, shard_of
from tests.options.builders import run_in

#: Options of a run that is over quickly.
QUICK = ("--cqs", "25,37", "--seeds", "0,1,2", "--epochs", "3", "--device", "cpu", "--box", "testbox")


def run_folder(folder: Path, **options: object) -> tuple[RunConfig, Session]:
    """Make a run folder with a corpus of four sources that a network learns quickly, as after `corpus`."""
    write_json(folder / layout.PREREQS, {"box": "testbox"})
    cells = plan(("Highway", "Park", "Tango", "Crowd"), cqs=(19, 31, 43), frames=12, teacher=CANONICAL)
    shard_of(folder / layout.CORPUS, cells, teacher=CANONICAL, rows=formula_rows)
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
    rows: Callable[[Cell], CellRows] = rows_of,
    **options: object,
) -> Path:
    """Make a run folder with a verdict; its predictions are the targets with noise (VMAF points): HOLD by default.

    With ``failed`` cells it is INVALID.
    """
    from kit.steps import loso_folder, step_03_train, step_04_verdict

    write_json(folder / layout.PREREQS, {"box": "testbox", "ffmpeg": {"version": "7.1"}})
    cells = plan([f"Clip{number}" for number in range(sources)], encoders, cqs, frames=frames)
    shard = shard_of(folder / layout.CORPUS, cells, failed, rows=rows)
    config, session = run_in(folder, **({"epochs": 3} | options))
    if not failed:
        write_training(config, session, shard, noise)
        training = loso_folder.load(config)
    else:
        training = step_03_train.run(config, shard, session)
    step_04_verdict.run(config, training, session)
    return folder


def write_training(config: RunConfig, session: Session, shard: Shard, noise: float) -> None:
    """Write a training whose predictions are the targets with noise (VMAF points), as step 3 writes it."""
    from kit.steps import loso_folder
    from kit.training import predictions, table
    from kit.training.closed_form import fit_member
    from kit.training.loop import inputs_for
    from kit.training.run_members import run_recipe
    from kit.verdict.baselines import Baseline, expected_baselines, unseen_archs
    from kit.verdict.judge import Training, cell_facts
    from kit.verdict.out_of_fold import member_agreement
    from kit.verdict.seed_report import History, report_file, seed_reports, with_ensemble

    rows = table.load(shard)
    parts = folds.by_group(rows, config.folds)
    generator = np.random.default_rng(5)

    def noisy(path: str, size: float, seeds: Sequence[int], held_out: Sequence[Fold] = parts) -> Predictions:
        members = []
        for seed in seeds:
            for fold in held_out:
                scores = rows.target[fold.held] + generator.normal(0, size, len(fold.held))
                members.append((seed, fold, np.clip(scores, 0, 100).astype(np.float32)))
        result = predictions.from_members(shard.corpus_sha256, rows, members)
        predictions.write(config.out_dir / path, result)
        return result

    def line(path: str, seeds: Sequence[int]) -> Predictions:
        solved = run_recipe(config, "linear")
        fitted = {fold.held_out: fit_member(rows, fold, solved) for fold in parts}
        members = [
            (seed, fold, network.scores(inputs_for(rows, fold.held, scale, codec_aware=False)))
            for seed in seeds
            for fold in parts
            for network, scale, _ in [fitted[fold.held_out]]
        ]
        result = predictions.from_members(shard.corpus_sha256, rows, members)
        predictions.write(config.out_dir / path, result)
        return result

    scores = noisy(layout.PREDICTIONS, noise, config.seeds)
    sizes = zip(expected_baselines(config.arch), (2 * noise, 2 * noise, noise), strict=True)
    baselines = {}
    for name, size in sizes:
        path, seeds = layout.baseline_predictions(name), config.seeds[: contract.BASELINE_SEEDS.get(name)]
        trained = line(path, seeds) if name == "linear" else noisy(path, size, seeds)
        baselines[name] = Baseline(predictions=trained, problems=(), model=None)
    unseen = {
        arch: Baseline(
            predictions=noisy(
                layout.unseen_predictions(arch),
                noise,
                config.seeds[: contract.UNSEEN_SEEDS],
                _unseen_folds(rows),
            ),
            problems=(),
            model=None,
        )
        for arch in unseen_archs(config.arch, folds.unseen_encoders(shard.cells)) or ()
    }
    losses = np.geomspace(900, 4, config.epochs)
    reports = seed_reports(
        run_recipe(config),
        shard.corpus_sha256,
        scheme=config.folds,
        folds=parts,
        predictions=scores,
        members=member_agreement(scores),
        cells=cell_facts(shard, config.folds),
        histories=with_ensemble({seed: History(seconds=1.0, loss=losses * (1 + seed / 9)) for seed in config.seeds}),
    )
    for seed, report in reports.items():
        loso_folder.write_report(config, session, shard, report_file(seed), report)
    training = Training(
        shard=shard,
        seeds=config.seeds,
        folds=config.folds,
        holdout=(),
        predictions=scores,
        problems=(),
        baselines=baselines,
        unseen=unseen,
        rows=rows,
        formula=None,
    )
    loso_folder.write_summary(config, training)


def _unseen_folds(rows: Table) -> tuple[Fold, ...]:
    """Return a fold for each encoder and set of content groups that is held out with it."""
    sets = folds.unseen_sets(rows.cells)
    labels = [folds.unseen_label(entry.encoder, sets[entry.group]) for entry in rows.cells]
    of_row = np.array(labels)[rows.cell]
    return tuple(
        Fold(
            held_out=label,
            group_id=label,
            train=np.empty(0, np.int32),
            held=np.flatnonzero(of_row == label).astype(np.int32),
        )
        for label in sorted(set(labels))
    )
