"""Pack: lossless copies of reference clips, each verified to be the same source before it gets its name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from kit.core import contract
from kit.core.errors import BadInput, DiskFull, KitError, Several
from kit.core.geometry import frame_bytes
from kit.core.values import Geometry, Source
from kit.system.fsio import atomic_path, locked, remove_temporaries, sha256_file, write_json
from kit.system.outputs import refuse_foreign
from kit.system.pool import run_many
from kit.video.datasets import groups
from kit.video.datasets.disk_space import DiskSpace
from kit.video.datasets.load import ClipFolder
from kit.video.datasets.packed import Pack, PackedClip, write_pack
from kit.video.ffmpeg import damage, lossless_command
from kit.video.sources.identity import identify, identify_all, measure, remember
from kit.video.sources.read import Tools
from kit.video.sources.scan import CLIPS, inspect

#: Codec to the encoder's arguments. FFV1: intra only, with a checksum in every slice to detect damage.
CODECS = {
    "ffv1": ("-c:v", "ffv1", "-level", "3", "-g", "1", "-slicecrc", "1"),
    "x265": ("-c:v", "libx265", "-preset", "medium", "-x265-params", "lossless=1:log-level=warning:info=0"),
}
#: Approximate size of a lossless copy of filmed video relative to its frames.
_EXPECTED = 0.6
#: Time limit of a copy in seconds: a minute, and more for every million samples (for x265).
_BASE_TIMEOUT, _TIMEOUT_PER_MEGAPIXEL = 60.0, 8.0


@dataclass(frozen=True, kw_only=True)
class PackContext:
    """Tools and settings of packing and unpacking.

    Attributes:
        workers: clips at once.
        advance: called with a clip's name after each clip.
    """

    tools: Tools
    cache: Path
    workers: int
    advance: Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class PackResult:
    """Labels of clips written now and of clips kept, and bytes of all."""

    made: tuple[str, ...]
    kept: tuple[str, ...]
    bytes: int


def raw_bytes(geometry: Geometry) -> int:
    """Return the bytes of all frames."""
    return frame_bytes(geometry.width, geometry.height, geometry.pix_fmt) * geometry.frames


def pack(opened: ClipFolder, out: Path, *, codec: str, context: PackContext) -> PackResult:
    """Write a lossless copy of every reference clip to ``out``, then ``groups.json`` and ``pack.json``.

    A copy of an earlier run is kept if it is the same source; another file of its name is replaced.

    Raises:
        BadInput: ``out`` is inside the folder of clips or the other way round, or ``out`` has other clips.
        Several: clips that cannot be packed, with all reasons; the others are packed.
        DiskFull: no space left; finished copies are kept.
    """
    refuse_nested(opened.folder, out)
    with locked(out):
        remove_temporaries(out)
        targets = _targets(opened, out)
        refuse_foreign_clips(out, set(targets.values()))
        sources = identify_all(opened.files, context.tools, context.cache, workers=context.workers)
        finished = _finished(sources, targets, context)
        pending = [source for source in sources if source.file.path not in finished]
        for source in sources:
            if source.file.path in finished:
                context.advance(source.label)
        problems = process_clips(
            pending,
            lambda source: _pack_one(source, targets[source.file.path], codec=codec, context=context),
            tried="packing",
            expected=_EXPECTED,
            out=out,
            context=context,
        )
        if problems:
            raise Several(f"{len(problems)} of {len(sources)} clips cannot be packed", problems)
        return _write_lists(opened, sources, targets, out, codec=codec, finished=finished, context=context)


class _Clip(Protocol):
    @property
    def label(self) -> str: ...

    @property
    def geometry(self) -> Geometry: ...


C = TypeVar("C", bound=_Clip)


def process_clips(
    clips: Sequence[C],
    action: Callable[[C], None],
    *,
    tried: str,
    expected: float,
    out: Path,
    context: PackContext,
) -> list[KitError]:
    """Run an action for every clip in parallel, each with disk space for its frames reserved.

    Args:
        tried: ``packing`` or ``unpacking``.
        expected: expected size of all files relative to their frames.
        out: the folder that the action writes to.

    Returns:
        The errors of single clips.

    Raises:
        DiskFull: no space left.
    """
    space = DiskSpace(out)
    space.require(int(expected * sum(raw_bytes(clip.geometry) for clip in clips)), f"{tried} {len(clips)} clips")

    def attempt(clip: C) -> KitError | None:
        try:
            with space.reserve(raw_bytes(clip.geometry), clip.label):
                action(clip)
        except DiskFull:
            raise
        except KitError as error:
            return error
        context.advance(clip.label)
        return None

    results = run_many(attempt, clips, workers=context.workers, stop=context.tools.processes.stop)
    return [result for result in results if result is not None]


def refuse_nested(folder: Path, out: Path) -> None:
    """Refuse folders inside each other: copies would become clips of the original folder, or the other way round."""
    inner, outer = folder.resolve(), out.resolve()
    if inner.is_relative_to(outer) or outer.is_relative_to(inner):
        raise BadInput(f"one of {out} and {folder} is inside the other", hint="Give a separate folder with --out.")


def refuse_foreign_clips(out: Path, own: set[Path]) -> None:
    """Refuse other clips in ``out``, which would be used as sources."""
    clips = [path for path in sorted(out.rglob("*")) if path.suffix.lower() in CLIPS]
    refuse_foreign(clips, own.__contains__, option="--out", hint="Remove these clips, or give another --out.")


def _targets(opened: ClipFolder, out: Path) -> dict[Path, Path]:
    """Return the path of each copy: folder and stem of its clip, or its whole name if two would be equal."""
    names = {file.path: file.path.relative_to(opened.folder).with_suffix(".mkv") for file in opened.files}
    counts = Counter(str(name).lower() for name in names.values())
    for file in opened.files:
        if counts[str(names[file.path]).lower()] > 1:
            names[file.path] = names[file.path].with_name(f"{file.path.name}.mkv")
    counts = Counter(str(name).lower() for name in names.values())
    if clashing := sorted(path.name for path, name in names.items() if counts[str(name).lower()] > 1):
        raise BadInput(f"the copies of {', '.join(clashing)} would have the same name", hint="Rename one of the clips.")
    return {path: out / name for path, name in names.items()}


def _finished(sources: Sequence[Source], targets: dict[Path, Path], context: PackContext) -> set[Path]:
    """Return the clips with a copy that is the same source; an unreadable copy is written again."""

    def same(source: Source) -> bool:
        target = targets[source.file.path]
        if not target.is_file() or target.stat().st_size == 0:
            return False
        try:
            file = inspect(target, source.label, assumed=None, tools=context.tools)
            return identify(file, context.tools, context.cache).sha256 == source.sha256
        except KitError:
            return False

    kept = run_many(same, sources, workers=context.workers, stop=context.tools.processes.stop)
    return {source.file.path for source, is_same in zip(sources, kept, strict=True) if is_same}


def _pack_one(source: Source, target: Path, *, codec: str, context: PackContext) -> None:
    tools, geometry = context.tools, source.geometry
    megapixels = geometry.width * geometry.height * geometry.frames / 1e6
    with atomic_path(target) as temporary:
        done = tools.processes.run(
            lossless_command(tools.ffmpeg, source.file, CODECS[codec], temporary),
            tried=f"packing {source.label} with {codec}",
            timeout=_BASE_TIMEOUT + _TIMEOUT_PER_MEGAPIXEL * megapixels,
            hint="" if codec == "ffv1" else "x265 does not support every format and size; omit --codec.",
        )
        if line := damage(done.stderr):
            raise BadInput(f"{source.file.path.name}: packing failed\n    {line}", hint="Check the clip.")
        copy = measure(inspect(temporary, source.label, assumed=None, tools=tools), tools)
        if copy.sha256 != source.sha256:
            raise _difference(source, copy)
    remember(inspect(target, source.label, assumed=None, tools=tools), copy, context.cache)


def _difference(source: Source, copy: Source) -> BadInput:
    changed = [
        f"{name} {getattr(source.geometry, name)} became {getattr(copy.geometry, name)}"
        for name in ("width", "height", "pix_fmt", "range", "fps", "frames")
        if getattr(source.geometry, name) != getattr(copy.geometry, name)
    ]
    return BadInput(
        f"{source.file.path.name}: the copy is another source: {', '.join(changed) or 'its frames differ'}",
        hint="Send the clip itself; .mkv cannot store it.",
    )


def _write_lists(
    opened: ClipFolder,
    sources: Sequence[Source],
    targets: dict[Path, Path],
    out: Path,
    *,
    codec: str,
    finished: set[Path],
    context: PackContext,
) -> PackResult:
    """Write ``groups.json`` and ``pack.json``."""

    def describe(source: Source) -> PackedClip:
        target = targets[source.file.path]
        return PackedClip(
            path=target.relative_to(out).as_posix(),
            size=target.stat().st_size,
            sha256=sha256_file(target),
            src_sha256=source.sha256,
            label=source.label,
            group=source.group,
            original=source.file.path.name,
            geometry=source.geometry,
        )

    clips = tuple(run_many(describe, sources, workers=context.workers))
    write_groups(out, {clip.path: clip.group for clip in clips})
    write_pack(out, Pack(dataset=opened.name, codec=codec, clips=clips))
    return PackResult(
        made=tuple(source.label for source in sources if source.file.path not in finished),
        kept=tuple(source.label for source in sources if source.file.path in finished),
        bytes=sum(clip.size for clip in clips),
    )


def write_groups(folder: Path, named: dict[str, str]) -> None:
    """Write ``groups.json`` into the folder of the clips."""
    write_json(folder / groups.FILE, {"schema_version": contract.SCHEMA_VERSION, "groups": named})
