"""Ways to run a command."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
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


def load(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text()))
