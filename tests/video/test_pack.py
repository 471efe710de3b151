"""Pack and unpack: the same sources, resumed, interrupted, damaged, with a full disk."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import psutil
import pytest

from kit.core import exits
from kit.core.errors import BadInput, CheckFailed, DiskFull, KitError, Missing, Several, ToolFailed
from kit.core.geometry import PIXEL_FORMATS
from kit.core.values import Geometry
from kit.options.session import KIT_ROOT
from kit.system.fsio import TEMPORARY_PREFIX
from kit.system.proc import Processes
from kit.video.datasets import disk_space
from kit.video.datasets.disk_space import DiskSpace
from kit.video.datasets.load import open_folder
from kit.video.datasets.pack import PackContext, pack
from kit.video.datasets.packed import PACK, read_pack
from kit.video.datasets.unpack import full_name, name_has_geometry, unpack
from kit.video.ffmpeg import Ffmpeg
from kit.video.sources.identity import identify
from kit.video.sources.read import Tools
from tests.cli.builders import Kit
from tests.video.builders import MakeClip, scan

pytestmark = pytest.mark.ffmpeg


@pytest.fixture
def context(tools: Tools, tmp_path: Path) -> PackContext:
    return PackContext(tools=tools, cache=tmp_path / "cache", workers=2, advance=lambda _: None)


def packed(folder: Path, out: Path, context: PackContext, codec: str = "ffv1") -> tuple[str, ...]:
    """Pack a folder; return the labels of new copies."""
    opened = open_folder(folder, requested="auto", assumed=None, tools=context.tools, cache=context.cache)
    return pack(opened, out, codec=codec, context=context).made


def identities(folder: Path, context: PackContext) -> dict[str, str]:
    """Return label to identity of every clip of a folder."""
    files = scan(folder, context.tools)
    return {file.label: identify(file, context.tools, context.cache).sha256 for file in files}


@pytest.fixture
def kinds(tmp_path: Path, make_clip: MakeClip) -> Path:
    """Clips with various rates, ranges, depths, containers, sub-folders and equal stems."""
    folder = tmp_path / "kinds"
    (folder / "more").mkdir(parents=True)
    size = "testsrc2=size=66x50:rate"
    for name, rate in (("Ntsc_66x50_29.97fps", "30000/1001"), ("Fast_66x50_59.94fps", "60000/1001")):
        make_clip(folder / f"{name}_8bit_420.yuv", f"{size}={rate}", frames=5)
    make_clip(folder / "Odd.yuv", f"{size}=97/7,hue=h=20", frames=5)
    (folder / "Odd.json").write_text(json.dumps({"width": 66, "height": 50, "fps": "97/7"}))
    make_clip(folder / "Full.yuv", f"{size}=25,hue=h=40", "-pix_fmt", "yuv444p10le", frames=5)
    (folder / "Full.json").write_text(
        json.dumps({"width": 66, "height": 50, "fps": 25, "pix_fmt": "yuv444p10le", "range": "pc"})
    )
    full = f"{size}=25,hue=h=60,scale=out_range=pc,format=yuv420p"
    make_clip(folder / "more" / "FullToo.mp4", full, "-c:v", "libx264", "-qp", "0", "-color_range", "pc", frames=5)
    make_clip(folder / "more" / "Deep.mkv", f"{size}=120,hue=h=80", "-pix_fmt", "yuv422p12le", frames=5)
    make_clip(folder / "Meet.y4m", f"{size}=24,hue=h=100", frames=5)
    make_clip(folder / "Meet.mkv", f"{size}=24,hue=h=120", frames=5)
    return folder


def test_every_source_is_the_same_packed_and_unpacked(kinds: Path, tmp_path: Path, context: PackContext) -> None:
    before = identities(kinds, context)
    assert len(set(before.values())) == 8
    assert len(packed(kinds, tmp_path / "packed", context)) == 8
    assert set(identities(tmp_path / "packed", context).values()) == set(before.values())
    listed = read_pack(tmp_path / "packed")
    assert {clip.label: clip.src_sha256 for clip in listed.clips} == before
    assert {clip.geometry.fps for clip in listed.clips} >= {Fraction(30000, 1001), Fraction(60000, 1001)}
    unpack(tmp_path / "packed", tmp_path / "out", context=context)
    assert set(identities(tmp_path / "out", context).values()) == set(before.values())
    assert all(file.kind == "yuv" for file in scan(tmp_path / "out", context.tools))
    for path in kinds.glob("*.yuv"):
        assert (tmp_path / "out" / path.name).read_bytes() == path.read_bytes()
    sidecars = sorted(path.name for path in (tmp_path / "out").rglob("*.json"))
    assert sidecars == ["Full.json", "FullToo_66x50_25fps_8bit_420.json", "Odd.json", "groups.json"]


@pytest.mark.parametrize("pix_fmt", list(PIXEL_FORMATS))
@pytest.mark.parametrize("codec", ["ffv1", "x265"])
def test_every_pixel_format(
    pix_fmt: str, codec: str, tmp_path: Path, make_clip: MakeClip, context: PackContext
) -> None:
    fmt = PIXEL_FORMATS[pix_fmt]
    (tmp_path / "ref").mkdir()
    for number, range_ in enumerate(("tv", "pc")):
        clip = make_clip(
            tmp_path / "ref" / f"{range_}.yuv",
            f"testsrc2=size=64x64:rate=30000/1001,hue=h={90 * number}",
            "-pix_fmt",
            pix_fmt,
            frames=4,
        )
        clip.with_suffix(".json").write_text(
            json.dumps({"width": 64, "height": 64, "fps": "29.97", "pix_fmt": pix_fmt, "range": range_})
        )
    packed(tmp_path / "ref", tmp_path / "packed", context, codec)
    assert identities(tmp_path / "packed", context) == identities(tmp_path / "ref", context)
    unpack(tmp_path / "packed", tmp_path / "out", context=context)
    for name in ("tv.yuv", "pc.yuv"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "ref" / name).read_bytes()
    assert fmt.name == pix_fmt


def test_groups_travel(clips: Path, tmp_path: Path, context: PackContext) -> None:
    folder = tmp_path / "ref"
    subprocess.run(["cp", "-r", str(clips), str(folder)], check=True)
    (folder / "groups.json").write_text(json.dumps({"schema_version": 1, "groups": {"Life": "Both", "Cells": "Both"}}))
    packed(folder, tmp_path / "packed", context)
    unpack(tmp_path / "packed", tmp_path / "out", context=context)
    for place in (folder, tmp_path / "packed", tmp_path / "out"):
        opened = open_folder(place, requested="auto", assumed=None, tools=context.tools, cache=context.cache)
        assert {f.label for f in opened.files if f.content_group == "Both"} == {"Life", "Cells"}
        assert (len(opened.groups), opened.ignored) == (3, ())


def test_a_finished_copy_is_recognised_by_its_content(clips: Path, tmp_path: Path, context: PackContext) -> None:
    out = tmp_path / "packed"
    assert len(packed(clips, out, context)) == 4
    kept = (out / "Cells.mkv").stat().st_mtime_ns
    (out / "Fractal.mkv").write_bytes((out / "Cells.mkv").read_bytes())
    (out / "more" / "Life.mkv").write_bytes(b"no video")
    (out / f"{TEMPORARY_PREFIX}left.mkv").write_bytes(b"x")
    assert packed(clips, out, context) == ("Fractal", "Life")
    assert (out / "Cells.mkv").stat().st_mtime_ns == kept
    assert packed(clips, out, context) == ()
    assert not list(out.rglob(TEMPORARY_PREFIX + "*"))
    unpack(out, tmp_path / "out", context=context)
    target = next((tmp_path / "out").glob("Cells*.yuv"))
    data = target.read_bytes()
    target.write_bytes(bytes(len(data)))
    done = unpack(out, tmp_path / "out", context=context)
    assert (done.made, len(done.kept)) == (("Cells",), 3)
    assert target.read_bytes() == data


def test_other_clips_are_refused(clips: Path, tmp_path: Path, context: PackContext, make_clip: MakeClip) -> None:
    (tmp_path / "packed").mkdir()
    make_clip(tmp_path / "packed" / "Old.mkv", "Bars")
    with pytest.raises(BadInput, match=r"Old\.mkv"):
        packed(clips, tmp_path / "packed", context)
    for out in (clips, clips / "packed", clips.parent):
        with pytest.raises(BadInput, match="is inside the other"):
            packed(clips, out, context)


def test_damage_of_a_packed_folder_is_detected(
    clips: Path, tmp_path: Path, context: PackContext, kit_here: Kit
) -> None:
    out = tmp_path / "packed"
    packed(clips, out, context)
    whole = (out / "Cells.mkv").read_bytes()
    changed = bytearray(whole)
    changed[len(whole) // 2] ^= 0xFF
    (out / "Cells.mkv").write_bytes(changed)
    (out / "Fractal.mkv").write_bytes((out / "more" / "Life.mkv").read_bytes())
    checked = kit_here("dataset", "verify", "packed", "--json", cwd=tmp_path)
    assert checked.returncode == exits.INVALID
    assert [problem["path"] for problem in json.loads(checked.stdout)["problems"]] == ["Cells.mkv", "Fractal.mkv"]
    done = kit_here("dataset", "unpack", "packed", "--out", "out", cwd=tmp_path)
    assert done.returncode in (exits.INVALID, exits.BAD_INPUT), done.stderr
    assert "Cells.mkv" in done.stderr
    assert "Fractal.mkv: identity is" in done.stderr
    assert sorted(path.name for path in (tmp_path / "out").rglob("*.yuv")) == [
        "Bars_320x180_25fps_8bit_420.yuv",
        "Life_320x180_25fps_8bit_420.yuv",
    ]
    assert not (tmp_path / "out" / "groups.json").exists()


def test_a_missing_clip(clips: Path, tmp_path: Path, context: PackContext) -> None:
    packed(clips, tmp_path / "packed", context)
    (tmp_path / "packed" / "Cells.mkv").unlink()
    with pytest.raises(Several, match=r"Cells\.mkv"):
        open_folder(tmp_path / "packed", requested="auto", assumed=None, tools=context.tools, cache=context.cache)
    with pytest.raises(CheckFailed, match=r"Cells\.mkv"):
        unpack(tmp_path / "packed", tmp_path / "out", context=context)
    with pytest.raises(Missing, match=r"pack\.json"):
        unpack(clips, tmp_path / "out", context=context)


@pytest.mark.parametrize(
    "change",
    [
        {"path": "../x.mkv"},
        {"path": "/x.mkv"},
        {"path": ""},
        {"original": "../x.yuv"},
        {"size": "much"},
        {"geometry": {}},
        {"geometry": None},
    ],
)
def test_invalid_lists(change: dict[str, object], clips: Path, tmp_path: Path, context: PackContext) -> None:
    packed(clips, tmp_path / "packed", context)
    value = json.loads((tmp_path / "packed" / PACK).read_text())
    value["clips"][0] |= change
    (tmp_path / "packed" / PACK).write_text(json.dumps(value))
    with pytest.raises(BadInput):
        unpack(tmp_path / "packed", tmp_path / "out", context=context)
    assert not (tmp_path / "out").exists()


def test_a_clip_that_cannot_be_packed_does_not_stop_the_others(
    tmp_path: Path, make_clip: MakeClip, context: PackContext
) -> None:
    """Matroska cannot store 99991/1999 frames per second exactly."""
    (tmp_path / "ref").mkdir()
    odd = make_clip(tmp_path / "ref" / "Odd.yuv", "testsrc2=size=64x48:rate=25", frames=4)
    odd.with_suffix(".json").write_text(json.dumps({"width": 64, "height": 48, "fps": "99991/1999"}))
    make_clip(tmp_path / "ref" / "Even.mkv", "testsrc2=size=64x48:rate=25", frames=4)
    with pytest.raises(Several, match=r"Odd\.yuv.*99991/1999"):
        packed(tmp_path / "ref", tmp_path / "packed", context)
    assert [path.name for path in (tmp_path / "packed").glob("*.mkv")] == ["Even.mkv"]
    assert not (tmp_path / "packed" / PACK).exists()


# ------------------------------------------------------------------------------------------------------- disk


def test_space_is_checked_before_anything_is_written(
    clips: Path, tmp_path: Path, context: PackContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed(clips, tmp_path / "packed", context)
    monkeypatch.setattr(disk_space, "free_bytes", lambda _: disk_space.SPARE + 10)
    with pytest.raises(DiskFull, match="packing 4 clips") as error:
        packed(clips, tmp_path / "other", context)
    assert error.value.exit_code == exits.DISK_FULL
    with pytest.raises(DiskFull, match="unpacking 4 clips"):
        unpack(tmp_path / "packed", tmp_path / "out", context=context)
    assert not list((tmp_path / "out").rglob("*.yuv")) + list((tmp_path / "other").rglob("*.mkv"))
    assert packed(clips, tmp_path / "packed", context) == ()


def test_space_is_reserved_for_files_being_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk_space, "free_bytes", lambda _: disk_space.SPARE + 100)
    space = DiskSpace(tmp_path)
    with space.reserve(60, "one"):
        with pytest.raises(DiskFull, match="two"), space.reserve(60, "two"):
            pass
        with space.reserve(40, "three"):
            pass
    with space.reserve(100, "four"):
        pass


@pytest.mark.parametrize(
    "raised",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        ToolFailed("x", command="", returncode=1, stderr_tail="av_interleaved_write_frame(): No space left on device"),
    ],
)
def test_a_full_disk_is_its_own_error(raised: Exception, tmp_path: Path) -> None:
    with pytest.raises(DiskFull, match="Clip"), DiskSpace(tmp_path).reserve(0, "Clip"):
        raise raised
    with pytest.raises(KeyError), DiskSpace(tmp_path).reserve(0, "Clip"):
        raise KeyError


def test_a_full_disk_keeps_finished_copies(clips: Path, tmp_path: Path, kit: Kit, ffmpeg: Ffmpeg) -> None:
    """An ffmpeg that packs two clips and has no space for the third."""
    wrapper = tmp_path / "ffmpeg"
    wrapper.write_text(
        "#!/bin/sh\n"
        f'case "$*" in *slicecrc*) echo x >> {tmp_path}/count;'
        # the others finish first: the failure stops running ones
        f" if [ $(wc -l < {tmp_path}/count) -gt 2 ]; then"
        f" until [ $(ls {tmp_path}/packed | grep -c 'mkv$') -ge 2 ]; do sleep 0.1; done;"
        ' echo "No space left on device" >&2; exit 228; fi;; esac\n'
        f'exec {ffmpeg.path} "$@"\n'
    )
    wrapper.chmod(0o755)
    args = ("dataset", "pack", str(clips), "--out", "packed")
    full = kit(*args, cwd=tmp_path, env={"FFMPEG_BIN": str(wrapper)})
    assert full.returncode == exits.DISK_FULL, full.stderr
    kept = sorted(path for path in (tmp_path / "packed").rglob("*.mkv"))
    assert len(kept) == 2
    assert not (tmp_path / "packed" / PACK).exists()
    done = kit(*args, "--json", cwd=tmp_path)
    assert done.returncode == exits.OK, done.stderr
    assert len(json.loads(done.stdout)["kept"]) == 2


# ------------------------------------------------------------------------------------------------- interrupted


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_a_signal_keeps_finished_copies(tmp_path: Path, make_clip: MakeClip, kit: Kit, home: dict[str, str]) -> None:
    (tmp_path / "ref").mkdir()
    for number in range(6):
        make_clip(
            tmp_path / "ref" / f"Clip{number}.mkv", f"testsrc2=size=640x360:rate=25,hue=h={40 * number}", frames=25
        )
    argv = ("dataset", "pack", "ref", "--out", "packed", "--codec", "x265")
    process = subprocess.Popen(
        [sys.executable, str(KIT_ROOT / "kit" / "__main__.py"), *argv],
        cwd=tmp_path,
        env=home,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    out, deadline = tmp_path / "packed", time.monotonic() + 60
    while not [path for path in out.glob("*.mkv") if not path.name.startswith(".")]:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == exits.INTERRUPTED, stderr
    assert "Traceback" not in stderr
    kept = {path: path.stat().st_mtime_ns for path in out.glob("*.mkv")}
    assert 0 < len(kept) < 6
    assert not list(out.rglob(TEMPORARY_PREFIX + "*"))
    assert not running_below(tmp_path)
    done = kit(*argv, "--json", cwd=tmp_path)
    assert done.returncode == exits.OK, done.stderr
    assert len(json.loads(done.stdout)["kept"]) == len(kept)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


def running_below(folder: Path) -> list[str]:
    """Return the command lines of processes that have the folder in it."""
    lines = [
        (info["pid"], " ".join(info["cmdline"] or ()))
        for info in (p.info for p in psutil.process_iter(["pid", "cmdline"]))
    ]
    return [line for pid, line in lines if str(folder) in line and pid != os.getpid()]


# ------------------------------------------------------------------------------------------------------- names


@pytest.mark.parametrize(
    ("fps", "pix_fmt", "range_", "name", "whole"),
    [
        ("25", "yuv420p", "tv", "Clip_64x48_25fps_8bit_420", True),
        ("30000/1001", "yuv420p10le", "tv", "Clip_64x48_29.97fps_10bit_420", True),
        ("60000/1001", "yuv444p12le", "tv", "Clip_64x48_59.94fps_12bit_444", True),
        ("25/2", "yuv420p", "tv", "Clip_64x48_12.5fps_8bit_420", True),
        ("97/7", "yuv420p", "tv", "Clip_64x48_13.857fps_8bit_420", False),
        ("25", "yuv420p", "pc", "Clip_64x48_25fps_8bit_420", False),
    ],
)
def test_a_sidecar_has_the_geometry_if_the_name_does_not(
    fps: str, pix_fmt: str, range_: str, name: str, *, whole: bool
) -> None:
    geometry = Geometry(width=64, height=48, pix_fmt=pix_fmt, range=range_, fps=Fraction(fps), frames=3)
    assert full_name("Clip", geometry) == name
    assert full_name(name, geometry) == name
    assert name_has_geometry(name, geometry) is whole
    assert not name_has_geometry("Clip_25fps", geometry)
    assert not name_has_geometry("Clip_0x0_25fps_8bit_420", geometry)


def test_the_short_name_means_full_hd() -> None:
    geometry = Geometry(width=1920, height=1080, pix_fmt="yuv420p", range="tv", fps=Fraction(25), frames=3)
    assert name_has_geometry("BigBuckBunny_25fps", geometry)
    assert not name_has_geometry("BigBuckBunny_30fps", geometry)


def test_a_stop_starts_nothing_more(clips: Path, tmp_path: Path, ffmpeg: Ffmpeg) -> None:
    processes = Processes()
    context = PackContext(
        tools=Tools(ffmpeg=ffmpeg, processes=processes), cache=tmp_path / "cache", workers=1, advance=lambda _: None
    )
    opened = open_folder(clips, requested="dir", assumed=None, tools=context.tools, cache=context.cache)
    processes.stop()
    with pytest.raises(Exception) as error:  # noqa: PT011 - Stopped, not an error of the kit
        pack(opened, tmp_path / "packed", codec="ffv1", context=context)
    assert not isinstance(error.value, KitError)
    assert not list((tmp_path / "packed").rglob("*.mkv"))
