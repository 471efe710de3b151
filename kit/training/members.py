"""Train the members of ensembles in several processes, and continue interrupted trainings."""

from __future__ import annotations

import contextlib
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kit.core import contract, exits
from kit.core.errors import DiskFull, ToolFailed
from kit.platforms.detect import usable_cores
from kit.system.fsio import TEMPORARY_PREFIX, remove_temporaries
from kit.system.pool import run_many
from kit.system.proc import Processes
from kit.training.checkpoint import Checkpoint
from kit.training.device import Device, choose
from kit.training.folds import Fold
from kit.training.job import TrainingJob, plan_stacks
from kit.training.member_store import MemberStore
from kit.training.recipe import Recipe
from kit.training.table import Rows, matrix

#: Members by seed and label of the held-out rows.
Members = Mapping[tuple[int, str], Checkpoint]
#: Most members of a stack. On a CPU larger ones do not fit into its cache.
LARGEST = {"cpu": 48, "cuda": 1024, "mps": 1024}
_ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, kw_only=True)
class Ensemble:
    """Members that share rows and recipe.

    Attributes:
        corpus_sha256: identity of the rows.
        members: seed and fold of each; a label stands for one fold.
        device: one of ``contract.DEVICES``.
        folder: of the checkpoints, and of temporary files during training; members in it are not trained again.
        workers: most processes, None for one per usable core; a GPU is fed by one.

    Raises:
        ValueError: rows and recipe have different inputs.
    """

    rows: Rows
    corpus_sha256: str
    members: Sequence[tuple[int, Fold]]
    recipe: Recipe
    device: str
    folder: Path
    workers: int | None = None
    _read: dict[tuple[int, str], Checkpoint] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.rows.inputs != self.recipe.inputs:
            raise ValueError(f"inputs differ: rows {self.rows.inputs}, recipe {self.recipe.inputs}")
        remove_temporaries(self.folder)

    @cached_property
    def chosen(self) -> Device:
        """The device that its members are trained on."""
        return choose(self.device)

    @property
    def store(self) -> MemberStore:
        return MemberStore(
            folder=self.folder, recipe=self.recipe, corpus_sha256=self.corpus_sha256, device=self.chosen.kind
        )

    @property
    def processes(self) -> int:
        """Most processes that train its members at the same time."""
        return (self.workers or usable_cores()) if self.chosen.kind == "cpu" else 1

    @cached_property
    def _folds(self) -> tuple[Fold, ...]:
        return tuple({fold.held_out: fold for _, fold in self.members}.values())

    def finished(self) -> dict[tuple[int, str], Checkpoint]:
        """Return the finished members; each file is read once."""
        read = {
            (seed, fold.held_out): self._read.get((seed, fold.held_out)) or self.store.read(seed, fold.group_id)
            for seed, fold in self.members
        }
        self._read.update((member, checkpoint) for member, checkpoint in read.items() if checkpoint is not None)
        return {member: self._read[member] for member in read if member in self._read}

    def prepare(self, folder: Path) -> TrainingJob:
        """Plan the missing members and write everything that workers need into a folder."""
        finished = self.finished()
        index_of = {fold.held_out: index for index, fold in enumerate(self._folds)}
        missing = []
        for seed, fold in self.members:
            if (seed, fold.held_out) not in finished:
                partial = self.store.read(seed, fold.group_id, finished=False)
                steps = self.recipe.epochs * self.recipe.steps_per_epoch(len(fold.train))
                missing.append(((seed, index_of[fold.held_out]), partial.step if partial else 0, steps))
        job = TrainingJob(
            recipe=self.recipe,
            corpus_sha256=self.corpus_sha256,
            device=self.chosen.kind,
            checkpoints=self.folder,
            group_ids=tuple(fold.group_id for fold in self._folds),
            stacks=plan_stacks(missing, workers=self.processes, largest=LARGEST[self.chosen.kind]),
        )
        job.write(folder, matrix(self.rows, codec_aware=self.recipe.architecture.codec_aware), self._groups())
        return job

    def _groups(self) -> NDArray[np.int32]:
        """Return int32 [2, n]: the index of the fold that holds out each row, -1 for none; 1 where any trains on it."""
        held_by, trained = np.full(len(self.rows), -1, dtype=np.int32), np.zeros(len(self.rows), dtype=np.int32)
        for index, fold in enumerate(self._folds):
            held_by[fold.held] = index
            trained[fold.train] = 1
        return np.stack([held_by, trained])


def train(ensembles: Sequence[Ensemble], processes: Processes, advance: Callable[[int], None]) -> list[Members]:
    """Train the missing members of several ensembles, one ensemble after the other, in the same processes.

    Args:
        advance: called with the number of further epochs of members.

    Raises:
        DiskFull: a checkpoint could not be written.
        ToolFailed: a process failed.
    """
    with contextlib.ExitStack() as opened:
        folders, most, stacks = [], 0, 0
        for ensemble in ensembles:
            if len(ensemble.finished()) < len(ensemble.members):
                ensemble.folder.mkdir(parents=True, exist_ok=True)
                if ensemble.recipe.solver == contract.LEAST_SQUARES:
                    _solve(ensemble, advance)
                    continue
                folder = tempfile.TemporaryDirectory(prefix=TEMPORARY_PREFIX, dir=ensemble.folder)
                folders.append(Path(opened.enter_context(folder)))
                most = max(most, ensemble.processes)
                stacks += len(ensemble.prepare(folders[-1]).stacks)
        if folders:
            _run_workers(folders, min(most, stacks), processes, advance)
    return [ensemble.finished() for ensemble in ensembles]


def _solve(ensemble: Ensemble, advance: Callable[[int], None]) -> None:
    """Compute the missing members of a closed form in this process."""
    from kit.training.closed_form import train_missing  # late: it needs torch

    finished = ensemble.finished()
    missing = [(seed, fold) for seed, fold in ensemble.members if (seed, fold.held_out) not in finished]
    train_missing(ensemble.rows, missing, ensemble.recipe, ensemble.store, advance)


def _run_workers(folders: Sequence[Path], workers: int, processes: Processes, advance: Callable[[int], None]) -> None:
    lock = threading.Lock()

    def run(_number: int) -> None:
        argv = (sys.executable, "-m", "kit.training.worker", *map(str, folders))
        with processes.stream(argv, tried="training", cwd=_ROOT) as (stdout, _):
            for line in stdout:
                with lock:
                    advance(int(line))

    try:
        run_many(run, range(workers), workers=workers, stop=processes.stop)
    except ToolFailed as error:
        if error.returncode == exits.DISK_FULL:
            raise DiskFull("the disk is full: cannot write members") from error
        raise
