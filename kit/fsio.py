"""The one door to files the kit writes: temporary name, fsync, rename. Standard library only."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import logging
import math
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from kit.errors import BadInput, Missing

log = logging.getLogger(__name__)

#: Temporary names start with this, so that what a killed process left can be told from what is meant to stay.
TEMPORARY_PREFIX = ".tmp-"


@contextlib.contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Give a temporary path beside ``target``; on success it is synced and renamed, on failure removed."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.parent / f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}{target.suffix}"
    temporary.touch(exist_ok=False)
    try:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(target: Path, data: bytes) -> None:
    """Write a whole file; it appears complete or not at all."""
    with atomic_path(target) as temporary:
        temporary.write_bytes(data)


def write_json(target: Path, value: object) -> None:
    """Write indented JSON with sorted keys and a final newline.

    Raises:
        ValueError: the value holds NaN or an infinity.
    """
    write_bytes(target, json_bytes(value))


def json_bytes(value: object) -> bytes:
    """Indented ASCII JSON with sorted keys and a final newline, as every file of the kit has it."""
    return (json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n").encode("ascii")


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is too large for a number")
    return value


def read_json(path: Path, *, left_by: str = "") -> object:
    """Read a JSON file strictly.

    Args:
        left_by: the command that writes this file, named when it is not there.

    Raises:
        Missing: there is no such file.
        BadInput: the file is no JSON, or holds NaN or an infinity.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        hint = f"Run `{left_by}` first." if left_by else ""
        raise Missing(f"{path} is not there", hint=hint) from None
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{path} cannot be read: {error}") from error
    try:
        return json.loads(text, parse_constant=_refuse_constant, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{path} is not valid JSON: {error}") from error


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes, 64 hex digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def free_bytes(path: Path) -> int:
    """Bytes a user may still write at ``path`` or at its nearest parent that exists."""
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free


def remove_temporaries(folder: Path) -> int:
    """Remove what killed processes left below ``folder``; returns how many files and folders went."""
    found = list(folder.rglob(TEMPORARY_PREFIX + "*"))
    for path in found:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    return len(found)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold ``folder/.lock`` as long as the block runs; the system releases it when the process dies.

    Raises:
        BadInput: another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BadInput(
                f"another run is working in {folder}", hint="Wait for it, or give another --out-dir."
            ) from None
        except OSError as error:
            # some network file systems have no locks; the run is as safe there as its user makes it
            if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS):
                raise
            log.warning("%s has no locks: %s", folder, error.strerror)
        yield
