"""A process that does not outlive the kit, however the kit ends.

Every child runs in a process group of its own whose leader is a guard: a shell that reads from a pipe and, when the
pipe ends, kills its whole group, itself included. The kit alone holds the other end, so the system closes it when the
kit is gone, whatever ended it. A child that is just being started holds it too until it has become its program, and by
then it is in the group: no child can slip past the guard.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import IO

#: Seconds a process gets between SIGTERM and SIGKILL.
GRACE = 2.0

_GUARD = ("/bin/sh", "-c", "trap '' HUP INT QUIT TERM; read -r _; kill -s KILL 0")


class Child(subprocess.Popen[bytes]):
    """A started process with pipes for stdout and stderr, and its guard. It has to be released in the end.

    Args:
        stdin: what it reads; None for nothing.

    Raises:
        OSError: it could not be started.
    """

    def __init__(self, argv: Sequence[str], *, cwd: Path | None, stdin: IO[bytes] | None) -> None:
        self._released = False
        self._lock = threading.Lock()
        # it keeps no folder busy and nothing open that a reader of the kit's output waits for
        self._guard = subprocess.Popen(
            _GUARD,
            cwd="/",
            env={},
            process_group=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            # a group of its own: Ctrl-C reaches the kit alone, which then ends its children in order
            super().__init__(
                argv,
                cwd=cwd,
                process_group=self.group,
                stdin=stdin or subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
        except BaseException:
            self.release()
            raise

    @property
    def group(self) -> int:
        """The process group: the process, all that it has started, and the guard, which only SIGKILL ends."""
        return self._guard.pid

    def tell(self, number: signal.Signals) -> None:
        """Send a signal to the group; nothing once it was released, since its number may be another's then."""
        # one that holds nothing but a zombie (macOS) has nothing left to be told
        with self._lock, contextlib.suppress(ProcessLookupError, PermissionError):
            if not self._released:
                os.killpg(self.group, number)

    def end(self) -> None:
        """SIGTERM, a grace, SIGKILL."""
        self.tell(signal.SIGTERM)
        self.tell(signal.SIGCONT)  # one that is stopped hears nothing else
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(GRACE)
        self.tell(signal.SIGKILL)

    def release(self) -> None:
        """Let the guard go, with whatever the process may have left running."""
        self.tell(signal.SIGKILL)
        with self._lock:
            self._released = True
            if self._guard.stdin is not None:
                self._guard.stdin.close()
            self._guard.wait()
