"""Folders that a command will write to, looked at before its work."""

from __future__ import annotations

import tempfile
from pathlib import Path

from kit.errors import BadInput
from kit.fsio import NO_ROOM, TEMPORARY_PREFIX


def make_writable(folder: Path, *, told_by: str, hint: str) -> None:
    """Make a folder, and try to write there.

    Args:
        told_by: the option or variable that names it.

    Raises:
        BadInput: it cannot be made or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(prefix=TEMPORARY_PREFIX, dir=folder):
            pass
    except OSError as error:
        if error.errno in NO_ROOM:
            raise
        raise BadInput(f"{told_by}: {folder} cannot be written: {error.strerror}", hint=hint) from error
