"""The one door to other processes: a list of arguments, a time limit, a log, and nothing left running."""

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
from kit.system.stall import Patience, Watch, cpu_seconds

log = logging.getLogger(__name__)

#: Lines of stderr kept in an error from either end: ffmpeg says the cause first and how it ended last.
EXCERPT_LINES = 8
#: Seconds the others get to end once the last one of several processes has ended well.
LAST_GRACE = 5.0


@dataclass(frozen=True, kw_only=True)
class Completed:
    """A process that ended with exit status 0."""

    stdout: bytes
    stderr: str


@dataclass(frozen=True, kw_only=True)
class Command:
    """One of several processes that work together.

    Attributes:
        feeds: its stdout is the stdin of the command after it.
    """

    argv: Sequence[str]
    feeds: bool = False


class Stopped(Exception):
    """The processes were told to stop; not an error of the one that was running."""


def excerpt(text: str) -> str:
    """The first and the last lines of a process's stderr, blank ones left out."""
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    if len(lines) > 2 * EXCERPT_LINES:
        lines = [*lines[:EXCERPT_LINES], "…", *lines[-EXCERPT_LINES:]]
    return "\n".join(lines)


def _unchanged(text: str) -> str:
    return text


class Processes:
    """Starts processes and can stop all that run.

    Args:
        redact: applied to every command line and stderr text before it is logged or put into an error.
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
        """Run to the end and collect the output.

        Args:
            tried: what the process is for, e.g. ``encoding Highway/libx264/cq31``.
            timeout: seconds after which the process is stopped.
            any_status: take what it said whatever its exit status.

        Raises:
            ToolFailed: it could not be started, exited otherwise, or took longer than ``timeout``.
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
        return self._judged(argv, process, stdout, stderr, tried=tried, hint=hint)

    def run_together(self, commands: Sequence[Command], *, tried: str, limit: Patience, cwd: Path | None = None) -> str:
        """Run processes side by side to their end; returns what all of them wrote to stderr, in order.

        The last one takes in what the others make. When it has ended, or one has failed, the others are given a
        little time and then ended, since they may wait for one that is gone. The error is that of
        the process that failed by itself, not of one whose reader went away.

        Args:
            limit: how long they may take; the files in ``cwd`` show their progress.

        Raises:
            ToolFailed: one could not be started or exited otherwise, or they came to the limit.
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
                    # the reader alone holds the pipe: its end is the writer's end
                    feeder.close()
                    started[-2].stdout = None
            groups = [process.group for process in started]
            watch = Watch(limit, cwd, lambda: cpu_seconds(groups))
            said, stopped, why = _wait_for_all(started, watch)
            if why and not self._stopping.is_set():
                raise ToolFailed(
                    tried,
                    command=" | ".join(self.describe(command.argv) for command in commands),
                    returncode=None,
                    stderr_tail=excerpt(self._text(said)),
                    status=why,
                )
            self._all_judged(commands, started, said, stopped, tried=tried)
            return self._text(said)

    def _all_judged(
        self,
        commands: Sequence[Command],
        started: Sequence[Child],
        said: Sequence[bytes],
        stopped: set[int],
        *,
        tried: str,
    ) -> None:
        """Raise the error of the process that failed by itself, if any did."""
        failed = [index for index, process in enumerate(started) if process.returncode or index in stopped]
        own = [index for index in failed if index not in stopped and not _reader_gone(started[index], said[index])]
        last = len(started) - 1
        if not own and failed and last not in stopped and started[last].returncode == 0:
            raise ToolFailed(
                tried,
                command=self.describe(commands[-1].argv),
                returncode=0,
                hint="It ended before the others.",
                stderr_tail=excerpt(self._text(said[-1:])),
            )
        for index in own or failed:
            self._judged(commands[index].argv, started[index], b"", said[index], tried=tried, hint="")
        if failed:
            # the ones that were stopped took it as a reason to end well
            command = self.describe(commands[failed[0]].argv)
            raise ToolFailed(tried, command=command, returncode=0, stderr_tail="", hint="It had to be stopped.")

    def _text(self, said: Sequence[bytes]) -> str:
        return self.redact("\n".join(text.decode("utf-8", "replace") for text in said))

    @contextlib.contextmanager
    def stream(
        self, argv: Sequence[str], *, tried: str, cwd: Path | None = None, hint: str = ""
    ) -> Iterator[tuple[IO[bytes], list[str]]]:
        """Run while the block reads the process's stdout; stderr's lines gather in the list.

        The block reads stdout to its end; when it leaves with an exception, the process is ended.

        Raises:
            ToolFailed: it could not be started, or exited with another status than 0.
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
        self._judged(argv, process, b"", "\n".join(lines).encode(), tried=tried, hint=hint)

    def describe(self, argv: Sequence[str]) -> str:
        """The command line as it may be shown and stored; redacted first, since quoting changes what stands in it."""
        return shlex.join([self._shown(word) for word in argv])

    def _shown(self, word: str) -> str:
        path = word.removeprefix("file:")
        shown = self.redact(path)
        # a whole argument may be a path with spaces, of which the redactor sees the first part only
        return f"<path>/{path.rsplit('/', 1)[-1]}" if path.startswith("/") and shown.startswith("<path>") else shown

    def stop(self) -> None:
        """End every running process and refuse new ones; safe to call from any thread, more than once."""
        with self._lock:
            self._stopping.set()
            live = tuple(self._live)
        for process in live:
            process.tell(signal.SIGTERM)
        for process in live:
            process.end()

    def check(self) -> None:
        """Raise :class:`Stopped` once :meth:`stop` was called; for work that goes on without a process."""
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

    def _judged(
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
    """Wait until all have ended, or the last or a failed one has and the others had their grace, or they hang.

    Returns:
        What each has written to stderr, those that had to be ended, and why if they came to their limit.
    """
    said = [b""] * len(started)
    ended = threading.Condition()

    def collect(index: int) -> None:
        _, said[index] = started[index].communicate()
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
        started[index].tell(signal.SIGTERM)
    for index in stopped:
        started[index].end()
    for reader in readers:
        reader.join()
    return said, stopped, why


def _reader_gone(process: Child, stderr: bytes) -> bool:
    """Whether a process failed only because the one that reads from it did."""
    return process.returncode == -signal.SIGPIPE or b"Broken pipe" in stderr
