"""The sections of the page that show the evidence: errors, intervals, baselines, calibration, coverage."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from kit.page import figures
from kit.page.blocks import Block, Figures, Table, TableCell, Text, number, percent
from kit.page.gather import RunFacts
from kit.verdict.accuracy import RANGES
from kit.verdict.calibration import NORMAL
from kit.verdict.coverage import share_sentence

_ERROR_COLUMNS = ("RMSE", "MAE", "bias", "95 % below", "largest", "PLCC", "SROCC")
#: Figures of a table of errors with their formats, in the order of the columns.
_ERROR_FORMATS = {
    "count": "d",
    "rmse": ".2f",
    "mae": ".2f",
    "bias": "+.2f",
    "p95": ".2f",
    "max": ".2f",
    "plcc": ".4f",
    "srocc": ".4f",
}


def errors(run: RunFacts) -> Iterator[Block]:
    """Show every slice of ``errors``."""
    yield Text(
        text="At clip level a cell counts once, with its means over frames. A narrow range of scores lowers a "
        "correlation: do not compare correlations within a range with the one over all scores."
    )
    for level in ("clip", "frame"):
        slices = run.evidence["errors"][level]
        rows = {"ensemble mean": slices["overall"]}
        rows |= {f"seed {seed}": figure for seed, figure in slices["per_seed"].items()}
        rows |= {f"teacher {name}": slices["per_range"][name] for name in RANGES}
        counted = "cells" if level == "clip" else "frames"
        yield _error_table(f"Overall, by seed, and by the teacher's score, {level} level", ("slice", counted), rows)
    frame = run.evidence["errors"]["frame"]
    for name, title in (("per_encoder", "encoder"), ("per_source_encoder", "source x encoder")):
        yield _error_table(f"By {title}, frame level", (title, "frames"), frame[name])


def _error_table(caption: str, labels: tuple[str, str], slices: Mapping[str, Mapping[str, Any]]) -> Table:
    return Table(
        caption=caption,
        columns=(*labels, *_ERROR_COLUMNS),
        rows=[
            [name, *(number(figure[key], form) for key, form in _ERROR_FORMATS.items())]
            for name, figure in slices.items()
        ],
    )


def uncertainty(run: RunFacts) -> Iterator[Block]:
    """Show the intervals and the distributions behind them."""
    evidence = run.evidence["uncertainty"]
    yield Text(
        text=f"{evidence['method']}, {evidence['resamples']} resamples of {evidence['groups']} groups, "
        f"{percent(evidence['level']).text} intervals. {evidence['caution']}"
    )
    if distributions := figures.bootstrap(run):
        yield Figures(figures=distributions)
    yield Table(
        caption="Figures, their intervals, and the extremes when one group is left out",
        columns=("figure", "value", "low", "high", "lowest", "without group", "highest", "without the group"),
        rows=[
            [
                title,
                *(number(evidence[name][end], ".4f") for end in ("value", "low", "high")),
                *_without(evidence[name]["without_one_min"]),
                *_without(evidence[name]["without_one_max"]),
            ]
            for name, title in figures.RESAMPLED.items()
        ],
    )
    for name, title in figures.RESAMPLED.items():
        if evidence[name]["undefined"]:
            yield Text(text=f"{title}: no interval, {evidence[name]['undefined']}.")


def _without(extreme: Mapping[str, Any] | None) -> list[TableCell | str]:
    return ["–", "–"] if extreme is None else [number(extreme["value"], ".4f"), str(extreme["group"])]


def baselines(run: RunFacts) -> Iterator[Block]:
    """Compare the ensemble with simpler models and the shipped one on the same rows."""
    models = run.evidence["baselines"]
    if line := run.evidence.get("codec_block"):
        yield Text(text=line)
    yield Text(
        text="Differences are the ensemble's figure minus the baseline's, with intervals of a paired bootstrap "
        "over groups: above 0 for PLCC and below 0 for RMSE the ensemble is better."
    )
    difference = ("difference", "low", "high")
    yield Table(
        caption="Baselines",
        rows=[_baseline(name, model) for name, model in models.items()],
        columns=(
            "baseline",
            "mean PLCC",
            "RMSE",
            *(f"PLCC {end}" for end in difference),
            *(f"RMSE {end}" for end in difference),
            "p (z)",
            "p (F)",
            "leaked",
        ),
    )
    for name, model in models.items():
        reason = [model["leaked_reason"]] if model["model"] else []
        yield Text(text=f"{name}: {'; '.join([model['what'], *reason, *model['problems']])}.")
    tested = [model["p1401"] for model in models.values() if model["p1401"]]
    if tested:
        tests = tested[0]
        yield Text(
            text=f"p: ITU-T P.1401 at clip level, {tests['clips']} clips, Fisher's z and the RMSE; corrected: "
            f"{tests['correction']}. Assumptions: {'; '.join(tests['assumptions'])}."
        )


_LEAKED = {True: "YES", False: "no", None: "unknown"}


def _baseline(name: str, model: Mapping[str, Any]) -> list[TableCell | str]:
    difference, tests = model["difference"] or {}, model["p1401"] or {}
    cells: list[TableCell | str] = [name, number(model["mean_plcc"], ".4f"), number(model["rmse"])]
    for figure, form in (("mean_plcc", "+.4f"), ("rmse", "+.2f")):
        cells += [number(difference.get(figure, {}).get(end), form) for end in ("value", "low", "high")]
    cells += [number((tests.get(test) or {}).get("p_holm"), ".2g") for test in ("fisher_z", "rmse")]
    return [*cells, TableCell(text=_LEAKED[model["leaked"]], bad=model["leaked"] is True)]


def calibration(run: RunFacts) -> Iterator[Block]:
    """Show the intervals around a single score."""
    evidence = run.evidence["calibration"]
    yield Text(text=f"Intervals around the score of an unseen clip: {evidence['method']}. {evidence['applies']}")
    if coverages := figures.calibration(run):
        yield Figures(figures=coverages)
    levels = [level for level in evidence["levels"] if "coverage" in level]
    if levels:
        yield Table(
            caption="Intervals by level",
            rows=[_level(level) for level in levels],
            columns=(
                "level",
                "guaranteed",
                "covered, mean over groups",
                "worst group",
                "covered there",
                "width, VMAF points",
            ),
        )
    for level in evidence["levels"]:
        if "too_few" in level:
            yield Text(text=level["too_few"][:1].upper() + level["too_few"][1:] + ".")
    spread = evidence["spread"]
    if spread["coverage"] is not None:
        ratio = spread["error_over_spread"]
        yield Text(
            text=f"Spread over seeds as a measure of the error: the error is within {NORMAL} standard deviations for "
            f"{percent(spread['coverage'], 1).text} of the rows (95 % if the spread showed the error)."
            + ("" if ratio is None else f" The RMSE is {ratio:.1f} times the typical standard deviation of the seeds.")
        )


def _level(level: Mapping[str, Any]) -> list[TableCell | str]:
    worst = level["worst_group"]
    return [
        percent(level["level"]),
        percent(level["guarantee"]),
        percent(level["coverage"], 1),
        str(worst["name"]),
        percent(worst["coverage"], 1),
        number(level["width"]),
    ]


def coverage(run: RunFacts) -> Iterator[Block]:
    """Show what the corpus covers, and where it has few rows."""
    evidence = run.evidence["coverage"]
    ranges = {**evidence["features"], "teacher, VMAF": evidence["scores"]}
    yield Table(
        caption="Ranges over all rows",
        columns=("column", "lowest", "highest"),
        rows=[[name, number(span["min"], ".4g"), number(span["max"], ".4g")] for name, span in ranges.items()],
    )
    saturated, outside, pairs = (
        evidence["saturated"],
        evidence["outside_training"],
        evidence["near_duplicates"]["pairs"],
    )
    yield Text(
        text=f"{percent(saturated['share'], 1).text} of the rows have a score of {saturated['score']:g}: differences "
        f"above it are invisible. {outside['rows']} rows in {outside['cells']} cells have features outside the range "
        "that their fold was trained on."
    )
    if outside["worst"]:
        yield Table(
            caption="Cells furthest outside the training range",
            columns=("cell", "rows", "share", "features"),
            rows=[
                [str(cell["cell"]), number(cell["rows"], "d"), percent(cell["share"], 1), ", ".join(cell["features"])]
                for cell in outside["worst"]
            ],
        )
    if pairs:
        yield Table(
            caption="Sources in different folds that show the same content",
            columns=("source", "same content as", "correlation of motion2", "of the other features"),
            rows=[
                [
                    *(TableCell(text=str(name), bad=True) for name in pair["sources"]),
                    number(pair["motion2"]),
                    number(pair["others"]),
                ]
                for pair in pairs
            ],
        )
    else:
        compared = evidence["near_duplicates"]["compared"]
        yield Text(text=f"No two sources in different folds show the same content ({compared} pairs compared).")
    if "rows_by_source" in evidence:  # verdicts of version 1 lack it
        yield Text(text=share_sentence(evidence["rows_by_source"]))
    for name, count in evidence["thin_encoders"]["encoders"].items():
        yield Text(text=f"Few rows of {name}: {count['groups']} groups, {count['cells']} cells, {count['rows']} rows.")
