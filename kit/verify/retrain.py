"""Predictions can be forged: the teacher's scores with a little noise pass any gate. Members trained again tell."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kit.system.proc import Processes
from kit.system.ui import Ui
from kit.training.device import choose
from kit.training.folds import Fold
from kit.training.members import Ensemble
from kit.verdict.metrics import agreement
from kit.verdict.out_of_fold import loso
from kit.verify.check import Check
from kit.verify.received_run import ReceivedRun

#: How far the PLCC of a member may be from another machine's (DESIGN §8).
PLCC_TOLERANCE = 1e-3


@dataclass(frozen=True, kw_only=True)
class Retraining:
    """What is trained again.

    Attributes:
        count: how many members, chosen at random; None for all.
        folder: where members are kept meanwhile.
        ui: where its progress is shown.
    """

    count: int | None
    device: str
    workers: int
    folder: Path
    ui: Ui


def chosen(members: Sequence[tuple[int, str]], count: int | None) -> list[tuple[int, str]]:
    """Members nobody can foresee, in order."""
    if count is None or count >= len(members):
        return sorted(members)
    return sorted(secrets.SystemRandom().sample(list(members), count))


def retrain(seen: ReceivedRun, asked: Retraining, processes: Processes) -> Check:
    """Train members from the shard and compare the PLCC of their held-out rows with that of the stored predictions."""
    folds = {fold.held_out: fold for fold in seen.folds}
    told = loso(seen.predictions).members
    picked = chosen([(seed, label) for seed in told for label in told[seed]], asked.count)
    off: dict[tuple[int, str], float] = {}
    apart = []
    with asked.ui.progress("Training again", len(picked) * seen.recipe.epochs, "epochs") as advance:
        for seed in sorted({seed for seed, _ in picked}):
            labels = [label for number, label in picked if number == seed]
            ensemble = Ensemble(
                table=seen.rows,
                folds=[folds[label] for label in labels],
                seeds=[seed],
                recipe=seen.recipe,
                corpus_sha256=seen.shard.corpus_sha256,
                device=choose(asked.device).kind,
                workers=asked.workers,
                folder=asked.folder,
            )
            trained = ensemble.run(processes, lambda epochs: advance("", epochs))
            for label in labels:
                again = trained[seed, label].arrays["predictions"].astype(np.float64)
                target = seen.rows.target[folds[label].held].astype(np.float64)
                apart.append(float(np.sqrt(np.mean((_stored(seen, folds[label], seed) - again) ** 2))))
                found = agreement(again, target, what=f"seed {seed}, held out {label}, trained again")
                off[seed, label] = abs(found.plcc - told[seed][label].plcc)
    worst = max(off, key=lambda member: off[member])
    far = [member for member, difference in off.items() if not difference <= PLCC_TOLERANCE]
    said = (
        f"{len(off)} of {sum(map(len, told.values()))} members; PLCC off by at most {off[worst]:.1e} "
        f"(seed {worst[0]}, {worst[1]}), scores by an RMS of at most {max(apart):.2g}"
    )
    if far:
        said += f"; {len(far)} are further off than {PLCC_TOLERANCE:g}"
    return Check(
        name="training", passed=not far, expected=f"PLCC within {PLCC_TOLERANCE:g} when trained again", found=said
    )


def _stored(seen: ReceivedRun, fold: Fold, seed: int) -> NDArray[np.float64]:
    """What the bundle says that a member predicts, in the order of the fold's rows: cells by key, frames in order."""
    found = seen.predictions
    rows = {(number, label): part for number, label, part in found.members()}[seed, fold.held_out]
    stored: NDArray[np.float64] = found.prediction[rows].astype(np.float64)
    return stored
