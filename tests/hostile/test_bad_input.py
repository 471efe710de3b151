"""Mistakes of users: one message with a hint, the right exit code, no traceback."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import click
import pytest

from kit.cli import main
from kit.cli import run as run_command
from kit.core import exits, layout
from kit.core.errors import BadInput, DiskFull, InvalidEvidence, KitError, Terminated
from kit.system.fsio import TEMPORARY_PREFIX
from kit.video.ffmpeg import Ffmpeg
from tests.cli.builders import Kit
from tests.video.builders import MakeClip

pytestmark = pytest.mark.ffmpeg


def check_error(done: subprocess.CompletedProcess[str], code: int, *texts: str) -> None:
    """Check the exit code, texts of the message, that there is a hint, and that there is no traceback."""
    assert done.returncode == code, done.stderr
    for text in texts:
        assert text in done.stderr, done.stderr
    assert "Traceback" not in done.stderr
    assert re.search(r"^Error: .+", done.stderr, re.MULTILINE)
    assert re.search(r"^Hint: .+", done.stderr, re.MULTILINE)


@pytest.mark.parametrize(
    ("args", "texts"),
    [
        (("--encoders", "h264_nvnec"), ("--encoders", "h264_nvnec", "libx264")),
        (("--encoders", ""), ("--encoders",)),
        (("--cqs", "19,52"), ("52", "0 to 51")),
        (("--cqs", "-1"), ("--cqs",)),
        (("--cqs", "31,31"), ("twice",)),
        (("--seeds", ""), ("--seeds",)),
        (("--seeds", "1,x"), ("--seeds", "x")),
        (("--epochs", "0"), ("--epochs", "'0'", "1 or more")),
        (("--box", "a b"), ("--box", "letters")),
        (("--geometry", "1920x1080"), ("WxH@FPS",)),
        (("--teacher", "no/such"), ("--teacher",)),
        (("--no-such-option",), ("No such option",)),
        (("--from", "6"), ("--from",)),
        (("--from", "2", "--only", "3"), ("exclude each other",)),
        (("--config", "not-there.toml"), ("not-there.toml",)),
        (("--ffmpeg", "not-there"), ("not-there", "is not a file")),
        (("--vmaf-bin", "vmaf"), ("vmaf tool (command line)", "is not a file")),
        (("--out-dir", ""), ("--out-dir",)),
        (("--ffmpeg", ""), ("--ffmpeg",)),
        (("--seeds", "9" * 5000), ("--seeds",)),
    ],
)
def test_options(args: tuple[str, ...], texts: tuple[str, ...], clips: Path, tmp_path: Path, kit_here: Kit) -> None:
    done = kit_here("run", "--ref-dir", str(clips), "--out-dir", str(tmp_path / "out"), *args, cwd=tmp_path)
    check_error(done, exits.BAD_INPUT, *texts)


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (("--only", "4", "--epochs", "9"), "--epochs: no effect"),
        (("--from", "3", "--ref-dir", "x", "--cqs", "31"), "--ref-dir, --cqs: no effect"),
        (("--only", "1", "--seeds", "3"), "--seeds: no effect"),
    ],
)
def test_an_option_without_effect_is_refused(args: tuple[str, ...], text: str, tmp_path: Path, kit_here: Kit) -> None:
    check_error(kit_here("run", "--out-dir", "out", *args, cwd=tmp_path), exits.BAD_INPUT, text)
    assert list(tmp_path.iterdir()) == []


def test_a_refused_command_changes_nothing(run_copy: Path, kit_here: Kit) -> None:
    before = {path: path.read_bytes() for path in run_copy.rglob("*.json")}
    check_error(
        kit_here("run", "--only", "4", "--config", "odd.toml", "--out-dir", str(run_copy), cwd=run_copy.parent),
        2,
        "odd.toml",
    )
    (run_copy.parent / "seeds.toml").write_text("seeds = [7]")
    done = kit_here("verdict", "--config", "seeds.toml", "--out-dir", str(run_copy), cwd=run_copy.parent)
    check_error(done, exits.BAD_INPUT, "seeds", "0,1,2", "7")
    (run_copy.parent / "epochs.toml").write_text("epochs = 99")
    done = kit_here("verdict", "--config", "epochs.toml", "--out-dir", str(run_copy), cwd=run_copy.parent)
    check_error(done, exits.BAD_INPUT, "epochs", "3", "99")
    assert {path: path.read_bytes() for path in run_copy.rglob("*.json")} == before
    check_error(kit_here("verdict", "--out-dir", "nowhere", cwd=run_copy.parent), exits.BAD_INPUT, "no run folder")
    assert not (run_copy.parent / "nowhere").exists()


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"passed": False}, "the prerequisites failed"),
        ({"ffmpeg": {"version": "n1", "origin": "x"}}, "checked with n1"),
        ({"teacher": {"id": "vmaf_4k_v0.6.1", "sha256": None}}, "vmaf_4k_v0.6.1"),
        (
            {"facts": {"system": "Linux", "machine": "x86_64", "gpus": [{"index": 9, "name": "H100"}], "nodes": []}},
            "changed since its prerequisites were checked: ",
        ),
        ({"facts": {}}, "not written by this version"),
        ({"encoders": []}, "not probed"),
    ],
)
def test_outdated_prerequisites_are_refused(
    change: dict[str, object], text: str, run_copy: Path, kit_here: Kit
) -> None:
    path = run_copy / "prereqs.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    check_error(kit_here("corpus", "--out-dir", str(run_copy), cwd=run_copy.parent), exits.BAD_INPUT, text)


def test_a_changed_run_folder_is_not_bundled(run_copy: Path, kit_here: Kit) -> None:
    word = layout.verdicts_in(run_copy)[0]
    verdict = run_copy / f"{word}.json"
    honest = verdict.read_bytes()
    value = json.loads(honest)
    value["gate"]["mean_plcc"] = 0.99999
    verdict.write_text(json.dumps(value))
    done = kit_here("bundle", "--out-dir", str(run_copy), cwd=run_copy.parent)
    check_error(done, exits.BAD_INPUT, verdict.name)
    verdict.write_bytes(honest)
    report = run_copy / layout.seed_report(1)
    kept = report.read_bytes()
    report.unlink()
    check_error(kit_here("bundle", "--out-dir", str(run_copy), cwd=run_copy.parent), exits.BAD_INPUT, "loso_seed1.json")
    report.write_bytes(kept)
    cell = min((run_copy / "corpus" / "cells").rglob("*.parquet"))
    cell.write_bytes(cell.read_bytes()[:500])
    done = kit_here("bundle", "--out-dir", str(run_copy), cwd=run_copy.parent)
    check_error(done, exits.INVALID, cell.name, "cannot be read")


def test_a_run_works_without_a_writable_cache(clips: Path, tmp_path: Path, kit: Kit) -> None:
    (tmp_path / "file").touch()
    env = {"XDG_CACHE_HOME": str(tmp_path / "file" / "cache"), "XDG_STATE_HOME": str(tmp_path / "file" / "state")}
    done = kit("run", "--shard-only", "--ref-dir", str(clips), "--cqs", "31", "--out-dir", "o", cwd=tmp_path, env=env)
    assert done.returncode == 0, done.stderr


def test_file_names_that_are_not_unicode(clips: Path, tmp_path: Path, kit: Kit) -> None:
    if sys.platform == "darwin":
        pytest.skip("the file system of macOS refuses such names itself")
    folder = tmp_path / os.fsdecode(b"ref\xff\xfe")
    folder.mkdir()
    for number in range(3):
        shutil.copy(clips / "Fractal.mkv", folder / os.fsdecode(b"bad\xff%d.mkv" % number))
    done = kit("run", "--ref-dir", str(folder), "--cqs", "31", "--out-dir", "o", cwd=tmp_path)
    check_error(done, exits.BAD_INPUT, "have the same content")
    for number, name in enumerate(("Cells.y4m", "Fractal.mkv")):
        shutil.copy(clips / name, folder / os.fsdecode(b"bad\xff%d.mkv" % number))
    (folder / os.fsdecode(b"bad\xff2.mkv")).unlink()
    done = kit("run", "--shard-only", "--ref-dir", str(folder), "--cqs", "31", "--out-dir", "o", cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_a_closed_stderr_does_not_end_the_run(run_copy: Path, home: dict[str, str]) -> None:
    from kit.options.session import KIT_ROOT

    argv = [sys.executable, str(KIT_ROOT / "kit" / "__main__.py"), "run", "--from", "4", "--out-dir", str(run_copy)]
    word = layout.verdicts_in(run_copy)[0]
    with subprocess.Popen(argv, cwd=run_copy.parent, env=home, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        process.stderr.close()
        code = process.wait(timeout=60)
    assert code == {"PROMOTE": exits.OK, "HOLD": exits.HOLD}[word]
    closed = subprocess.run(
        ["/bin/sh", "-c", 'exec "$@" --json >&-', "sh", *argv],
        cwd=run_copy.parent,
        env=home,
        capture_output=True,
        check=False,
    )
    assert closed.returncode == code, closed.stderr


@pytest.mark.parametrize("argv", [("no-such-command",), ("run", "left-over"), ()])
def test_usage(argv: tuple[str, ...], tmp_path: Path, kit: Kit) -> None:
    done = kit(*argv, cwd=tmp_path)
    assert done.returncode == exits.BAD_INPUT
    assert "Traceback" not in done.stderr
    assert done.stderr


def test_several_wrong_options_are_reported_together(tmp_path: Path, kit: Kit) -> None:
    done = kit("run", "--cqs", "99", "--seeds", "", "--epochs", "none", cwd=tmp_path)
    check_error(done, exits.BAD_INPUT, "--cqs: ", "99", "--seeds: ", "--epochs: 'none'")


def write_nothing(folder: Path, make_clip: MakeClip, ffmpeg: Ffmpeg) -> None:
    pass


def write_no_clip(folder: Path, make_clip: MakeClip, ffmpeg: Ffmpeg) -> None:
    (folder / "README.md").write_text("no clip")


def write_odd_yuv(folder: Path, make_clip: MakeClip, ffmpeg: Ffmpeg) -> None:
    path = make_clip(folder / "Odd_320x180_25fps_8bit_420.yuv", "Bars")
    path.write_bytes(path.read_bytes()[:-7])


def write_unknown_yuv(folder: Path, make_clip: MakeClip, ffmpeg: Ffmpeg) -> None:
    make_clip(folder / "unnamed.yuv", "Bars")


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


def write_odd_size(folder: Path, make_clip: MakeClip, ffmpeg: Ffmpeg) -> None:
    make_clip(folder / "odd.mkv", "color=red:size=321x181:rate=25,format=yuv420p")


def write_tiny(folder: Path, make_clip: MakeClip, ffmpeg: Ffmpeg) -> None:
    make_clip(folder / "tiny.mkv", "testsrc2=size=24x24:rate=25")


def write_elementary(folder: Path, make_clip: MakeClip, ffmpeg: Ffmpeg) -> None:
    make_clip(folder / "raw.264", "Bars", "-c:v", "libx264", "-bf", "2")


Write = Callable[[Path, MakeClip, Ffmpeg], None]


@pytest.mark.parametrize(
    ("write", "texts"),
    [
        (write_nothing, ("has no clips",)),
        (write_no_clip, ("has no clips", "1 other files")),
        (write_odd_yuv, ("Odd_320x180", "9 frames", "bytes more", "its name")),
        (write_unknown_yuv, ("unnamed.yuv", "--geometry")),
        (write_empty, ("zero.mkv", "0 bytes")),
        (write_cut_mkv, ("cut.mkv", "truncated")),
        (write_cut_mp4, ("cut.mp4", "truncated")),
        (write_cut_y4m, ("cut.y4m", "frame 9")),
        (write_text, ("text.mkv", "cannot read it")),
        (write_variable_rate, ("vfr.mkv", "-fps_mode cfr")),
        (write_rgb, ("rgb.mkv", "pixel format")),
        (write_interlaced, ("tff.mkv", "interlaced")),
        (write_short, ("short.mkv", "at least 3")),
        (write_odd_size, ("odd.mkv", "321x181 is odd", "crop")),
        (write_tiny, ("tiny.mkv", "24x24 is outside")),
        (write_elementary, ("raw.264", "without time stamps")),
        (write_bad_sidecar, ("clip.json", "missing fps")),
    ],
)
def test_clips(  # noqa: PLR0917 - fixtures
    write: Write, texts: tuple[str, ...], tmp_path: Path, make_clip: MakeClip, ffmpeg: Ffmpeg, kit_here: Kit
) -> None:
    folder = tmp_path / "ref"
    folder.mkdir()
    write(folder, make_clip, ffmpeg)
    done = kit_here("prereqs", "--ref-dir", str(folder), "--out-dir", "out", cwd=tmp_path)
    assert done.returncode == exits.BAD_INPUT
    document = json.loads((tmp_path / "out" / "prereqs.json").read_text())
    (failure,) = [finding for finding in document["findings"] if finding["status"] == "failure"]
    assert failure["check"] == "sources"
    for text in texts:
        assert text in failure["found"] + failure["remedy"]
    check_error(done, exits.BAD_INPUT, "prerequisites failed")


def test_every_bad_clip_is_reported_at_once(tmp_path: Path, make_clip: MakeClip, ffmpeg: Ffmpeg, kit_here: Kit) -> None:
    folder = tmp_path / "ref"
    folder.mkdir()
    make_clip(folder / "good.mkv", "Bars")
    for write in (write_empty, write_cut_mkv, write_text, write_rgb):
        write(folder, make_clip, ffmpeg)
    done = kit_here("prereqs", "--ref-dir", "ref", "--out-dir", "out", cwd=tmp_path)
    (failure,) = [
        finding
        for finding in json.loads((tmp_path / "out" / "prereqs.json").read_text())["findings"]
        if finding["status"] == "failure"
    ]
    assert "4 of 5 clips" in failure["found"]
    for name in ("zero.mkv", "cut.mkv", "text.mkv", "rgb.mkv"):
        assert name in failure["found"]
    assert done.returncode == exits.BAD_INPUT


def test_no_such_folder(tmp_path: Path, kit_here: Kit) -> None:
    done = kit_here("run", "--ref-dir", "nowhere", "--out-dir", "out", cwd=tmp_path)
    check_error(done, exits.BAD_INPUT, "nowhere does not exist")


def test_the_same_content_under_two_names(tmp_path: Path, make_clip: MakeClip, kit_here: Kit) -> None:
    folder = tmp_path / "ref"
    folder.mkdir()
    make_clip(folder / "One.mkv", "Bars")
    make_clip(folder / "Two_320x180_25fps_8bit_420.yuv", "Bars")
    make_clip(folder / "Three.mkv", "Fractal")
    done = kit_here("run", "--ref-dir", "ref", "--out-dir", "out", cwd=tmp_path)
    check_error(done, exits.BAD_INPUT, "One.mkv and Two_320x180_25fps_8bit_420.yuv have the same content")


def test_a_named_encoder_that_does_not_work(clips: Path, tmp_path: Path, kit_here: Kit) -> None:
    if shutil.which("nvidia-smi"):
        pytest.skip("an NVIDIA driver is here, so h264_nvenc may work")
    done = kit_here("run", "--ref-dir", str(clips), "--encoders", "h264_nvenc", "--out-dir", "out", cwd=tmp_path)
    check_error(done, exits.BAD_INPUT, "encoder h264_nvenc")
    left_out = json.loads((tmp_path / "out" / "prereqs.json").read_text())["left_out"]
    assert [(lost["name"], bool(lost["reason"])) for lost in left_out] == [("h264_nvenc", True)]


def test_an_unknown_teacher(clips: Path, tmp_path: Path, kit_here: Kit) -> None:
    done = kit_here("run", "--ref-dir", str(clips), "--teacher", "vmaf_v9", "--out-dir", "out", cwd=tmp_path)
    check_error(done, exits.BAD_INPUT, "vmaf_v9", "does not have that teacher")


def test_a_program_that_is_not_ffmpeg(clips: Path, tmp_path: Path, kit: Kit) -> None:
    done = kit("run", "--ref-dir", str(clips), "--ffmpeg", shutil.which("true") or "", "--out-dir", "o", cwd=tmp_path)
    check_error(done, exits.BAD_INPUT, "ffmpeg", shutil.which("true") or "")


def test_an_error_names_the_environment_variable(clips: Path, tmp_path: Path, kit_here: Kit) -> None:
    done = kit_here(
        "run", "--ref-dir", str(clips), "--out-dir", "o", cwd=tmp_path, env={"FFMPEG_BIN": str(tmp_path / "gone")}
    )
    check_error(done, exits.BAD_INPUT, "environment FFMPEG_BIN", "is not a file")


def test_an_out_dir_that_is_a_file(clips: Path, tmp_path: Path, kit_here: Kit) -> None:
    (tmp_path / "file").touch()
    done = kit_here("run", "--ref-dir", str(clips), "--out-dir", "file/run", cwd=tmp_path)
    check_error(done, exits.BAD_INPUT, "--out-dir", str(tmp_path / "file/run"))


def test_an_out_dir_that_is_not_writable(clips: Path, tmp_path: Path, kit: Kit) -> None:
    if sys.platform != "linux":
        pytest.skip("there is no /proc here, the one place where even root may not write")
    done = kit("run", "--ref-dir", str(clips), "--out-dir", "/proc/kit-run", cwd=tmp_path)
    check_error(done, exits.BAD_INPUT, "--out-dir", "/proc/kit-run")


def test_steps_need_a_run_folder(tmp_path: Path, kit_here: Kit) -> None:
    check_error(kit_here("train", cwd=tmp_path), exits.BAD_INPUT, "runs/")
    check_error(kit_here("corpus", "--out-dir", "new", cwd=tmp_path), exits.BAD_INPUT, "no run folder", "new")
    (tmp_path / "new").mkdir()
    check_error(kit_here("corpus", "--out-dir", "new", cwd=tmp_path), exits.BAD_INPUT, "prereqs.json")


def test_a_run_folder_in_use(run_copy: Path, kit: Kit) -> None:
    import fcntl

    with (run_copy / ".lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        done = kit("verdict", "--out-dir", str(run_copy), cwd=run_copy.parent)
    check_error(done, exits.BAD_INPUT, "another process")
    assert layout.verdicts_in(run_copy) != []


def fill(path: Path) -> None:
    """Write until there is no space left."""
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as ballast:
        while True:
            ballast.write(b"\0" * 4096)


def test_a_full_disk(small_disk: Path, finished: Path, tmp_path: Path, kit: Kit) -> None:
    run = shutil.copytree(finished, small_disk / "run")
    done = kit("run", "--out-dir", str(run), cwd=tmp_path)
    # the plan does not fit: refused before a cell is made
    check_error(done, exits.BAD_INPUT, "disk: ", "free, the plan needs")
    shutil.copy(finished / "prereqs.json", run / "prereqs.json")
    victim = min((run / "corpus" / "cells").rglob("*.parquet"))
    victim.unlink()
    kept = sorted(path.name for path in (run / "corpus" / "cells").rglob("*.parquet"))
    fill(small_disk / "ballast")
    done = kit("corpus", "--out-dir", str(run), cwd=tmp_path)
    check_error(done, exits.DISK_FULL, "The disk is full")
    # space for the small files, not for a cell
    os.truncate(small_disk / "ballast", (small_disk / "ballast").stat().st_size - 400_000)
    begin = time.monotonic()
    done = kit("corpus", "--disk-wait", "2", "--out-dir", str(run), cwd=tmp_path)
    check_error(done, exits.DISK_FULL, "Paused: no further cell is started", "Error: the disk is full")
    assert time.monotonic() - begin > 2
    assert not list(run.rglob(TEMPORARY_PREFIX + "*"))
    assert sorted(path.name for path in (run / "corpus" / "cells").rglob("*.parquet")) == kept
    (small_disk / "ballast").unlink()
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
def test_no_exception_ends_with_exit_code_1(
    raised: BaseException, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*args: object, **kwargs: object) -> int:
        raise raised

    monkeypatch.setattr(run_command, "_run_steps", fail)
    assert main.main(["verdict"]) == code
    assert "Error: " in capsys.readouterr().err or isinstance(raised, click.exceptions.Exit)


def test_every_error_class_has_an_exit_code_that_is_not_hold() -> None:
    def below(cls: type[KitError]) -> list[type[KitError]]:
        return [cls, *(grandchild for child in cls.__subclasses__() for grandchild in below(child))]

    assert len(below(KitError)) > 10
    assert exits.HOLD not in {cls.exit_code for cls in below(KitError)}


def test_a_closed_stdout_changes_no_exit_code(run_copy: Path, home: dict[str, str]) -> None:
    from kit.options.session import KIT_ROOT

    with subprocess.Popen(
        [sys.executable, str(KIT_ROOT / "kit" / "__main__.py"), "bundle", "--json", "--out-dir", str(run_copy)],
        cwd=run_copy.parent,
        env=home,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.wait(timeout=60) == exits.OK
