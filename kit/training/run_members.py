"""The one builder of ensembles: of a run, of heads, of a verification."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kit.core.errors import InvalidEvidence
from kit.options.resolve import RunConfig
from kit.platforms.detect import usable_cores
from kit.system.proc import Processes
from kit.system.ui import Ui, counted
from kit.training.checkpoint import Checkpoint
from kit.training.device import choose
from kit.training.folds import Fold
from kit.training.members import Ensemble, Members, train
from kit.training.recipe import Recipe
from kit.training.table import Rows


def run_recipe(config: RunConfig, arch: str | None = None) -> Recipe:
    """Return the recipe of a run, or the same with another architecture."""
    return Recipe(epochs=config.epochs, arch=arch or config.arch)


@dataclass(frozen=True, kw_only=True)
class EnsembleRequest:
    """Members to train: every recipe with every seed and fold.

    Attributes:
        corpus_sha256: identity of the rows.
        members: seed and fold of each.
        device: one of ``contract.DEVICES``.
        folder: of the members; those in it are not trained again.
        workers: most processes; None for one per usable core.
    """

    rows: Rows
    corpus_sha256: str
    members: Sequence[tuple[int, Fold]]
    recipes: Sequence[Recipe]
    device: str
    folder: Path
    workers: int | None = None


def train_members(request: EnsembleRequest, processes: Processes, ui: Ui, *, title: str) -> list[Members]:
    """Return the members of each recipe; raises the errors of :func:`kit.training.members.train`."""
    device = choose(request.device)
    ensembles = [
        Ensemble(
            table=request.rows,
            members=request.members,
            recipe=recipe,
            corpus_sha256=request.corpus_sha256,
            device=device.kind,
            workers=request.workers or usable_cores(),
            folder=request.folder,
        )
        for recipe in request.recipes
    ]
    missing = [len(request.members) - len(ensemble.finished()) for ensemble in ensembles]
    total = len(request.members) * len(ensembles)
    archs = ", ".join(dict.fromkeys(recipe.arch for recipe in request.recipes))
    ui.say(
        f"{title}: {counted(total, 'member')} of {archs} on {device.kind} ({device.reason}), {len(request.rows)} rows"
        + (f"; {total - sum(missing)} already trained" if sum(missing) < total else "")
    )
    epochs = sum(count * recipe.epochs for count, recipe in zip(missing, request.recipes, strict=True))
    with ui.progress(title, epochs, "epochs") as advance:
        return train(ensembles, processes, lambda count: advance("", count))


def diverged(member: Checkpoint) -> bool:
    """Return whether a loss, weight or prediction of a member is not finite."""
    return not all(np.isfinite(array).all() for array in member.arrays.values())


def refuse_diverged(recipes: Sequence[Recipe], trained: Sequence[Members]) -> None:
    """Raise InvalidEvidence if a member diverged; all are named."""
    problems = [
        f"{recipe.arch}, lr {recipe.lr:g}, seed {seed}{f', held out {label}' if label else ''}: not finite"
        for recipe, members in zip(recipes, trained, strict=True)
        for (seed, label), member in members.items()
        if diverged(member)
    ]
    if problems:
        raise InvalidEvidence(problems, hint="The training diverged: use a smaller --lr.")


def out_of_fold(folds: Sequence[Fold], members: Members, seed: int) -> NDArray[np.float64]:
    """Return the predictions of a seed's members for their held-out rows, float64 [rows], VMAF points.

    Args:
        folds: which together hold out every row once.
    """
    predictions = np.full(sum(len(fold.held) for fold in folds), np.nan)
    for fold in folds:
        predictions[fold.held] = members[seed, fold.held_out].arrays["predictions"]
    return predictions
