"""What happens when the disk is full: no further cell is started, and work goes on if there is room soon."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

from kit.core.errors import DiskFull
from kit.core.values import Cell
from kit.system.fsio import fits, free_bytes
from kit.system.ui import duration, size

#: What a cell writes: files of a fixed size, and a frame's lines in logs and Parquet (0.6 to 1.5 kB measured).
_PER_CELL, _PER_FRAME = 1_000_000, 4_000
#: Seconds between two looks for room.
_LOOK = 1.0


def need(cell: Cell) -> int:
    """Bytes that making a cell takes at most."""
    return _PER_CELL + _PER_FRAME * cell.source.geometry.frames


class DiskWait:
    """The wait for room that all cells of a run share.

    Args:
        say: tells the user.
        pause: sleeps for some seconds; raises when the run is being stopped.
        patience: seconds until the wait is given up.
    """

    def __init__(
        self, folder: Path, *, say: Callable[[str], None], pause: Callable[[float], None], patience: float
    ) -> None:
        self._folder, self._say, self._pause, self._patience = folder, say, pause, patience
        # who waits for room holds it, and so holds back every cell that is about to start
        self._lock = threading.Lock()
        self._given_up = False

    def hold(self, count: int, *, after: DiskFull | None = None) -> None:
        """Return as soon as there is room for ``count`` bytes.

        Args:
            after: the write that has just failed; then the free space is tried and not only asked for.

        Raises:
            DiskFull: there was none in time.
        """
        with self._lock:
            if after is None and not self._given_up and free_bytes(self._folder) >= count:
                return
            self._wait(count, after)

    def _wait(self, count: int, after: DiskFull | None) -> None:
        end, said = time.monotonic() + self._patience, False
        while self._given_up or not fits(self._folder, count):
            if self._given_up or time.monotonic() >= end:
                self._given_up = True
                message = after.message if after else f"the disk is full: {size(free_bytes(self._folder))} are free"
                raise DiskFull(message) from after
            if not said:
                free, patience = size(free_bytes(self._folder)), duration(self._patience)
                self._say(
                    f"The disk is full ({free} free, {size(count)} needed). Paused: no further cell is started. "
                    f"Make room within {patience} and the run goes on."
                )
                said = True
            self._pause(min(_LOOK, max(0.0, end - time.monotonic())))
        if said:
            self._say("There is room again; going on.")
