"""Making a cell in spite of what goes wrong: a device that is full, a failure that may not come again, a full disk."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

from kit.core.errors import DiskFull
from kit.corpus.make.diskwait import DiskWait, need
from kit.corpus.make.produce import Bench, produce
from kit.corpus.make.schedule import Place
from kit.corpus.store.cellfile import CellRows
from kit.corpus.store.shard import FailedCell

log = logging.getLogger(__name__)

#: Tries of a cell whose device was full, and seconds between two of them: another program may hold the sessions.
FULL_TRIES, PAUSE = 5, 5.0
#: Tries of a cell that fails: three as it is, then one with a single thread for all that may have several.
TRIES = 4
#: Times a cell may find the disk full although there is room.
_DISK_TRIES = 3


def produce_at(
    place: Place, bench: Bench, busy: Sequence[str], *, disk: DiskWait, pause: float = PAUSE
) -> CellRows | FailedCell:
    """Make the cell that has this place, with as many tries as what goes wrong is worth.

    Args:
        busy: what ffmpeg says when the device takes no further encode.
        pause: seconds between two tries of a cell whose device was full.

    Raises:
        DiskFull: there is no room and came none.
        Stopped: the run is ending.
    """
    cell, failures, refusals = place.cell, 0, 0
    while True:
        result = _one_try(place, bench, disk, one_thread=failures == TRIES - 1)
        if not isinstance(result, FailedCell):
            return result
        was_full = any(text in result.stderr_tail for text in busy)
        refusals, failures = refusals + was_full, failures + (not was_full)
        log.warning("%s: try %d failed: %s\n%s", cell.id, refusals + failures, result.reason, result.stderr_tail)
        if was_full:
            place.give_up()
        if refusals == FULL_TRIES or failures == TRIES:
            return replace(result, tries=refusals + failures)
        bench.processes.pause(pause if was_full else 0)
        if was_full:
            place.wait()


def _one_try(place: Place, bench: Bench, disk: DiskWait, *, one_thread: bool) -> CellRows | FailedCell:
    """Make the cell, again when the disk filled up meanwhile."""
    threads = 1 if one_thread else place.threads
    full: DiskFull | None = None
    for _ in range(_DISK_TRIES):
        disk.hold(need(place.cell), after=full)
        try:
            return produce(place.cell, bench, scorer_threads=threads, one_thread=one_thread)
        except DiskFull as error:
            full = error
    raise full or DiskFull(f"no room for {place.cell.id}")
