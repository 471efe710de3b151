"""Resource limits that a process sets for itself before it opens received files."""

from __future__ import annotations

import contextlib
import resource

#: Bytes of private memory and seconds of CPU time; 10 million predictions need a tenth.
MEMORY, SECONDS = 8 << 30, 1800


def confine(memory: int = MEMORY, seconds: int = SECONDS) -> None:
    """Set the limits; macOS accepts the one on memory and does not enforce it."""
    for kind, most in ((resource.RLIMIT_DATA, memory), (resource.RLIMIT_CPU, seconds), (resource.RLIMIT_CORE, 0)):
        _, hard = resource.getrlimit(kind)
        with contextlib.suppress(ValueError, OSError):  # a lower limit of the parent stays
            resource.setrlimit(kind, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))
