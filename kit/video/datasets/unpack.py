"""Unpack: restore every clip of a packed folder as ``.yuv``, bit for bit, verified before it gets its name."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from kit.core.errors import BadInput, CheckFailed, KitError, Several
from kit.core.geometry import PIXEL_FORMATS, RawFormat, identity_header, parse_name
from kit.core.values import Geometry, Source, SourceFile
from kit.system.fsio import atomic_path, locked, remove_temporaries, write_json
from kit.system.pool import run_many
from kit.video.datasets.pack import (
    PackContext,
    PackResult,
    process_clips,
    raw_bytes,
    refuse_foreign_clips,
    refuse_nested,
    write_groups,
)
from kit.video.datasets.packed import PackedClip, read_pack
from kit.video.fingerprints.fingerprint import Fingerprinter
from kit.video.sources.identity import identify, remember
from kit.video.sources.read import frames_of
from kit.video.sources.scan import inspect


@dataclass(frozen=True, kw_only=True)
class _Task:
    """A clip to restore.

    Attributes:
        sidecar: the name does not have the geometry.
    """

    clip: PackedClip
    packed: Path
    target: Path
    sidecar: bool

    @property
    def label(self) -> str:
        return self.clip.label

    @property
    def geometry(self) -> Geometry:
        return self.clip.geometry


def unpack(folder: Path, out: Path, *, context: PackContext) -> PackResult:
    """Restore every clip as ``.yuv``, with a sidecar if its name does not have the geometry, and ``groups.json``.

    A file of an earlier run is kept if it is the same source.

    Raises:
        Missing: the folder has no ``pack.json``.
        CheckFailed, Several: missing or damaged clips, or clips that differ from the list; the others are restored.
        DiskFull: no space left; finished files are kept.
    """
    listed = read_pack(folder)
    refuse_nested(folder, out)
    with locked(out):
        remove_temporaries(out)
        tasks = _tasks(listed.clips, folder, out)
        refuse_foreign_clips(out, {task.target for task in tasks})
        finished = set(
            run_many(
                lambda task: _same(task, context), tasks, workers=context.workers, stop=context.tools.processes.stop
            )
        ) - {None}
        pending = [task for task in tasks if task.target not in finished]
        for task in tasks:
            if task.target in finished:
                context.advance(task.label)
        problems = process_clips(
            pending, lambda task: _unpack_one(task, context), tried="unpacking", expected=1, out=out, context=context
        )
        if problems:
            raise _failure(problems, len(tasks))
        write_groups(out, {task.target.relative_to(out).as_posix(): task.clip.group for task in tasks})
    return PackResult(
        made=tuple(task.clip.label for task in pending),
        kept=tuple(task.clip.label for task in tasks if task.target in finished),
        bytes=sum(raw_bytes(task.clip.geometry) for task in tasks),
    )


def _failure(problems: list[KitError], clips: int) -> KitError:
    """Return one error for all problems: CheckFailed if every problem is one."""
    several = Several(f"{len(problems)} of {clips} clips cannot be unpacked", problems)
    if all(isinstance(problem, CheckFailed) for problem in problems):
        return CheckFailed(several.message, hint="Copy those clips again, then run the same command again.")
    return several


def _tasks(clips: tuple[PackedClip, ...], folder: Path, out: Path) -> list[_Task]:
    """Return the target of each clip; one with a name in use gets its label and hash."""
    taken: set[str] = set()
    tasks = []
    for clip in clips:
        parent = PurePosixPath(clip.path).parent
        names = [*_names(clip), (f"{clip.label}-{clip.src_sha256[:8]}", True)]
        stem, sidecar = next((stem, sidecar) for stem, sidecar in names if str(parent / stem).lower() not in taken)
        taken.add(str(parent / stem).lower())
        tasks.append(_Task(clip=clip, packed=folder / clip.path, target=out / parent / f"{stem}.yuv", sidecar=sidecar))
    return tasks


def _names(clip: PackedClip) -> Iterator[tuple[str, bool]]:
    """Yield stems of a clip, best first, with whether a sidecar is needed."""
    original = PurePosixPath(clip.original)
    if original.suffix.lower() == ".yuv":
        yield original.stem, not name_has_geometry(original.stem, clip.geometry)
        return
    full = full_name(PurePosixPath(clip.path).stem, clip.geometry)
    yield full, not name_has_geometry(full, clip.geometry)


def full_name(stem: str, geometry: Geometry) -> str:
    """Return ``Name_WxH_FPSfps_BITbit_CHROMA``, the rate with up to three decimals."""
    fmt, fps = PIXEL_FORMATS[geometry.pix_fmt], geometry.fps
    rate = str(fps.numerator) if fps.denominator == 1 else f"{float(fps):.3f}".rstrip("0")
    try:
        proper = parse_name(stem)[0]
    except BadInput:
        proper = stem
    return f"{proper}_{geometry.width}x{geometry.height}_{rate}fps_{fmt.bits}bit_{fmt.chroma}"


def name_has_geometry(stem: str, geometry: Geometry) -> bool:
    """Return whether the kit parses this geometry from the name of a ``.yuv``."""
    try:
        _, named, fps = parse_name(stem)
    except BadInput:
        return False
    if named is not None:
        return named.with_frames(geometry.frames) == geometry
    if fps is None:
        return False
    return geometry == RawFormat(width=1920, height=1080, pix_fmt="yuv420p", fps=fps).with_frames(geometry.frames)


def _same(task: _Task, context: PackContext) -> Path | None:
    """Return the target if it exists and is the same source."""
    size = raw_bytes(task.clip.geometry)
    if not task.target.is_file() or task.target.stat().st_size != size:
        return None
    file = SourceFile(path=task.target, kind="yuv", label=task.clip.label, geometry=task.clip.geometry)
    if identify(file, context.tools, context.cache).sha256 != task.clip.src_sha256:
        return None
    _write_sidecar(task)
    return task.target


def _write_sidecar(task: _Task) -> None:
    """Write the sidecar if the name does not have the geometry, else remove an earlier one."""
    sidecar, geometry = task.target.with_suffix(".json"), task.clip.geometry
    if not task.sidecar:
        sidecar.unlink(missing_ok=True)
        return
    write_json(
        sidecar,
        {
            "width": geometry.width,
            "height": geometry.height,
            "pix_fmt": geometry.pix_fmt,
            "range": geometry.range,
            "fps": f"{geometry.fps.numerator}/{geometry.fps.denominator}",
        },
    )


def _unpack_one(task: _Task, context: PackContext) -> None:
    clip = task.clip
    file = _packed_clip(task, context)
    digest, fingerprinter = hashlib.sha256(identity_header(clip.geometry)), Fingerprinter(clip.geometry)
    with atomic_path(task.target) as temporary:
        with temporary.open("wb") as target:
            for frame in frames_of(file, context.tools):
                context.tools.processes.check()
                digest.update(frame)
                fingerprinter.add(frame)
                target.write(frame)
        if digest.hexdigest() != clip.src_sha256:
            raise CheckFailed(
                f"{clip.path}: identity is {digest.hexdigest()[:12]}, expected {clip.src_sha256[:12]}",
                hint="Copy the clip again; it is damaged or a different one.",
            )
        _write_sidecar(task)
    restored = SourceFile(path=task.target, kind="yuv", label=clip.label, geometry=clip.geometry)
    fingerprint = fingerprinter.result().as_dict()
    source = Source(file=restored, sha256=clip.src_sha256, group=clip.group, fingerprint=fingerprint)
    remember(restored, source, context.cache)


def _packed_clip(task: _Task, context: PackContext) -> SourceFile:
    """Return the packed clip and check its geometry."""
    if not task.packed.is_file():
        raise CheckFailed(f"{task.clip.path}: is missing", hint="Copy it again.")
    try:
        file = inspect(task.packed, task.clip.label, assumed=None, tools=context.tools)
    except BadInput as error:
        raise CheckFailed(error.message, hint=error.hint) from error
    if file.geometry != task.clip.geometry:
        raise CheckFailed(f"{task.clip.path}: is {file.geometry}, expected {task.clip.geometry}", hint="Copy it again.")
    return file
