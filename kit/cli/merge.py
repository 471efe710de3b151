"""``kit merge``: several shards into one, with a report that shows which box stands out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kit.cli.output import Outcome, print_json
from kit.core import exits
from kit.options.click_options import json, options
from kit.options.command_tables import MERGE

if TYPE_CHECKING:
    from kit.corpus.merge.report import Report
    from kit.system.ui import Ui

#: Lines of a table; --json has them all.
_MOST_LINES = 20


@click.command()
@click.argument("inputs", metavar="A B ...", nargs=-1, required=True, type=click.Path(path_type=Path))
@options(*MERGE.pick("out", "on_conflict", "assume_teacher"))
@json
def merge(
    inputs: tuple[Path, ...], out: Path, on_conflict: str, assume_teacher: str | Path | None, as_json: bool
) -> Outcome:
    """Merge shards, bundles and the predecessor's rows into one shard.

    Order and grouping of the inputs do not change the cells. Nothing is written unless all inputs are valid.

    Exit codes: 0 done, 2 bad input, 3 inputs damaged or incompatible, or boxes disagree, 4 disk full.
    """
    from kit.corpus.merge.merging import Refused
    from kit.corpus.merge.merging import merge as merge_all
    from kit.platforms.detect import usable_cores
    from kit.system.ui import Ui
    from kit.video.scorers.teachers import resolve

    ui = Ui()
    assumed = None if assume_teacher is None else replace(resolve(assume_teacher), path=None)
    try:
        with ui.gauge("Merging") as show:
            done = merge_all(
                inputs, out, drop=on_conflict == "drop", assumed=assumed, workers=usable_cores(), show=show
            )
    except Refused as error:
        _show(error.report, ui)
        if as_json:
            print_json(error.report.as_json())
        raise
    _show(done.report, ui)
    ui.say(
        f"{out}: {len(done.shard.cells)} cells, {done.shard.rows} rows; corpus.sha256 {done.shard.corpus_sha256[:12]}"
    )
    if as_json:
        print_json(done.report.as_json())
    return Outcome(code=exits.OK)


def _show(report: Report, ui: Ui) -> None:
    from kit.system.ui import Row

    ui.table(
        "Inputs",
        ("input", "kind", "boxes", "cells", "rows", "failed"),
        [
            Row(cells=(one.name, one.kind, ", ".join(one.boxes), str(one.cells), str(one.rows), str(one.failed)))
            for one in report.inputs
        ],
    )
    ui.table(
        "Merged",
        ("", "cells", "rows"),
        [
            Row(cells=("in", str(report.cells_in), str(report.rows_in))),
            Row(cells=("duplicates", str(report.duplicate_cells), str(report.duplicate_rows))),
            Row(cells=("conflicts", str(len(report.conflicts)), "")),
            Row(cells=("out", str(report.cells), str(report.rows))),
        ],
    )
    ui.table(
        "Boxes",
        ("box", "platform", "encoders", "cells", "rows", "it alone has"),
        [
            Row(
                cells=(
                    one.box or "not told",
                    one.platform or "not told",
                    ", ".join(one.encoders),
                    str(one.cells),
                    str(one.rows),
                    str(one.alone),
                )
            )
            for one in report.boxes
        ],
    )
    ui.table(
        "Encoders",
        ("encoder", "builds", "cells", "rows"),
        [
            Row(cells=(name, ", ".join(one.builds) or "not told", str(one.cells), str(one.rows)))
            for name, one in report.encoders.items()
        ],
    )
    _show_agreement(report, ui)
    _show_words(report, ui)


def _show_agreement(report: Report, ui: Ui) -> None:
    """How far boxes are apart, the farthest first."""
    from kit.system.ui import Row

    pairs = sorted(report.overlap, key=lambda pair: (-len(pair.disagree), -pair.mean_vmaf, -pair.vmaf, pair.boxes))
    columns = (
        "boxes",
        "anchors",
        "cells",
        "the same",
        "vmaf, mean",
        "vmaf, a frame",
        "where",
        "a feature",
        "anchors are",
    )
    rows = [
        Row(
            cells=(
                " and ".join(pair.boxes),
                str(pair.anchors),
                str(pair.places),
                str(pair.same),
                f"{pair.mean_vmaf:.4f}",
                f"{pair.vmaf:.4f}",
                pair.vmaf_at if pair.vmaf else "",
                f"{pair.feature:.4f}",
                "not alike" if pair.disagree else "alike" if pair.anchors else "not shared",
            ),
            style="bold red" if pair.disagree else "" if pair.anchors else "yellow",
        )
        for pair in pairs
    ]
    if rows:
        ui.table("Largest differences between boxes", columns, rows[:_MOST_LINES])
    if len(rows) > _MOST_LINES:
        ui.say(f"and {len(rows) - _MOST_LINES} more pairs; --json lists all")
    if report.conflicts:
        ui.table(
            "Conflicts: one key, several contents",
            ("cell", "key", "boxes", "difference"),
            [
                Row(cells=(one.cell, one.key[:12], ", ".join(one.boxes), one.difference))
                for one in report.conflicts[:_MOST_LINES]
            ],
        )
    if len(report.conflicts) > _MOST_LINES:
        ui.say(f"and {len(report.conflicts) - _MOST_LINES} more conflicts; --json lists all")


def _show_words(report: Report, ui: Ui) -> None:
    """What was called otherwise, and what else a reader should know."""
    from kit.system.ui import Row

    if report.renamed:
        ui.table(
            "Renamed",
            ("input", "what", "was", "is"),
            [Row(cells=(one.input, one.what, one.told, one.resolved)) for one in report.renamed[:_MOST_LINES]],
        )
    if len(report.renamed) > _MOST_LINES:
        ui.say(f"and {len(report.renamed) - _MOST_LINES} more; --json lists all")
    for name, values in report.versions.items():
        if len(values) > 1:
            ui.say(f"{name} differs: " + "; ".join(f"{value} ({', '.join(own)})" for value, own in values.items()))
    if report.assumed_teacher:
        ui.say(f"The teacher of what does not tell it is taken to be {report.assumed_teacher}, as you say.")
    elif report.teacher is None:
        ui.say("None of these tells its teacher or its scorer.")
    if report.failed:
        ui.say(f"{report.failed} failed cells, which no box has finished: a run on this shard needs --allow-partial.")
    if report.dropped:
        ui.say(f"{report.dropped} cells are left out because boxes disagree about them.")
