"""``<name>.yaml``: path, size and SHA-256 of every file of a data set; write, read and verify it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from kit.core import contract
from kit.core.errors import BadInput, Missing
from kit.system.fsio import sha256_file, write_bytes
from kit.system.pool import run_many
from kit.system.validation import require
from kit.video.datasets import groups
from kit.video.datasets.packed import PACK, is_inside, read_pack
from kit.video.sources.scan import all_files

_AGAIN = "Run `dataset manifest` again."
#: First line of every manifest, which identifies it.
_HEAD = "# Data set manifest of vmaf-ensemble-kit"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A file; ``path`` is relative to the folder, with ``/``."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class FileProblem:
    """A problem of one file: ``missing``, ``extra``, ``size`` or ``sha256``."""

    path: str
    problem: str
    expected: str
    found: str


def manifests(folder: Path) -> tuple[Path, ...]:
    """Return the manifests at the top of a folder."""
    return tuple(path for path in sorted(folder.glob("*.yaml")) if path.read_bytes().startswith(_HEAD.encode()))


def files_of(folder: Path, *, without: tuple[Path, ...] = ()) -> list[Path]:
    """Return the files below a folder, without hidden ones and ``without``."""
    if not folder.is_dir():
        raise BadInput(f"{folder} is not a folder", hint="Give the folder of a data set.")
    left_out = {path.resolve() for path in without}
    return [path for path in all_files(folder) if path.is_file() and path.resolve() not in left_out]


def describe(
    folder: Path, *, without: tuple[Path, ...], workers: int, advance: Callable[[str], None]
) -> tuple[Entry, ...]:
    """Return size and hash of every file.

    Raises:
        BadInput: the folder has no files.
    """

    def one(path: Path) -> Entry:
        name = path.relative_to(folder).as_posix()
        entry = Entry(path=name, size=path.stat().st_size, sha256=sha256_file(path))
        advance(name)
        return entry

    paths = files_of(folder, without=without)
    if not paths:
        raise BadInput(f"{folder} has no files", hint="Give the folder of a data set.")
    return tuple(run_many(one, paths, workers=workers))


def write(target: Path, name: str, entries: tuple[Entry, ...]) -> None:
    """Write the manifest."""
    value = {"schema_version": contract.SCHEMA_VERSION, "dataset": name, "files": [vars(entry) for entry in entries]}
    text = yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=10_000)
    write_bytes(target, f"{_HEAD}\n{text}".encode())


def read(path: Path) -> tuple[Entry, ...]:
    """Read a manifest.

    Raises:
        Missing: the file does not exist.
        BadInput: another format, or a path outside the folder.
    """
    try:
        value: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise Missing(f"{path} does not exist", hint="Run `dataset manifest` first.") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise BadInput(f"{path} cannot be read: {error}", hint=_AGAIN) from error
    require("dataset_manifest", value, where=path, hint=_AGAIN)
    entries = tuple(Entry(**item) for item in value["files"])
    if outside := [entry.path for entry in entries if not is_inside(entry.path)]:
        raise BadInput(f"{path}: paths outside the folder: {', '.join(outside)}", hint=_AGAIN)
    if len({entry.path for entry in entries}) != len(entries):
        raise BadInput(f"{path}: a file is listed twice", hint=_AGAIN)
    return entries


def find(folder: Path) -> Path:
    """Return the manifest of a folder: its only ``.yaml`` manifest, else the list of a packed folder.

    Raises:
        Missing: the folder has no manifest.
        BadInput: the folder has several.
    """
    candidates = manifests(folder)
    if len(candidates) > 1:
        names = ", ".join(path.name for path in candidates)
        raise BadInput(f"{folder} has several manifests: {names}", hint="Choose one with --manifest.")
    if not candidates and (folder / PACK).is_file():
        return folder / PACK
    if not candidates:
        raise Missing(f"{folder} has no manifest", hint="Run `dataset manifest` first, or give --manifest.")
    return candidates[0]


def expected_by(manifest: Path) -> tuple[Entry, ...]:
    """Return the entries of a manifest, or of the list of a packed folder."""
    if manifest.name != PACK:
        return read(manifest)
    clips = read_pack(manifest.parent).clips
    return tuple(Entry(path=clip.path, size=clip.size, sha256=clip.sha256) for clip in clips)


def verify(
    folder: Path, manifest: Path, *, workers: int, advance: Callable[[str], None]
) -> tuple[tuple[Entry, ...], tuple[FileProblem, ...]]:
    """Compare a folder with its manifest; only files of the right size are hashed.

    Returns:
        The entries of the manifest, and the problems.
    """
    entries = expected_by(manifest)
    packed = (folder / PACK, folder / groups.FILE) if manifest.name == PACK else ()
    present = {path.relative_to(folder).as_posix() for path in files_of(folder, without=(manifest, *packed))}

    def check(entry: Entry) -> FileProblem | None:
        problem = _problem_of(folder, entry)
        advance(entry.path)
        return problem

    problems = [problem for problem in run_many(check, entries, workers=workers) if problem is not None]
    extra = sorted(present - {entry.path for entry in entries})
    problems += [FileProblem(path=name, problem="extra", expected="not listed", found="present") for name in extra]
    return entries, tuple(problems)


def _problem_of(folder: Path, entry: Entry) -> FileProblem | None:
    path = folder / entry.path
    if not path.is_file():
        return FileProblem(path=entry.path, problem="missing", expected="present", found="missing")
    size = path.stat().st_size
    if size != entry.size:
        return FileProblem(path=entry.path, problem="size", expected=str(entry.size), found=str(size))
    digest = sha256_file(path)
    if digest != entry.sha256:
        return FileProblem(path=entry.path, problem="sha256", expected=entry.sha256, found=digest)
    return None
