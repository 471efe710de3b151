"""``<name>.yaml``: every file of a data set with size and SHA-256, and the check against it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from kit.core import contract
from kit.core.errors import BadInput, Missing
from kit.system.fsio import sha256_file, write_bytes
from kit.system.pool import run_many
from kit.video.datasets import groups
from kit.video.datasets.packed import PACK, is_inside, read_pack
from kit.video.sources.scan import all_files

_HASH = re.compile(r"[0-9a-f]{64}")
#: First line of every manifest, by which it is found.
_HEAD = "# Data set manifest of vmaf-ensemble-kit"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One file; ``path`` is relative to the folder, with ``/``."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What is wrong with one file: ``missing``, ``extra``, ``size`` or ``sha256``."""

    path: str
    problem: str
    expected: str
    found: str


def manifests(folder: Path) -> tuple[Path, ...]:
    """The manifests at the top of a folder."""
    found = []
    for path in sorted(folder.glob("*.yaml")):
        with path.open("rb") as file:
            if file.read(len(_HEAD)) == _HEAD.encode():
                found.append(path)
    return tuple(found)


def files_of(folder: Path, *, without: tuple[Path, ...] = ()) -> list[Path]:
    """Every file below a folder but hidden ones and those left out."""
    if not folder.is_dir():
        raise BadInput(f"{folder} is not a folder", hint="Give the folder of a data set.")
    left_out = {path.resolve() for path in without}
    return [path for path in all_files(folder) if path.is_file() and path.resolve() not in left_out]


def describe(
    folder: Path, *, without: tuple[Path, ...], workers: int, advance: Callable[[str], None]
) -> tuple[Entry, ...]:
    """Size and hash of every file.

    Raises:
        BadInput: there is none.
    """

    def one(path: Path) -> Entry:
        name = path.relative_to(folder).as_posix()
        entry = Entry(path=name, size=path.stat().st_size, sha256=sha256_file(path))
        advance(name)
        return entry

    paths = files_of(folder, without=without)
    if not paths:
        raise BadInput(f"{folder} holds no file", hint="Give the folder of a data set.")
    return tuple(run_many(one, paths, workers=workers))


def write(target: Path, name: str, entries: tuple[Entry, ...]) -> None:
    """Write the manifest."""
    value = {"schema_version": contract.SCHEMA_VERSION, "dataset": name, "files": [vars(entry) for entry in entries]}
    text = yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=10_000)
    write_bytes(target, f"{_HEAD}\n{text}".encode())


def read(path: Path) -> tuple[Entry, ...]:
    """Read a manifest.

    Raises:
        Missing: there is no such file.
        BadInput: it is not one, or names a file outside its folder.
    """
    try:
        value: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise Missing(f"{path} is not there", hint="Run `dataset manifest` first.") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise BadInput(f"{path} cannot be read: {error}") from error
    try:
        version = value["schema_version"]
        entries = tuple(_entry(item, path) for item in value["files"])
    except (KeyError, TypeError) as error:
        raise BadInput(f"{path} is not a manifest of a data set: {error!r}") from error
    if version != contract.SCHEMA_VERSION:
        raise BadInput(f"{path}: schema version {version!r}, expected {contract.SCHEMA_VERSION}")
    if len({entry.path for entry in entries}) != len(entries):
        raise BadInput(f"{path}: a file is listed twice")
    return entries


def _entry(item: Mapping[str, Any], where: Path) -> Entry:
    name, size, digest = item["path"], item["size"], item["sha256"]
    if not isinstance(name, str) or not is_inside(name):
        raise BadInput(f"{where}: {name!r} is not a path inside the folder")
    if type(size) is not int or size < 0 or not isinstance(digest, str) or not _HASH.fullmatch(digest):
        raise BadInput(f"{where}: {name}: size {size!r} and sha256 {digest!r} are not a size and a hash")
    return Entry(path=name, size=size, sha256=digest)


def find(folder: Path) -> Path:
    """The manifest to check a folder against: its only ``.yaml`` one, else the list of a packed folder.

    Raises:
        Missing: there is none.
        BadInput: there is more than one.
    """
    found = manifests(folder)
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise BadInput(f"{folder} holds more than one manifest: {names}", hint="Choose one with --manifest.")
    if not found and (folder / PACK).is_file():
        return folder / PACK
    if not found:
        raise Missing(f"there is no manifest in {folder}", hint="Run `dataset manifest` first, or give --manifest.")
    return found[0]


def expected_by(manifest: Path) -> tuple[Entry, ...]:
    """What a manifest, or the list of a packed folder, says."""
    if manifest.name != PACK:
        return read(manifest)
    clips = read_pack(manifest.parent).clips
    return tuple(Entry(path=clip.path, size=clip.size, sha256=clip.sha256) for clip in clips)


def verify(
    folder: Path, manifest: Path, *, workers: int, advance: Callable[[str], None]
) -> tuple[tuple[Entry, ...], tuple[Fault, ...]]:
    """Compare a folder with its manifest; contents are hashed only where the size is right.

    Returns:
        What the manifest lists, and what is wrong.
    """
    entries = expected_by(manifest)
    packed = (folder / PACK, folder / groups.FILE) if manifest.name == PACK else ()
    there = {path.relative_to(folder).as_posix() for path in files_of(folder, without=(manifest, *packed))}

    def check(entry: Entry) -> Fault | None:
        fault = _fault(folder, entry)
        advance(entry.path)
        return fault

    faults = [fault for fault in run_many(check, entries, workers=workers) if fault is not None]
    extra = sorted(there - {entry.path for entry in entries})
    faults += [Fault(path=name, problem="extra", expected="not listed", found="there") for name in extra]
    return entries, tuple(faults)


def _fault(folder: Path, entry: Entry) -> Fault | None:
    path = folder / entry.path
    if not path.is_file():
        return Fault(path=entry.path, problem="missing", expected="there", found="not there")
    size = path.stat().st_size
    if size != entry.size:
        return Fault(path=entry.path, problem="size", expected=str(entry.size), found=str(size))
    digest = sha256_file(path)
    if digest != entry.sha256:
        return Fault(path=entry.path, problem="sha256", expected=entry.sha256, found=digest)
    return None
