"""Telling processes that work from processes that hang."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from math import inf
from pathlib import Path

#: Share of one core below which processes count as idle. An ffmpeg that waits for its input takes 0.007 %, one that
#: encodes or scores tens of percent even where many share a core.
_IDLE_SHARE = 0.01
#: Seconds between two looks, at most.
_LOOK = 5.0
#: What tells the CPU time of every process where there is no /proc.
PS = ("ps", "-A", "-o", "pgid=,time=")


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long processes may take, in seconds.

    Attributes:
        total: from start to end.
        idle: while no file in their folder grows and they use next to no CPU time.
        busy: while no file in their folder grows, whatever CPU time they use.
    """

    total: float = inf
    idle: float = inf
    busy: float = inf


class Watch:
    """Looks at processes from time to time.

    Args:
        folder: where they write their results; its sub-folders are not looked at.
        cpu_seconds: the CPU time they have used.
    """

    def __init__(self, patience: Patience, folder: Path | None, cpu_seconds: Callable[[], float]) -> None:
        self._patience, self._folder, self._cpu_seconds = patience, folder, cpu_seconds
        self._start = self._grown = self._active = time.monotonic()
        self._written, self._used = -1, 0.0

    @property
    def until_next(self) -> float:
        """Seconds until the next look is due."""
        patience = self._patience
        left = self._start + patience.total - time.monotonic()
        return max(0.0, min(_LOOK, patience.idle / 4, patience.busy / 4, left))

    def problem(self) -> str:
        """Why the processes are to be stopped; empty while they may go on."""
        patience, now = self._patience, time.monotonic()
        if now - self._start >= patience.total:
            return f"stopped after {patience.total:g} s"
        if min(patience.idle, patience.busy) == inf:
            return ""
        written = _bytes_in(self._folder) if self._folder else 0
        if written != self._written:
            self._written, self._grown, self._active = written, now, now
            return ""
        used = self._cpu_seconds()
        if used - self._used > _IDLE_SHARE * (now - self._active):
            self._used, self._active = used, now
        if now - self._active >= patience.idle:
            return f"no progress for {patience.idle:g} s"
        if now - self._grown >= patience.busy:
            return f"busy without a result for {patience.busy:.0f} s"
        return ""


def _bytes_in(folder: Path) -> int:
    with os.scandir(folder) as entries:
        return sum(entry.stat(follow_symlinks=False).st_size for entry in entries)


def cpu_seconds(groups: Collection[int], ask_ps: Callable[[], str]) -> float:
    """CPU time that the processes of some groups have used.

    Args:
        ask_ps: what :data:`PS` prints; asked where there is no /proc.
    """
    if sys.platform != "linux":
        return sum(used for group, used in ps_times(ask_ps()) if group in groups)
    ticks = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            # after the name in parentheses: state, parent, group, …; 11 to 14: own time and that of ended children
            fields = path.read_bytes().rpartition(b")")[2].split()
        except OSError:
            continue  # it has ended meanwhile
        if int(fields[2]) in groups:
            ticks += sum(map(int, fields[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def ps_times(text: str) -> list[tuple[int, float]]:
    """(group, seconds) of every process from what :data:`PS` prints: ``[[days-]hours:]minutes:seconds``."""
    found = []
    for line in text.splitlines():
        group, time_used = line.split()
        days, _, clock = time_used.rpartition("-")
        seconds = 0.0
        for part in clock.split(":"):
            seconds = seconds * 60 + float(part)
        found.append((int(group), seconds + 86400 * int(days or 0)))
    return found
