"""Train ensembles with a line of progress, and examine their members: of a run, of heads, of a verification."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kit.core.errors import InvalidEvidence
from kit.options.resolve import RunConfig
from kit.system.proc import Processes
from kit.system.ui import Ui, counted
from kit.training.checkpoint import Checkpoint
from kit.training.folds import Fold
from kit.training.members import Ensemble, Members, train
from kit.training.recipe import Recipe, named_recipe


def run_recipe(config: RunConfig, arch: str | None = None) -> Recipe:
    """Return the recipe of a run, or the same with another architecture."""
    return named_recipe(
        config.recipe, epochs=config.epochs, arch=arch or config.arch, max_rows_per_source=config.max_rows_per_source
    )


def train_members(ensembles: Sequence[Ensemble], processes: Processes, ui: Ui, *, title: str) -> list[Members]:
    """Return the members of each ensemble; raises the errors of :func:`kit.training.members.train`.

    Args:
        ensembles: one or more, with the same rows and device.
    """
    device, rows = ensembles[0].chosen, ensembles[0].rows
    missing = [len(ensemble.members) - len(ensemble.finished()) for ensemble in ensembles]
    total = sum(len(ensemble.members) for ensemble in ensembles)
    archs = ", ".join(dict.fromkeys(ensemble.recipe.arch for ensemble in ensembles))
    ui.say(
        f"{title}: {counted(total, 'member')} of {archs} on {device.kind} ({device.reason}), {len(rows)} rows"
        + (f"; {total - sum(missing)} already trained" if sum(missing) < total else "")
    )
    epochs = sum(count * ensemble.recipe.epochs for count, ensemble in zip(missing, ensembles, strict=True))
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
