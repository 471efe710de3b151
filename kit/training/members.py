"""Train every member, over several processes, and go on where an earlier training was ended."""

from __future__ import annotations

import contextlib
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kit.core import exits
from kit.core.errors import DiskFull, ToolFailed
from kit.system.fsio import TEMPORARY_PREFIX, remove_temporaries
from kit.system.pool import run_many
from kit.system.proc import Processes
from kit.training.checkpoints import Checkpoint, Checkpoints
from kit.training.folds import Fold
from kit.training.job import Job, plan_stacks
from kit.training.recipe import Recipe, architecture
from kit.training.table import Rows, matrix

#: Members of a stack at most. On a CPU larger ones leave its cache.
LARGEST = {"cpu": 48, "cuda": 1024, "mps": 1024}
_ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, kw_only=True)
class Ensemble:
    """Every member of a corpus: (seed, fold).

    Attributes:
        device: as in :class:`kit.training.device.Device`.
        workers: processes at most; a GPU is fed by one.
        folder: where checkpoints are kept, and temporary files while it runs.
    """

    table: Rows
    folds: Sequence[Fold]
    seeds: Sequence[int]
    recipe: Recipe
    corpus_sha256: str
    device: str
    workers: int
    folder: Path

    def __post_init__(self) -> None:
        remove_temporaries(self.folder)

    @property
    def store(self) -> Checkpoints:
        """Where members are kept."""
        return Checkpoints(folder=self.folder, recipe=self.recipe, corpus_sha256=self.corpus_sha256, device=self.device)

    @property
    def at_once(self) -> int:
        """Processes that may train its members at once."""
        return self.workers if self.device == "cpu" else 1

    def finished(self) -> dict[tuple[int, str], Checkpoint]:
        """The members that are there, by seed and label of what they hold out."""
        found = {
            (seed, fold.held_out): self.store.read(seed, fold.group_id) for seed in self.seeds for fold in self.folds
        }
        return {member: checkpoint for member, checkpoint in found.items() if checkpoint is not None}

    def run(self, processes: Processes, advance: Callable[[int], None]) -> Mapping[tuple[int, str], Checkpoint]:
        """Train what is missing.

        Args:
            advance: told of further epochs of members.

        Returns:
            Every member by seed and label of what it holds out.

        Raises:
            DiskFull: a checkpoint could not be written.
            ToolFailed: a process ended otherwise than it should.
        """
        (found,) = train((self,), processes, advance)
        return found

    def prepare(self, folder: Path) -> Job:
        """Plan what is missing and write everything that workers need into a folder."""
        there = self.finished()
        missing = []
        for seed in self.seeds:
            for index, fold in enumerate(self.folds):
                if (seed, fold.held_out) not in there:
                    started = self.store.read(seed, fold.group_id, finished=False)
                    steps = self.recipe.epochs * self.recipe.steps_per_epoch(len(fold.train))
                    missing.append(((seed, index), started.step if started else 0, steps))
        job = Job(
            recipe=self.recipe,
            corpus_sha256=self.corpus_sha256,
            device=self.device,
            checkpoints=self.folder,
            group_ids=tuple(fold.group_id for fold in self.folds),
            stacks=plan_stacks(missing, workers=self.at_once, largest=LARGEST[self.device]),
        )
        job.write(folder, self._rows(), self._groups())
        return job

    def _rows(self) -> NDArray[np.float32]:
        return matrix(self.table, codec_aware=architecture(self.recipe.arch).codec_aware)

    def _groups(self) -> NDArray[np.int32]:
        groups = np.full(len(self.table), -1, dtype=np.int32)
        for index, fold in enumerate(self.folds):
            groups[fold.held] = index
        return groups


def train(
    ensembles: Sequence[Ensemble], processes: Processes, advance: Callable[[int], None]
) -> list[Mapping[tuple[int, str], Checkpoint]]:
    """Train what is missing of several ensembles, one after the other, by the same processes; see `Ensemble.run`."""
    with contextlib.ExitStack() as opened:
        folders, most, stacks = [], 0, 0
        for ensemble in ensembles:
            if len(ensemble.finished()) < len(ensemble.seeds) * len(ensemble.folds):
                ensemble.folder.mkdir(parents=True, exist_ok=True)
                folder = tempfile.TemporaryDirectory(prefix=TEMPORARY_PREFIX, dir=ensemble.folder)
                folders.append(Path(opened.enter_context(folder)))
                most = max(most, ensemble.at_once)
                stacks += len(ensemble.prepare(folders[-1]).stacks)
        if folders:
            _work(folders, min(most, stacks), processes, advance)
    return [ensemble.finished() for ensemble in ensembles]


def _work(folders: Sequence[Path], workers: int, processes: Processes, advance: Callable[[int], None]) -> None:
    """Run the workers of jobs to their end."""
    lock = threading.Lock()

    def one(_number: int) -> None:
        argv = (sys.executable, "-m", "kit.training.worker", *map(str, folders))
        with processes.stream(argv, tried="training", cwd=_ROOT) as (stdout, _):
            for line in stdout:
                with lock:
                    advance(int(line))

    try:
        run_many(one, range(workers), workers=workers, stop=processes.stop)
    except ToolFailed as error:
        if error.returncode == exits.DISK_FULL:
            raise DiskFull("the disk is full where members are kept") from error
        raise
