"""What every command shares: how it ends, and its result as JSON."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kit.core import exits
from kit.core.errors import BadInput
from kit.options import resolve
from kit.system.fsio import NO_ROOM

if TYPE_CHECKING:
    from kit.options.session import Session
    from kit.video.ffmpeg import Ffmpeg

#: In click's context: the disk behind stdout was full.
_FULL = "kit.stdout_full"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a command ends with. A type of its own, since click hands its own exit codes back as plain numbers."""

    code: int


def texts_of(given: Mapping[str, str | None]) -> tuple[dict[str, str], resolve.Texts]:
    """The options on the command line, and those of the file that ``--config`` names.

    Raises:
        BadInput: the file cannot be read, or holds what is no option.
    """
    named = {name: text for name, text in given.items() if text is not None and name != "config_file"}
    path = given.get("config_file")
    if not path:
        return named, {}
    try:
        return named, resolve.read_config_file(Path(path).read_text(encoding="utf-8"), path)
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"--config {path} cannot be read: {error}") from error


def completed(
    named: resolve.Texts, file: resolve.Texts, environ: Mapping[str, str], *, out_dir: Path, remembered: resolve.Texts
) -> resolve.RunConfig:
    """The options with their defaults, the box's tag among them.

    Raises:
        BadInput: an option that cannot be used.
    """
    from kit.system import local

    found = resolve.gather(command_line=named, environ=environ, file=file, remembered=remembered)
    values = resolve.parse(found)
    tag, origin = local.box_tag() if "box" not in values else ("", "")
    return resolve.complete(values, found.origins, out_dir=out_dir, box=tag, box_origin=origin)


def begun(given: Mapping[str, str], environ: Mapping[str, str]) -> tuple[resolve.RunConfig, Session]:
    """What a command works with where there is no run: options and session.

    Args:
        given: texts of the options on the command line.
    """
    from kit.options.session import open_session
    from kit.system import local
    from kit.system.ui import Ui

    read = ("FFMPEG_BIN", "LIBVMAF_BIN", "CUDA_VISIBLE_DEVICES", "VMAF_DATA_ROOT")
    asked = {name: text for name, text in environ.items() if name in read}
    found = resolve.gather(command_line=given, environ=asked, file={}, remembered={})
    here = resolve.complete(resolve.parse(found), found.origins, out_dir=Path.cwd(), box="", box_origin="")
    return here, open_session(here, ui=Ui(), cache=local.usable_cache(here.out_dir), argv=sys.argv[1:])


def opened(given: Mapping[str, str], environ: Mapping[str, str]) -> tuple[resolve.RunConfig, Session, Ffmpeg]:
    """The same for a command about this box, with its ffmpeg."""
    from kit.video.ffmpeg import locate

    here, session = begun(given, environ)
    return here, session, locate(here.ffmpeg, origin=here.origins["ffmpeg"], processes=session.processes)


def session_for(out_dir: Path | None = None, argv: Sequence[str] = ()) -> Session:
    """What a command works with that needs neither a run nor ffmpeg.

    Args:
        out_dir: the folder that it writes to; what it writes calls it ``<out>``.
        argv: the command line, for the provenance.
    """
    from kit.options.session import open_session
    from kit.system import local
    from kit.system.ui import Ui

    here = resolve.complete({}, {}, out_dir=out_dir or Path.cwd(), box="", box_origin="")
    return open_session(here, ui=Ui(), cache=local.usable_cache(here.out_dir), argv=argv)


def print_json(value: Any) -> None:
    """JSON on stdout. A reader that has gone away changes no exit code; a full disk behind it does, see `settled`."""
    if sys.stdout is None:
        return
    try:
        sys.stdout.write(json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n")
        sys.stdout.flush()
    except OSError as error:
        complain(f"The JSON could not be written: {error.strerror}", "Files that the command has written are whole.")
        click.get_current_context().meta[_FULL] = error.errno in NO_ROOM
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def settled(outcome: Outcome | None) -> Outcome | None:
    """What a command ends with: where its JSON met a full disk, 4 instead of 0; any other code says more.

    So it is with all that the kit writes to stdout, see ``kit/__main__.py``.
    """
    if outcome == Outcome(code=exits.OK) and click.get_current_context().meta.get(_FULL):
        return Outcome(code=exits.DISK_FULL)
    return outcome


def complain(message: str, hint: str) -> None:
    """An error on stderr; one that nobody can read any more is let go."""
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(f"\nError: {message}\nHint: {hint}\n")
