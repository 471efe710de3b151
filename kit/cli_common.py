"""What every command shares: how it ends, and its result as JSON."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a command ends with. A type of its own, since click hands its own exit codes back as plain numbers."""

    code: int


def print_json(value: Any) -> None:
    """JSON on stdout. A reader that has gone away or a full disk behind it changes no exit code."""
    if sys.stdout is None:
        return
    try:
        sys.stdout.write(json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n")
        sys.stdout.flush()
    except OSError as error:
        complain(f"The JSON could not be written: {error.strerror}", "What it says stands in the files it is about.")
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def complain(message: str, hint: str) -> None:
    """An error on stderr; one that nobody can read any more is let go."""
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(f"\nError: {message}\nHint: {hint}\n")
