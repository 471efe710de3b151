"""Fits of tiny heads, all at once in the kit's own trainer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kit.core.errors import InvalidEvidence
from kit.corpus.store import shard as shards
from kit.corpus.store.planned import shard_folder
from kit.features.table import FeatureTable
from kit.options.session import Session
from kit.platforms.detect import usable_cores
from kit.system.ui import counted
from kit.training.checkpoints import Checkpoint
from kit.training.folds import Fold
from kit.training.recipe import Recipe

#: Members by seed and label of what they hold out.
Members = Mapping[tuple[int, str], Checkpoint]


@dataclass(frozen=True, kw_only=True)
class Fits:
    """What is fitted together: every recipe with every seed and fold.

    Attributes:
        device: what was asked for, one of ``contract.DEVICES``.
        folder: where members are kept, finished or not, so that a fit that was ended goes on.
    """

    table: FeatureTable
    folds: Sequence[Fold]
    seeds: Sequence[int]
    recipes: Sequence[Recipe]
    device: str
    folder: Path


def fit(asked: Fits, session: Session, *, what: str) -> list[Members]:
    """The members of each recipe in turn; those that are there are not trained again.

    Args:
        what: names it on the screen.

    Raises:
        InvalidEvidence: a loss or a prediction is not finite.
    """
    from kit.training.device import choose
    from kit.training.members import Ensemble, train

    device = choose(asked.device)
    rows = asked.table.rows()
    ensembles = [
        Ensemble(
            table=rows,
            folds=asked.folds,
            seeds=asked.seeds,
            recipe=recipe,
            corpus_sha256=asked.table.sha256,
            device=device.kind,
            workers=usable_cores(),
            folder=asked.folder,
        )
        for recipe in asked.recipes
    ]
    each = len(asked.seeds) * len(asked.folds)
    left = sum((each - len(ensemble.finished())) * ensemble.recipe.epochs for ensemble in ensembles)
    heads = ", ".join(dict.fromkeys(recipe.arch for recipe in asked.recipes))
    session.ui.say(
        f"{what}: {counted(each * len(ensembles), 'member')} of {heads} on {device.kind} ({device.reason}), "
        f"{len(rows)} rows" + ("" if left else "; all are there already")
    )
    with session.ui.progress(what, left, "epochs") as advance:
        return train(ensembles, session.processes, lambda epochs: advance("", epochs))


def refuse_diverged(asked: Fits, found: Sequence[Members]) -> None:
    """Raise InvalidEvidence if a loss, a weight or a prediction is not finite."""
    problems = [
        f"{recipe.arch}, lr {recipe.lr:g}, seed {seed}{f', held out {label}' if label else ''}: not finite"
        for recipe, members in zip(asked.recipes, found, strict=True)
        for (seed, label), member in members.items()
        if diverged(member)
    ]
    if problems:
        raise InvalidEvidence(problems, hint="The training diverged: give a smaller --lr.")


def diverged(member: Checkpoint) -> bool:
    """Whether one of its losses, weights or predictions is not finite."""
    return not all(np.isfinite(array).all() for array in member.arrays.values())


def out_of_fold(folds: Sequence[Fold], members: Members, seed: int) -> NDArray[np.float64]:
    """What the members of a seed predict for the rows they never saw, float64 [rows], VMAF points.

    Args:
        folds: which together hold out every row once.
    """
    found = np.full(sum(len(fold.held) for fold in folds), np.nan)
    for fold in folds:
        found[fold.held] = members[seed, fold.held_out].arrays["predictions"]
    return found


def file_of(features: Path) -> Path:
    """The file that tells a table from others: itself, or the manifest of a shard."""
    return shard_folder(features) / shards.MANIFEST if features.is_dir() else features
