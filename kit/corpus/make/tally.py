"""Count the progress of a corpus: finished cells, frames of running ones, time left, and the slowest cells."""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from kit.core.values import Cell
from kit.system.ui import duration

#: Bytes at the end of a progress file that contain ffmpeg's last report.
_TAIL = 2048
#: Share of the work below which the time left would be a guess and is not shown.
_LEAST_SHARE = 0.02


class Tally:
    """Counts cells and frames of a run; safe to use from several threads.

    Args:
        cost: seconds a cell may take, roughly; weighs the cells.
        clock: returns seconds.
    """

    def __init__(
        self, cells: Sequence[Cell], cost: Callable[[Cell], float], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._cost, self._clock = cost, clock
        self._cells, self._frames = len(cells), sum(cell.source.geometry.frames for cell in cells)
        self._total = sum(map(cost, cells))
        self._running: dict[str, tuple[Cell, Path]] = {}
        self._done_frames, self._done_cost, self._finished = 0, 0.0, 0
        self._seconds: list[tuple[float, str]] = []
        self._start = clock()
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def running(self, cell: Cell, progress: Path) -> Iterator[None]:
        """Count a cell as running during the block; ``progress`` is the file to which its ffmpeg reports."""
        begin = self._clock()
        with self._lock:
            self._running[cell.key] = (cell, progress)
        try:
            yield
        finally:
            with self._lock:
                del self._running[cell.key]
                self._seconds.append((self._clock() - begin, str(cell.id)))

    def finish(self, cell: Cell) -> None:
        """Count a cell as finished or as failed for good."""
        with self._lock:
            self._finished += 1
            self._done_frames += cell.source.geometry.frames
            self._done_cost += self._cost(cell)

    def progress(self) -> tuple[float, str]:
        """Return the share of the work that is done, 0 to 1, and a line of text about it."""
        with self._lock:
            running = tuple(self._running.values())
            frames, cost, finished = self._done_frames, self._done_cost, self._finished
        for cell, path in running:
            total = cell.source.geometry.frames
            done = min(frames_in(path), total)
            frames += done
            cost += self._cost(cell) * done / total
        # the same numbers added in another order may give slightly less than the total
        share = 1.0 if finished == self._cells or not self._total else min(1.0, cost / self._total)
        return share, f"{finished}/{self._cells} cells, {frames}/{self._frames} frames{self._pace(frames, share)}"

    def _pace(self, frames: int, share: float) -> str:
        elapsed = max(self._clock() - self._start, 1e-3)
        if share >= 1:
            return f", {frames / elapsed:.1f} frames/s, {duration(elapsed)} in total"
        if share < _LEAST_SHARE:
            return ""
        return f", {frames / elapsed:.1f} frames/s, {duration(elapsed * (1 - share) / share)} left"

    def slowest(self, count: int) -> list[tuple[float, str]]:
        """Return (seconds, name) of the slowest cells."""
        with self._lock:
            return sorted(self._seconds, reverse=True)[:count]


def frames_in(progress: Path) -> int:
    """Return the frames that ffmpeg last reported to its ``-progress`` file; 0 before the first report."""
    try:
        with progress.open("rb") as stream:
            stream.seek(0, 2)
            stream.seek(max(0, stream.tell() - _TAIL))
            reports = re.findall(rb"^frame=(\d+)", stream.read(), re.MULTILINE)
    except OSError:
        return 0  # not started, or finished and removed
    return int(reports[-1]) if reports else 0
