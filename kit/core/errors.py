"""Errors that the kit raises on purpose. Each class owns its exit code and a default hint.

    KitError                       70  base class, never raised itself
    ├── BadInput                    2  an option, a path or a clip that the kit cannot use
    │   ├── Missing                 2  a file that an earlier step writes does not exist
    │   └── Several                 2  several of these, collected and reported together
    ├── PrerequisiteFailed          2  the box cannot do the run (no scorer, no encoder, no disk space)
    ├── SetupFailed                 2  the environment could not be set up
    ├── ToolFailed                  2  a process failed
    ├── InvalidEvidence             3  the evidence allows neither PROMOTE nor HOLD
    ├── CheckFailed                 3  a check failed
    ├── DiskFull                    4  no space left; finished work is kept
    ├── ExportFailed               70  an exported model failed its checks
    ├── PageFailed                 70  the report page could not be written
    └── Terminated                143  SIGTERM arrived

A message has what failed and the values, measured and expected; ``hint`` has what to do.
"""

from __future__ import annotations

from collections.abc import Sequence

from kit.core import exits


class KitError(Exception):
    """Base of every error that the kit raises on purpose.

    Args:
        message: what failed and the values; one or more lines, without a full stop at the end.
        hint: what the reader can do; ``default_hint`` of the class if empty.
    """

    exit_code: int = exits.INTERNAL
    default_hint: str = "Send the lines above to the lead."

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class BadInput(KitError):
    exit_code = exits.BAD_INPUT
    default_hint = "See --help."


class Missing(BadInput):
    """A file that an earlier step writes does not exist."""

    default_hint = "Run the step that writes it first."


class Several(BadInput):
    """Several problems of one pass, reported together."""

    default_hint = "Fix what is listed, then run the same command again."

    def __init__(self, title: str, problems: Sequence[KitError]) -> None:
        lines = [f"{title} ({len(problems)})"]
        for problem in problems:
            lines.append(f"  - {problem.message}")
            if problem.hint:
                lines.append(f"    {problem.hint}")
        super().__init__("\n".join(lines))
        self.problems = tuple(problems)


class PrerequisiteFailed(KitError):
    exit_code = exits.BAD_INPUT
    default_hint = "Fix what is named, then run the same command again."


class SetupFailed(KitError):
    exit_code = exits.BAD_INPUT
    default_hint = "Delete the environment named above, then run the same command again."


class ToolFailed(KitError):
    """A process failed, or exited 0 without its result.

    Args:
        tried: the purpose of the process, in words.
        command: its command line, with paths replaced by tokens.
        returncode: its exit status; negative for a signal, None if it could not be started or ``status`` is given.
        stderr_tail: the first and last lines of its stderr.
        stdout: its stdout, where some tools report errors; not part of the message.
        status: how it ended, in words; derived from ``returncode`` by default.
    """

    exit_code = exits.BAD_INPUT

    def __init__(
        self,
        tried: str,
        *,
        command: str,
        returncode: int | None,
        stderr_tail: str,
        stdout: str = "",
        hint: str = "",
        status: str = "",
    ) -> None:
        status = status or ("could not be started" if returncode is None else f"exit status {returncode}")
        message = f"{tried}: {status}\n  command: {command}"
        if stderr_tail:
            message += "\n  " + "\n  ".join(stderr_tail.splitlines())
        super().__init__(message, hint=hint)
        self.tried = tried
        self.status = status
        self.command = command
        self.returncode = returncode
        self.stderr_tail = stderr_tail
        self.stdout = stdout


class InvalidEvidence(KitError):
    """The evidence is incomplete or not finite: neither PROMOTE nor HOLD follows from it.

    Args:
        problems: one line each.
    """

    exit_code = exits.INVALID
    default_hint = "Fix what is listed, then run the same command again."

    def __init__(self, problems: Sequence[str], *, hint: str = "") -> None:
        super().__init__("\n".join(problems), hint=hint)
        self.problems = tuple(problems)


class CheckFailed(KitError):
    """A check ran to its end and failed."""

    exit_code = exits.INVALID
    default_hint = "Run the step that wrote the file again."


class DiskFull(KitError):
    exit_code = exits.DISK_FULL
    default_hint = "Free disk space and run the same command again; finished work is kept."


class ExportFailed(KitError):
    """An exported model differs from the trained network or breaks a rule of its format.

    Evidence and verdict stay valid. The fault is in the kit or its packages, hence not the exit code of a failed check.

    Args:
        name: the model's file.
        problems: one line each.
    """

    default_hint = "PROMOTE is valid, its models are not: run `verdict` again, and send the lines above to the lead."

    def __init__(self, name: str, problems: Sequence[str], *, hint: str = "") -> None:
        super().__init__("\n  ".join([f"{name} cannot be exported:", *problems]), hint=hint)
        self.problems = tuple(problems)


class PageFailed(KitError):
    """The report page could not be written; the verdict is valid, and so is the bundle, which lacks the page."""

    default_hint = "The verdict is valid without the page: run `report` with the run folder, and send the lines above."


class Terminated(KitError):
    """SIGTERM arrived; raised in the main thread so that everything unwinds."""

    exit_code = exits.TERMINATED
    default_hint = "Run the same command again to go on."
