"""Commands about data sets: contents of a folder, its manifest, and lossless copies to send."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kit.cli.opening import ffmpeg_session
from kit.cli.output import Result, Table, json_option, row
from kit.core import exits
from kit.options import resolve
from kit.options.click_options import options, texts
from kit.options.command_tables import DATASETS, MANIFEST
from kit.options.run_table import RUN
from kit.system.ui import Ui, size

if TYPE_CHECKING:
    from kit.options.session import Session
    from kit.video.datasets.load import ClipFolder
    from kit.video.datasets.pack import PackResult
    from kit.video.ffmpeg import Ffmpeg

_folder = click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))


@click.group()
def dataset() -> None:
    """Inspect, verify and pack data sets."""


@dataset.command()
@_folder
@texts(DATASETS["dataset"], *RUN.pick("geometry", "ffmpeg"))
@json_option
def show(folder: Path, **given: str | None) -> Result:
    """List clips, groups, distorted pairs and missing clips in DIR.

    Exit codes: 0 complete, 3 clips are missing or cannot be used.
    """
    config, session, ffmpeg = _open_session(folder, Path(), given)
    opened = _open_data_set(folder, config, session, ffmpeg, whole=False)
    missing = [*(f"{name} is missing" for name in opened.missing), *opened.missing_distorted]
    return Result(
        code=exits.INVALID if missing or opened.unusable else exits.OK,
        shown=(
            f"{opened.name}: {opened.reason}",
            *_clip_tables(opened),
            Table(title="Missing", columns=("clip",), rows=[row(line, style="red") for line in missing]),
            Table(title="Cannot be used", columns=("clip",), rows=[row(line, style="red") for line in opened.unusable]),
            *opened.notes,
        ),
        data=_describe(opened),
    )


def _clip_tables(opened: ClipFolder) -> tuple[Table, Table]:
    clips = []
    for file in opened.files:
        name, g = file.path.name, file.geometry
        clips.append(row(file.label, file.content_group, name, f"{g.width}x{g.height}", g.pix_fmt, g.fps, g.frames))
    pairs = []
    for pair in opened.pairs:
        stored = f"{pair.distorted.geometry.width}x{pair.distorted.geometry.height}"
        facts = (pair.quality, f"{pair.height} lines", pair.bitrate, stored)
        pairs.append(row(pair.distorted.label, pair.reference.label, *facts))
    return (
        Table(title="Clips", columns=("label", "group", "file", "size", "format", "rate", "frames"), rows=clips),
        Table(
            title="Pairs",
            columns=("distorted", "reference", "quality", "encoded at", "kbit/s", "stored at"),
            rows=pairs,
        ),
    )


@dataset.command()
@_folder
@options(MANIFEST["out"], DATASETS["dataset"])
@json_option
def manifest(folder: Path, out: Path | None, dataset: str) -> Result:
    """Write path, size and SHA-256 of every file in DIR."""
    from kit.platforms.detect import usable_cores
    from kit.video.datasets import manifest as manifests

    title = _data_set_name(folder, dataset)
    target = out or folder / f"{title}.yaml"
    paths = manifests.files_of(folder, without=(target,))
    with Ui().progress("Hashing", len(paths), "files") as advance:
        entries = manifests.describe(folder, without=(target,), workers=usable_cores(), advance=advance)
    manifests.write(target, title, entries)
    total = sum(entry.size for entry in entries)
    return Result(
        shown=(f"{target}: {len(entries)} files, {size(total)}",),
        data={"manifest": target, "dataset": title, "files": len(entries), "bytes": total},
    )


@dataset.command()
@_folder
@options(DATASETS["path"])
@json_option
def verify(folder: Path, path: Path | None) -> Result:
    """Compare DIR with its manifest.

    Reports missing and extra files, other sizes and other hashes.

    Exit codes: 0 equal, 3 different.
    """
    from kit.platforms.detect import usable_cores
    from kit.video.datasets import manifest as manifests

    listing = path or manifests.find(folder)
    with Ui().progress("Checking", len(manifests.expected_by(listing)), "files") as advance:
        entries, faults = manifests.verify(folder, listing, workers=usable_cores(), advance=advance)
    rows = [row(fault.path, fault.problem, fault.expected, fault.found, style="red") for fault in faults]
    return Result(
        code=exits.INVALID if faults else exits.OK,
        shown=(
            Table(title="Files that differ", columns=("file", "problem", "expected", "in the folder"), rows=rows),
            f"{listing.name}: {len(entries)} files listed, {len(faults)} differ",
        ),
        data={"manifest": listing, "passed": not faults, "files": len(entries), "problems": faults},
    )


@dataset.command()
@_folder
@options(*DATASETS.pick("out", "codec"))
@texts(DATASETS["dataset"], *RUN.pick("geometry", "ffmpeg"))
@json_option
def pack(folder: Path, out: Path, codec: str, **given: str | None) -> Result:
    """Make lossless copies of the reference clips in DIR.

    The copies keep identities and groups; the kit reads their folder as --ref-dir. A stopped command continues.
    """
    from kit.video.datasets import pack as packing

    config, session, ffmpeg = _open_session(folder, out, given)
    opened = _open_data_set(folder, config, session, ffmpeg)
    if opened.pairs:
        session.ui.say(f"{len(opened.pairs)} distorted clips are not packed: a corpus is made from references.")
    with _pack_context(session, ffmpeg, "Packing", len(opened.files)) as context:
        done = packing.pack(opened, config.out_dir, codec=codec, context=context)
    return _copied(done, "packed", out)


@dataset.command()
@_folder
@options(DATASETS["out"])
@texts(RUN["ffmpeg"])
@json_option
def unpack(folder: Path, out: Path, **given: str | None) -> Result:
    """Restore the .yuv files of a packed folder, bit for bit.

    Each file is checked against its identity. A stopped command continues.

    Exit codes: 0 done, 3 clips are missing, damaged or different.
    """
    from kit.video.datasets import unpack as unpacking
    from kit.video.datasets.packed import read_pack

    config, session, ffmpeg = _open_session(folder, out, given)
    clips = len(read_pack(folder).clips)
    with _pack_context(session, ffmpeg, "Unpacking", clips) as context:
        done = unpacking.unpack(folder, config.out_dir, context=context)
    return _copied(done, "unpacked", out)


def _open_session(
    folder: Path, out: Path, given: Mapping[str, str | None]
) -> tuple[resolve.RunConfig, Session, Ffmpeg]:
    """Open configuration, session and ffmpeg, by the rules of a run on the folder."""
    return ffmpeg_session({"ref_dir": str(folder), **given}, out_dir=out)


def _open_data_set(
    folder: Path, config: resolve.RunConfig, session: Session, ffmpeg: Ffmpeg, *, whole: bool = True
) -> ClipFolder:
    """Open the data set.

    Args:
        whole: fail if a clip is missing or cannot be used.
    """
    from kit.video.datasets.load import open_folder
    from kit.video.sources.read import Tools

    return open_folder(
        folder,
        requested=config.dataset,
        assumed=config.geometry,
        cache=session.cache,
        whole=whole,
        tools=Tools(ffmpeg=ffmpeg, processes=session.processes),
    )


@contextmanager
def _pack_context(session: Session, ffmpeg: Ffmpeg, what: str, clips: int) -> Iterator[Any]:
    from kit.platforms.detect import usable_cores
    from kit.video.datasets.pack import PackContext
    from kit.video.sources.read import Tools

    tools = Tools(ffmpeg=ffmpeg, processes=session.processes)
    with session.ui.progress(what, clips, "clips") as advance:
        yield PackContext(tools=tools, cache=session.cache, workers=usable_cores(), advance=advance)


def _data_set_name(folder: Path, name: str) -> str:
    """Return the data set's name; for a plain folder the folder's own."""
    from kit.video.datasets.registry import choose
    from kit.video.sources.scan import list_folder

    chosen = choose(list_folder(folder), name)[0].name
    own = re.sub(r"[^A-Za-z0-9._-]+", "_", folder.resolve().name).strip("._") or "dataset"
    return own if chosen == "dir" else chosen


def _copied(done: PackResult, verb: str, out: Path) -> Result:
    clips = len(done.made) + len(done.kept)
    kept = f", {len(done.kept)} of them by an earlier start" if done.kept else ""
    return Result(
        shown=(f"{clips} clips {verb} in {out}{kept}; {size(done.bytes)} in all",),
        data={"out": out, "made": done.made, "kept": done.kept, "bytes": done.bytes},
    )


def _describe(opened: ClipFolder) -> dict[str, object]:
    from kit.corpus.make.produce import geometry_facts

    return {
        "dataset": opened.name,
        "reason": opened.reason,
        "missing": opened.missing,
        "wanting": opened.missing_distorted,
        "unusable": opened.unusable,
        "notes": opened.notes,
        "clips": [
            {
                "label": file.label,
                "group": file.content_group,
                "file": file.path.relative_to(opened.folder).as_posix(),
                "geometry": geometry_facts(file.geometry),
            }
            for file in opened.files
        ],
        "pairs": [
            {
                "distorted": pair.distorted.path.name,
                "reference": pair.reference.label,
                "quality": pair.quality,
                "height": pair.height,
                "bitrate": pair.bitrate,
                "geometry": geometry_facts(pair.distorted.geometry),
            }
            for pair in opened.pairs
        ],
    }
