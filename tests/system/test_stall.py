"""Real processes that hang, and real processes that only seem to."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kit.core.errors import ToolFailed
from kit.system.proc import Command, Processes
from kit.system.stall import TimeLimits, Watch, cpu_seconds
from kit.video.ffmpeg import Ffmpeg

SPIN = "import time\nend = time.monotonic() + {seconds}\nwhile time.monotonic() < end: pass"


def shell(program: str, *, feeds: bool = False) -> Command:
    return Command(argv=["/bin/sh", "-c", program], feeds=feeds)


def spin(seconds: float) -> list[str]:
    return [sys.executable, "-I", "-S", "-c", SPIN.format(seconds=seconds)]


def together(folder: Path, *commands: Command, idle: float = 60.0, busy: float = 60.0) -> str:
    return Processes().run_together(commands, tried="x", limit=TimeLimits(idle=idle, busy=busy), cwd=folder)


@pytest.mark.parametrize(
    "program",
    [
        "echo begun >&2; exec sleep 60",
        "echo begun >&2; kill -STOP $$",
        "echo begun >&2; sleep 60 & wait",
        "echo begun >&2; echo x > result; exec sleep 60",
    ],
)
def test_processes_that_do_nothing_are_stopped(program: str, tmp_path: Path) -> None:
    begin = time.monotonic()
    with pytest.raises(ToolFailed) as error:
        together(tmp_path, shell(program), idle=1)
    assert 1 <= time.monotonic() - begin < 3.5
    assert error.value.status == "no progress for 1 s"
    assert error.value.command.startswith("/bin/sh -c")
    assert error.value.stderr_tail == "begun"


def test_processes_that_wait_for_each_other_are_all_named_and_stopped(tmp_path: Path) -> None:
    with pytest.raises(ToolFailed) as error:
        together(
            tmp_path, shell("echo made >&2; echo data; exec sleep 60", feeds=True), shell("cat; echo read >&2"), idle=1
        )
    assert error.value.status == "no progress for 1 s"
    assert error.value.command.count("/bin/sh") == 2
    assert " | " in error.value.command
    assert error.value.stderr_tail.splitlines()[0] == "made"


@pytest.mark.ffmpeg
def test_an_ffmpeg_whose_input_stalls_is_stopped(tmp_path: Path, ffmpeg: Ffmpeg) -> None:
    """A waiting ffmpeg wakes up twice a second, which takes CPU time."""
    os.mkfifo(tmp_path / "clip.y4m")
    feed = f"exec 3> clip.y4m; '{ffmpeg.path}' -v error -f lavfi -i testsrc2=s=64x64 -frames:v 2 -f yuv4mpegpipe - >&3"
    argv = [str(ffmpeg.path), "-v", "error", "-nostdin", "-i", "clip.y4m", "-f", "null", "-"]
    with pytest.raises(ToolFailed) as error:
        together(tmp_path, shell(f"{feed}; exec sleep 60"), Command(argv=argv), idle=2)
    assert error.value.status == "no progress for 2 s"


def test_a_spinning_process_is_stopped(tmp_path: Path) -> None:
    with pytest.raises(ToolFailed) as error:
        together(tmp_path, Command(argv=spin(60)), idle=0.5, busy=2)
    assert error.value.status == "busy without a result for 2 s"


def test_a_computing_process_is_not_idle(tmp_path: Path) -> None:
    assert together(tmp_path, Command(argv=spin(2)), idle=0.5) == ""


def test_a_computing_child_of_a_wrapper_is_not_idle(tmp_path: Path) -> None:
    program = f"'{sys.executable}' -I -S -c '{SPIN.format(seconds=2)}' & wait"
    assert together(tmp_path, shell(program), idle=0.5) == ""


def test_a_process_whose_results_grow_is_not_idle(tmp_path: Path) -> None:
    program = "for i in 1 2 3 4 5 6; do sleep 0.3; echo $i >> result; done"
    assert together(tmp_path, shell(program), idle=1, busy=1) == ""


def test_the_total_limit(tmp_path: Path) -> None:
    with pytest.raises(ToolFailed) as error:
        Processes().run_together([shell("sleep 60")], tried="x", limit=TimeLimits(total=0.5), cwd=tmp_path)
    assert error.value.status == "stopped after 0.5 s"


def test_progress_resets_the_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now, used = 1000.0, 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    watch = Watch(TimeLimits(idle=100, busy=300), tmp_path, lambda: used)

    def after(seconds: float, *, cpu: float = 0.0, written: bytes = b"") -> str:
        nonlocal now, used
        now, used = now + seconds, used + cpu
        with (tmp_path / "result").open("ab") as file:
            file.write(written)
        return watch.problem()

    assert after(1) == ""
    assert after(99) == ""
    assert after(90, written=b"x") == ""
    assert after(99, cpu=0.9) == ""  # under 1 %: nothing
    assert after(0.9, cpu=0.2) == ""  # just over it
    assert after(99, cpu=0.5) == ""
    assert after(1) == "no progress for 100 s"
    assert after(0, cpu=50) == ""
    assert after(99, cpu=50) == ""
    assert after(2, cpu=2) == "busy without a result for 300 s"
    assert after(0, written=b"x") == ""


def test_cpu_time_counts_ended_children_and_no_other_group() -> None:
    burn = "import time\nwhile time.process_time() < 0.6: pass"
    with subprocess.Popen(
        ["/bin/sh", "-c", f"'{sys.executable}' -c '{burn}'; exec sleep 60"], process_group=0
    ) as shell:
        try:
            used, end = 0.0, time.monotonic() + 20
            while used < 0.5 and time.monotonic() < end:
                time.sleep(0.1)
                used = cpu_seconds({shell.pid})
            assert 0.5 <= used < 2
            assert cpu_seconds({1 << 30}) == 0
        finally:
            os.killpg(shell.pid, signal.SIGKILL)
