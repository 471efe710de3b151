"""Runs ``venv`` and ``pip`` for the bootstrap, with a log file and a status line; standard library only."""

from __future__ import annotations

import os
import re
import select
import shutil
import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

TAIL_LINES = 12
PATIENCE_S = 10.0

# What pip says, and what is made of it; sizes are pip's own words.
SAYINGS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"Collecting ([A-Za-z0-9._-]+)"), r"collecting \1"),
    (re.compile(r"\s+Downloading (?:\S*/)?([A-Za-z0-9._]+)-\S+\.whl \((.+)\)"), r"downloading \1 \2"),
    (re.compile(r"\s+Using cached (?:\S*/)?([A-Za-z0-9._]+)-\S+\.whl \((.+)\)"), r"using the cached \1 \2"),
    (re.compile(r"Processing (?:\S*/)?([A-Za-z0-9._]+)-\S+\.whl"), r"reading \1"),
    (re.compile(r"Installing collected packages: .*"), "unpacking and installing"),
)


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a process ended: its exit status (negative for a signal) and the last lines it wrote."""

    status: int
    tail: list[str]


class Progress:
    """What the bootstrap is doing: one changing line on a terminal, lines with time between them elsewhere.

    Args:
        stream: where humans read, normally stderr; None when it is closed.
        environ: for TERM.
    """

    SPACING_S = 5.0
    REMINDER_S = 30.0

    def __init__(
        self, stream: TextIO | None, environ: Mapping[str, str], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._stream = stream
        self._live = stream is not None and stream.isatty() and environ.get("TERM", "dumb") != "dumb"
        self._clock = clock
        self._doing = ""
        self._since = clock()
        self._written = ""
        self._written_at = float("-inf")

    def note(self, text: str) -> None:
        """Write a line that stays."""
        self._write(("\r\x1b[K" if self._live else "") + f"setup: {text}\n")
        self._doing = ""

    def show(self, text: str) -> None:
        """Say what is being done now."""
        self._doing, self._since = text, self._clock()
        self.tick()

    def tick(self) -> None:
        """Refresh the line; called about once a second."""
        if not self._doing:
            return
        elapsed = self._clock() - self._since
        line = f"setup: {self._doing}" + (f" ({elapsed:.0f} s)" if elapsed >= 1 else "")
        if self._live:
            self._write("\r\x1b[K" + line[: shutil.get_terminal_size().columns - 1])
            return
        spacing = self.SPACING_S if self._doing != self._written else self.REMINDER_S
        if self._clock() - self._written_at >= spacing:
            self._write(line + "\n")
            self._written, self._written_at = self._doing, self._clock()

    def clear(self) -> None:
        """Take the changing line away."""
        if self._live and self._doing:
            self._write("\r\x1b[K")
        self._doing = ""

    def _write(self, text: str) -> None:
        if self._stream is not None:
            self._stream.write(text)
            self._stream.flush()


def run_logged(
    command: Sequence[str], *, log: Path, environ: Mapping[str, str], progress: Progress, keep: int
) -> Ended:
    """Run `command` to its end, with its output in `log` and its doings in `progress`.

    It runs in a process group of its own: a signal that ends the bootstrap is passed on to all of it, and waited for.

    Args:
        keep: a descriptor the process keeps open, the lock's.
    """
    tail: deque[str] = deque(maxlen=TAIL_LINES)
    with log.open("a", encoding="utf-8") as handle:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environ,
            pass_fds=(keep,),
            process_group=0,
        )
        try:
            assert process.stdout is not None  # noqa: S101 - says what PIPE means to the type checker
            for line in lines_of(process.stdout.fileno(), progress.tick):
                handle.write(line + "\n")
                if line.strip():
                    tail.append(line)
                doing = translated(line)
                if doing:
                    progress.show(doing)
            return Ended(status=process.wait(), tail=list(tail))
        except BaseException as exc:
            end_group(process, signal.SIGINT if isinstance(exc, KeyboardInterrupt) else signal.SIGTERM)
            raise
        finally:
            progress.clear()


def lines_of(descriptor: int, tick: Callable[[], None]) -> Iterator[str]:
    """The lines written to a pipe, until its end; `tick` is called at least once a second."""
    rest = b""
    while True:
        ready, _, _ = select.select([descriptor], [], [], 1.0)
        tick()
        if not ready:
            continue
        chunk = os.read(descriptor, 65536)
        if not chunk:
            break
        *lines, rest = (rest + chunk).split(b"\n")
        yield from (line.decode("utf-8", "replace") for line in lines)
    if rest:
        yield rest.decode("utf-8", "replace")


def translated(line: str) -> str:
    """What a line of pip's output says is being done; "" when it says nothing of the kind."""
    for pattern, text in SAYINGS:
        found = pattern.match(line)
        if found:
            return found.expand(text)
    return ""


def end_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """End the process and everything it started: politely first, then without asking."""
    for each, patience in ((number, PATIENCE_S), (signal.SIGKILL, None)):
        # macOS refuses to signal a group of which only a zombie is left.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, each)
        # A second Ctrl-C means: do not wait.
        with suppress(subprocess.TimeoutExpired, KeyboardInterrupt):
            process.wait(patience)
