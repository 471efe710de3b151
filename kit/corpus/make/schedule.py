"""Which cell is next, and with how many threads it is scored, so that all cores are busy until the last one."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from typing import Self

from kit.core.values import Cell


class Schedule:
    """The cells of a run, the longest first, each within the limit of its encoder's family.

    A place that proved not to exist is given up for good; one always stays.

    Args:
        cost: seconds a cell may take, roughly.
        places: family to how many of its encodes run at once; None for no limit of its own.
        workers: how many cells run at once, over all families.
    """

    def __init__(
        self,
        cells: Sequence[Cell],
        *,
        cost: Callable[[Cell], float],
        places: Mapping[str, int | None],
        workers: int,
        cores: int,
    ) -> None:
        self._cost = cost
        self._waiting: dict[str, deque[Cell]] = {family: deque() for family in places}
        for cell in sorted(cells, key=cost, reverse=True):
            self._waiting[cell.encoder.family].append(cell)
        self._places = {family: min(workers, workers if limit is None else limit) for family, limit in places.items()}
        self._workers, self._cores = workers, cores
        self._running: Counter[str] = Counter()
        self._change = threading.Condition()

    @property
    def places(self) -> Mapping[str, int]:
        """Family to how many of its encodes run at once, as far as is known by now."""
        with self._change:
            return dict(self._places)

    @property
    def at_once(self) -> int:
        """How many cells run at once at most, now and later: fewer than the workers where devices take no more."""
        able = sum(
            min(places, len(self._waiting[family]) + self._running[family]) for family, places in self._places.items()
        )
        return max(1, min(self._workers, able))

    def take(self) -> Place:
        """Wait until a cell may start. To be called once for every cell.

        Raises:
            ValueError: there is none left.
        """
        with self._change:
            self._change.wait_for(lambda: self._able() or not any(self._waiting.values()))
            longest = max(self._able(), key=lambda cells: self._cost(cells[0]))
            threads = max(1, self._cores // self.at_once)
            cell = longest.popleft()
            self._running[cell.encoder.family] += 1
            return Place(self, cell, threads)

    def admit(self, cell: Cell) -> Place:
        """Wait until a cell that stands in no list may start: one that is asked for from outside."""
        with self._change:
            self._change.wait_for(
                lambda: self._running.total() < self._workers and self._has_place(cell.encoder.family)
            )
            self._running[cell.encoder.family] += 1
            return Place(self, cell, max(1, self._cores // self.at_once))

    def _able(self) -> list[deque[Cell]]:
        """What waits in families that have a place."""
        return [cells for family, cells in self._waiting.items() if cells and self._has_place(family)]

    def _has_place(self, family: str) -> bool:
        return self._running[family] < self._places[family]

    def enter(self, cell: Cell) -> None:
        """Wait for a place for a cell that has given its own back."""
        family = cell.encoder.family
        with self._change:
            self._change.wait_for(lambda: self._has_place(family))
            self._running[family] += 1

    def leave(self, cell: Cell, *, was_full: bool = False) -> None:
        """Give a place back; if the device was full, one place fewer than were in use is left."""
        family = cell.encoder.family
        with self._change:
            if was_full:
                self._places[family] = max(1, min(self._places[family], self._running[family] - 1))
            self._running[family] -= 1
            self._change.notify_all()


class Place:
    """A cell that may run now. As a context manager it gives its place back, whatever happens.

    Attributes:
        threads: for the scorer: cores that no other cell will use.
    """

    def __init__(self, schedule: Schedule, cell: Cell, threads: int) -> None:
        self.cell, self.threads = cell, threads
        self._schedule, self._held = schedule, True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._held:
            self._schedule.leave(self.cell)

    def give_up(self) -> None:
        """The device took no further encode: the place does not exist."""
        self._held = False
        self._schedule.leave(self.cell, was_full=True)

    def wait(self) -> None:
        """Wait for another place."""
        self._schedule.enter(self.cell)
        self._held = True
