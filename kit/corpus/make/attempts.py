"""Make a cell with retries: its device may be full, a failure may not recur, the disk may be full for a while."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

from kit.core.errors import DiskFull
from kit.corpus.make.diskwait import DiskWait, bytes_needed
from kit.corpus.make.produce import Bench, produce
from kit.corpus.make.schedule import Slot
from kit.corpus.store.cellfile import CellRows
from kit.corpus.store.shard import FailedCell

log = logging.getLogger(__name__)

#: Tries of a cell whose device was full, and seconds between them: another program may use the encode sessions.
FULL_TRIES, PAUSE = 5, 5.0
#: Tries of a cell that fails: three as planned, then one with a single thread.
TRIES = 4
#: Writes of a cell that may fail for lack of space although enough is reported free.
_DISK_TRIES = 3


def produce_with_retries(
    slot: Slot, bench: Bench, busy: Sequence[str], *, disk: DiskWait, pause: float = PAUSE
) -> CellRows | FailedCell:
    """Make the cell of a slot, with as many tries as its failures justify.

    Args:
        busy: texts in ffmpeg's stderr that mean the device accepts no further encode.
        pause: seconds between two tries of a cell whose device was full.

    Raises:
        DiskFull: no space, and none in time.
        Stopped: the run is ending.
    """
    cell, failures, refusals = slot.cell, 0, 0
    while True:
        result = _produce_once(slot, bench, disk, one_thread=failures == TRIES - 1)
        if not isinstance(result, FailedCell):
            return result
        was_full = any(text in result.stderr_tail for text in busy)
        refusals, failures = refusals + was_full, failures + (not was_full)
        log.warning("%s: try %d failed: %s\n%s", cell.id, refusals + failures, result.reason, result.stderr_tail)
        if was_full:
            slot.give_up()
        if refusals == FULL_TRIES or failures == TRIES:
            return replace(result, tries=refusals + failures)
        bench.processes.pause(pause if was_full else 0)
        if was_full:
            slot.wait()


def _produce_once(slot: Slot, bench: Bench, disk: DiskWait, *, one_thread: bool) -> CellRows | FailedCell:
    """Make the cell, again if the disk filled up meanwhile."""
    threads = 1 if one_thread else slot.threads
    full: DiskFull | None = None
    for _ in range(_DISK_TRIES):
        disk.wait_for(bytes_needed(slot.cell), after=full)
        try:
            return produce(slot.cell, bench, scorer_threads=threads, one_thread=one_thread)
        except DiskFull as error:
            full = error
    raise full or DiskFull(f"no disk space for {slot.cell.id}")
