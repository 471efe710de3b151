"""SIGKILL to the Python process alone: no child survives, and the next command removes what was left."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from kit.options.session import KIT_ROOT
from kit.system.fsio import SCRATCH_PREFIX, TEMPORARY_PREFIX
from kit.system.guard import Child
from kit.system.proc import Processes
from tests.cli.builders import Kit

pytestmark = [
    pytest.mark.ffmpeg,
    pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc, which Linux alone has"),
]


def wait_for(test: Callable[[], object], seconds: float) -> float:
    """Wait until a test is true; return the seconds that took."""
    begin = time.monotonic()
    while not test():
        assert time.monotonic() - begin < seconds, "waited in vain"
        time.sleep(0.01)
    return time.monotonic() - begin


def marked(mark: str) -> dict[int, str]:
    """Return process id and command line of every process with ``mark`` in its environment or arguments."""
    found = {}
    for place in Path("/proc").glob("[0-9]*"):
        try:
            argv, environ = (place / "cmdline").read_bytes(), (place / "environ").read_bytes()
            state = (place / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if mark.encode() in argv + environ and state != "Z":
            found[int(place.name)] = argv.replace(b"\0", b" ").decode()
    return found


def guards(parents: set[int]) -> set[int]:
    """Return the guards that these processes have started."""
    found = set()
    for place in Path("/proc").glob("[0-9]*"):
        try:
            argv, fields = (place / "cmdline").read_bytes(), (place / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if b"kill -s KILL 0" in argv and int(fields[1]) in parents:
            found.add(int(place.name))
    return found


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_killed_examination_leaves_a_folder_and_no_process(clips: Path, tmp_path: Path, home: dict[str, str]) -> None:
    scratch = tmp_path / "tmp"
    scratch.mkdir()
    # a cache of its own: probes that are remembered start no process that could be caught running
    environ = home | {"TMPDIR": str(scratch), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    with subprocess.Popen(
        [sys.executable, str(KIT_ROOT / "kit" / "__main__.py"), "prereqs", "--ref-dir", str(clips), "--out-dir", "run"],
        cwd=tmp_path,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as process:
        own = f"TMPDIR={scratch}"
        wait_for(lambda: list(scratch.glob(SCRATCH_PREFIX + "*")) and len(marked(own)) >= 2, 60)
        children = set(marked(own)) | guards({process.pid})
        assert len(children) >= 3  # the kit, a child, and its guard
        process.kill()
        assert wait_for(lambda: not any(map(is_alive, children)), 2) < 2
        # a reader of its output has come to the end too
        process.communicate(timeout=2)
    assert marked(own) == {}
    assert list(scratch.glob(SCRATCH_PREFIX + "*"))


def test_the_next_command_removes_what_killed_ones_left(
    run_copy: Path, home: dict[str, str], kit: Kit, tmp_path: Path
) -> None:
    scratch, cache = tmp_path / "tmp", tmp_path / "cache" / "vmaf-ensemble-kit"
    left = [
        run_copy / "loso" / f"{TEMPORARY_PREFIX}1.parquet",
        run_copy / "corpus" / f"{TEMPORARY_PREFIX}2" / "vmaf.json",
        cache / "identity" / f"{TEMPORARY_PREFIX}3.json",
        scratch / f"{SCRATCH_PREFIX}4" / "probe.yuv",
        run_copy.parent / f"{TEMPORARY_PREFIX}0123456789abcdef.gz",
    ]
    others = [
        run_copy.parent / f"{TEMPORARY_PREFIX}notes.gz",
        scratch / "vmaf-kit",
        scratch / f"{SCRATCH_PREFIX}5" / "x",
        cache / "identity" / f"{TEMPORARY_PREFIX}6.json",
    ]
    for path in (*left, *others):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"half")
    environ = home | {"TMPDIR": str(scratch), "XDG_CACHE_HOME": str(cache.parent)}
    with contextlib.ExitStack() as stack:
        # these belong to a living process: this one
        for path in (others[2].parent, others[3]):
            handle = os.open(path, os.O_RDONLY)
            stack.callback(os.close, handle)
            fcntl.flock(handle, fcntl.LOCK_EX)
        done = kit("bundle", "--out-dir", str(run_copy), cwd=tmp_path, env=environ)
    assert done.returncode == 0, done.stderr
    assert [path for path in left if path.exists()] == []
    assert [path for path in others if not path.exists()] == []
    assert not (scratch / f"{SCRATCH_PREFIX}4").exists()


#: Starts children in every possible way, one of them through a shell, prints a line and waits.
PARENT = """
import subprocess, sys, threading, time
from pathlib import Path
from kit.system.proc import Command, Processes
from kit.system.stall import TimeLimits
processes = Processes()
def stream():
    with processes.stream([sys.argv[1], "5001"], tried="x") as (stdout, _):
        stdout.read()
ways = [
    stream,
    lambda: processes.run(["/bin/sh", "-c", sys.argv[1] + " 5002 & wait"], tried="x", timeout=60),
    lambda: processes.run_together(
        [Command(argv=[sys.argv[1], "5003"], feeds=True), Command(argv=[sys.argv[1], "5004"])], tried="x", cwd=Path(),
        limit=TimeLimits(idle=60, busy=60)),
]
for way in ways:
    threading.Thread(target=way, daemon=True).start()
print("ready", flush=True)
time.sleep(60)
"""


def test_every_way_of_starting_is_guarded(tmp_path: Path) -> None:
    sleeper = tmp_path / "sleeper"
    sleeper.symlink_to("/bin/sleep")
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, str(sleeper)], cwd=KIT_ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as parent:
        sleeping = lambda: [line for line in marked(str(sleeper)).values() if line.startswith(str(sleeper))]  # noqa: E731
        wait_for(lambda: len(sleeping()) == 4, 20)
        watching = guards({parent.pid})
        assert len(watching) == 4
        # a guard survives Ctrl-C and similar signals
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
            for pid in watching:
                os.kill(pid, number)
        parent.kill()
        assert wait_for(lambda: not sleeping() and not any(map(is_alive, watching)), 2) < 2


def test_guards_come_and_go_with_their_processes() -> None:
    processes = Processes()
    before = guards({os.getpid()})
    for _ in range(5):
        processes.run(["true"], tried="x", timeout=10)
    assert guards({os.getpid()}) == before
    with processes.stream(["sleep", "0.2"], tried="x") as (stdout, _):
        assert len(guards({os.getpid()})) == len(before) + 1
        stdout.read()
    assert guards({os.getpid()}) == before


def test_children_of_a_process_end_with_it(tmp_path: Path) -> None:
    program = f"sleep 30 >/dev/null 2>&1 & echo $! > '{tmp_path}/pid'"
    Processes().run(["/bin/sh", "-c", program], tried="x", timeout=10)
    left = int((tmp_path / "pid").read_text())
    wait_for(lambda: not is_alive(left), 2)
    assert not is_alive(left)


def test_a_group_that_was_released_is_not_signalled(monkeypatch: pytest.MonkeyPatch) -> None:
    child = Child(["true"], cwd=None, stdin=None)
    child.communicate()
    child.release()

    def refuse(group: int, number: int) -> None:
        raise AssertionError(f"{number} to {group}, which may be another's by now")

    monkeypatch.setattr(os, "killpg", refuse)
    child.end()
    assert child.returncode == 0
