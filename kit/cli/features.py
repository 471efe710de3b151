"""Commands about feature tables: combine several, join subjective scores."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kit.cli.opening import command_session
from kit.cli.output import Result, Table, json_option, names_line, option_texts, row
from kit.options.click_options import options
from kit.options.command_tables import FEATURES
from kit.system.ui import counted

if TYPE_CHECKING:
    from kit.features.combining import Combined
    from kit.features.table import FeatureTable


@click.command()
@click.argument("inputs", metavar="NAME=FILE ...", nargs=-1, required=True)
@options(*FEATURES.pick("out", "fill_missing"))
@json_option
def combine(*, inputs: tuple[str, ...], out: Path, fill_missing: bool) -> Result:
    """Combine feature tables or run folders into one table.

    NAME becomes the corpus of its rows.

    Exit codes: 0 done, 2 bad input, 3 teachers differ or rows are invalid, 4 disk full.
    """
    from kit.features import combining, manifest, table
    from kit.models.registry import refuse_listed

    paths = combining.parse_inputs(inputs)
    refuse_listed([out, manifest.manifest_path(out)])
    manifest.check_destination(out, paths.values())
    _, session = command_session()
    tables = {name: table.read(path) for name, path in paths.items()}
    combined = combining.combine(tables, fill_missing=fill_missing)
    inputs_facts = _inputs_facts(tables, combined)
    facts = {"inputs": inputs_facts, "shared_groups": list(combined.shared)}
    args = option_texts({"inputs": inputs, "fill_missing": fill_missing, "out": out})
    document = manifest.write(out, combined.table, facts, args=args, session=session, inputs=paths)
    rows = [
        row(
            name,
            paths[name].name,
            len(set(tables[name].sources)),
            one["clips"],
            one["rows"],
            ", ".join(one["nan"]) or "nothing",
        )
        for name, one in inputs_facts.items()
    ]
    return Result(
        shown=(
            Table(title="Combined", columns=("corpus", "file", "sources", "clips", "rows", "NaN in"), rows=rows),
            *names_line("Content groups of several inputs, held out together", combined.shared),
            f"{out}: {counted(len(combined.table), 'row')}, {counted(len(combined.table.features), 'feature')}, "
            f"teacher {combined.table.teacher or 'unknown'}",
        ),
        data=document,
    )


def _inputs_facts(tables: Mapping[str, FeatureTable], combined: Combined) -> dict[str, dict[str, Any]]:
    """Return what the manifest records of each input."""
    return {
        name: {
            "sha256": one.sha256,
            "rows": len(one),
            "clips": sum(1 for _ in one.clips()),
            "nan": dict(combined.missing[name]),
        }
        for name, one in tables.items()
    }


@click.command("join-mos")
@options(*FEATURES.pick("features", "scores", "on", "pattern", "score", "out"))
@json_option
def join_mos(
    *, features: Path, scores: Path, on: tuple[str, ...], pattern: str | None, score: str, out: Path
) -> Result:
    """Join subjective scores to the clips of a feature table.

    They become the column mos; clips without a score are left out.

    Exit codes: 0 done, 2 bad input, 3 no clip has a score, 4 disk full.
    """
    from kit.features import manifest, mos, table
    from kit.models.registry import refuse_listed

    if bool(on) == (pattern is not None):
        raise click.UsageError("Give either --on or --pattern.")
    paths = {"features": features, "mos": scores}
    refuse_listed([out, manifest.manifest_path(out)])
    manifest.check_destination(out, paths.values())
    rule = mos.by_columns(on) if pattern is None else mos.by_pattern(pattern)
    _, session = command_session()
    joined = mos.join(table.read(features), mos.read_scores(scores, rule, score), rule)
    facts = {
        "matched_clips": joined.clips,
        "unmatched_clips": list(joined.unmatched_clips),
        "unmatched_scores": list(joined.unmatched_scores),
        "duplicate_scores": list(joined.duplicate_scores),
        "shared_scores": list(joined.shared_scores),
    }
    args = option_texts({**paths, "on": on, "pattern": pattern, "score": score, "out": out})
    document = manifest.write(out, joined.table, facts, args=args, session=session, inputs=paths)
    return Result(
        shown=(
            *names_line("Clips without a score, left out", joined.unmatched_clips),
            *names_line("Scores without a clip", joined.unmatched_scores),
            *names_line("Scores given by several lines, not joined", joined.duplicate_scores),
            *names_line("Scores that several clips have", joined.shared_scores),
            f"{out}: {counted(joined.clips, 'clip')} with a score, {counted(len(joined.table), 'row')}",
        ),
        data=document,
    )
