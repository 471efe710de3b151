"""Decide which cell starts next and with how many scorer threads, so that all cores are busy until the last cell."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from typing import Self

from kit.core.values import Cell


class Schedule:
    """Hands out the cells of a run, the longest first, within the limit of each encoder family.

    When a device refuses an encode, its family's limit drops for good, but never below one.

    Args:
        cost: seconds a cell may take, roughly.
        limits: family to the number of its encodes at once; None for no limit of its own.
        workers: cells at once, over all families.
    """

    def __init__(
        self,
        cells: Sequence[Cell],
        *,
        cost: Callable[[Cell], float],
        limits: Mapping[str, int | None],
        workers: int,
        cores: int,
    ) -> None:
        self._cost = cost
        self._waiting: dict[str, deque[Cell]] = {family: deque() for family in limits}
        for cell in sorted(cells, key=cost, reverse=True):
            self._waiting[cell.encoder.family].append(cell)
        self._limits = {family: min(workers, workers if limit is None else limit) for family, limit in limits.items()}
        self._workers, self._cores = workers, cores
        self._running: Counter[str] = Counter()
        self._change = threading.Condition()

    @property
    def limits(self) -> Mapping[str, int]:
        """Family to the number of its encodes at once, as currently known."""
        with self._change:
            return dict(self._limits)

    @property
    def at_once(self) -> int:
        """Most cells that run at once, now and later: fewer than the workers if devices accept no more."""
        able = sum(
            min(limit, len(self._waiting[family]) + self._running[family]) for family, limit in self._limits.items()
        )
        return max(1, min(self._workers, able))

    def take(self) -> Slot:
        """Wait until a cell may start. Call this once for every cell.

        Raises:
            ValueError: no cell is left.
        """
        with self._change:
            self._change.wait_for(lambda: self._startable() or not any(self._waiting.values()))
            longest = max(self._startable(), key=lambda cells: self._cost(cells[0]))
            threads = max(1, self._cores // self.at_once)
            cell = longest.popleft()
            self._running[cell.encoder.family] += 1
            return Slot(self, cell, threads)

    def admit(self, cell: Cell) -> Slot:
        """Wait until a cell may start that is not among the cells of this schedule."""
        with self._change:
            self._change.wait_for(lambda: self._running.total() < self._workers and self._has_room(cell.encoder.family))
            self._running[cell.encoder.family] += 1
            return Slot(self, cell, max(1, self._cores // self.at_once))

    def _startable(self) -> list[deque[Cell]]:
        """Return the waiting cells of each family below its limit."""
        return [cells for family, cells in self._waiting.items() if cells and self._has_room(family)]

    def _has_room(self, family: str) -> bool:
        return self._running[family] < self._limits[family]

    def enter(self, cell: Cell) -> None:
        """Wait for room for a cell that has left."""
        family = cell.encoder.family
        with self._change:
            self._change.wait_for(lambda: self._has_room(family))
            self._running[family] += 1

    def leave(self, cell: Cell, *, was_full: bool = False) -> None:
        """Count a cell as no longer running; if the device was full, lower the limit to the others that run."""
        family = cell.encoder.family
        with self._change:
            if was_full:
                self._limits[family] = max(1, min(self._limits[family], self._running[family] - 1))
            self._running[family] -= 1
            self._change.notify_all()


class Slot:
    """Permission to run a cell. As a context manager it is returned at the end.

    Attributes:
        threads: for the scorer: cores that no other cell will use.
    """

    def __init__(self, schedule: Schedule, cell: Cell, threads: int) -> None:
        self.cell, self.threads = cell, threads
        self._schedule, self._running = schedule, True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._running:
            self._schedule.leave(self.cell)

    def give_up(self) -> None:
        """Return the slot for good: the device accepted no further encode."""
        self._running = False
        self._schedule.leave(self.cell, was_full=True)

    def wait(self) -> None:
        """Wait for another slot."""
        self._schedule.enter(self.cell)
        self._running = True
