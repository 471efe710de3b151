"""How a command opens what it works with: its configuration, its session, and ffmpeg."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import click

from kit.core.errors import BadInput, PrerequisiteFailed
from kit.options import resolve, table
from kit.options.run_table import RUN
from kit.options.table import Table, Texts, load_toml, read_file

if TYPE_CHECKING:
    from kit.options.session import Session
    from kit.video.ffmpeg import Ffmpeg

NO_OPTIONS: Mapping[str, str | None] = MappingProxyType({})


def environment() -> Mapping[str, str]:
    """Return the environment that the command was started in."""
    environ: Mapping[str, str] = click.get_current_context().obj
    return environ


def config_texts(options: Mapping[str, str | None]) -> tuple[dict[str, str], Texts]:
    """Return the options given on the command line, and those of the file that ``--config`` names.

    Raises:
        BadInput: the file cannot be read, or has a key that is not an option.
    """
    named = {name: text for name, text in options.items() if text is not None and name != "config_file"}
    path = options.get("config_file")
    return named, read_config(Path(path), RUN, load_toml) if path else {}


def read_config(path: Path, options: Table, load: Callable[[str], object]) -> Texts:
    """Return the options of a configuration file, see :func:`read_file`.

    Raises:
        BadInput: the file cannot be read, or has a key that is not an option.
    """
    try:
        return read_file(path.read_text(encoding="utf-8"), str(path), options, load)
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"--config {path}: cannot be read: {error}") from error


def run_config(named: Texts, file: Texts, *, out_dir: Path, remembered: Texts) -> resolve.RunConfig:
    """Resolve the options of a run, with the box's tag as the default of ``--box``.

    Args:
        named: options on the command line; file: those of the configuration file.
        remembered: those of an earlier run in the same folder.

    Raises:
        BadInput: an option cannot be used.
    """
    from kit.system import local

    values, origins = table.resolve(RUN, command_line=named, environ=environment(), file=file, remembered=remembered)
    tag, origin = local.box_tag() if "box" not in values else ("", "")
    return resolve.complete(values, origins, out_dir=out_dir, box=tag, box_origin=origin)


def session_of(config: resolve.RunConfig, argv: Sequence[str] | None = None) -> Session:
    """Open the session of this process.

    Args:
        argv: the command line as the provenance shows it, if it is not to be shown as it is.
    """
    from kit.options.provenance import entry_point
    from kit.options.session import open_session
    from kit.system import local
    from kit.system.ui import Ui

    return open_session(
        config,
        ui=Ui(),
        cache=local.usable_cache(config.out_dir),
        argv=sys.argv[1:] if argv is None else argv,
        entry=entry_point(environment(), os.getpid()),
    )


def command_session(
    options: Mapping[str, str | None] = NO_OPTIONS, *, out_dir: Path | None = None, argv: Sequence[str] | None = None
) -> tuple[resolve.RunConfig, Session]:
    """Open what a command without a run folder works with.

    Args:
        options: texts of those of its options that a run has too.
        out_dir: the folder that it writes to, ``<out>`` in what it writes; default: the current folder.
    """
    values, origins = table.resolve(RUN, command_line=options, environ=environment())
    config = resolve.complete(values, origins, out_dir=out_dir or Path.cwd(), box="", box_origin="not used")
    return config, session_of(config, argv)


def ffmpeg_session(
    options: Mapping[str, str | None] = NO_OPTIONS, *, out_dir: Path | None = None
) -> tuple[resolve.RunConfig, Session, Ffmpeg]:
    """Open the same for a command that needs ffmpeg."""
    from kit.video.ffmpeg import locate

    config, session = command_session(options, out_dir=out_dir)
    return config, session, locate(config.ffmpeg, origin=config.origins["ffmpeg"], processes=session.processes)


def require_onnxruntime() -> None:
    """Refuse a command that runs models on a machine without onnxruntime.

    Raises:
        PrerequisiteFailed: it is not installed.
    """
    if importlib.util.find_spec("onnxruntime") is None:
        raise PrerequisiteFailed("onnxruntime is not installed", hint="Run the command on a box that has it.")
