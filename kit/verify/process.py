"""A process that looks at what a stranger sent: ``python -m kit.verify.process FOLDER``, a check a line on stdout.

Its memory and its time are limited by itself, before it opens anything.
"""

from __future__ import annotations

import contextlib
import json
import resource
import sys
from dataclasses import asdict
from pathlib import Path

#: Bytes of private memory, and seconds on the processor: 10 million predictions take a tenth.
MEMORY, SECONDS = 8 << 30, 1800


def confine(memory: int = MEMORY, seconds: int = SECONDS) -> None:
    """Take on the limits; macOS knows of the one on memory and does not enforce it."""
    for kind, most in ((resource.RLIMIT_DATA, memory), (resource.RLIMIT_CPU, seconds), (resource.RLIMIT_CORE, 0)):
        _, hard = resource.getrlimit(kind)
        with contextlib.suppress(ValueError, OSError):  # a lower limit from outside stays
            resource.setrlimit(kind, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


def main() -> int:
    """The process."""
    confine()
    from kit.verify.checks import run_checks
    from kit.verify.replay import ReceivedRun

    for check in run_checks(ReceivedRun(Path(sys.argv[1]))):
        sys.stdout.write(json.dumps(asdict(check)) + "\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
