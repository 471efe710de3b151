"""An operator's own build of the ``vmaf`` tool under ``binaries/<platform tag>/``: adopted with proof, checked again.

``vmaf.json`` beside it records what was adopted. A tool without a record (put there by hand) is used too.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kit import __version__
from kit.core import contract
from kit.core.errors import BadInput, PrerequisiteFailed
from kit.core.values import Scorer
from kit.system.fsio import TEMPORARY_PREFIX, atomic_path, json_bytes, read_json, sha256_file
from kit.system.outputs import require_writable
from kit.system.proc import Processes
from kit.video.ffmpeg import Ffmpeg
from kit.video.scorers import golden, vmaf_tool
from kit.video.scorers.teachers import CANONICAL
from kit.video.scorers.vmaf_tool import VmafTool

TOOL, RECORD = "vmaf", "vmaf.json"
_COPY = (
    "Nothing was kept. If it runs where it lies, it needs files beside it (shared libraries, a script's program): "
    "build it statically, or use it from there with --vmaf-bin PATH."
)


@dataclass(frozen=True, kw_only=True)
class Record:
    """What ``vmaf.json`` holds.

    Attributes:
        version: what the tool says it is; libvmaf_version: what its log says.
        backends: backend that was proven to its golden answers (pair name to mean VMAF).
        not_proven: backend that was tried and did not prove itself to the reason.
    """

    sha256: str
    size: int
    version: str
    libvmaf_version: str
    platform: str
    golden_version: int
    backends: Mapping[str, Mapping[str, float]]
    not_proven: Mapping[str, str]
    kit_version: str
    added_at_utc: str


@dataclass(frozen=True, kw_only=True)
class Checked:
    """A tool that was looked at again.

    Attributes:
        sha256: hash of what lies there; None where nothing does.
        recorded: there is a readable record of it.
        backends: those that proved themselves now; none where it is made for another system.
        problem, remedy: what is wrong and what helps; empty where nothing is.
    """

    platform: str
    sha256: str | None
    recorded: bool
    backends: tuple[str, ...] = ()
    problem: str = ""
    remedy: str = ""


def folder(kit_root: Path, tag: str) -> Path:
    """Where the own build for a platform lies."""
    return kit_root / "binaries" / tag


def tool_in(place: Path) -> Path | None:
    """The tool in a platform's folder; None where there is none.

    Raises:
        PrerequisiteFailed: it is not the file that was added, the one that was added is gone, or it is no file.
        BadInput: the record cannot be read.
    """
    tool = place / TOOL
    record = read_record(place)
    hint = f"Add the tool again with `binaries add PATH`, or remove binaries/{place.name}/{RECORD}."
    if not tool.is_file():
        if os.path.lexists(tool):
            raise PrerequisiteFailed(
                f"binaries/{place.name}/{TOOL} is no regular file", hint="Put the tool itself there."
            )
        if record is not None:
            raise PrerequisiteFailed(f"binaries/{place.name}: {RECORD} is there, and the tool is not", hint=hint)
        return None
    if record is None:
        return tool
    if (found := sha256_file(tool)) != record.sha256:
        raise PrerequisiteFailed(
            f"binaries/{place.name}/{TOOL} is not the file that was added: its SHA-256 is {found}, "
            f"{RECORD} has {record.sha256}",
            hint=hint,
        )
    return tool


def read_record(place: Path) -> Record | None:
    """The record in a platform's folder; None where there is none.

    Raises:
        BadInput: it cannot be read.
    """
    path = place / RECORD
    if not path.is_file():
        return None
    hint = f"Add the tool again with `binaries add PATH`, or remove binaries/{place.name}/{RECORD}."
    try:
        value: Any = read_json(path)
        if value.pop("schema_version") != contract.SCHEMA_VERSION:
            raise BadInput(f"{path} has another schema version than {contract.SCHEMA_VERSION}")
        return Record(**value)
    except BadInput as error:
        raise BadInput(error.message, hint=hint) from error
    except (KeyError, TypeError, AttributeError) as error:
        raise BadInput(f"{path} is no record of a vmaf tool: {error!r}", hint=hint) from error


def locate(tool: Path, *, ffmpeg: Ffmpeg, processes: Processes, backend: str = "cpu") -> VmafTool:
    """The tool of a platform's folder, not proven yet.

    Raises:
        PrerequisiteFailed: it does not run.
    """
    place = f"binaries/{tool.parent.name}"
    return vmaf_tool.locate(
        tool,
        origin=place,
        ffmpeg=ffmpeg,
        processes=processes,
        backend=backend,
        instead=f"Remove {place} to use ffmpeg's filter, or give another tool with --vmaf-bin.",
    )


def add(path: Path, place: Path, *, ffmpeg: Ffmpeg, processes: Processes) -> Record:
    """Adopt a tool: a copy of it proves itself and takes the place of what was there; else nothing changes.

    The copy is what is proven, since a program may depend on what lies beside it.

    Raises:
        BadInput: it is no readable file, or the kit's folder cannot be written.
        PrerequisiteFailed: it does not run, is another program, or does not reproduce the golden table on the CPU.
    """
    _readable(path)
    require_writable(
        place, option="binaries", hint="Use the tool from its own folder: --vmaf-bin PATH, or LIBVMAF_BIN."
    )
    try:
        # in the folder it will lie in: what may be run elsewhere need not be allowed here
        with tempfile.TemporaryDirectory(prefix=TEMPORARY_PREFIX, dir=place) as scratch:
            copy = _copied(path, Path(scratch) / TOOL)
            tool = vmaf_tool.locate(
                copy, origin=f"copy of {path.name}", ffmpeg=ffmpeg, processes=processes, instead=_COPY
            )
            record = _proven(tool, place.name, processes)
            stored = json_bytes({"schema_version": contract.SCHEMA_VERSION, **asdict(record)})
            # renamed in reverse order: no record ever stands beside a tool that is still to come
            with atomic_path(place / RECORD) as record_file, atomic_path(place / TOOL) as tool_file:
                record_file.write_bytes(stored)
                _copied(copy, tool_file)
    finally:
        with contextlib.suppress(OSError):  # not empty: it holds an earlier tool, or this one
            place.rmdir()
    return record


def _copied(path: Path, target: Path) -> Path:
    shutil.copyfile(path, target)
    target.chmod(0o755)
    return target


def _readable(path: Path) -> None:
    if not path.is_file():
        found = "is a folder" if path.is_dir() else "is no regular file" if path.exists() else "is not there"
        raise BadInput(f"{path} {found}", hint="Give the path of a vmaf tool.")
    try:
        with path.open("rb"):
            pass
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}") from error


def _proven(tool: VmafTool, tag: str, processes: Processes) -> Record:
    """The record of a tool, once it has proven itself on the CPU; CUDA is tried where the tool knows of GPUs."""
    proofs = {"cpu": vmaf_tool.check(tool, teacher=CANONICAL, processes=processes)}
    not_proven = {}
    if tool.masks_gpu:
        try:
            proofs["cuda"] = _on_cuda(tool, processes)
        except PrerequisiteFailed as error:
            not_proven["cuda"] = processes.redact(error.message)
    return Record(
        sha256=sha256_file(tool.path),
        size=tool.path.stat().st_size,
        version=tool.version,
        libvmaf_version=proofs["cpu"].version,
        platform=tag,
        golden_version=golden.GOLDEN_VERSION,
        backends={name: dict(proof.golden) for name, proof in proofs.items()},
        not_proven=not_proven,
        kit_version=__version__,
        added_at_utc=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    )


def _on_cuda(tool: VmafTool, processes: Processes) -> Scorer:
    return vmaf_tool.check(replace(tool, backend="cuda"), teacher=CANONICAL, processes=processes)


def runs_on(tag: str, here: str) -> bool:
    """Whether a tool for platform ``tag`` is one for the system and processor of the platform ``here``."""
    return tag.rpartition("-")[0] == here.rpartition("-")[0]


def check_all(kit_root: Path, here: str, *, ffmpeg: Ffmpeg, processes: Processes) -> tuple[Checked, ...]:
    """Look at every own build again: its hash always, its answers where it can run.

    Args:
        here: this box's platform tag.
    """
    root = folder(kit_root, here).parent
    places = sorted(root.iterdir()) if root.is_dir() else []
    places = [place for place in places if os.path.lexists(place / TOOL) or os.path.lexists(place / RECORD)]
    return tuple(_check(place, runs=runs_on(place.name, here), ffmpeg=ffmpeg, processes=processes) for place in places)


def _check(place: Path, *, runs: bool, ffmpeg: Ffmpeg, processes: Processes) -> Checked:
    path = place / TOOL
    found = Checked(platform=place.name, sha256=sha256_file(path) if path.is_file() else None, recorded=False)
    try:
        record = read_record(place)
        found = replace(found, recorded=record is not None)
        tool = tool_in(place)
        if tool is not None and runs:
            located = locate(tool, ffmpeg=ffmpeg, processes=processes)
            vmaf_tool.check(located, teacher=CANONICAL, processes=processes)
            found = replace(found, backends=("cpu",))
            if record is not None and "cuda" in record.backends:
                _on_cuda(located, processes)
                found = replace(found, backends=("cpu", "cuda"))
    except (BadInput, PrerequisiteFailed) as error:
        return replace(found, problem=error.message, remedy=error.hint or error.default_hint)
    return found
