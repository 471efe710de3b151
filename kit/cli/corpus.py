"""Commands about an existing corpus: status and contents, import and export."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kit.cli.output import MOST_LINES, Result, Table, json_option, row
from kit.core import exits
from kit.options.click_options import options
from kit.options.command_tables import EXPORT, MERGE
from kit.system.ui import size

if TYPE_CHECKING:
    from kit.corpus.inspect.status import Status
    from kit.corpus.inspect.summary import Summary

_folder = click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))


@click.command()
@_folder
@json_option
def status(folder: Path) -> Result:
    """Show which cells of a run or shard are finished, and why others are not.

    Needs neither the clips nor ffmpeg.

    Exit codes: 0 complete, 3 incomplete.
    """
    from kit.corpus.inspect import status as inspecting

    corpus = inspecting.status(folder)
    total = Counter(cell.state for cell in corpus.cells)
    return Result(
        code=exits.OK if corpus.complete else exits.INVALID,
        shown=tuple(_status_lines(corpus, total)),
        data={
            "folder": corpus.folder,
            "complete": corpus.complete,
            "known_from": corpus.known_from,
            "manifest": corpus.manifest,
            "waived": corpus.waived,
            "others": corpus.others,
            "encoders": corpus.by_encoder(),
            "counts": total,
            "again": [
                {"key": cell.cell.key, "cell": str(cell.cell.id), "state": cell.state, "reason": cell.reason}
                for cell in corpus.again
            ],
        },
    )


def _status_lines(corpus: Status, total: Counter[str]) -> Iterator[str | Table]:
    from kit.corpus.inspect.status import STATES

    yield f"{corpus.folder}: {len(corpus.cells)} cells are planned ({corpus.known_from})"
    rows = [row(name, *(counts[state] for state in STATES)) for name, counts in corpus.by_encoder().items()]
    rows.append(row("all", *(total[state] for state in STATES)))
    yield Table(title="Cells", columns=("encoder", *STATES), rows=rows)
    yield Table(
        title="Cells that `corpus` would make",
        columns=("cell", "state", "reason"),
        rows=[row(cell.cell.id, cell.state, cell.reason.splitlines()[0]) for cell in corpus.again],
        limit=MOST_LINES,
    )
    if corpus.others:
        example = f"{corpus.others[0]}{' and others' if len(corpus.others) > 1 else ''}"
        yield f"{len(corpus.others)} finished cells of other plans are kept: {example}"
    if corpus.waived and total["failed"]:
        yield "The failed cells are waived (--allow-partial): the corpus is complete without them."
    if not corpus.manifest:
        yield "shard.json does not list the finished cells; `corpus` writes it at its end."


@click.command()
@_folder
@json_option
def info(folder: Path) -> Result:
    """Show sources, encoders, ranges and suspicious cells of a corpus."""
    from kit.corpus.inspect.summary import summarise

    summary = summarise(folder)
    shard, builds = summary.shard, summary.shard.encoders
    return Result(
        shown=tuple(_info_lines(summary)),
        data={
            "folder": shard.folder,
            "corpus_sha256": shard.corpus_sha256,
            "teacher": shard.teacher and shard.teacher.described,
            "cells": len(shard.cells),
            "rows": shard.rows,
            "failed": len(shard.failed),
            "groups": shard.groups,
            "sources": summary.sources,
            "encoders": {
                name: asdict(share) | {"builds": builds.get(name, ())} for name, share in summary.encoders.items()
            },
            "ranges": summary.ranges,
            "saturated": summary.saturated,
            "suspicious": [{"cell": name, "reason": reason} for name, reason in summary.suspicious],
        },
    )


def _info_lines(summary: Summary) -> Iterator[str | Table]:
    shard = summary.shard
    builds = {name: ", ".join(names) for name, names in shard.encoders.items()}
    yield (
        f"{shard.folder}: {len(shard.cells)} cells, {shard.rows} rows, {len(summary.sources)} sources in "
        f"{len(shard.groups)} groups, {len(shard.failed)} failed cells; teacher {shard.teacher or 'unknown'}"
    )
    yield Table(
        title="Sources",
        columns=("source", "group", "cells", "rows"),
        rows=[row(label, share.group, share.cells, share.rows) for label, share in summary.sources.items()],
    )
    yield Table(
        title="Encoders",
        columns=("encoder", "build", "quality points", "cells", "rows", "vmaf = 100"),
        rows=[
            row(
                name,
                builds.get(name) or "unknown",
                ", ".join(map(str, share.cqs)),
                share.cells,
                share.rows,
                f"{share.saturated:.1%}",
            )
            for name, share in summary.encoders.items()
        ],
    )
    yield Table(
        title="Ranges",
        columns=("column", "lowest", "mean", "highest"),
        rows=[row(name, *(f"{x:.6g}" for x in asdict(span).values())) for name, span in summary.ranges.items()],
    )
    yield f"Saturated (vmaf = 100): {summary.saturated:.1%} of all rows"
    rows = [row(*line) for line in summary.suspicious]
    yield Table(title="Suspicious cells", columns=("cell", "reason"), rows=rows, limit=MOST_LINES)


@click.command("import")
@click.argument("path", metavar="FILE", type=click.Path(path_type=Path))
@options(*MERGE.pick("out", "groups_file", "assume_teacher"))
@json_option
def import_(path: Path, out: Path, groups_file: Path | None, assume_teacher: str | Path | None) -> Result:
    """Make a shard from the predecessor's rows (.jsonl, .jsonl.gz).

    Facts that the rows lack become null. Nothing is written unless every line is valid and every score follows from
    its features by the formula of vmaf_v0.6.1; scores of another model, named by --assume-teacher, are not checked.
    """
    from kit.corpus.exchange.importing import import_rows
    from kit.video.scorers.teachers import resolve

    teacher = None if assume_teacher is None else replace(resolve(assume_teacher), path=None)
    imported = import_rows(path, out, groups_file=groups_file, teacher=teacher)
    shard = imported.shard
    summary = (
        f"{out}: {len(shard.cells)} cells, {shard.rows} rows, {len(shard.sources)} sources, "
        f"{len(shard.groups)} groups; corpus.sha256 {shard.corpus_sha256[:12]}"
    )
    return Result(
        shown=(*imported.notes, summary),
        data={
            "out": out,
            "cells": len(shard.cells),
            "rows": shard.rows,
            "sources": len(shard.sources),
            "groups": shard.groups,
            "corpus_sha256": shard.corpus_sha256,
            "notes": imported.notes,
        },
    )


@click.command()
@_folder
@options(*EXPORT)
@json_option
def export(folder: Path, form: str, out: Path) -> Result:
    """Write every row of a corpus into one file."""
    from kit.corpus.exchange import exporting

    shard = exporting.export(folder, out, form)
    count = out.stat().st_size
    return Result(
        shown=(f"{out}: {shard.rows} rows of {len(shard.cells)} cells, {size(count)}",),
        data={
            "out": out,
            "format": form,
            "cells": len(shard.cells),
            "rows": shard.rows,
            "bytes": count,
            "corpus_sha256": shard.corpus_sha256,
        },
    )


CORPUS_COMMANDS = (status, info, import_, export)
