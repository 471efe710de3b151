"""Real signals to real processes: the right exit code, no child left, nothing finished lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kit.core import exits, layout
from kit.options.session import KIT_ROOT
from kit.system.fsio import TEMPORARY_PREFIX
from tests.cli.builders import Kit
from tests.system.builders import below
from tests.video.builders import MakeClip

pytestmark = pytest.mark.ffmpeg

ARGS = ("--cqs", "19,25,31,37", "--seeds", "0,1,2", "--epochs", "2", "--box", "testbox")


@pytest.fixture(scope="module")
def long_clips(tmp_path_factory: pytest.TempPathFactory, make_clip: MakeClip) -> Path:
    """Three sources that keep two cores busy for some seconds."""
    folder = tmp_path_factory.mktemp("long")
    for name in ("Bars", "Fractal", "Life"):
        make_clip(folder / f"{name}.mkv", name, frames=75)
    return folder


@pytest.fixture
def started(long_clips: Path, tmp_path: Path, home: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """A run that has finished its first cell and is making others."""
    process = subprocess.Popen(
        [
            sys.executable,
            str(KIT_ROOT / "kit" / "__main__.py"),
            "run",
            "--ref-dir",
            str(long_clips),
            "--out-dir",
            "run",
            *ARGS,
        ],
        cwd=tmp_path,
        env=home,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while not below(tmp_path / "run" / "corpus" / "cells", "cq*.parquet") and time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.05)
    yield process
    if process.poll() is None:
        process.kill()
    process.communicate()


def children_below(folder: Path) -> list[str]:
    """Command lines of processes that work in a folder below ``folder``."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            if (place / "cwd").readlink().is_relative_to(folder):
                found.append((place / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue
    return [line for line in found if "ffmpeg" in line]


@pytest.mark.essential
@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc, which Linux alone has")
@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, exits.INTERRUPTED), (signal.SIGTERM, exits.TERMINATED), (signal.SIGHUP, exits.TERMINATED)],
    ids=str,
)
def test_a_signal(number: signal.Signals, code: int, started: subprocess.Popen[str], tmp_path: Path, kit: Kit) -> None:
    run = tmp_path / "run"
    started.send_signal(number)
    _, stderr = started.communicate(timeout=30)
    assert started.returncode == code, stderr
    assert "Hint: " in stderr
    assert "Traceback" not in stderr
    assert children_below(tmp_path) == []
    assert layout.verdicts_in(run) == []
    kept = {path: path.stat().st_mtime_ns for path in run.rglob("cells/**/cq*.parquet")}
    assert kept
    assert len(kept) < 12
    # the run to a verdict is tested after a kill, below
    done = kit("corpus", "--out-dir", "run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"{len(kept)} of 12 cells" in done.stderr
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert not list(run.rglob(TEMPORARY_PREFIX + "*"))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=str)
def test_a_signal_while_the_box_is_examined(
    number: signal.Signals, code: int, long_clips: Path, tmp_path: Path, home: dict[str, str]
) -> None:
    process = subprocess.Popen(
        [
            sys.executable,
            str(KIT_ROOT / "kit" / "__main__.py"),
            "prereqs",
            "--ref-dir",
            str(long_clips),
            "--out-dir",
            "run",
            "--encoders",
            "libaom-av1,libx265,libvvenc",
        ],
        cwd=tmp_path,
        env=home,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while "golden pair" not in "".join(p.read_text() for p in below(tmp_path, "*.log")):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(number)
    begin = time.monotonic()
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == code, stderr
    assert time.monotonic() - begin < 8
    assert not (tmp_path / "run" / "prereqs.json").exists()


@pytest.mark.essential
def test_after_a_kill_the_same_command_continues(started: subprocess.Popen[str], tmp_path: Path, kit: Kit) -> None:
    deadline = time.monotonic() + 30
    while sys.platform == "linux" and not children_below(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.01)
    # the process alone, not its group
    os.kill(started.pid, signal.SIGKILL)
    killed = time.monotonic()
    while children_below(tmp_path) and time.monotonic() < killed + 10:
        time.sleep(0.01)
    assert time.monotonic() - killed < 2
    # no process that survived has its output open
    started.communicate(timeout=2)
    cells = (tmp_path / "run").rglob("cells/**/*.parquet")
    kept = len([path for path in cells if not path.name.startswith(TEMPORARY_PREFIX)])
    done = kit("run", "--out-dir", "run", cwd=tmp_path)
    assert done.returncode in (0, 1), done.stderr
    assert f"{kept} of 12 cells" in done.stderr
    assert not list((tmp_path / "run").rglob(TEMPORARY_PREFIX + "*"))


def test_the_same_command_continues_an_unfinished_run(clips: Path, tmp_path: Path, kit_here: Kit) -> None:
    """Without --out-dir the same options continue the run without a bundle; other options start a new one."""
    options = ("--ref-dir", str(clips), "--cqs", "31", "--box", "testbox", "--shard-only")
    assert kit_here("prereqs", *options, cwd=tmp_path).returncode == 0
    (first,) = (tmp_path / "runs").iterdir()
    assert kit_here("run", *options, cwd=tmp_path).returncode == 0
    assert (first / layout.MANIFEST).is_file()
    assert [path for path in (tmp_path / "runs").iterdir() if path.is_dir()] == [first]
    # a failed bundle has no manifest, and an INVALID run can be repaired: both continue
    (first / layout.MANIFEST).rename(first / "kept")
    assert kit_here("run", *options, cwd=tmp_path).returncode == 0
    (first / "INVALID.json").write_text("{}")
    assert kit_here("run", *options, cwd=tmp_path).returncode == 0
    assert [path for path in (tmp_path / "runs").iterdir() if path.is_dir()] == [first]
    time.sleep(1.1)  # run folders carry the second they were started in
    assert kit_here("prereqs", *options, cwd=tmp_path).returncode == 0
    assert len([path for path in (tmp_path / "runs").iterdir() if path.is_dir()]) == 2
