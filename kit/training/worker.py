"""A process that trains the unclaimed stacks of jobs: ``python -m kit.training.worker FOLDER…``.

It writes each finished member, and at intervals those in training. Each line on stdout is the number of epochs of
members that were trained since the line before.
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kit.core import exits
from kit.system.fsio import NO_ROOM
from kit.training import stacked
from kit.training.draws import Draws
from kit.training.feed import Feed
from kit.training.folds import Fold
from kit.training.job import StackPlan, TrainingJob, claim, fold_of, open_rows, read_job
from kit.training.member_store import Array
from kit.training.model import TRAINED_SLOTS, Network, trained_slots
from kit.training.recipe import Recipe
from kit.training.standardiser import Standardiser, fit_standardiser

#: Steps between two checks for finished members; their rows and masks are drawn together.
BLOCK = 32
#: Seconds between two checkpoints of members in training, and between two reports of progress.
CHECKPOINT_EVERY, REPORT_EVERY = 60.0, 0.5
#: Rows of one prediction.
_PREDICTED = 1 << 16
#: Blocks whose losses stay on the device before they are read: reading makes a GPU wait.
_UNREAD = 64
_KINDS = ("parameters", "first", "second")
_LOSSES = "losses"


@dataclass(frozen=True, kw_only=True)
class _OfFold:
    """What the members of a fold share.

    Attributes:
        rows: of the table; with block dropout a copy of each with a codec block of zeros comes after them.
        trained_slots: see :class:`Network`.
    """

    fold: Fold
    scale: Standardiser
    mean_target: float
    rows: int
    trained_slots: Tensor | None


class Member:
    """One member of a stack: its fold, scale, batches and network."""

    def __init__(self, seed: int, known: _OfFold, recipe: Recipe) -> None:
        draws = Draws(seed, known.fold.group_id)
        self.seed, self.fold, self.scale = seed, known.fold, known.scale
        self.network = Network(recipe.architecture, draws, known.mean_target)
        self.network.trained_slots = known.trained_slots
        self.feed = Feed(recipe, draws, known.fold.train, known.rows)

    def predictions(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the scores of the held-out rows, float32 [held]; empty for a full fit."""
        features, inputs = len(self.scale.mean), self.network.arch.widths[0]
        parts = [np.empty(0, dtype=np.float32)]
        for begin in range(0, len(self.fold.held), _PREDICTED):
            raw = np.asarray(rows[self.fold.held[begin : begin + _PREDICTED], :inputs])
            raw[:, :features] = self.scale.apply(raw[:, :features])
            parts.append(self.network.scores(torch.from_numpy(raw)))
        return np.concatenate(parts)


class Losses:
    """The loss of every member of a stack, summed by epoch in double precision.

    Attributes:
        sums: float64 [M, epochs], sums over the steps so far.
    """

    def __init__(self, feeds: Sequence[Feed], epochs: int, step: int) -> None:
        self.sums = np.zeros((len(feeds), epochs))
        self._steps_per_epoch, self._step = np.array([feed.steps_per_epoch for feed in feeds]), step
        self._unread: list[Tensor] = []

    def add(self, losses: Tensor) -> None:
        """Take the losses of further steps, [steps, members in training]."""
        self._unread.append(losses)
        if len(self._unread) == _UNREAD:
            self.settle()

    def settle(self) -> None:
        """Add the losses taken so far to the sums."""
        for losses in self._unread:
            block = losses.cpu().numpy().astype(np.float64)
            members = np.arange(block.shape[1])
            steps = np.arange(self._step, self._step + len(block))[:, None]
            np.add.at(self.sums, (members, steps // self._steps_per_epoch[members]), block)
            self._step += len(block)
        self._unread.clear()

    def means(self, index: int) -> NDArray[np.float32]:
        """Return the mean over the steps of each epoch of a finished member, float32 [epochs]."""
        self.settle()
        means: NDArray[np.float32] = (self.sums[index] / self._steps_per_epoch[index]).astype(np.float32)
        return means


class StackRun:
    """The training of one stack.

    Args:
        report: called at intervals with the number of further epochs of members.
    """

    def __init__(
        self,
        job: TrainingJob,
        plan: StackPlan,
        rows: NDArray[np.float32],
        groups: NDArray[np.int32],
        report: Callable[[int], None],
    ) -> None:
        self._store, self._rows, self._report = job.store, rows, report
        self._step, self._began, self._epochs = plan.step, time.monotonic(), 0
        self._members = _members(job, plan, rows, groups)
        arch = job.recipe.architecture
        on_device = torch.from_numpy(rows).to(job.device)
        parameters = stacked.zeros(arch, len(self._members), on_device)
        for index, member in enumerate(self._members):
            stacked.put(parameters, index, member.network)
        self._stack = stacked.Stack(job.recipe, parameters, step=plan.step)
        feeds, scales = [member.feed for member in self._members], [member.scale for member in self._members]
        self._losses = Losses(feeds, job.recipe.epochs, plan.step)
        self._before = [self._restored(index) if plan.step else 0.0 for index in range(len(self._members))]
        self._trainer = stacked.Trainer(self._stack, feeds, scales, on_device)

    def run(self) -> None:
        """Train to the end."""
        saved = reported = time.monotonic()
        unfinished = len(self._members)
        self._report_epochs()
        while (reached := self._trainer.advance(self._step, BLOCK, self._losses.add)) != self._step:
            self._step, now = reached, time.monotonic()
            in_training = sum(member.feed.steps > reached for member in self._members)
            for index in range(in_training, unfinished):
                self._finish(index)
            unfinished = in_training
            if now - saved >= CHECKPOINT_EVERY:
                for index in range(in_training):
                    self._save(index)
                saved = now
            if now - reported >= REPORT_EVERY:
                self._report_epochs()
                reported = now
        self._report_epochs()

    def _report_epochs(self) -> None:
        epochs = sum(min(self._step, member.feed.steps) // member.feed.steps_per_epoch for member in self._members)
        if epochs > self._epochs:
            self._report(epochs - self._epochs)
        self._epochs = epochs

    def _tensors(self) -> list[tuple[str, Tensor]]:
        """Return everything that training changes, by name; the first axis is the members."""
        kinds = zip(_KINDS, (self._stack.parameters, *self._stack.moments), strict=True)
        return [
            (f"{kind}.{number}", tensor) for kind, numbers in kinds for number, tensor in enumerate(numbers.tensors())
        ]

    def _restored(self, index: int) -> float:
        """Restore a member from its checkpoint; return the seconds of its training so far."""
        member = self._members[index]
        partial = self._store.read(member.seed, member.fold.group_id, finished=False)
        if partial is None or partial.step != self._step:
            raise RuntimeError(f"the checkpoint of seed {member.seed} has changed since the training was planned")
        for name, tensor in self._tensors():
            tensor[index] = torch.from_numpy(partial.arrays[name])
        self._losses.sums[index] = partial.arrays[_LOSSES]
        return partial.seconds

    def _seconds(self, index: int) -> float:
        return self._before[index] + (time.monotonic() - self._began) / len(self._members)

    def _save(self, index: int) -> None:
        self._losses.settle()
        arrays: dict[str, Array] = {name: tensor[index].cpu().numpy() for name, tensor in self._tensors()}
        self._write(index, arrays | {_LOSSES: self._losses.sums[index]}, finished=False)

    def _finish(self, index: int) -> None:
        member = self._members[index]
        stacked.take(self._stack.parameters, index, member.network)
        weights = {name: value.numpy() for name, value in member.network.state_dict().items()}
        scale = {"mean": member.scale.mean, "std": member.scale.std}
        if member.network.trained_slots is not None:
            scale[TRAINED_SLOTS] = member.network.trained_slots.numpy()
        results = {"predictions": member.predictions(self._rows), "training_loss": self._losses.means(index)}
        self._write(index, weights | scale | results, finished=True)

    def _write(self, index: int, arrays: Mapping[str, Array], *, finished: bool) -> None:
        member = self._members[index]
        self._store.write(
            member.seed,
            member.fold.group_id,
            arrays,
            step=min(self._step, member.feed.steps),
            seconds=round(self._seconds(index), 3),
            finished=finished,
        )


def _members(job: TrainingJob, plan: StackPlan, rows: NDArray[np.float32], groups: NDArray[np.int32]) -> list[Member]:
    """Return the members of a stack, longest training first."""
    known: dict[int, _OfFold] = {}
    members = []
    for seed, group in plan.members:
        if group not in known:
            known[group] = _of_fold(job.recipe, fold_of(groups, group, job.group_ids[group]), rows, groups.shape[1])
        members.append(Member(seed, known[group], job.recipe))
    return sorted(members, key=lambda member: -member.feed.steps)


def _of_fold(recipe: Recipe, fold: Fold, rows: NDArray[np.float32], count: int) -> _OfFold:
    features, block = len(recipe.inputs.features), recipe.inputs.codec_width
    slots = None
    if recipe.block_dropout:
        slots = trained_slots(rows[:count, features : features + block], fold.train, recipe.inputs)
    return _OfFold(
        fold=fold,
        scale=fit_standardiser(rows[:, :features], fold.train),
        mean_target=float(rows[fold.train, -1].mean(dtype=np.float64)),
        rows=count,
        trained_slots=slots,
    )


def work(folder: Path, report: Callable[[int], None]) -> None:
    """Train the stacks of a job that no other process has claimed."""
    job = read_job(folder)
    rows, groups = open_rows(folder)
    stacked.prepare_cpu()
    for index, plan in enumerate(job.stacks):
        if claim(folder, index):
            StackRun(job, plan, rows, groups, report).run()


def _report(epochs: int) -> None:
    sys.stdout.write(f"{epochs}\n")
    sys.stdout.flush()


def main() -> int:
    """Run the process; return its exit code."""
    gc.freeze()
    try:
        for folder in sys.argv[1:]:
            work(Path(folder), _report)
    except OSError as error:
        if error.errno in NO_ROOM:
            return exits.DISK_FULL
        raise
    return exits.OK


if __name__ == "__main__":
    sys.exit(main())
