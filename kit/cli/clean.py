"""`clean`: list and remove what the kit keeps on this machine."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from kit.cli.output import Result, Table, json_option, json_requested, row, show_table
from kit.core.errors import BadInput
from kit.options.click_options import options
from kit.options.command_tables import CLEAN
from kit.system.ui import Ui, size

if TYPE_CHECKING:
    from kit.system.leftovers import Leftover


@click.command()
@options(*CLEAN)
@json_option
def clean(yes: bool) -> Result:
    """List what the kit keeps on this machine, with sizes, and remove what you confirm.

    These are environments, demo clips, caches, temporary folders and the tag of the box. Run folders, bundles,
    data sets and binaries/ are never touched. On a terminal every item is a question; elsewhere, and with --json,
    nothing is removed without --yes. The environment that this command runs in is removed last.

    Exit codes: 0 done, 2 an item could not be removed.
    """
    from kit.options.session import KIT_ROOT
    from kit.system.leftovers import leftovers

    ui = Ui()
    items = leftovers(KIT_ROOT)
    show_table(_table(items), ui)
    removed, problems = _remove(items, ui, yes=yes) if yes or _can_ask() else ([], [])
    if problems:
        raise BadInput("\n  ".join(["these could not be removed:", *problems]), hint="Remove them by hand.")
    total = size(sum(item.size for item in items))
    summary = (
        f"{len(removed)} of {len(items)} items removed, {size(sum(item.size for item in removed))} of {total}"
        if items
        else "The kit keeps nothing on this machine."
    )
    hint = [] if yes or _can_ask() or not items else ["Nothing is removed without --yes."]
    return Result(
        shown=(summary, *hint),
        data=[
            {
                "kind": item.kind,
                "path": item.path,
                "bytes": item.size,
                "running": item.current,
                "used_by": item.used_by,
                "removed": item in removed,
            }
            for item in items
        ],
    )


def _can_ask() -> bool:
    return sys.stdin is not None and sys.stdin.isatty() and not json_requested()


def _table(items: list[Leftover]) -> Table:
    rows = []
    for item in items:
        remark = "this command runs in it" if item.current else ""
        remark = f"in use by process {', '.join(map(str, item.used_by))}" if item.used_by else remark
        rows.append(row(item.kind, item.path, size(item.size), remark))
    return Table(title="Kept by the kit", columns=("kind", "path", "size", "remark"), rows=rows)


def _remove(items: list[Leftover], ui: Ui, *, yes: bool) -> tuple[list[Leftover], list[str]]:
    """Remove items, each after a question unless ``yes``; return those removed, and why others could not be."""
    from kit.system.leftovers import remove

    removed, problems = [], []
    for item in items:
        if item.used_by:
            ui.say(f"Kept: {item.path}, since process {', '.join(map(str, item.used_by))} runs in it.")
            continue
        note = "; the next start of the kit sets it up again" if item.kind == "environment" else ""
        if not yes and not click.confirm(f"Remove {item.kind} {item.path} ({size(item.size)}{note})?", err=True):
            continue
        try:
            gone = remove(item)
        except OSError as error:
            problems.append(f"{error.filename or item.path}: {error.strerror}")
            continue
        if gone:
            removed.append(item)
        else:
            ui.say(f"Kept: {item.path}, since a running kit uses it.")
    return removed, problems
