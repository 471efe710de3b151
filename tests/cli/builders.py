"""Ways to run a command."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

#: ``kit("run", "--epochs", "2", cwd=folder, env={...})`` runs the kit as a process.
Kit = Callable[..., "subprocess.CompletedProcess[str]"]


#: ``command(["score", …])`` runs the command line within this process and gives its exit code.
Command = Callable[[Sequence[str]], int]


#: ``ask("eval", "--model", M, "--json", code=2)`` gives what a command prints as JSON, and what it says in one line.
Ask = Callable[..., tuple[dict[str, Any], str]]


@contextmanager
def in_process() -> Iterator[Command]:
    """The command line within this process, whose signal handlers and environment are put back."""
    from kit.cli.main import main

    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
        yield main
    for number, handler in before.items():
        signal.signal(number, handler)


#: Begins a command line of the kit as a process of its own, in this environment: where Optuna is, if it is anywhere.
KIT = (sys.executable, "-c", "import sys; from kit.cli.main import main; sys.exit(main(sys.argv[1:]))")


def on_terminal(argv: Sequence[str], *, columns: int, cwd: Path, env: dict[str, str]) -> tuple[int, list[str]]:
    """Run a command whose stderr is a terminal of that width; return its exit code and the lines of the screen."""
    screen, its_end = pty.openpty()
    fcntl.ioctl(its_end, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    env = {name: value for name, value in env.items() if name not in ("COLUMNS", "LINES")} | {"TERM": "xterm"}
    process = subprocess.Popen(
        argv, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=its_end
    )
    os.close(its_end)
    output = b""
    try:
        while chunk := os.read(screen, 1 << 16):
            output += chunk
    except OSError:  # Linux reports the end of a terminal as an error
        pass
    os.close(screen)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", output.decode())
    return process.wait(), text.replace("\r\n", "\n").splitlines()


def last_line(done: subprocess.CompletedProcess[str]) -> str:
    """Return the last line that a command wrote for people."""
    return done.stderr.splitlines()[-1]


def load(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text()))
