"""Everything a person can get wrong: one clear message with a hint, its exit code, no traceback."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from support import Kit, MakeClip

from kit import cli, exits, layout
from kit.errors import BadInput, DiskFull, InvalidEvidence, KitError, Terminated
from kit.ffmpeg import Ffmpeg

pytestmark = pytest.mark.ffmpeg


def check_said(done: subprocess.CompletedProcess[str], code: int, *texts: str) -> None:
    """The process ended with this code, said these texts and a hint, and showed no traceback."""
    assert done.returncode == code, done.stderr
    for text in texts:
        assert text in done.stderr, done.stderr
    assert "Traceback" not in done.stderr
    assert re.search(r"^Error: .+", done.stderr, re.MULTILINE)
    assert re.search(r"^Hint: .+", done.stderr, re.MULTILINE)


@pytest.mark.parametrize(
    ("args", "texts"),
    [
        (("--encoders", "h264_nvnec"), ("unknown h264_nvnec", "libx264")),
        (("--encoders", ""), ("--encoders is empty",)),
        (("--cqs", "19,52"), ("52", "0 to 51")),
        (("--cqs", "-1"), ("--cqs",)),
        (("--cqs", "31,31"), ("twice",)),
        (("--seeds", ""), ("--seeds is empty",)),
        (("--seeds", "1,x"), ("x not a whole number",)),
        (("--epochs", "0"), ("--epochs", "above 0")),
        (("--box", "a b"), ("--box", "letters")),
        (("--geometry", "1920x1080"), ("WxH@FPS",)),
        (("--teacher", "no/such"), ("--teacher",)),
        (("--no-such-option",), ("No such option",)),
        (("--from", "6"), ("--from",)),
        (("--from", "2", "--only", "3"), ("exclude each other",)),
        (("--config", "not-there.toml"), ("not-there.toml",)),
        (("--ffmpeg", "not-there"), ("not-there", "is not a file")),
        (("--vmaf-bin", "vmaf"), ("--vmaf-bin", "libvmaf filter")),
    ],
)
def test_options(args: tuple[str, ...], texts: tuple[str, ...], clips: Path, tmp_path: Path, kit: Kit) -> None:
    done = kit("run", "--ref-dir", str(clips), "--out-dir", str(tmp_path / "out"), *args, cwd=tmp_path)
    check_said(done, exits.BAD_INPUT, *texts)


@pytest.mark.parametrize("argv", [("no-such-command",), ("run", "left-over"), ()])
def test_usage(argv: tuple[str, ...], tmp_path: Path, kit: Kit) -> None:
    done = kit(*argv, cwd=tmp_path)
    assert done.returncode == exits.BAD_INPUT
    assert "Traceback" not in done.stderr
    assert done.stderr


def test_several_wrong_options_are_told_together(tmp_path: Path, kit: Kit) -> None:
    done = kit("run", "--cqs", "99", "--seeds", "", "--epochs", "none", cwd=tmp_path)
    check_said(done, exits.BAD_INPUT, "--cqs: 99", "--seeds is empty", "--epochs: 'none'")


def write_nothing(folder: Path, make_clip: MakeClip, ffmpeg: Ffmpeg) -> None:
    pass


def write_no_clip(folder: Path, make_clip: MakeClip, ffmpeg: Ffmpeg) -> None:
    (folder / "README.md").write_text("no clip")


def write_odd_yuv(folder: Path, make_clip: MakeClip, ffmpeg: Ffmpeg) -> None:
    path = make_clip(folder / "Odd_320x180_25fps_8bit_420.yuv", "Bars")
    path.write_bytes(path.read_bytes()[:-7])


def write_unknown_yuv(folder: Path, make_clip: MakeClip, ffmpeg: Ffmpeg) -> None:
    make_clip(folder / "whatever.yuv", "Bars")


def write_empty(folder: Path, make_clip: MakeClip, ffmpeg: Ffmpeg) -> None:
    (folder / "zero.mkv").touch()


def write_cut_mkv(folder: Path, make_clip: MakeClip, ffmpeg: Ffmpeg) -> None:
    path = make_clip(folder / "cut.mkv", "Fractal")
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])


def write_cut_mp4(folder: Path, make_clip: MakeClip, ffmpeg: Ffmpeg) -> None:
    path = make_clip(folder / "cut.mp4", "Fractal", "-c:v", "libx264", "-movflags", "+faststart")
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])


def write_cut_y4m(folder: Path, make_clip: MakeClip, ffmpeg: Ffmpeg) -> None:
    path = make_clip(folder / "cut.y4m", "Bars")
    path.write_bytes(path.read_bytes()[:-100])


def write_text(folder: Path, make_clip: MakeClip, ffmpeg: Ffmpeg) -> None:
    (folder / "text.mkv").write_text("this is no video")


def write_variable_rate(folder: Path, make_clip: MakeClip, ffmpeg: Ffmpeg) -> None:
    make_clip(folder / "vfr.mkv", "testsrc2=size=320x180:rate=25,select='mod(n,4)'", "-fps_mode", "vfr", "-c:v", "ffv1")


def write_rgb(folder: Path, make_clip: MakeClip, ffmpeg: Ffmpeg) -> None:
    make_clip(folder / "rgb.mkv", "Bars", "-pix_fmt", "gbrp")


def write_interlaced(folder: Path, make_clip: MakeClip, ffmpeg: Ffmpeg) -> None:
    make_clip(folder / "tff.mkv", "testsrc2=size=320x180:rate=25,setfield=tff", "-c:v", "ffv1")


def write_short(folder: Path, make_clip: MakeClip, ffmpeg: Ffmpeg) -> None:
    make_clip(folder / "short.mkv", "Bars", frames=2)


def write_bad_sidecar(folder: Path, make_clip: MakeClip, ffmpeg: Ffmpeg) -> None:
    make_clip(folder / "clip.yuv", "Bars")
    (folder / "clip.json").write_text('{"width": 320, "height": "180"}')


Write = Callable[[Path, MakeClip, Ffmpeg], None]


@pytest.mark.parametrize(
    ("write", "texts"),
    [
        (write_nothing, ("holds no clip",)),
        (write_no_clip, ("holds no clip", "1 other files")),
        (write_odd_yuv, ("Odd_320x180", "9 frames", "bytes more", "its name")),
        (write_unknown_yuv, ("whatever.yuv", "nothing tells its geometry", "--geometry")),
        (write_empty, ("zero.mkv", "0 bytes")),
        (write_cut_mkv, ("cut.mkv", "cut short")),
        (write_cut_mp4, ("cut.mp4", "cut short")),
        (write_cut_y4m, ("cut.y4m", "frame 9 is cut short")),
        (write_text, ("text.mkv", "cannot read it")),
        (write_variable_rate, ("vfr.mkv", "frame rate varies", "-fps_mode cfr")),
        (write_rgb, ("rgb.mkv", "pixel format")),
        (write_interlaced, ("tff.mkv", "interlaced")),
        (write_short, ("short.mkv", "at least 3")),
        (write_bad_sidecar, ("clip.json", "missing fps")),
    ],
)
def test_clips(  # noqa: PLR0917 - fixtures
    write: Write, texts: tuple[str, ...], tmp_path: Path, make_clip: MakeClip, ffmpeg: Ffmpeg, kit: Kit
) -> None:
    folder = tmp_path / "ref"
    folder.mkdir()
    write(folder, make_clip, ffmpeg)
    done = kit("prereqs", "--ref-dir", str(folder), "--out-dir", "out", cwd=tmp_path)
    assert done.returncode == exits.BAD_INPUT
    told = json.loads((tmp_path / "out" / "prereqs.json").read_text())
    (failure,) = [finding for finding in told["findings"] if finding["status"] == "failure"]
    assert failure["check"] == "sources"
    for text in texts:
        assert text in failure["found"] + failure["remedy"]
    check_said(done, exits.BAD_INPUT, "prerequisites failed")


def test_every_bad_clip_is_told_at_once(tmp_path: Path, make_clip: MakeClip, ffmpeg: Ffmpeg, kit: Kit) -> None:
    folder = tmp_path / "ref"
    folder.mkdir()
    make_clip(folder / "good.mkv", "Bars")
    for write in (write_empty, write_cut_mkv, write_text, write_rgb):
        write(folder, make_clip, ffmpeg)
    done = kit("prereqs", "--ref-dir", "ref", "--out-dir", "out", cwd=tmp_path)
    (failure,) = [
        finding for finding in json.loads((tmp_path / "out" / "prereqs.json").read_text())["findings"]
        if finding["status"] == "failure"
    ]  # fmt: skip
    assert "4 of 5 clips" in failure["found"]
    for name in ("zero.mkv", "cut.mkv", "text.mkv", "rgb.mkv"):
        assert name in failure["found"]
    assert done.returncode == exits.BAD_INPUT


def test_no_such_folder(tmp_path: Path, kit: Kit) -> None:
    done = kit("run", "--ref-dir", "nowhere", "--out-dir", "out", cwd=tmp_path)
    check_said(done, exits.BAD_INPUT, "nowhere does not exist")


def test_the_same_content_under_two_names(tmp_path: Path, make_clip: MakeClip, kit: Kit) -> None:
    folder = tmp_path / "ref"
    folder.mkdir()
    make_clip(folder / "One.mkv", "Bars")
    make_clip(folder / "Two_320x180_25fps_8bit_420.yuv", "Bars")
    make_clip(folder / "Three.mkv", "Fractal")
    done = kit("run", "--ref-dir", "ref", "--out-dir", "out", cwd=tmp_path)
    check_said(done, exits.BAD_INPUT, "One.mkv and Two_320x180_25fps_8bit_420.yuv have the same content")


def test_a_named_encoder_that_is_not_there(clips: Path, tmp_path: Path, kit: Kit) -> None:
    if shutil.which("nvidia-smi"):
        pytest.skip("an NVIDIA driver is here, so h264_nvenc may work")
    done = kit("run", "--ref-dir", str(clips), "--encoders", "h264_nvenc", "--out-dir", "out", cwd=tmp_path)
    check_said(done, exits.BAD_INPUT, "encoder h264_nvenc")
    left_out = json.loads((tmp_path / "out" / "prereqs.json").read_text())["left_out"]
    assert [(lost["name"], bool(lost["reason"])) for lost in left_out] == [("h264_nvenc", True)]


def test_an_unknown_teacher(clips: Path, tmp_path: Path, kit: Kit) -> None:
    done = kit("run", "--ref-dir", str(clips), "--teacher", "vmaf_v9", "--out-dir", "out", cwd=tmp_path)
    check_said(done, exits.BAD_INPUT, "vmaf_v9", "does not have that teacher")


def test_something_that_is_no_ffmpeg(clips: Path, tmp_path: Path, kit: Kit) -> None:
    done = kit("run", "--ref-dir", str(clips), "--ffmpeg", shutil.which("true") or "", "--out-dir", "o", cwd=tmp_path)
    check_said(done, exits.BAD_INPUT, "answers -version like another program")


def test_the_environment_variable_is_named_when_it_is_wrong(clips: Path, tmp_path: Path, kit: Kit) -> None:
    done = kit(
        "run", "--ref-dir", str(clips), "--out-dir", "o", cwd=tmp_path, env={"FFMPEG_BIN": str(tmp_path / "gone")}
    )
    check_said(done, exits.BAD_INPUT, "environment FFMPEG_BIN", "is not a file")


def test_an_out_dir_that_is_a_file(clips: Path, tmp_path: Path, kit: Kit) -> None:
    (tmp_path / "file").touch()
    done = kit("run", "--ref-dir", str(clips), "--out-dir", "file/run", cwd=tmp_path)
    check_said(done, exits.BAD_INPUT, "cannot write into")


def test_an_out_dir_that_is_not_writable(clips: Path, tmp_path: Path, kit: Kit) -> None:
    if sys.platform != "linux":
        pytest.skip("there is no /proc here, the one place where even root may not write")
    done = kit("run", "--ref-dir", str(clips), "--out-dir", "/proc/kit-run", cwd=tmp_path)
    check_said(done, exits.BAD_INPUT, "cannot write into /proc/kit-run")


def test_steps_without_a_run(tmp_path: Path, kit: Kit) -> None:
    check_said(kit("train", cwd=tmp_path), exits.BAD_INPUT, "no run under runs/")
    check_said(kit("corpus", "--out-dir", "new", cwd=tmp_path), exits.BAD_INPUT, "prereqs.json is not there")


def test_a_run_folder_in_use(run_copy: Path, kit: Kit) -> None:
    import fcntl

    with (run_copy / ".lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        done = kit("verdict", "--out-dir", str(run_copy), cwd=run_copy.parent)
    check_said(done, exits.BAD_INPUT, "another run is working")
    assert layout.verdicts_in(run_copy) != []


@pytest.fixture
def small_disk(tmp_path: Path) -> Path:
    """A file system of 3 MB."""
    place = tmp_path / "small"
    place.mkdir()
    mount = shutil.which("mount")
    if mount is None or os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root and the mount command")
    argv = [mount, "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(place)]
    if subprocess.run(argv, capture_output=True, check=False).returncode != 0:
        pytest.skip("this system does not allow mounting a tmpfs")
    return place


@pytest.fixture
def unmounted(small_disk: Path) -> object:
    yield small_disk
    subprocess.run(["umount", str(small_disk)], check=True)


def fill(path: Path) -> None:
    """Write until there is no space left."""
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as ballast:
        while True:
            ballast.write(b"\0" * 4096)


def test_a_full_disk(unmounted: Path, finished: Path, tmp_path: Path, kit: Kit) -> None:
    run = shutil.copytree(finished, unmounted / "run")
    done = kit("run", "--out-dir", str(run), cwd=tmp_path)
    # that the plan does not fit is known before anything is made
    check_said(done, exits.BAD_INPUT, "disk: ", "free, the plan needs")
    shutil.copy(finished / "prereqs.json", run / "prereqs.json")
    victim = min((run / "corpus" / "cells").rglob("*.parquet"))
    victim.unlink()
    kept = sorted(path.name for path in (run / "corpus" / "cells").rglob("*.parquet"))
    fill(unmounted / "ballast")
    done = kit("corpus", "--out-dir", str(run), cwd=tmp_path)
    check_said(done, exits.DISK_FULL, "full")
    assert sorted(path.name for path in (run / "corpus" / "cells").rglob("*.parquet")) == kept
    (unmounted / "ballast").unlink()
    assert kit("corpus", "--out-dir", str(run), cwd=tmp_path).returncode == 0
    assert victim.is_file()


@pytest.mark.parametrize(
    ("raised", "code"),
    [
        (click.Abort(), exits.INTERRUPTED),
        (click.ClickException("x"), exits.BAD_INPUT),
        (click.UsageError("x"), exits.BAD_INPUT),
        (click.FileError("x"), exits.BAD_INPUT),
        (click.exceptions.Exit(1), exits.BAD_INPUT),
        (KeyboardInterrupt(), exits.INTERRUPTED),
        (SystemExit(1), exits.INTERNAL),
        (SystemExit("text"), exits.INTERNAL),
        (SystemExit(0), exits.INTERNAL),
        (TypeError("x"), exits.INTERNAL),
        (MemoryError(), exits.INTERNAL),
        (RecursionError(), exits.INTERNAL),
        (OSError(errno.ENOSPC, "No space left on device"), exits.DISK_FULL),
        (OSError(errno.EIO, "I/O error"), exits.INTERNAL),
        (BadInput("x"), exits.BAD_INPUT),
        (InvalidEvidence(["x"]), exits.INVALID),
        (DiskFull("x"), exits.DISK_FULL),
        (Terminated("x"), exits.TERMINATED),
        (KitError("x"), exits.INTERNAL),
    ],
    ids=repr,
)
def test_no_exception_leaves_with_1(
    raised: BaseException, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*args: object, **kwargs: object) -> int:
        raise raised

    monkeypatch.setattr(cli, "_execute", fail)
    assert cli.main(["verdict"]) == code
    assert "Error: " in capsys.readouterr().err or isinstance(raised, click.exceptions.Exit)


def test_every_error_class_has_an_exit_code_that_is_not_hold() -> None:
    def below(cls: type[KitError]) -> list[type[KitError]]:
        return [cls, *(grandchild for child in cls.__subclasses__() for grandchild in below(child))]

    assert len(below(KitError)) > 10
    assert exits.HOLD not in {cls.exit_code for cls in below(KitError)}


def test_a_closed_stdout_changes_no_exit_code(run_copy: Path, home: dict[str, str]) -> None:
    from kit.session import KIT_ROOT

    with subprocess.Popen(
        [sys.executable, str(KIT_ROOT / "kit" / "__main__.py"), "bundle", "--json", "--out-dir", str(run_copy)],
        cwd=run_copy.parent, env=home, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        process.stdout.close()
        assert process.wait(timeout=60) == exits.OK
