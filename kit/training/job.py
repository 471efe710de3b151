"""The folder that the processes of one training share: rows, plan, and a mark per stack that a process has claimed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kit.system.fsio import atomic_path, read_json, write_json
from kit.training.folds import Fold
from kit.training.member_store import MemberStore
from kit.training.recipe import Recipe, read_recipe
from kit.training.table import with_zeroed_copies

_PLAN, _ROWS, _GROUPS = "plan.json", "rows.npy", "groups.npy"


@dataclass(frozen=True, kw_only=True)
class StackPlan:
    """Members that are trained together.

    Attributes:
        members: (seed, index of the held-out group).
        step: steps that all of them have been trained for.
    """

    members: tuple[tuple[int, int], ...]
    step: int = 0


def plan_stacks(
    members: Sequence[tuple[tuple[int, int], int, int]], *, workers: int, largest: int
) -> tuple[StackPlan, ...]:
    """Distribute members over stacks of nearly the same size; their number is a multiple of the workers if possible.

    Args:
        members: ((seed, group), steps done, total steps).
        largest: most members of one stack.
    """
    stacks = []
    for done in sorted({done for _, done, _ in members}):
        equal = sorted((-steps, member) for member, started, steps in members if started == done)
        rounds = -(-len(equal) // (workers * largest))
        parts = np.array_split(np.arange(len(equal)), min(workers * rounds, len(equal)))
        stacks += [StackPlan(members=tuple(equal[index][1] for index in part), step=done) for part in parts]
    return tuple(stacks)


@dataclass(frozen=True, kw_only=True)
class TrainingJob:
    """One training.

    Attributes:
        checkpoints: folder of the members.
        group_ids: of each held-out group, the key of the random numbers.
    """

    recipe: Recipe
    corpus_sha256: str
    device: str
    checkpoints: Path
    group_ids: tuple[str, ...]
    stacks: tuple[StackPlan, ...]

    @property
    def store(self) -> MemberStore:
        return MemberStore(
            folder=self.checkpoints, recipe=self.recipe, corpus_sha256=self.corpus_sha256, device=self.device
        )

    def write(self, folder: Path, rows: NDArray[np.float32], groups: NDArray[np.int32]) -> None:
        """Write job and rows into a folder.

        Args:
            rows: [n, inputs + 1], raw inputs and target; with block dropout the file also has their copies, see
                :func:`kit.training.table.with_zeroed_copies`.
            groups: int32 [2, n]: the index of the fold that holds out each row, and 1 for a row that others train on.

        Raises:
            OSError: with ``errno``: the disk is full.
        """
        if self.recipe.block_dropout:
            _save(folder / _ROWS, 2 * len(rows), with_zeroed_copies(rows, self.recipe.inputs), like=rows)
        else:
            _save(folder / _ROWS, len(rows), [rows], like=rows)
        _save(folder / _GROUPS, len(groups), [groups], like=groups)
        plan = asdict(self) | {"checkpoints": str(self.checkpoints), "recipe": self.recipe.as_dict()}
        write_json(folder / _PLAN, plan)


def _save(path: Path, count: int, parts: Iterable[NDArray[Any]], *, like: NDArray[Any]) -> None:
    """Write parts of an array as numpy does; the error that numpy raises on a full disk has no errno.

    Args:
        count: length of the first axis of the whole array; like: an array of its type and its other axes.
    """
    header = {"descr": like.dtype.str, "fortran_order": False, "shape": (count, *like.shape[1:])}
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for part in parts:
            file.write(np.ascontiguousarray(part).data)


def read_job(folder: Path) -> TrainingJob:
    """Read what :meth:`TrainingJob.write` wrote."""
    value: Any = read_json(folder / _PLAN)
    stacks = [StackPlan(members=tuple(map(tuple, stack["members"])), step=stack["step"]) for stack in value["stacks"]]
    return TrainingJob(
        recipe=read_recipe(value["recipe"]),
        corpus_sha256=value["corpus_sha256"],
        device=value["device"],
        checkpoints=Path(value["checkpoints"]),
        group_ids=tuple(value["group_ids"]),
        stacks=tuple(stacks),
    )


def open_rows(folder: Path) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Return rows and groups as memory maps, one copy for all processes."""
    # "c": torch requires writable memory; nothing is written
    return np.load(folder / _ROWS, mmap_mode="c"), np.load(folder / _GROUPS, mmap_mode="r")


def fold_of(groups: NDArray[np.int32], index: int, group_id: str) -> Fold:
    """Return the fold that holds out a group; it trains on all other rows that are trained on at all.

    Args:
        groups: as in :meth:`TrainingJob.write`.
    """
    held_by, trained = groups
    return Fold(
        held_out=str(index),
        group_id=group_id,
        train=np.flatnonzero((held_by != index) & (trained == 1)).astype(np.int32),
        held=np.flatnonzero(held_by == index).astype(np.int32),
    )


def claim(folder: Path, index: int) -> bool:
    """Claim a stack for this process; False if another process has claimed it."""
    try:
        (folder / f"taken-{index}").touch(exist_ok=False)
    except FileExistsError:
        return False
    return True
