"""Limits that a process takes on itself before it opens what a stranger sent."""

from __future__ import annotations

import contextlib
import resource

#: Bytes of private memory, and seconds on the processor: 10 million predictions take a tenth.
MEMORY, SECONDS = 8 << 30, 1800


def confine(memory: int = MEMORY, seconds: int = SECONDS) -> None:
    """Take on the limits; macOS knows of the one on memory and does not enforce it."""
    for kind, most in ((resource.RLIMIT_DATA, memory), (resource.RLIMIT_CPU, seconds), (resource.RLIMIT_CORE, 0)):
        _, hard = resource.getrlimit(kind)
        with contextlib.suppress(ValueError, OSError):  # a lower limit from outside stays
            resource.setrlimit(kind, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))
