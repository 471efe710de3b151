"""An operator's own build of the ``vmaf`` tool in ``binaries/<platform tag>/``: verified and added, checked again.

``vmaf.json`` in the same folder records the tool. A tool without a record (added by hand) is used too.
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

from kit import __version__
from kit.core import contract
from kit.core.errors import BadInput, PrerequisiteFailed
from kit.core.values import Scorer
from kit.system.fsio import TEMPORARY_PREFIX, atomic_path, json_bytes, sha256_file
from kit.system.outputs import require_writable
from kit.system.proc import Processes
from kit.system.validation import read_valid
from kit.video.ffmpeg import Ffmpeg
from kit.video.scorers import golden, vmaf_tool
from kit.video.scorers.teachers import CANONICAL
from kit.video.scorers.vmaf_tool import VmafTool

TOOL, RECORD = "vmaf", "vmaf.json"
_COPY = (
    "Nothing was added. A tool that runs in its own folder only needs other files there (shared libraries, a script's "
    "program): build it statically, or use it there with --vmaf-bin PATH."
)


@dataclass(frozen=True, kw_only=True)
class ToolRecord:
    """The content of ``vmaf.json``.

    Attributes:
        version: version in the output of ``--version``.
        libvmaf_version: version in its log.
        backends: verified backend to its golden scores (pair name to mean VMAF).
        not_proven: backend that failed the check to the reason.
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
class ToolCheck:
    """The check of a tool that was added earlier.

    Attributes:
        sha256: hash of the tool; None if it is missing.
        recorded: it has a readable record.
        backends: backends verified in this check; empty for a tool of another system.
        problem, remedy: what is wrong and what to do; empty for a valid tool.
    """

    platform: str
    sha256: str | None
    recorded: bool
    backends: tuple[str, ...] = ()
    problem: str = ""
    remedy: str = ""


def tool_folder(kit_root: Path, tag: str) -> Path:
    """Return the folder of the own build for a platform."""
    return kit_root / "binaries" / tag


def tool_in(place: Path) -> Path | None:
    """Return the tool in a platform's folder, if there is one.

    Raises:
        PrerequisiteFailed: it is not the file that was added, it is missing, or it is not a regular file.
        BadInput: the record is invalid.
    """
    tool = place / TOOL
    record = read_record(place)
    hint = f"Add the tool again with `binaries add PATH`, or remove binaries/{place.name}/{RECORD}."
    if not tool.is_file():
        if os.path.lexists(tool):
            raise PrerequisiteFailed(
                f"binaries/{place.name}/{TOOL} is not a regular file", hint="Replace it by the tool."
            )
        if record is not None:
            raise PrerequisiteFailed(f"binaries/{place.name} has {RECORD}, but no tool", hint=hint)
        return None
    if record is None:
        return tool
    if (digest := sha256_file(tool)) != record.sha256:
        raise PrerequisiteFailed(
            f"binaries/{place.name}/{TOOL} has changed: its SHA-256 is {digest}, {RECORD} has {record.sha256}",
            hint=hint,
        )
    return tool


def read_record(place: Path) -> ToolRecord | None:
    """Return the record in a platform's folder, if there is one.

    Raises:
        BadInput: it is invalid.
    """
    path = place / RECORD
    if not path.is_file():
        return None
    hint = f"Add the tool again with `binaries add PATH`, or remove binaries/{place.name}/{RECORD}."
    value = read_valid(path, "vmaf_tool", hint=hint)
    del value["schema_version"]
    return ToolRecord(**value)


def locate(tool: Path, *, ffmpeg: Ffmpeg, processes: Processes, backend: str = "cpu") -> VmafTool:
    """Return the tool in a platform's folder, not verified yet.

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


def add(path: Path, place: Path, *, ffmpeg: Ffmpeg, processes: Processes) -> ToolRecord:
    """Add a tool: verify a copy, then replace the earlier tool by it; change nothing on failure.

    The copy is verified, since a program may depend on files in its own folder.

    Raises:
        BadInput: the tool cannot be read, or the kit's folder cannot be written.
        PrerequisiteFailed: it does not run, is another program, or does not reproduce the golden table on the CPU.
    """
    _check_readable(path)
    require_writable(
        place, option="binaries", hint="Use the tool from its own folder: --vmaf-bin PATH, or LIBVMAF_BIN."
    )
    try:
        # in the tool's final folder: execution may be forbidden there (noexec)
        with tempfile.TemporaryDirectory(prefix=TEMPORARY_PREFIX, dir=place) as scratch:
            copy = _copy(path, Path(scratch) / TOOL)
            tool = vmaf_tool.locate(
                copy, origin=f"copy of {path.name}", ffmpeg=ffmpeg, processes=processes, instead=_COPY
            )
            record = _verify(tool, place.name, processes)
            stored = json_bytes({"schema_version": contract.SCHEMA_VERSION, **asdict(record)})
            # renamed in reverse order, so that the tool always comes before its record
            with atomic_path(place / RECORD) as record_file, atomic_path(place / TOOL) as tool_file:
                record_file.write_bytes(stored)
                _copy(copy, tool_file)
    finally:
        with contextlib.suppress(OSError):  # not empty: it has a tool
            place.rmdir()
    return record


def _copy(path: Path, target: Path) -> Path:
    shutil.copyfile(path, target)
    target.chmod(0o755)
    return target


def _check_readable(path: Path) -> None:
    if not path.is_file():
        problem = "is a folder" if path.is_dir() else "is not a regular file" if path.exists() else "does not exist"
        raise BadInput(f"{path} {problem}", hint="Give the path of a vmaf tool.")
    try:
        with path.open("rb"):
            pass
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}", hint="Give the path of a vmaf tool.") from error


def _verify(tool: VmafTool, tag: str, processes: Processes) -> ToolRecord:
    """Verify a tool on the CPU, and on CUDA if it supports GPUs; return its record."""
    proofs = {"cpu": vmaf_tool.check(tool, teacher=CANONICAL, processes=processes)}
    not_proven = {}
    if tool.masks_gpu:
        try:
            proofs["cuda"] = _check_cuda(tool, processes)
        except PrerequisiteFailed as error:
            not_proven["cuda"] = processes.redact(error.message)
    return ToolRecord(
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


def _check_cuda(tool: VmafTool, processes: Processes) -> Scorer:
    return vmaf_tool.check(replace(tool, backend="cuda"), teacher=CANONICAL, processes=processes)


def runs_on(tag: str, here: str) -> bool:
    """Return whether platform tags have the same system and processor."""
    return tag.rpartition("-")[0] == here.rpartition("-")[0]


def check_all(kit_root: Path, here: str, *, ffmpeg: Ffmpeg, processes: Processes) -> tuple[ToolCheck, ...]:
    """Check every own build: its hash, and its golden scores if it runs on this box.

    Args:
        here: platform tag of this box.
    """
    root = tool_folder(kit_root, here).parent
    places = sorted(root.iterdir()) if root.is_dir() else []
    places = [place for place in places if os.path.lexists(place / TOOL) or os.path.lexists(place / RECORD)]
    return tuple(_check(place, runs=runs_on(place.name, here), ffmpeg=ffmpeg, processes=processes) for place in places)


def _check(place: Path, *, runs: bool, ffmpeg: Ffmpeg, processes: Processes) -> ToolCheck:
    path = place / TOOL
    check = ToolCheck(platform=place.name, sha256=sha256_file(path) if path.is_file() else None, recorded=False)
    try:
        record = read_record(place)
        check = replace(check, recorded=record is not None)
        tool = tool_in(place)
        if tool is not None and runs:
            located = locate(tool, ffmpeg=ffmpeg, processes=processes)
            vmaf_tool.check(located, teacher=CANONICAL, processes=processes)
            check = replace(check, backends=("cpu",))
            if record is not None and "cuda" in record.backends:
                _check_cuda(located, processes)
                check = replace(check, backends=("cpu", "cuda"))
    except (BadInput, PrerequisiteFailed) as error:
        return replace(check, problem=error.message, remedy=error.hint or error.default_hint)
    return check
