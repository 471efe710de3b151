"""Check the files and folders that a command will write, before its work."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from kit.core.errors import BadInput
from kit.system.fsio import NO_ROOM, TEMPORARY_PREFIX


def refuse_inputs(outputs: Iterable[Path], inputs: Iterable[Path]) -> None:
    """Refuse to overwrite inputs.

    Raises:
        BadInput: one of ``outputs`` is one of ``inputs``, under any name, or a folder.
    """
    read = [path for path in inputs if path.exists()]
    for path in outputs:
        if path.exists() and any(path.samefile(one) for one in read):
            raise BadInput(f"{path} is both input and output", hint="Give another output path.")
        if path.is_dir():
            raise BadInput(f"output {path} is a folder, expected a file name", hint="Give a file in that folder.")


def refuse_foreign(paths: Iterable[Path], is_own: Callable[[Path], bool], *, option: str, hint: str) -> None:
    """Refuse to replace or mix with existing files that the same command did not write.

    Args:
        is_own: whether an earlier run of the command wrote an existing file.
        option: the option that names the files or their folder.

    Raises:
        BadInput: at least one file is foreign; names them all.
    """
    if foreign := [path for path in paths if path.exists() and not is_own(path)]:
        raise BadInput(f"{option}: not written by this command: {', '.join(map(str, foreign))}", hint=hint)


def write_error(folder: Path) -> OSError | None:
    """Create the folder and a temporary file in it; return the error if that fails."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(prefix=TEMPORARY_PREFIX, dir=folder):
            return None
    except OSError as error:
        return error


def require_writable(folder: Path, *, option: str, hint: str) -> None:
    """Create the folder if needed and write a temporary file there.

    Args:
        option: the option or variable that names the folder.

    Raises:
        BadInput: the folder cannot be created or written.
        OSError: the disk is full.
    """
    error = write_error(folder)
    if error is not None and error.errno in NO_ROOM:
        raise error
    if error is not None:
        raise BadInput(f"{option}: {folder} cannot be written: {error.strerror}", hint=hint) from error
