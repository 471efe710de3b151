"""What the kit keeps on this machine besides run folders, and how it is removed."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from kit.system.fsio import remove_abandoned, scratch_folders
from kit.system.local import cache_dir, state_dir

#: What a file or folder contains, by the beginning of its name.
_CACHED = {
    "venv": "environment",
    "demo-": "demo clips",
    "identity": "hashes of clips",
    "probes": "results of encoder probes",
    "features": "features of scored pairs",
}


@dataclass(frozen=True, kw_only=True)
class Leftover:
    """A file or folder that the kit can remove.

    Attributes:
        size: bytes of its files.
        current: whether the running kit runs in it.
        used_by: processes, other than this one, that run in it.
    """

    kind: str
    path: Path
    size: int
    current: bool = False
    used_by: tuple[int, ...] = ()


def leftovers(kit_root: Path) -> list[Leftover]:
    """List what the kit keeps: environments, caches, temporary folders, state. The environment in use comes last.

    Run folders, data sets and ``binaries/`` are the user's and are not listed.
    """
    cache = cache_dir()
    # not .venv.old-1: a folder that the kit did not make and moved aside
    paths = [path for name in (".venv", ".venv.lock") if (path := kit_root / name).exists()]
    paths += sorted(cache.iterdir()) if cache.is_dir() else ()
    items = [(_kind(path.name.removeprefix(".")), path) for path in paths]
    items += [("temporary folder", path) for path in sorted(scratch_folders())]
    items += [("random tag of the box", path) for path in sorted(state_dir().glob("*"))]
    found = [_examine(kind, path) for kind, path in items]
    return sorted(found, key=lambda item: item.current)


def remove(item: Leftover) -> bool:
    """Remove a file or folder; a link is removed, not what it points to.

    Returns:
        Whether it is gone; a temporary folder of a running kit stays.

    Raises:
        OSError: it cannot be removed.
    """
    if item.kind == "temporary folder":
        remove_abandoned([item.path])
    elif item.path.is_dir() and not item.path.is_symlink():
        shutil.rmtree(item.path)
    else:
        item.path.unlink(missing_ok=True)
    for parent in (cache_dir(), state_dir()):
        if item.path.parent == parent and not any(parent.iterdir()):
            parent.rmdir()
    return not os.path.lexists(item.path)


def _kind(name: str) -> str:
    if name.endswith(".lock"):
        return "lock of an environment"
    return next((kind for prefix, kind in _CACHED.items() if name.startswith(prefix)), "other cache file")


def _examine(kind: str, path: Path) -> Leftover:
    if kind != "environment" or not path.is_dir():
        return Leftover(kind=kind, path=path, size=_size(path))
    current = Path(sys.prefix).resolve() == path.resolve()
    return Leftover(kind=kind, path=path, size=_size(path), current=current, used_by=tuple(_processes_in(path)))


def _size(path: Path) -> int:
    """Sum the bytes of all files below a path; links count as links."""
    if path.is_symlink() or not path.is_dir():
        return path.lstat().st_size
    return sum(os.lstat(Path(folder, name)).st_size for folder, _, names in os.walk(path) for name in names)


def _processes_in(environment: Path) -> Iterator[int]:
    """Processes, besides this one and its parents, whose Python is that of the environment."""
    own = {os.getpid(), *(process.pid for process in psutil.Process().parents())}
    for process in psutil.process_iter():
        try:
            argv = process.cmdline()
        except psutil.Error:
            continue  # it has ended, or belongs to somebody else
        if argv and process.pid not in own and Path(argv[0]).is_relative_to(environment):
            yield process.pid
