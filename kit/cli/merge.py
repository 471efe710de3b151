"""``kit merge``: several shards into one, with a report that shows which box stands out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kit.cli.output import MOST_LINES, Result, Table, json_option, row, show
from kit.options.click_options import options
from kit.options.command_tables import MERGE
from kit.system.ui import Ui

if TYPE_CHECKING:
    from kit.corpus.merge.report import Report


@click.command()
@click.argument("inputs", metavar="A B ...", nargs=-1, required=True, type=click.Path(path_type=Path))
@options(*MERGE.pick("out", "on_conflict", "assume_teacher"))
@json_option
def merge(inputs: tuple[Path, ...], out: Path, on_conflict: str, assume_teacher: str | Path | None) -> Result:
    """Merge shards, bundles and the predecessor's rows into one shard.

    Order and grouping of the inputs do not change the cells. Nothing is written unless all inputs are valid.

    Exit codes: 0 done, 2 bad input, 3 inputs damaged or incompatible, or boxes disagree, 4 disk full.
    """
    from kit.corpus.merge.merging import BoxesDisagree
    from kit.corpus.merge.merging import merge as merge_all
    from kit.platforms.detect import usable_cores
    from kit.video.scorers.teachers import resolve

    assumed = None if assume_teacher is None else replace(resolve(assume_teacher), path=None)
    try:
        with Ui().gauge("Merging") as progress:
            merged = merge_all(
                inputs, out, drop=on_conflict == "drop", assumed=assumed, workers=usable_cores(), show=progress
            )
    except BoxesDisagree as error:
        # the error itself lists the conflicts
        show(Result(shown=(*_overview(error.report), *_remarks(error.report)), data=error.report.as_json()))
        raise
    shard, report = merged.shard, merged.report
    summary = f"{out}: {len(shard.cells)} cells, {shard.rows} rows; corpus.sha256 {shard.corpus_sha256[:12]}"
    shown = (*_overview(report), _conflicts(report), *_remarks(report), summary)
    return Result(shown=shown, data=report.as_json())


def _overview(report: Report) -> Iterator[Table]:
    """Tables of inputs, counts, boxes, encoders, and differences between boxes."""
    yield Table(
        title="Inputs",
        columns=("input", "kind", "boxes", "cells", "rows", "failed"),
        rows=[row(one.name, one.kind, ", ".join(one.boxes), one.cells, one.rows, one.failed) for one in report.inputs],
    )
    yield Table(
        title="Merged",
        columns=("", "cells", "rows"),
        rows=[
            row("in", report.cells_in, report.rows_in),
            row("duplicates", report.duplicate_cells, report.duplicate_rows),
            row("conflicts", len(report.conflicts), ""),
            row("out", report.cells, report.rows),
        ],
    )
    yield Table(
        title="Boxes",
        columns=("box", "platform", "encoders", "cells", "rows", "unique cells"),
        rows=[
            row(
                one.box or "unknown",
                one.platform or "unknown",
                ", ".join(one.encoders),
                one.cells,
                one.rows,
                one.alone,
            )
            for one in report.boxes
        ],
    )
    yield Table(
        title="Encoders",
        columns=("encoder", "builds", "cells", "rows"),
        rows=[
            row(name, ", ".join(one.builds) or "unknown", one.cells, one.rows) for name, one in report.encoders.items()
        ],
    )
    yield _differences(report)


def _differences(report: Report) -> Table:
    """How far boxes differ, the largest difference first."""
    pairs = sorted(report.overlap, key=lambda pair: (-len(pair.disagree), -pair.mean_vmaf, -pair.vmaf, pair.boxes))
    rows = []
    for pair in pairs:
        figures = (
            f"{pair.mean_vmaf:.4f}",
            f"{pair.vmaf:.4f}",
            pair.vmaf_at if pair.vmaf else "",
            f"{pair.feature:.4f}",
        )
        anchors = "disagree" if pair.disagree else "agree" if pair.anchors else "not shared"
        style = "bold red" if pair.disagree else "" if pair.anchors else "yellow"
        rows.append(row(" and ".join(pair.boxes), pair.anchors, pair.places, pair.same, *figures, anchors, style=style))
    columns = ("boxes", "anchors", "cells", "equal", "vmaf, mean", "vmaf, a frame", "where", "a feature", "agreement")
    return Table(title="Largest differences between boxes", columns=columns, rows=rows, limit=MOST_LINES)


def _conflicts(report: Report) -> Table:
    return Table(
        title="Conflicts: one key, several contents",
        columns=("cell", "key", "boxes", "difference"),
        rows=[row(one.cell, one.key[:12], ", ".join(one.boxes), one.difference) for one in report.conflicts],
        limit=MOST_LINES,
    )


def _remarks(report: Report) -> Iterator[str | Table]:
    """Renamed labels, differing versions, near-duplicates, and assumptions that a reader should know of."""
    from kit.corpus.store.alike import lines

    yield Table(
        title="Renamed",
        columns=("input", "kind", "before", "after"),
        rows=[row(one.input, one.what, one.before, one.after) for one in report.renamed],
        limit=MOST_LINES,
    )
    for name, versions in report.versions.items():
        if len(versions) > 1:
            boxes = (f"{version} ({', '.join(names)})" for version, names in versions.items())
            yield f"{name} differs: {'; '.join(boxes)}"
    yield report.scores
    yield from lines(report.near_duplicates)
    if without := report.near_duplicates.without:
        names = ", ".join(without[:MOST_LINES]) + (" …" if len(without) > MOST_LINES else "")
        yield f"{len(without)} sources have no fingerprint, so nobody can say whether they look like others: {names}"
    if report.assumed_teacher:
        yield f"Rows without a recorded teacher are taken to be of {report.assumed_teacher} (--assume-teacher)."
    elif report.teacher is None:
        yield "No input records its teacher or its scorer."
    if report.failed:
        yield f"{report.failed} failed cells that no box has finished: a run on this shard needs --allow-partial."
    if report.dropped:
        yield f"{report.dropped} cells are left out because boxes disagree about them."
