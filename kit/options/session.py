"""What a command works with besides its options: the screen, the processes, the cache, names to hide."""

from __future__ import annotations

import getpass
import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kit.options.resolve import RunConfig
from kit.options.run_table import RUN
from kit.system.privacy import Redactor
from kit.system.proc import Processes
from kit.system.ui import Ui

KIT_ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, kw_only=True)
class Session:
    """One invocation of the kit.

    Attributes:
        argv: the command line after the program's name.
        cache: folder for files that can be made again.
        entry: the file that was started, relative to the kit.
    """

    ui: Ui
    processes: Processes
    redact: Redactor
    cache: Path
    argv: tuple[str, ...]
    entry: str = "kit/__main__.py"


def open_session(config: RunConfig, *, ui: Ui, cache: Path, argv: Sequence[str], entry: str = Session.entry) -> Session:
    """Open a session whose processes and texts hide this machine's names and folders."""
    folders = {
        config.out_dir: "<out>",
        cache: "<cache>",
        KIT_ROOT: "<kit>",
        Path.home(): "<home>",
        Path(sys.prefix): "<venv>",
    }
    for option in RUN:
        path = getattr(config, option.name)
        if option.shown_as and isinstance(path, Path):
            folders |= dict.fromkeys((path, path.resolve()), option.shown_as)
    folders.setdefault(config.out_dir.resolve(), "<out>")
    words = {platform.node(): "<host>", platform.node().split(".")[0]: "<host>", _user(): "<user>"}
    redact = Redactor(folders=folders, words={word: token for word, token in words.items() if word})
    return Session(
        ui=ui,
        processes=Processes(redact),
        redact=redact,
        cache=cache,
        argv=tuple(map(redact.path, argv)),
        entry=entry,
    )


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""
