"""Train members of a bundle again: predictions made of the teacher's scores and a little noise would pass any gate."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kit.system.proc import Processes
from kit.system.ui import Ui
from kit.training.folds import Fold
from kit.training.members import Ensemble, Members
from kit.training.run_members import train_members
from kit.verdict.metrics import agreement
from kit.verify.check import Check
from kit.verify.received_run import ReceivedRun

#: Largest difference of a member's PLCC between two machines (DESIGN §8).
PLCC_TOLERANCE = 1e-3


@dataclass(frozen=True, kw_only=True)
class Retraining:
    """Options of the training.

    Attributes:
        count: number of members, chosen at random; None for all.
        folder: of the members.
        ui: shows the progress.
    """

    count: int | None
    device: str
    workers: int
    folder: Path
    ui: Ui


def chosen(members: Sequence[tuple[int, str]], count: int | None) -> list[tuple[int, str]]:
    """Choose members that nobody can predict; sorted."""
    if count is None or count >= len(members):
        return sorted(members)
    return sorted(secrets.SystemRandom().sample(list(members), count))


def retrain(run: ReceivedRun, options: Retraining, processes: Processes) -> Check:
    """Train members from the shard and compare the PLCC of their held-out rows with that of the stored predictions."""
    folds = {fold.held_out: fold for fold in run.folds}
    stored = run.members
    picked = chosen([(seed, label) for seed in stored for label in stored[seed]], options.count)
    ensemble = Ensemble(
        rows=run.rows,
        corpus_sha256=run.shard.corpus_sha256,
        members=[(seed, folds[label]) for seed, label in picked],
        recipe=run.recipe,
        device=options.device,
        folder=options.folder,
        workers=options.workers,
    )
    (trained,) = train_members([ensemble], processes, options.ui, title="Training again")
    plcc_off, score_off = _differences(run, trained, folds)
    worst = max(plcc_off, key=lambda member: plcc_off[member])
    failing = [member for member, difference in plcc_off.items() if not difference <= PLCC_TOLERANCE]
    measured = (
        f"{len(plcc_off)} of {sum(map(len, stored.values()))} members; PLCC differs by at most {plcc_off[worst]:.1e} "
        f"(seed {worst[0]}, {worst[1]}), scores by an RMS of at most {max(score_off):.2g}"
    )
    if failing:
        measured += f"; {len(failing)} differ by more than {PLCC_TOLERANCE:g}"
    return Check(
        name="training",
        passed=not failing,
        expected=f"PLCC within {PLCC_TOLERANCE:g} when trained again",
        found=measured,
    )


def _differences(
    run: ReceivedRun, trained: Members, folds: Mapping[str, Fold]
) -> tuple[dict[tuple[int, str], float], list[float]]:
    """Return for each member the difference of PLCC, and the RMS difference of the scores in VMAF points."""
    stored = run.members
    rows_of = {(seed, label): rows for seed, label, rows in run.predictions.members()}
    plcc_off, score_off = {}, []
    for (seed, label), member in trained.items():
        again = member.arrays["predictions"].astype(np.float64)
        # the rows of a fold are in the order of the predictions: cells by key, frames in order
        before = run.predictions.prediction[rows_of[seed, label]].astype(np.float64)
        target = run.rows.target[folds[label].held].astype(np.float64)
        score_off.append(float(np.sqrt(np.mean((before - again) ** 2))))
        agreed = agreement(again, target, what=f"seed {seed}, held out {label}, trained again")
        before_plcc = stored[seed][label].plcc
        plcc_off[seed, label] = 0.0 if before_plcc is None else abs(agreed.plcc - before_plcc)
    return plcc_off, score_off
