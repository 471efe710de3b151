"""Commands about data sets: what a folder holds, its manifest, and how it is sent."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kit.cli.opening import ffmpeg_session
from kit.cli.output import Outcome, print_json
from kit.core import exits
from kit.options import resolve
from kit.options.click_options import json, options, texts
from kit.options.command_tables import DATASETS, MANIFEST
from kit.options.run_table import RUN

if TYPE_CHECKING:
    from kit.options.session import Session
    from kit.video.datasets.load import Opened
    from kit.video.datasets.pack import Done
    from kit.video.ffmpeg import Ffmpeg

_folder = click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))


@click.group()
def dataset() -> None:
    """Inspect, verify and pack data sets."""


@dataset.command()
@_folder
@texts(DATASETS["dataset"], *RUN.pick("geometry", "ffmpeg"))
@json
def show(folder: Path, as_json: bool, **given: str | None) -> Outcome:
    """List clips, groups, distorted pairs and missing clips in DIR.

    Exit codes: 0 complete, 3 clips are missing or cannot be used.
    """
    from kit.system.ui import Row

    resolved, session, ffmpeg = _opened(folder, Path(), given)
    opened = _open(folder, resolved, session, ffmpeg, whole=False)
    session.ui.say(f"{opened.name}: {opened.reason}")
    session.ui.table(
        "Clips",
        ("label", "group", "file", "size", "format", "rate", "frames"),
        [
            Row(
                cells=(
                    f.label,
                    f.content_group,
                    f.path.name,
                    f"{f.geometry.width}x{f.geometry.height}",
                    f.geometry.pix_fmt,
                    str(f.geometry.fps),
                    str(f.geometry.frames),
                )
            )
            for f in opened.files
        ],
    )
    if opened.pairs:
        session.ui.table(
            "Pairs",
            ("distorted", "reference", "quality", "encoded at", "kbit/s", "stored at"),
            [
                Row(
                    cells=(
                        p.distorted.label,
                        p.reference.label,
                        str(p.quality),
                        f"{p.height} lines",
                        str(p.bitrate),
                        f"{p.distorted.geometry.width}x{p.distorted.geometry.height}",
                    )
                )
                for p in opened.pairs
            ],
        )
    lacking = [*(f"{name} is not there" for name in opened.missing), *opened.wanting]
    for title, lines in (("Missing", lacking), ("Cannot be used", opened.unusable)):
        if lines:
            session.ui.table(title, ("clip",), [Row(cells=(line,), style="red") for line in lines])
    for note in opened.notes:
        session.ui.say(note)
    if as_json:
        print_json(_shown(opened))
    return Outcome(code=exits.INVALID if lacking or opened.unusable else exits.OK)


@dataset.command()
@_folder
@options(MANIFEST["out"], DATASETS["dataset"])
@json
def manifest(folder: Path, out: Path | None, dataset: str, as_json: bool) -> Outcome:
    """Write path, size and SHA-256 of every file in DIR."""
    from kit.platforms.detect import usable_cores
    from kit.system.ui import Ui, size
    from kit.video.datasets import manifest as manifests

    ui = Ui()
    called = _called(folder, dataset)
    target = out or folder / f"{called}.yaml"
    paths = manifests.files_of(folder, without=(target,))
    with ui.progress("Hashing", len(paths), "files") as advance:
        entries = manifests.describe(folder, without=(target,), workers=usable_cores(), advance=advance)
    manifests.write(target, called, entries)
    total = sum(entry.size for entry in entries)
    ui.say(f"{target}: {len(entries)} files, {size(total)}")
    if as_json:
        print_json({"manifest": str(target), "dataset": called, "files": len(entries), "bytes": total})
    return Outcome(code=exits.OK)


@dataset.command()
@_folder
@options(DATASETS["path"])
@json
def verify(folder: Path, path: Path | None, as_json: bool) -> Outcome:
    """Compare DIR with its manifest.

    Reports missing and extra files, other sizes and other hashes.

    Exit codes: 0 equal, 3 different.
    """
    from kit.platforms.detect import usable_cores
    from kit.system.ui import Row, Ui
    from kit.video.datasets import manifest as manifests

    ui = Ui()
    against = path or manifests.find(folder)
    with ui.progress("Checking", len(manifests.expected_by(against)), "files") as advance:
        entries, faults = manifests.verify(folder, against, workers=usable_cores(), advance=advance)
    if faults:
        ui.table(
            "Found wanting",
            ("file", "problem", "expected", "found"),
            [Row(cells=(fault.path, fault.problem, fault.expected, fault.found), style="red") for fault in faults],
        )
    ui.say(f"{against.name}: {len(entries)} files listed, {len(faults)} found wanting")
    if as_json:
        print_json(
            {
                "manifest": str(against),
                "passed": not faults,
                "files": len(entries),
                "problems": [vars(fault) for fault in faults],
            }
        )
    return Outcome(code=exits.INVALID if faults else exits.OK)


@dataset.command()
@_folder
@options(*DATASETS.pick("out", "codec"))
@texts(DATASETS["dataset"], *RUN.pick("geometry", "ffmpeg"))
@json
def pack(folder: Path, out: Path, codec: str, as_json: bool, **given: str | None) -> Outcome:
    """Make lossless copies of the reference clips in DIR.

    The copies keep identities and groups; the kit reads their folder as --ref-dir. A stopped command continues.
    """
    from kit.video.datasets.pack import pack as pack_folder

    resolved, session, ffmpeg = _opened(folder, out, given)
    opened = _open(folder, resolved, session, ffmpeg)
    if opened.pairs:
        session.ui.say(f"{len(opened.pairs)} distorted clips are not packed: a corpus is made from references.")
    with _workshop(session, ffmpeg, "Packing", len(opened.files)) as shop:
        done = pack_folder(opened, resolved.out_dir, codec=codec, shop=shop)
    return _told(session, done, "packed", out, as_json=as_json)


@dataset.command()
@_folder
@options(DATASETS["out"])
@texts(RUN["ffmpeg"])
@json
def unpack(folder: Path, out: Path, as_json: bool, **given: str | None) -> Outcome:
    """Restore the .yuv files of a packed folder, bit for bit.

    Each file is checked against its identity. A stopped command continues.

    Exit codes: 0 done, 3 clips are missing, damaged or different.
    """
    from kit.video.datasets.packed import read_pack
    from kit.video.datasets.unpack import unpack as unpack_folder

    resolved, session, ffmpeg = _opened(folder, out, given)
    clips = len(read_pack(folder).clips)
    with _workshop(session, ffmpeg, "Unpacking", clips) as shop:
        done = unpack_folder(folder, resolved.out_dir, shop=shop)
    return _told(session, done, "unpacked", out, as_json=as_json)


def _opened(folder: Path, out: Path, given: Mapping[str, str | None]) -> tuple[resolve.RunConfig, Session, Ffmpeg]:
    """Open configuration, session and ffmpeg, by the rules of a run on the folder."""
    return ffmpeg_session({"ref_dir": str(folder), **given}, out_dir=out)


def _open(folder: Path, resolved: resolve.RunConfig, session: Session, ffmpeg: Ffmpeg, *, whole: bool = True) -> Opened:
    from kit.video.datasets.load import open_folder
    from kit.video.sources.read import Tools

    return open_folder(
        folder,
        asked=resolved.dataset,
        assumed=resolved.geometry,
        cache=session.cache,
        whole=whole,
        tools=Tools(ffmpeg=ffmpeg, processes=session.processes),
    )


@contextmanager
def _workshop(session: Session, ffmpeg: Ffmpeg, what: str, clips: int) -> Iterator[Any]:
    from kit.platforms.detect import usable_cores
    from kit.video.datasets.pack import Workshop
    from kit.video.sources.read import Tools

    tools = Tools(ffmpeg=ffmpeg, processes=session.processes)
    with session.ui.progress(what, clips, "clips") as advance:
        yield Workshop(tools=tools, cache=session.cache, workers=usable_cores(), advance=advance)


def _called(folder: Path, name: str) -> str:
    """The data set's name; for a plain folder the folder's own."""
    from kit.video.datasets.registry import choose
    from kit.video.sources.scan import list_folder

    chosen = choose(list_folder(folder), name)[0].name
    own = re.sub(r"[^A-Za-z0-9._-]+", "_", folder.resolve().name).strip("._") or "dataset"
    return own if chosen == "dir" else chosen


def _told(session: Session, done: Done, what: str, out: Path, *, as_json: bool) -> Outcome:
    from kit.system.ui import size

    clips = len(done.made) + len(done.kept)
    kept = f", {len(done.kept)} of them were there already" if done.kept else ""
    session.ui.say(f"{clips} clips {what} in {out}{kept}; {size(done.bytes)} in all")
    if as_json:
        print_json({"out": str(out), "made": list(done.made), "kept": list(done.kept), "bytes": done.bytes})
    return Outcome(code=exits.OK)


def _shown(opened: Opened) -> dict[str, object]:
    from kit.corpus.make.produce import geometry_facts

    return {
        "dataset": opened.name,
        "reason": opened.reason,
        "missing": list(opened.missing),
        "wanting": list(opened.wanting),
        "unusable": list(opened.unusable),
        "notes": list(opened.notes),
        "clips": [
            {
                "label": f.label,
                "group": f.content_group,
                "file": f.path.relative_to(opened.folder).as_posix(),
                "geometry": geometry_facts(f.geometry),
            }
            for f in opened.files
        ],
        "pairs": [
            {
                "distorted": p.distorted.path.name,
                "reference": p.reference.label,
                "quality": p.quality,
                "height": p.height,
                "bitrate": p.bitrate,
                "geometry": geometry_facts(p.distorted.geometry),
            }
            for p in opened.pairs
        ],
    }
