"""What a command ends with, and how it is shown: tables and lines on stderr, JSON on stdout."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from kit.core import exits
from kit.options.click_options import TableOption
from kit.options.run_table import JSON
from kit.system.fsio import NO_ROOM
from kit.system.ui import Row, Ui

#: Lines that are shown of a table which can be long.
MOST_LINES = 20
#: Keys in click's context: JSON was requested; the disk behind stdout was full.
_JSON, _FULL = "kit.json", "kit.stdout_full"


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table for people.

    Attributes:
        limit: lines that are shown at most; None for all.
        complete_in: where the lines beyond the limit are.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Row]
    limit: int | None = None
    complete_in: str = "--json lists all"


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a command ends with.

    Attributes:
        code: the exit code.
        shown: lines and tables for people, in order; an empty table is left out.
        data: what ``--json`` prints: plain values, dataclasses and paths.
        last_line: a line that comes after everything else.
    """

    code: int = exits.OK
    shown: Sequence[str | Table] = ()
    data: object = None
    last_line: str = ""


def _request_json(context: click.Context, _parameter: click.Parameter, value: bool) -> bool:
    context.meta[_JSON] = context.meta.get(_JSON, False) or value
    return value


json_option = click.option(
    JSON.declaration, cls=TableOption, spec=JSON, is_flag=True, expose_value=False, callback=_request_json
)


def json_requested() -> bool:
    """Return whether the command was given ``--json``."""
    return bool(click.get_current_context().meta.get(_JSON))


def row(*cells: object, style: str = "") -> Row:
    """Make a line of a table of any values."""
    return Row(cells=tuple(map(str, cells)), style=style)


def names_line(title: str, names: Sequence[str]) -> tuple[str, ...]:
    """List names in one line, up to a limit; no line without names."""
    if not names:
        return ()
    more = f" and {len(names) - MOST_LINES} more, in the manifest" if len(names) > MOST_LINES else ""
    return (f"{title} ({len(names)}): {'; '.join(names[:MOST_LINES])}{more}",)


def option_texts(options: Mapping[str, object]) -> dict[str, str | tuple[str, ...]]:
    """Return the options of a command as texts for the provenance, without those that have no value."""
    texts: dict[str, str | tuple[str, ...]] = {}
    for name, value in options.items():
        if isinstance(value, tuple) and value:
            texts[name] = tuple(map(str, value))
        elif value not in (None, ()):
            texts[name] = str(value).lower() if isinstance(value, bool) else str(value)
    return texts


def finish(result: Result | None) -> Result | None:
    """Show the result of a command; return it with the exit code of a full disk if its JSON met one.

    Any other code than 0 says more than that and stays.
    """
    if result is None:
        return None
    show(result)
    if result.code == exits.OK and click.get_current_context().meta.get(_FULL):
        return dataclasses.replace(result, code=exits.DISK_FULL)
    return result


def show(result: Result) -> None:
    """Show a result, and print its data if JSON was requested."""
    ui = Ui()
    for part in result.shown:
        if isinstance(part, str):
            ui.say(part)
        elif part.rows:
            show_table(part, ui)
    if json_requested():
        print_json(result.data)
    if result.last_line:
        ui.say(result.last_line)


def show_table(table: Table, ui: Ui) -> None:
    """Show a table up to its limit, and how many lines are left out."""
    ui.table(table.title, table.columns, table.rows[: table.limit])
    if table.limit is not None and len(table.rows) > table.limit:
        ui.say(f"and {len(table.rows) - table.limit} more; {table.complete_in}")


def print_json(value: object) -> None:
    """Print a value as JSON on stdout.

    A reader that has gone away does not change the exit code; a full disk behind stdout does, see :func:`finish`.
    """
    if sys.stdout is None:
        return
    try:
        sys.stdout.write(json.dumps(value, indent=2, sort_keys=True, allow_nan=False, default=_plain) + "\n")
        sys.stdout.flush()
    except OSError as error:
        show_error(f"The JSON could not be written: {error.strerror}", "Files that the command has written are whole.")
        click.get_current_context().meta[_FULL] = error.errno in NO_ROOM
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _plain(value: object) -> object:
    """Turn what JSON does not know into what it knows."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no form in JSON")


def show_error(message: str, hint: str) -> None:
    """Write an error to stderr; a stderr that is closed changes nothing."""
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(f"\nError: {message}\nHint: {hint}\n")
