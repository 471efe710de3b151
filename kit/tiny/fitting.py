"""Fits of tiny heads, all at once in the kit's own trainer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kit.platforms.detect import usable_cores
from kit.session import Session
from kit.tiny.table import FeatureTable, held_out
from kit.training.checkpoints import Checkpoint
from kit.training.folds import Fold
from kit.training.recipe import Recipe

#: What of a finished member is the head itself.
HEAD = ("weights.", "biases.", "mean", "std")


@dataclass(frozen=True, kw_only=True)
class Fits:
    """What is fitted together.

    Attributes:
        target: column that is fitted to.
        folder: where members are kept, finished or not, so that an ended fit goes on.
    """

    table: FeatureTable
    folds: Sequence[Fold]
    seeds: Sequence[int]
    recipes: Sequence[Recipe]
    target: str
    device: str
    folder: Path


def fit(asked: Fits, session: Session, *, what: str) -> list[Mapping[tuple[int, str], Checkpoint]]:
    """Every member by seed and label of what it holds out, for each recipe in turn.

    Args:
        what: names it on the screen.
    """
    from kit.training.device import choose
    from kit.training.members import Ensemble, train

    device = choose(asked.device)
    rows = asked.table.rows(asked.target)
    identity = f"{asked.table.sha256}:{asked.target}"
    ensembles = [
        Ensemble(table=rows, folds=asked.folds, seeds=asked.seeds, recipe=recipe, corpus_sha256=identity,
                 device=device.kind, workers=usable_cores(), folder=asked.folder)
        for recipe in asked.recipes
    ]  # fmt: skip
    count = len(asked.seeds) * len(asked.folds)
    left = sum((count - len(ensemble.finished())) * ensemble.recipe.epochs for ensemble in ensembles)
    names = ", ".join(dict.fromkeys(recipe.arch for recipe in asked.recipes))
    session.ui.say(f"{what}: {count * len(ensembles)} members of {names} on {device.kind} ({device.reason}), "
                   f"{len(rows)} rows")  # fmt: skip
    with session.ui.progress(what, left, "epochs") as advance:
        return train(ensembles, session.processes, lambda epochs: advance("", epochs))


def holding_out(table: FeatureTable, held: NDArray[np.bool_]) -> Fold:
    """The one fold of a fit, which learns from all other rows; ``held`` may be empty."""
    return held_out("", held, sorted(set(table.sources[held].tolist())))


def head(member: Checkpoint) -> dict[str, NDArray[np.float32]]:
    """Weights and standardiser of a finished member."""
    return {name: array for name, array in member.arrays.items() if name.startswith(HEAD)}
