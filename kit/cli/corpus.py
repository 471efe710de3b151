"""Commands about a corpus that is there: what it lacks, what it holds, and how it comes in and goes out."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kit.cli.output import Outcome, print_json
from kit.core import exits
from kit.options.click_options import json, options
from kit.options.command_tables import EXPORT, MERGE

if TYPE_CHECKING:
    from kit.corpus.inspect.status import Status
    from kit.corpus.inspect.summary import Summary

#: Lines of a table; --json has them all.
_MOST_LINES = 20

_folder = click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))


@click.command()
@_folder
@json
def status(folder: Path, as_json: bool) -> Outcome:
    """Show which cells of a run or shard are finished, and why others are not.

    Needs neither the clips nor ffmpeg.

    Exit codes: 0 complete, 3 incomplete.
    """
    from kit.corpus.inspect.status import status as look

    found = look(folder)
    _show_status(found)
    if as_json:
        print_json(_status_json(found))
    return Outcome(code=exits.OK if found.complete else exits.INVALID)


def _show_status(found: Status) -> None:
    from kit.corpus.inspect.status import STATES
    from kit.system.ui import Row, Ui

    ui = Ui()
    counts = found.by_encoder()
    total = Counter(cell.state for cell in found.cells)
    rows = [Row(cells=(name, *(str(counted[state]) for state in STATES))) for name, counted in counts.items()]
    ui.say(f"{found.folder}: {len(found.cells)} cells are to be there, says {found.known_from}")
    ui.table("Cells", ("encoder", *STATES), [*rows, Row(cells=("all", *(str(total[state]) for state in STATES)))])
    again = [Row(cells=(str(cell.cell.id), cell.state, cell.reason.splitlines()[0])) for cell in found.again]
    if again:
        ui.table("Would be made", ("cell", "state", "why"), again[:_MOST_LINES])
    if len(again) > _MOST_LINES:
        ui.say(f"and {len(again) - _MOST_LINES} more; --json lists all")
    if found.others:
        ui.say(
            f"{len(found.others)} finished cells of other plans are kept: {found.others[0]}"
            + (" and others" if len(found.others) > 1 else "")
        )
    if found.waived and total["failed"]:
        ui.say("The failed cells are waived (--allow-partial): the corpus counts as whole without them.")
    if not found.manifest:
        ui.say("shard.json does not list what is there; the end of `corpus` writes it.")


def _status_json(found: Status) -> dict[str, object]:
    return {
        "folder": str(found.folder),
        "complete": found.complete,
        "known_from": found.known_from,
        "manifest": found.manifest,
        "waived": found.waived,
        "others": list(found.others),
        "encoders": found.by_encoder(),
        "counts": Counter(cell.state for cell in found.cells),
        "again": [
            {"key": cell.cell.key, "cell": str(cell.cell.id), "state": cell.state, "reason": cell.reason}
            for cell in found.again
        ],
    }


@click.command()
@_folder
@json
def info(folder: Path, as_json: bool) -> Outcome:
    """Show sources, encoders, ranges and suspicious cells of a corpus."""
    from kit.corpus.inspect.summary import summarise

    found = summarise(folder)
    _show_info(found)
    if as_json:
        print_json(_info_json(found))
    return Outcome(code=exits.OK)


def _show_info(found: Summary) -> None:
    from kit.system.ui import Row, Ui

    ui, shard = Ui(), found.shard
    ui.say(
        f"{shard.folder}: {len(shard.cells)} cells, {shard.rows} rows, {len(found.sources)} sources in "
        f"{len(shard.groups)} groups, {len(shard.failed)} failed cells; teacher {shard.teacher or 'not told'}"
    )
    ui.table(
        "Sources",
        ("source", "group", "cells", "rows"),
        [Row(cells=(label, held.group, str(held.cells), str(held.rows))) for label, held in found.sources.items()],
    )
    builds = {name: ", ".join(own) or "not told" for name, own in shard.encoders.items()}
    ui.table(
        "Encoders",
        ("encoder", "build", "quality points", "cells", "rows", "vmaf = 100"),
        [
            Row(
                cells=(
                    name,
                    builds.get(name, "not told"),
                    ", ".join(map(str, held.cqs)),
                    str(held.cells),
                    str(held.rows),
                    f"{held.saturated:.1%}",
                )
            )
            for name, held in found.encoders.items()
        ],
    )
    ui.table(
        "Ranges",
        ("column", "lowest", "mean", "highest"),
        [
            Row(cells=(name, *(f"{value:.6g}" for value in asdict(span).values())))
            for name, span in found.ranges.items()
        ],
    )
    ui.say(f"Saturated (vmaf = 100): {found.saturated:.1%} of all rows")
    if found.suspicious:
        ui.table("Suspicious cells", ("cell", "why"), [Row(cells=line) for line in found.suspicious[:_MOST_LINES]])
    if len(found.suspicious) > _MOST_LINES:
        ui.say(f"and {len(found.suspicious) - _MOST_LINES} more; --json lists all")


def _info_json(found: Summary) -> dict[str, object]:
    shard, builds = found.shard, found.shard.encoders
    return {
        "folder": str(shard.folder),
        "corpus_sha256": shard.corpus_sha256,
        "teacher": shard.teacher and shard.teacher.described,
        "cells": len(shard.cells),
        "rows": shard.rows,
        "failed": len(shard.failed),
        "groups": list(shard.groups),
        "sources": {label: asdict(held) for label, held in found.sources.items()},
        "encoders": {
            name: asdict(held) | {"builds": list(builds.get(name, ()))} for name, held in found.encoders.items()
        },
        "ranges": {name: asdict(span) for name, span in found.ranges.items()},
        "saturated": found.saturated,
        "suspicious": [{"cell": name, "reason": reason} for name, reason in found.suspicious],
    }


@click.command("import")
@click.argument("path", metavar="FILE", type=click.Path(path_type=Path))
@options(*MERGE.pick("out", "groups_file"))
@json
def import_(path: Path, out: Path, groups_file: Path | None, as_json: bool) -> Outcome:
    """Make a shard from the predecessor's rows (.jsonl, .jsonl.gz).

    Facts that the rows lack become null. Nothing is written unless every line is valid.
    """
    from kit.corpus.exchange.importing import import_rows
    from kit.system.ui import Ui

    done = import_rows(path, out, groups_file=groups_file)
    ui, shard = Ui(), done.shard
    for note in done.notes:
        ui.say(note)
    ui.say(
        f"{out}: {len(shard.cells)} cells, {shard.rows} rows, {len(shard.sources)} sources, "
        f"{len(shard.groups)} groups; corpus.sha256 {shard.corpus_sha256[:12]}"
    )
    if as_json:
        print_json(
            {
                "out": str(out),
                "cells": len(shard.cells),
                "rows": shard.rows,
                "sources": len(shard.sources),
                "groups": list(shard.groups),
                "corpus_sha256": shard.corpus_sha256,
                "notes": list(done.notes),
            }
        )
    return Outcome(code=exits.OK)


@click.command()
@_folder
@options(*EXPORT)
@json
def export(folder: Path, form: str, out: Path, as_json: bool) -> Outcome:
    """Write every row of a corpus into one file."""
    from kit.corpus.exchange.exporting import export as write
    from kit.system.ui import Ui, size

    shard = write(folder, out, form)
    written = out.stat().st_size
    Ui().say(f"{out}: {shard.rows} rows of {len(shard.cells)} cells, {size(written)}")
    if as_json:
        print_json(
            {
                "out": str(out),
                "format": form,
                "cells": len(shard.cells),
                "rows": shard.rows,
                "bytes": written,
                "corpus_sha256": shard.corpus_sha256,
            }
        )
    return Outcome(code=exits.OK)


CORPUS_COMMANDS = (status, info, import_, export)
