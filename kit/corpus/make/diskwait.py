"""Wait for space when the disk is full: no further cell starts, and the run continues if space is freed in time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

from kit.core.errors import DiskFull
from kit.core.values import Cell
from kit.system.fsio import fits, free_bytes
from kit.system.ui import duration, size

#: Bytes a cell writes: files of a fixed size, and lines per frame in logs and Parquet (0.6 to 1.5 kB measured).
_PER_CELL, _PER_FRAME = 1_000_000, 4_000
#: Seconds between two checks for space.
_POLL = 1.0


def bytes_needed(cell: Cell) -> int:
    """Return an upper bound of the bytes that making a cell writes."""
    return _PER_CELL + _PER_FRAME * cell.source.geometry.frames


class DiskWait:
    """Lets all cells of a run wait for disk space together.

    Args:
        say: shows a line to the user.
        pause: sleeps for some seconds; raises when the run is being stopped.
        patience: seconds until the wait is given up.
    """

    def __init__(
        self, folder: Path, *, say: Callable[[str], None], pause: Callable[[float], None], patience: float
    ) -> None:
        self._folder, self._say, self._pause, self._patience = folder, say, pause, patience
        # a cell that waits for space keeps the lock, and so stops every cell that is about to start
        self._lock = threading.Lock()
        self._gave_up = False

    def wait_for(self, count: int, *, after: DiskFull | None = None) -> None:
        """Return as soon as ``count`` bytes are free.

        Args:
            after: the write that has just failed; then space is tested by writing, not by the reported free space.

        Raises:
            DiskFull: no space in time.
        """
        with self._lock:
            if after is None and not self._gave_up and free_bytes(self._folder) >= count:
                return
            self._wait(count, after)

    def _wait(self, count: int, after: DiskFull | None) -> None:
        end, paused = time.monotonic() + self._patience, False
        while self._gave_up or not fits(self._folder, count):
            if self._gave_up or time.monotonic() >= end:
                self._gave_up = True
                message = after.message if after else f"the disk is full: {size(free_bytes(self._folder))} are free"
                raise DiskFull(message) from after
            if not paused:
                free, patience = size(free_bytes(self._folder)), duration(self._patience)
                self._say(
                    f"The disk is full ({free} free, {size(count)} needed). Paused: no further cell is started. "
                    f"Free some space within {patience} to continue."
                )
                paused = True
            self._pause(min(_POLL, max(0.0, end - time.monotonic())))
        if paused:
            self._say("Space is free again; continuing.")
