"""Where a command will write to, looked at before its work."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path

from kit.core.errors import BadInput
from kit.system.fsio import NO_ROOM, TEMPORARY_PREFIX


def refuse_inputs(outputs: Iterable[Path], inputs: Iterable[Path]) -> None:
    """Refuse to write over what is read.

    Raises:
        BadInput: one of ``outputs`` is one of ``inputs``, under any name, or a folder.
    """
    read = [path for path in inputs if path.exists()]
    for path in outputs:
        if path.exists() and any(path.samefile(one) for one in read):
            raise BadInput(f"{path} would be written over what is read", hint="Give another place to write to.")
        if path.is_dir():
            raise BadInput(f"{path} is a folder, expected the name of a file to write", hint="Give a file in it.")


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
