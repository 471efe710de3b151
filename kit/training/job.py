"""What the processes of one training share: a folder with the rows, the plan, and marks on what has been taken on."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kit.system.fsio import read_json, write_bytes, write_json
from kit.training.checkpoints import Checkpoints
from kit.training.folds import Fold
from kit.training.recipe import Recipe

_PLAN, _ROWS, _GROUPS = "plan.json", "rows.npy", "groups.npy"


@dataclass(frozen=True, kw_only=True)
class StackPlan:
    """Members that are trained together: ``members`` are (seed, index of the group held out), and all of them have
    been trained for ``step`` steps.
    """

    members: tuple[tuple[int, int], ...]
    step: int = 0


def plan_stacks(
    members: Sequence[tuple[tuple[int, int], int, int]], *, workers: int, largest: int
) -> tuple[StackPlan, ...]:
    """Spread members over stacks of nearly the same size, whose number suits the number of workers.

    Args:
        members: ((seed, group), steps done, steps in all).
        largest: members of a stack at most.
    """
    stacks = []
    for done in sorted({done for _, done, _ in members}):
        alike = sorted((-steps, member) for member, started, steps in members if started == done)
        rounds = -(-len(alike) // (workers * largest))
        parts = np.array_split(np.arange(len(alike)), min(workers * rounds, len(alike)))
        stacks += [StackPlan(members=tuple(alike[index][1] for index in part), step=done) for part in parts]
    return tuple(stacks)


@dataclass(frozen=True, kw_only=True)
class Job:
    """One training.

    Attributes:
        group_ids: of each group, the id that the random numbers of the members that hold it out are keyed with.
    """

    recipe: Recipe
    corpus_sha256: str
    device: str
    checkpoints: Path
    group_ids: tuple[str, ...]
    stacks: tuple[StackPlan, ...]

    def store(self) -> Checkpoints:
        """Where its members are kept."""
        return Checkpoints(
            folder=self.checkpoints, recipe=self.recipe, corpus_sha256=self.corpus_sha256, device=self.device
        )

    def write(self, folder: Path, rows: NDArray[np.float32], groups: NDArray[np.int32]) -> None:
        """Write it all into a folder.

        Args:
            rows: [n, inputs + 1], raw inputs and target.
            groups: [n], index of each row's group.

        Raises:
            OSError: with the system's number: the disk is full.
        """
        for name, array in ((_ROWS, rows), (_GROUPS, groups)):
            # by way of memory: where numpy writes to a file itself, its error has no number on a full disk
            buffer = io.BytesIO()
            np.save(buffer, array)
            write_bytes(folder / name, buffer.getvalue())
        write_json(folder / _PLAN, asdict(self) | {"checkpoints": str(self.checkpoints)})


def read_job(folder: Path) -> Job:
    """What :meth:`Job.write` wrote."""
    value: Any = read_json(folder / _PLAN)
    stacks = [StackPlan(members=tuple(map(tuple, stack["members"])), step=stack["step"]) for stack in value["stacks"]]
    return Job(
        recipe=Recipe(**value["recipe"]),
        corpus_sha256=value["corpus_sha256"],
        device=value["device"],
        checkpoints=Path(value["checkpoints"]),
        group_ids=tuple(value["group_ids"]),
        stacks=tuple(stacks),
    )


def open_rows(folder: Path) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Rows and groups as memory maps, of which all processes together hold one copy."""
    # "c": torch wants memory that may be written; nothing is
    return np.load(folder / _ROWS, mmap_mode="c"), np.load(folder / _GROUPS, mmap_mode="r")


def fold_of(groups: NDArray[np.int32], index: int, group_id: str) -> Fold:
    """The fold that holds out a group: all rows are trained on where none belongs to it."""
    return Fold(
        held_out=str(index),
        group_id=group_id,
        train=np.flatnonzero(groups != index).astype(np.int32),
        held=np.flatnonzero(groups == index).astype(np.int32),
    )


def take_on(folder: Path, index: int) -> bool:
    """Whether this process is the one that trains a stack: of several that ask, one is told so."""
    try:
        (folder / f"taken-{index}").touch(exist_ok=False)
    except FileExistsError:
        return False
    return True
