"""How many encodes of one family run at once, found out at run time where a device says that it is full."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from kit.corpus.cellfile import CellRows
from kit.corpus.produce import Bench, produce
from kit.corpus.shard import FailedCell
from kit.types import Cell

#: Tries of a cell whose device was full, and seconds between two of them: another program may hold the sessions.
TRIES, PAUSE = 5, 5.0


class Limit:
    """Places for encodes that run at once. A place that proved not to exist is given up for good; one always stays."""

    def __init__(self, places: int) -> None:
        self._places = max(1, places)
        self._running = 0
        self._change = threading.Condition()

    @property
    def places(self) -> int:
        return self._places

    def enter(self) -> None:
        """Wait for a place."""
        with self._change:
            self._change.wait_for(lambda: self._running < self._places)
            self._running += 1

    def leave(self, *, was_full: bool) -> None:
        """Give the place back; if the device was full, with one place fewer than were in use."""
        with self._change:
            if was_full:
                self._places = max(1, min(self._places, self._running - 1))
            self._running -= 1
            self._change.notify_all()


def produce_within(
    cell: Cell, bench: Bench, limit: Limit, busy: Sequence[str], *, pause: float = PAUSE
) -> CellRows | FailedCell:
    """Make a cell within its family's limit; one that failed because the device was full is tried again.

    Args:
        busy: what ffmpeg says when the device takes no further encode.
    """
    tries = 0
    while True:
        tries += 1
        limit.enter()
        was_full = False
        try:
            result = produce(cell, bench)
            was_full = isinstance(result, FailedCell) and any(text in result.stderr_tail for text in busy)
        finally:
            limit.leave(was_full=was_full)
        if not was_full or tries == TRIES:
            return result
        bench.processes.check()
        time.sleep(pause)
