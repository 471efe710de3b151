"""What every command shares: how it ends, and its result as JSON."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from dataclasses import dataclass
from typing import Any

import click

from kit.core import exits
from kit.system.fsio import NO_ROOM

#: In click's context: the disk behind stdout was full.
_FULL = "kit.stdout_full"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a command ends with. A type of its own, since click hands its own exit codes back as plain numbers."""

    code: int


def print_json(value: Any) -> None:
    """JSON on stdout. A reader that has gone away changes no exit code; a full disk behind it does, see `settled`."""
    if sys.stdout is None:
        return
    try:
        sys.stdout.write(json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n")
        sys.stdout.flush()
    except OSError as error:
        complain(f"The JSON could not be written: {error.strerror}", "Files that the command has written are whole.")
        click.get_current_context().meta[_FULL] = error.errno in NO_ROOM
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def settled(outcome: Outcome | None) -> Outcome | None:
    """What a command ends with: where its JSON met a full disk, 4 instead of 0; any other code says more.

    So it is with all that the kit writes to stdout, see ``kit/__main__.py``.
    """
    if outcome == Outcome(code=exits.OK) and click.get_current_context().meta.get(_FULL):
        return Outcome(code=exits.DISK_FULL)
    return outcome


def complain(message: str, hint: str) -> None:
    """An error on stderr; one that nobody can read any more is let go."""
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(f"\nError: {message}\nHint: {hint}\n")
