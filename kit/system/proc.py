"""Start processes: an argument list, a time limit, a log, and no process left running."""

from __future__ import annotations

import contextlib
import logging
import shlex
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from kit.core.errors import ToolFailed
from kit.system.guard import GRACE, Child
from kit.system.stall import TimeLimits, Watch, cpu_seconds

log = logging.getLogger(__name__)

#: Lines of stderr kept in an error, from the start and from the end: ffmpeg writes the cause first.
EXCERPT_LINES = 8
#: Seconds for the other processes to end after the last of them has succeeded.
LAST_GRACE = 5.0


@dataclass(frozen=True, kw_only=True)
class Completed:
    """A process that ended with exit status 0."""

    stdout: bytes
    stderr: str


@dataclass(frozen=True, kw_only=True)
class Command:
    """One of several processes that run together.

    Attributes:
        feeds: its stdout is the stdin of the next command.
    """

    argv: Sequence[str]
    feeds: bool = False


class Stopped(Exception):
    """The kit stopped its processes; not an error of a process."""


def excerpt(text: str) -> str:
    """Return the first and the last lines of stderr, without blank ones."""
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    if len(lines) > 2 * EXCERPT_LINES:
        lines = [*lines[:EXCERPT_LINES], "…", *lines[-EXCERPT_LINES:]]
    return "\n".join(lines)


def _unchanged(text: str) -> str:
    return text


class Processes:
    """Start processes and stop all that are running.

    Args:
        redact: applied to every command line and stderr before they are logged or become part of an error.
    """

    def __init__(self, redact: Callable[[str], str] = _unchanged) -> None:
        self.redact = redact
        self._live: set[Child] = set()
        self._lock = threading.Lock()
        self._stopping = threading.Event()

    def run(
        self,
        argv: Sequence[str],
        *,
        tried: str,
        timeout: float,
        cwd: Path | None = None,
        hint: str = "",
        any_status: bool = False,
    ) -> Completed:
        """Run a process to its end and return its output.

        Args:
            tried: the purpose of the process, e.g. ``encoding Highway/libx264/cq31``.
            timeout: seconds after which the process is stopped.
            any_status: return the output also for an exit status other than 0.

        Raises:
            ToolFailed: the process could not be started, failed, or exceeded ``timeout``.
            Stopped: :meth:`stop` was called.
        """
        with self._started(argv, tried=tried, cwd=cwd, hint=hint) as process:
            try:
                stdout, stderr = process.communicate(timeout=timeout)
            except subprocess.TimeoutExpired:
                process.end()
                stdout, stderr = process.communicate()
                hint = f"It was stopped after {timeout:.0f} seconds. {hint}".strip()
        if any_status and process.returncode > 0:
            return Completed(stdout=stdout, stderr=self.redact(stderr.decode("utf-8", "replace")))
        return self._completed(argv, process, stdout, stderr, tried=tried, hint=hint)

    def run_together(
        self, commands: Sequence[Command], *, tried: str, limit: TimeLimits, cwd: Path | None = None
    ) -> str:
        """Run processes in parallel to their end; return the stderr of all of them, in order.

        The last one reads the output of the others. Once it has ended, or one has failed, the others get a short grace
        and are then stopped, since they may wait for a process that is gone. The error is that of the process that
        failed first, not of one whose reader ended.

        Args:
            limit: time limits; the files in ``cwd`` show the progress.

        Raises:
            ToolFailed: a process could not be started or failed, or a limit was exceeded.
            Stopped: :meth:`stop` was called.
        """
        with contextlib.ExitStack() as stack:
            started: list[Child] = []
            for index, command in enumerate(commands):
                feeder = started[-1].stdout if index and commands[index - 1].feeds else None
                started.append(
                    stack.enter_context(self._started(command.argv, tried=tried, cwd=cwd, hint="", stdin=feeder))
                )
                if feeder is not None:
                    # only the reader keeps the pipe open: when it ends, the writer gets SIGPIPE
                    feeder.close()
                    started[-2].stdout = None
            groups = [process.group for process in started]
            watch = Watch(limit, cwd, lambda: cpu_seconds(groups))
            stderrs, stopped, why = _wait_for_all(started, watch)
            if why and not self._stopping.is_set():
                raise ToolFailed(
                    tried,
                    command=" | ".join(self.describe(command.argv) for command in commands),
                    returncode=None,
                    stderr_tail=excerpt(self._text(stderrs)),
                    status=why,
                )
            self._check_all(commands, started, stderrs, stopped, tried=tried)
            return self._text(stderrs)

    def _check_all(
        self,
        commands: Sequence[Command],
        started: Sequence[Child],
        stderrs: Sequence[bytes],
        stopped: set[int],
        *,
        tried: str,
    ) -> None:
        """Raise the error of the process that failed first, if any failed."""
        failed = [index for index, process in enumerate(started) if process.returncode or index in stopped]
        own = [index for index in failed if index not in stopped and not _reader_ended(started[index], stderrs[index])]
        last = len(started) - 1
        if not own and failed and last not in stopped and started[last].returncode == 0:
            raise ToolFailed(
                tried,
                command=self.describe(commands[-1].argv),
                returncode=0,
                hint="It ended before the others.",
                stderr_tail=excerpt(self._text(stderrs[-1:])),
            )
        for index in own or failed:
            self._completed(commands[index].argv, started[index], b"", stderrs[index], tried=tried, hint="")
        if failed:
            # every stopped process exited with 0
            command = self.describe(commands[failed[0]].argv)
            raise ToolFailed(tried, command=command, returncode=0, stderr_tail="", hint="It had to be stopped.")

    def _text(self, stderrs: Sequence[bytes]) -> str:
        return self.redact("\n".join(text.decode("utf-8", "replace") for text in stderrs))

    @contextlib.contextmanager
    def stream(
        self, argv: Sequence[str], *, tried: str, cwd: Path | None = None, hint: str = ""
    ) -> Iterator[tuple[IO[bytes], list[str]]]:
        """Run a process while the block reads its stdout; the list receives the lines of stderr.

        The block has to read stdout to its end. An exception in the block ends the process.

        Raises:
            ToolFailed: the process could not be started, or failed.
            Stopped: :meth:`stop` was called.
        """
        with self._started(argv, tried=tried, cwd=cwd, hint=hint) as process:
            stdout, stderr = cast("IO[bytes]", process.stdout), cast("IO[bytes]", process.stderr)
            lines: list[str] = []
            reader = threading.Thread(target=_gather, args=(stderr, lines), daemon=True)
            reader.start()
            try:
                yield stdout, lines
            except BaseException:
                process.end()
                raise
            finally:
                stdout.close()
                process.wait()
                reader.join()
        self._completed(argv, process, b"", "\n".join(lines).encode(), tried=tried, hint=hint)

    def describe(self, argv: Sequence[str]) -> str:
        """Return the redacted command line; redacted before quoting, which changes paths."""
        return shlex.join([self._shown(word) for word in argv])

    def _shown(self, word: str) -> str:
        path = word.removeprefix("file:")
        shown = self.redact(path)
        # an argument may be a path with spaces; the redactor replaces its first part only
        return f"<path>/{path.rsplit('/', 1)[-1]}" if path.startswith("/") and shown.startswith("<path>") else shown

    def stop(self) -> None:
        """End every running process and refuse new ones. Thread-safe and repeatable."""
        with self._lock:
            self._stopping.set()
            live = tuple(self._live)
        for process in live:
            process.signal_group(signal.SIGTERM)
        for process in live:
            process.end()

    def check(self) -> None:
        """Raise :class:`Stopped` after :meth:`stop`; for work without a process."""
        if self._stopping.is_set():
            raise Stopped

    def pause(self, seconds: float) -> None:
        """Wait.

        Raises:
            Stopped: :meth:`stop` was called meanwhile.
        """
        if self._stopping.wait(seconds):
            raise Stopped

    @contextlib.contextmanager
    def _started(
        self, argv: Sequence[str], *, tried: str, cwd: Path | None, hint: str, stdin: IO[bytes] | None = None
    ) -> Iterator[Child]:
        command = self.describe(argv)
        log.debug("start: %s", command)
        try:
            with self._lock:
                if self._stopping.is_set():
                    raise Stopped
                process = Child(argv, cwd=cwd, stdin=stdin)
                self._live.add(process)
        except OSError as error:
            raise ToolFailed(
                tried, command=command, returncode=None, stderr_tail=self.redact(str(error)), hint=hint
            ) from error
        try:
            yield process
        finally:
            if process.poll() is None:
                process.end()
            with self._lock:
                self._live.discard(process)
            process.release()
            for pipe in (process.stdout, process.stderr):
                if pipe is not None:
                    pipe.close()

    def _completed(
        self,
        argv: Sequence[str],
        process: Child,
        stdout: bytes,
        stderr: bytes,
        *,
        tried: str,
        hint: str,
    ) -> Completed:
        text = self.redact(stderr.decode("utf-8", "replace"))
        log.debug("exit %s: %s", process.returncode, tried)
        if process.returncode == 0:
            return Completed(stdout=stdout, stderr=text)
        if self._stopping.is_set():
            raise Stopped
        raise ToolFailed(
            tried,
            command=self.describe(argv),
            returncode=process.returncode,
            stderr_tail=excerpt(text),
            stdout=stdout.decode("utf-8", "replace"),
            hint=hint,
        )


def _gather(pipe: IO[bytes], lines: list[str]) -> None:
    lines.extend(line.decode("utf-8", "replace").rstrip("\n") for line in pipe)


def _wait_for_all(started: Sequence[Child], watch: Watch) -> tuple[list[bytes], set[int], str]:
    """Wait until all have ended, or a grace after the last or a failed one has, or a time limit.

    Returns:
        The stderr of each, the indices of those that were stopped, and the limit that was exceeded, if any.
    """
    stderrs = [b""] * len(started)
    ended = threading.Condition()

    def collect(index: int) -> None:
        _, stderrs[index] = started[index].communicate()
        with ended:
            ended.notify_all()

    readers = [threading.Thread(target=collect, args=(index,), daemon=True) for index in range(len(started))]
    for reader in readers:
        reader.start()

    def settled() -> bool:
        return started[-1].returncode is not None or any(process.returncode for process in started)

    def over() -> bool:
        return all(process.returncode is not None for process in started)

    why = ""
    with ended:
        while not why and not ended.wait_for(settled, watch.until_next):
            why = watch.problem()
        if not why:
            ended.wait_for(over, GRACE if any(process.returncode for process in started) else LAST_GRACE)
    stopped = {index for index, process in enumerate(started) if process.returncode is None}
    for index in stopped:
        started[index].signal_group(signal.SIGTERM)
    for index in stopped:
        started[index].end()
    for reader in readers:
        reader.join()
    return stderrs, stopped, why


def _reader_ended(process: Child, stderr: bytes) -> bool:
    """Whether a process failed only because the reader of its output ended."""
    return process.returncode == -signal.SIGPIPE or b"Broken pipe" in stderr
