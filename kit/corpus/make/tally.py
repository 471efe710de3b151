"""How far a corpus is: finished cells, frames of those that run, what is left, and which cells took longest."""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from kit.core.values import Cell
from kit.system.ui import duration

#: Bytes from the end of a progress file that hold the last report of ffmpeg's.
_TAIL = 2048
#: Share of the work below which no remaining time is told: it would be a guess.
_KNOWN_FROM = 0.02


class Tally:
    """Counts cells and frames of a run, in whatever thread they are made.

    Args:
        cost: seconds a cell may take, roughly; what is left is told in these.
        clock: seconds.
    """

    def __init__(
        self, cells: Sequence[Cell], cost: Callable[[Cell], float], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._cost, self._clock = cost, clock
        self._cells, self._frames = len(cells), sum(cell.source.geometry.frames for cell in cells)
        self._total = sum(map(cost, cells))
        self._running: dict[str, tuple[Cell, Path]] = {}
        self._done_frames, self._done_cost, self._ended = 0, 0.0, 0
        self._seconds: list[tuple[float, str]] = []
        self._start = clock()
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def running(self, cell: Cell, progress: Path) -> Iterator[None]:
        """While a cell is being made; ``progress`` is where its ffmpeg reports."""
        since = self._clock()
        with self._lock:
            self._running[cell.key] = (cell, progress)
        try:
            yield
        finally:
            with self._lock:
                del self._running[cell.key]
                self._seconds.append((self._clock() - since, str(cell.id)))

    def ended(self, cell: Cell) -> None:
        """The cell is finished, or has failed for good."""
        with self._lock:
            self._ended += 1
            self._done_frames += cell.source.geometry.frames
            self._done_cost += self._cost(cell)

    def look(self) -> tuple[float, str]:
        """The share of the work that is done, 0 to 1, and how far that is in words."""
        with self._lock:
            running = tuple(self._running.values())
            frames, cost, ended = self._done_frames, self._done_cost, self._ended
        for cell, path in running:
            seen, whole = min(frames_in(path), cell.source.geometry.frames), cell.source.geometry.frames
            frames += seen
            cost += self._cost(cell) * seen / whole
        # a sum of the same numbers in another order may be a hair less than the whole
        share = 1.0 if ended == self._cells or not self._total else min(1.0, cost / self._total)
        return share, f"{ended}/{self._cells} cells, {frames}/{self._frames} frames{self._pace(frames, share)}"

    def _pace(self, frames: int, share: float) -> str:
        elapsed = max(self._clock() - self._start, 1e-3)
        if share >= 1:
            return f", {frames / elapsed:.1f} frames/s, {duration(elapsed)} in all"
        if share < _KNOWN_FROM:
            return ""
        return f", {frames / elapsed:.1f} frames/s, {duration(elapsed * (1 - share) / share)} left"

    def slowest(self, count: int) -> list[tuple[float, str]]:
        """(seconds, name) of the cells that took longest."""
        with self._lock:
            return sorted(self._seconds, reverse=True)[:count]


def frames_in(progress: Path) -> int:
    """Frames that ffmpeg last reported to its ``-progress`` file; 0 before the first report."""
    try:
        with progress.open("rb") as stream:
            stream.seek(0, 2)
            stream.seek(max(0, stream.tell() - _TAIL))
            found = re.findall(rb"^frame=(\d+)", stream.read(), re.MULTILINE)
    except OSError:
        return 0  # not begun, or over and cleared away
    return int(found[-1]) if found else 0
