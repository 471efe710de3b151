"""Child processes that never outlive the kit.

Every child runs in a process group of its own. The leader of the group is a guard: a shell that reads from a pipe and,
at the end of the pipe, kills its whole group, itself included. Only the kit has the other end open, so the system
closes it when the kit dies for any reason. A child that is being started has it open too until exec, and by then it is
in the group: no child escapes the guard.
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
    """A started process with pipes for stdout and stderr, and its guard. The caller has to release it.

    Args:
        stdin: the file of its standard input; None for an empty one.

    Raises:
        OSError: the process could not be started.
    """

    def __init__(self, argv: Sequence[str], *, cwd: Path | None, stdin: IO[bytes] | None) -> None:
        self._released = False
        self._lock = threading.Lock()
        # from / and without inherited files: it blocks no unmount and no reader of the kit's output
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
            # a group of its own: Ctrl-C reaches the kit only, which then ends its children in order
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
        """The process group: the process, its descendants and the guard, which only SIGKILL ends."""
        return self._guard.pid

    def signal_group(self, number: signal.Signals) -> None:
        """Send a signal to the group, except after release: another group may have its number by then."""
        # macOS: PermissionError for a group of zombies only
        with self._lock, contextlib.suppress(ProcessLookupError, PermissionError):
            if not self._released:
                os.killpg(self.group, number)

    def end(self) -> None:
        """Send SIGTERM, wait up to :data:`GRACE`, send SIGKILL."""
        self.signal_group(signal.SIGTERM)
        self.signal_group(signal.SIGCONT)  # a stopped process handles no other signal
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(GRACE)
        self.signal_group(signal.SIGKILL)

    def release(self) -> None:
        """End the guard and every process left in the group."""
        self.signal_group(signal.SIGKILL)
        with self._lock:
            self._released = True
            if self._guard.stdin is not None:
                self._guard.stdin.close()
            self._guard.wait()
