"""Packing: lossless copies of reference clips, each proved to be the same source before it gets its name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from kit.core import contract
from kit.core.errors import BadInput, DiskFull, KitError, Several
from kit.core.geometry import frame_bytes
from kit.core.values import Geometry, Source, SourceFile
from kit.system.fsio import atomic_path, locked, remove_temporaries, sha256_file, write_json
from kit.system.outputs import refuse_foreign
from kit.system.pool import run_many
from kit.video.datasets import groups
from kit.video.datasets.load import Opened
from kit.video.datasets.packed import Pack, PackedClip, write_pack
from kit.video.datasets.room import Room
from kit.video.ffmpeg import damage, lossless_command
from kit.video.sources.identity import duplicates, identify, measure, remember
from kit.video.sources.read import Tools
from kit.video.sources.scan import CONTAINERS, inspect

#: Codec to the encoder's arguments. FFV1: intra only, a checksum in every slice, so that damage is seen.
CODECS = {
    "ffv1": ("-c:v", "ffv1", "-level", "3", "-g", "1", "-slicecrc", "1"),
    "x265": ("-c:v", "libx265", "-preset", "medium", "-x265-params", "lossless=1:log-level=warning:info=0"),
}
#: What a lossless copy of filmed video takes of its frames, about.
_EXPECTED = 0.6
#: Seconds a copy may take: a minute, and some for every million samples (x265 is the slow one).
_BASE_TIMEOUT, _TIMEOUT_PER_MEGAPIXEL = 60.0, 8.0


@dataclass(frozen=True, kw_only=True)
class Workshop:
    """What packing and unpacking work with.

    Attributes:
        workers: how many clips at once.
        advance: called with a clip's name when it is done.
    """

    tools: Tools
    cache: Path
    workers: int
    advance: Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Done:
    """What came of it: clips made now, and those that were there already."""

    made: tuple[str, ...]
    kept: tuple[str, ...]
    bytes: int


def raw_bytes(geometry: Geometry) -> int:
    """Bytes of all frames."""
    return frame_bytes(geometry.width, geometry.height, geometry.pix_fmt) * geometry.frames


def pack(opened: Opened, out: Path, *, codec: str, shop: Workshop) -> Done:
    """Write a lossless copy of every reference clip to ``out``, and ``groups.json`` and ``pack.json`` last.

    A copy that is there already is kept if it is the same source; another file of its name is replaced.

    Raises:
        BadInput: ``out`` and the folder of clips lie in each other, or ``out`` holds other clips.
        Several: clips that cannot be packed, with all reasons; the others are.
        DiskFull: there is no room; what is finished is kept.
    """
    refuse_nested(opened.folder, out)
    with locked(out):
        remove_temporaries(out)
        targets = _targets(opened, out)
        refuse_foreign_clips(out, set(targets.values()))
        sources = _identified(opened, shop)
        room = Room(out)
        finished = _finished(sources, targets, shop)
        pending = [source for source in sources if source.file.path not in finished]
        room.ask(
            int(_EXPECTED * sum(raw_bytes(source.geometry) for source in pending)), f"packing {len(pending)} clips"
        )

        def one(source: Source) -> KitError | None:
            return _attempt(source, targets[source.file.path], codec=codec, room=room, shop=shop)

        for source in sources:
            if source.file.path in finished:
                shop.advance(source.label)
        results = run_many(one, pending, workers=shop.workers, stop=shop.tools.processes.stop)
        if problems := [result for result in results if result is not None]:
            raise Several(f"{len(problems)} of {len(sources)} clips cannot be packed", problems)
        return _listed(opened, sources, targets, out, codec=codec, finished=finished, shop=shop)


def refuse_nested(folder: Path, out: Path) -> None:
    """The copies must not become clips of the folder they are made from, nor the other way round."""
    inner, outer = folder.resolve(), out.resolve()
    if inner.is_relative_to(outer) or outer.is_relative_to(inner):
        raise BadInput(f"{out} and {folder} lie in each other", hint="Give a folder of its own with --out.")


def refuse_foreign_clips(out: Path, own: set[Path]) -> None:
    """Clips in ``out`` that do not belong would be taken for sources there."""
    found = [path for path in sorted(out.rglob("*")) if path.suffix.lower() in CONTAINERS | {".yuv", ".y4m"}]
    refuse_foreign(found, own.__contains__, option="--out", hint="Remove these clips, or give another --out.")


def _targets(opened: Opened, out: Path) -> dict[Path, Path]:
    """Where each copy goes: the place and stem of its clip, or its whole name where two would meet."""
    names = {file.path: file.path.relative_to(opened.folder).with_suffix(".mkv") for file in opened.files}
    counts = Counter(str(name).lower() for name in names.values())
    for file in opened.files:
        if counts[str(names[file.path]).lower()] > 1:
            names[file.path] = names[file.path].with_name(f"{file.path.name}.mkv")
    met = Counter(str(name).lower() for name in names.values())
    if clashing := sorted(path.name for path, name in names.items() if met[str(name).lower()] > 1):
        raise BadInput(f"copies of {', '.join(clashing)} would have one name", hint="Rename one of the clips.")
    return {path: out / name for path, name in names.items()}


def _identified(opened: Opened, shop: Workshop) -> list[Source]:
    def one(file: SourceFile) -> Source | KitError:
        try:
            return identify(file, shop.tools, shop.cache)
        except KitError as error:
            return error

    results = run_many(one, opened.files, workers=shop.workers, stop=shop.tools.processes.stop)
    sources = [result for result in results if isinstance(result, Source)]
    problems = [result for result in results if isinstance(result, KitError)] + duplicates(sources)
    if problems:
        raise Several(f"{len(problems)} problems with the clips", problems)
    return sources


def _finished(sources: Sequence[Source], targets: dict[Path, Path], shop: Workshop) -> set[Path]:
    """Clips whose copy is there and is the same source; one that cannot be read is made again."""

    def same(source: Source) -> bool:
        target = targets[source.file.path]
        if not target.is_file() or target.stat().st_size == 0:
            return False
        try:
            file = inspect(target, source.label, assumed=None, tools=shop.tools)
            return identify(file, shop.tools, shop.cache).sha256 == source.sha256
        except KitError:
            return False

    kept = run_many(same, sources, workers=shop.workers, stop=shop.tools.processes.stop)
    return {source.file.path for source, is_same in zip(sources, kept, strict=True) if is_same}


def _attempt(source: Source, target: Path, *, codec: str, room: Room, shop: Workshop) -> KitError | None:
    try:
        with room.held(raw_bytes(source.geometry), source.label):
            _pack_one(source, target, codec=codec, shop=shop)
    except DiskFull:
        raise
    except KitError as error:
        return error
    shop.advance(source.label)
    return None


def _pack_one(source: Source, target: Path, *, codec: str, shop: Workshop) -> None:
    tools, geometry = shop.tools, source.geometry
    megapixels = geometry.width * geometry.height * geometry.frames / 1e6
    with atomic_path(target) as temporary:
        done = tools.processes.run(
            lossless_command(tools.ffmpeg, source.file, CODECS[codec], temporary),
            tried=f"packing {source.label} with {codec}",
            timeout=_BASE_TIMEOUT + _TIMEOUT_PER_MEGAPIXEL * megapixels,
            hint="" if codec == "ffv1" else "Not every format and size suits x265; leave --codec out.",
        )
        if line := damage(done.stderr):
            raise BadInput(f"{source.file.path.name}: packing it went wrong\n    {line}")
        copy = measure(inspect(temporary, source.label, assumed=None, tools=tools), tools)
        if copy.sha256 != source.sha256:
            raise _differs(source, copy)
    remember(inspect(target, source.label, assumed=None, tools=tools), copy, shop.cache)


def _differs(source: Source, copy: Source) -> BadInput:
    changed = [
        f"{name} {getattr(source.geometry, name)} became {getattr(copy.geometry, name)}"
        for name in ("width", "height", "pix_fmt", "range", "fps", "frames")
        if getattr(source.geometry, name) != getattr(copy.geometry, name)
    ]
    return BadInput(
        f"{source.file.path.name}: the copy is another source: {', '.join(changed) or 'its frames differ'}",
        hint="Send the clip itself; .mkv cannot hold it.",
    )


def _listed(
    opened: Opened,
    sources: Sequence[Source],
    targets: dict[Path, Path],
    out: Path,
    *,
    codec: str,
    finished: set[Path],
    shop: Workshop,
) -> Done:
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

    clips = tuple(run_many(describe, sources, workers=shop.workers))
    write_groups(out, {clip.path: clip.group for clip in clips})
    write_pack(out, Pack(dataset=opened.name, codec=codec, clips=clips))
    return Done(
        made=tuple(source.label for source in sources if source.file.path not in finished),
        kept=tuple(source.label for source in sources if source.file.path in finished),
        bytes=sum(clip.size for clip in clips),
    )


def write_groups(folder: Path, named: dict[str, str]) -> None:
    """Write ``groups.json`` beside the clips."""
    write_json(folder / groups.FILE, {"schema_version": contract.SCHEMA_VERSION, "groups": named})
