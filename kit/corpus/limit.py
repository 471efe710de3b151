"""Making a cell in spite of what goes wrong: a device that is full, a failure that may not come again, a full disk."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from dataclasses import replace

from kit.corpus.cellfile import CellRows
from kit.corpus.diskwait import DiskWait, need
from kit.corpus.produce import Bench, produce
from kit.corpus.shard import FailedCell
from kit.errors import DiskFull
from kit.types import Cell

log = logging.getLogger(__name__)

#: Tries of a cell whose device was full, and seconds between two of them: another program may hold the sessions.
FULL_TRIES, PAUSE = 5, 5.0
#: Tries of a cell that fails: three as it is, then one with a single thread for all that may have several.
TRIES = 4
#: Times a cell may find the disk full although there is room.
_DISK_TRIES = 3


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
    cell: Cell, bench: Bench, limit: Limit, busy: Sequence[str], *, disk: DiskWait, pause: float = PAUSE
) -> CellRows | FailedCell:
    """Make a cell within its family's limit, with as many tries as what goes wrong is worth.

    Args:
        busy: what ffmpeg says when the device takes no further encode.
        pause: seconds between two tries of a cell whose device was full.

    Raises:
        DiskFull: there is no room and came none.
        Stopped: the run is ending.
    """
    failures = refusals = 0
    while True:
        one_thread = failures == TRIES - 1
        result, was_full = _one_try(cell, bench, limit, busy, disk=disk, one_thread=one_thread)
        if not isinstance(result, FailedCell):
            return result
        refusals, failures = refusals + was_full, failures + (not was_full)
        log.warning("%s: try %d failed: %s\n%s", cell.name, refusals + failures, result.reason, result.stderr_tail)
        if refusals == FULL_TRIES or failures == TRIES:
            return replace(result, tries=refusals + failures)
        bench.processes.pause(pause if was_full else 0)


def _one_try(
    cell: Cell, bench: Bench, limit: Limit, busy: Sequence[str], *, disk: DiskWait, one_thread: bool
) -> tuple[CellRows | FailedCell, bool]:
    """Make a cell, again when the disk filled up meanwhile; returns it and whether its device was full."""
    disk.hold(need(cell))
    filled = 0
    while True:
        limit.enter()
        was_full = False
        try:
            result = produce(cell, bench, one_thread=one_thread)
            was_full = isinstance(result, FailedCell) and any(text in result.stderr_tail for text in busy)
        except DiskFull as error:
            filled += 1
            if filled == _DISK_TRIES:
                raise
            full = error
        else:
            return result, was_full
        finally:
            limit.leave(was_full=was_full)
        disk.hold(need(cell), after=full)
