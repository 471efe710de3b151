"""Unpacking: every clip of a packed folder as ``.yuv``, bit for bit, proved before it gets its name."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from kit.core.errors import BadInput, CheckFailed, DiskFull, KitError, Several
from kit.core.geometry import PIXEL_FORMATS, RawFormat, identity_header, parse_name
from kit.core.values import Geometry, Source, SourceFile
from kit.system.fsio import atomic_path, locked, remove_temporaries, write_json
from kit.system.pool import run_many
from kit.video.datasets.pack import Done, Workshop, raw_bytes, refuse_foreign_clips, refuse_nested, write_groups
from kit.video.datasets.packed import PackedClip, read_pack
from kit.video.datasets.room import Room
from kit.video.sources.identity import identify, remember
from kit.video.sources.read import frames_of
from kit.video.sources.scan import inspect


@dataclass(frozen=True, kw_only=True)
class _Task:
    """One clip to be given back.

    Attributes:
        sidecar: whether the name does not tell the geometry.
    """

    clip: PackedClip
    packed: Path
    target: Path
    sidecar: bool


def unpack(folder: Path, out: Path, *, shop: Workshop) -> Done:
    """Give back every clip as ``.yuv``, with a sidecar where its name does not tell its geometry, and ``groups.json``.

    A file that is there already is kept if it is the same source.

    Raises:
        Missing: the folder has no ``pack.json``.
        Several: clips that are not there, damaged, or another source than the list says; the others are given back.
        DiskFull: there is no room; what is finished is kept.
    """
    listed = read_pack(folder)
    refuse_nested(folder, out)
    with locked(out):
        remove_temporaries(out)
        tasks = _tasks(listed.clips, folder, out)
        refuse_foreign_clips(out, {task.target for task in tasks})
        finished = set(
            run_many(lambda task: _same(task, shop), tasks, workers=shop.workers, stop=shop.tools.processes.stop)
        ) - {None}
        pending = [task for task in tasks if task.target not in finished]
        room = Room(out)
        room.ask(sum(raw_bytes(task.clip.geometry) for task in pending), f"unpacking {len(pending)} clips")
        for task in tasks:
            if task.target in finished:
                shop.advance(task.clip.label)
        results = run_many(
            lambda task: _attempt(task, room, shop), pending, workers=shop.workers, stop=shop.tools.processes.stop
        )
        if problems := [result for result in results if result is not None]:
            raise _failure(problems, len(tasks))
        write_groups(out, {task.target.relative_to(out).as_posix(): task.clip.group for task in tasks})
    return Done(
        made=tuple(task.clip.label for task in pending),
        kept=tuple(task.clip.label for task in tasks if task.target in finished),
        bytes=sum(raw_bytes(task.clip.geometry) for task in tasks),
    )


def _failure(problems: list[KitError], clips: int) -> KitError:
    """Where every problem is a clip found wanting, so is the whole."""
    several = Several(f"{len(problems)} of {clips} clips cannot be unpacked", problems)
    if all(isinstance(problem, CheckFailed) for problem in problems):
        return CheckFailed(several.message, hint="Copy those clips again and start the same command.")
    return several


def _tasks(clips: tuple[PackedClip, ...], folder: Path, out: Path) -> list[_Task]:
    """Where each clip goes; a name that is taken is told apart by the clip's label."""
    taken: set[str] = set()
    tasks = []
    for clip in clips:
        place = PurePosixPath(clip.path).parent
        names = [*_names(clip), (f"{clip.label}-{clip.src_sha256[:8]}", True)]
        stem, sidecar = next((stem, sidecar) for stem, sidecar in names if str(place / stem).lower() not in taken)
        taken.add(str(place / stem).lower())
        tasks.append(_Task(clip=clip, packed=folder / clip.path, target=out / place / f"{stem}.yuv", sidecar=sidecar))
    return tasks


def _names(clip: PackedClip) -> Iterator[tuple[str, bool]]:
    """Stems for a clip, best first, each with whether it needs a sidecar."""
    original = PurePosixPath(clip.original)
    if original.suffix.lower() == ".yuv":
        yield original.stem, not tells(original.stem, clip.geometry)
        return
    full = full_name(PurePosixPath(clip.path).stem, clip.geometry)
    yield full, not tells(full, clip.geometry)


def full_name(stem: str, geometry: Geometry) -> str:
    """``Name_WxH_FPSfps_BITbit_CHROMA``, the rate with as many decimals as name it."""
    fmt, fps = PIXEL_FORMATS[geometry.pix_fmt], geometry.fps
    rate = str(fps.numerator) if fps.denominator == 1 else f"{float(fps):.3f}".rstrip("0")
    try:
        proper = parse_name(stem)[0]
    except BadInput:
        proper = stem
    return f"{proper}_{geometry.width}x{geometry.height}_{rate}fps_{fmt.bits}bit_{fmt.chroma}"


def tells(stem: str, geometry: Geometry) -> bool:
    """Whether the kit reads this geometry from a ``.yuv`` of this name."""
    try:
        _, named, fps = parse_name(stem)
    except BadInput:
        return False
    if named is not None:
        return named.with_frames(geometry.frames) == geometry
    if fps is None:
        return False
    return geometry == RawFormat(width=1920, height=1080, pix_fmt="yuv420p", fps=fps).with_frames(geometry.frames)


def _same(task: _Task, shop: Workshop) -> Path | None:
    """The target, if it is there and the same source."""
    size = raw_bytes(task.clip.geometry)
    if not task.target.is_file() or task.target.stat().st_size != size:
        return None
    file = SourceFile(path=task.target, kind="yuv", label=task.clip.label, geometry=task.clip.geometry)
    if identify(file, shop.tools, shop.cache).sha256 != task.clip.src_sha256:
        return None
    _write_sidecar(task)
    return task.target


def _write_sidecar(task: _Task) -> None:
    """The sidecar where the name does not tell the geometry; one that is in the way of a name that does is removed."""
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


def _attempt(task: _Task, room: Room, shop: Workshop) -> KitError | None:
    try:
        with room.held(raw_bytes(task.clip.geometry), task.clip.label):
            _unpack_one(task, shop)
    except DiskFull:
        raise
    except KitError as error:
        return error
    shop.advance(task.clip.label)
    return None


def _unpack_one(task: _Task, shop: Workshop) -> None:
    clip = task.clip
    file = _found(task, shop)
    digest = hashlib.sha256(identity_header(clip.geometry))
    with atomic_path(task.target) as temporary:
        with temporary.open("wb") as target:
            for frame in frames_of(file, shop.tools):
                shop.tools.processes.check()
                digest.update(frame)
                target.write(frame)
        if digest.hexdigest() != clip.src_sha256:
            raise CheckFailed(
                f"{clip.path}: unpacks to {digest.hexdigest()[:12]}, the list says {clip.src_sha256[:12]}",
                hint="Copy the clip again; it is damaged or another one.",
            )
        _write_sidecar(task)
    given = SourceFile(path=task.target, kind="yuv", label=clip.label, geometry=clip.geometry)
    remember(given, Source(file=given, sha256=clip.src_sha256, group=clip.group), shop.cache)


def _found(task: _Task, shop: Workshop) -> SourceFile:
    """The packed clip, of the geometry that the list says."""
    if not task.packed.is_file():
        raise CheckFailed(f"{task.clip.path}: listed and not there", hint="Copy it again.")
    try:
        file = inspect(task.packed, task.clip.label, assumed=None, tools=shop.tools)
    except BadInput as error:
        raise CheckFailed(error.message, hint=error.hint) from error
    if file.geometry != task.clip.geometry:
        raise CheckFailed(f"{task.clip.path}: is {file.geometry}, the list says {task.clip.geometry}")
    return file
