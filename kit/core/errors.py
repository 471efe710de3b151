"""Errors the kit raises on purpose. Each class owns its exit code.

    KitError                       70  never raised itself
    ├── BadInput                    2  an option, a path or a clip the kit cannot work with
    │   ├── Missing                 2  what an earlier step should have left is not there
    │   └── Several                 2  more than one of these, collected and shown together
    ├── PrerequisiteFailed          2  the box cannot do the run (no scorer, no encoder, no disk)
    ├── SetupFailed                 2  the environment could not be made
    ├── ToolFailed                  2  a process did not do what it was started for
    ├── InvalidEvidence             3  the evidence allows neither PROMOTE nor HOLD
    ├── CheckFailed                     3  something was checked and found wanting
    ├── DiskFull                    4  no space left; what was finished is kept
    ├── ExportFailed               70  a model that was made is not what it should be
    ├── PageFailed                 70  the report page of a run could not be made
    └── Terminated                143  SIGTERM arrived

A message says what was tried, what was found and what was expected; ``hint`` says what to do next.
"""

from __future__ import annotations

from collections.abc import Sequence

from kit.core import exits


class KitError(Exception):
    """Base of every error the kit raises on purpose.

    Args:
        message: what was tried, found and expected; one or more lines, no trailing full stop needed.
        hint: what the reader can do next, where that is more than ``default_hint`` of the class says.
    """

    exit_code: int = exits.INTERNAL
    default_hint: str = "Send the lines above to the lead."

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class BadInput(KitError):
    exit_code = exits.BAD_INPUT
    default_hint = "--help shows what is expected."


class Missing(BadInput):
    """A file that an earlier step should have left is not there."""

    default_hint = "Run the step that writes it first."


class Several(BadInput):
    """Several problems found in one pass, reported together."""

    default_hint = "Mend what is listed and start again."

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
    default_hint = "Mend what is named and start again."


class SetupFailed(KitError):
    exit_code = exits.BAD_INPUT
    default_hint = "Delete the environment that is named and start again."


class ToolFailed(KitError):
    """A process failed, or exited 0 without its result.

    Args:
        tried: what the process was meant to do, in words.
        command: its command line with paths replaced by tokens.
        returncode: the exit status; negative for a signal, None when it could not be started or ``status`` tells.
        stderr_tail: the first and last lines it wrote to stderr.
        stdout: what it wrote there, where some tools explain themselves; in no message.
        status: how it ended in words; by default what ``returncode`` says.
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
    """The evidence is incomplete or not finite: neither PROMOTE nor HOLD can be said.

    Args:
        problems: one line per finding.
    """

    exit_code = exits.INVALID
    default_hint = "Mend what is listed and start again."

    def __init__(self, problems: Sequence[str], *, hint: str = "") -> None:
        super().__init__("\n".join(problems), hint=hint)
        self.problems = tuple(problems)


class CheckFailed(KitError):
    """A check that ran to its end and found something wanting."""

    exit_code = exits.INVALID
    default_hint = "Run the step that made it again."


class DiskFull(KitError):
    exit_code = exits.DISK_FULL
    default_hint = "Make room and start the same command; what was finished is kept."


class ExportFailed(KitError):
    """A model that the kit has made does not do what the trained network does, or breaks a rule of the format.

    The evidence stands and so does the verdict; the fault is the kit's or its packages', so this is no exit of a check.

    Args:
        name: the file.
        problems: one line per finding.
    """

    default_hint = "PROMOTE stands, its models do not: run `verdict` again, and send the lines above to the lead."

    def __init__(self, name: str, problems: Sequence[str], *, hint: str = "") -> None:
        super().__init__("\n  ".join([f"{name} cannot be exported:", *problems]), hint=hint)
        self.problems = tuple(problems)


class PageFailed(KitError):
    """The page of a run could not be made; its verdict stands, and so does its bundle, which lacks the page."""

    default_hint = "The verdict stands without the page: try `report` with the run folder, and send the lines above."


class Terminated(KitError):
    """SIGTERM arrived; raised in the main thread so that everything unwinds."""

    exit_code = exits.TERMINATED
    default_hint = "Start the same command to go on."
