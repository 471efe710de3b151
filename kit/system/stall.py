"""Detect processes that hang."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from math import inf
from pathlib import Path

import psutil

#: Share of one core below which processes count as idle. An ffmpeg that waits for its input takes 0.007 %; one that
#: encodes or scores takes tens of percent even where many share a core.
_IDLE_SHARE = 0.01
#: Most seconds between two checks.
_INTERVAL = 5.0


@dataclass(frozen=True, kw_only=True)
class TimeLimits:
    """Time limits of processes, in seconds.

    Attributes:
        total: from start to end.
        idle: without growth of a file in their folder and with almost no CPU time.
        busy: without growth of a file in their folder, with any CPU time.
    """

    total: float = inf
    idle: float = inf
    busy: float = inf


class Watch:
    """Check at intervals whether processes make progress.

    Args:
        folder: the folder of their results, without its sub-folders.
        cpu_seconds: returns the CPU time that they have used.
    """

    def __init__(self, limits: TimeLimits, folder: Path | None, cpu_seconds: Callable[[], float]) -> None:
        self._limits, self._folder, self._cpu_seconds = limits, folder, cpu_seconds
        self._start = self._grown = self._active = time.monotonic()
        self._written, self._used = -1, 0.0

    @property
    def until_next(self) -> float:
        """Seconds until the next check is due."""
        limits = self._limits
        left = self._start + limits.total - time.monotonic()
        return max(0.0, min(_INTERVAL, limits.idle / 4, limits.busy / 4, left))

    def problem(self) -> str:
        """Return why the processes have to be stopped; empty while they may continue."""
        limits, now = self._limits, time.monotonic()
        if now - self._start >= limits.total:
            return f"stopped after {limits.total:g} s"
        if min(limits.idle, limits.busy) == inf:
            return ""
        written = _bytes_in(self._folder) if self._folder else 0
        if written != self._written:
            self._written, self._grown, self._active = written, now, now
            return ""
        used = self._cpu_seconds()
        if used - self._used > _IDLE_SHARE * (now - self._active):
            self._used, self._active = used, now
        if now - self._active >= limits.idle:
            return f"no progress for {limits.idle:g} s"
        if now - self._grown >= limits.busy:
            return f"busy without a result for {limits.busy:.0f} s"
        return ""


def _bytes_in(folder: Path) -> int:
    with os.scandir(folder) as entries:
        return sum(entry.stat(follow_symlinks=False).st_size for entry in entries)


def cpu_seconds(groups: Collection[int]) -> float:
    """Return the CPU time that the processes of some process groups and their ended children have used."""
    total = 0.0
    for pid in psutil.pids():
        with contextlib.suppress(ProcessLookupError, PermissionError, psutil.Error):  # ended meanwhile
            if os.getpgid(pid) in groups:
                times = psutil.Process(pid).cpu_times()
                total += times.user + times.system + times.children_user + times.children_system
    return total
