"""The sections of the page that show the evidence: errors, intervals, baselines, calibration, coverage."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from kit.page import figures
from kit.page.blocks import Block, Figures, Items, Table, TableCell, Text, correlation, difference, number, percent
from kit.page.gather import RunFacts
from kit.verdict.accuracy import RANGES
from kit.verdict.baselines import EPOCHS_TO_TELL
from kit.verdict.coverage import share_sentence

_ERROR_COLUMNS = ("RMSE", "MAE", "bias", "p95", "max", "PLCC", "SROCC")
#: Figures of a table of errors with their formats, in the order of the columns.
_ERROR_FORMATS = {
    "count": "d",
    "rmse": ".2f",
    "mae": ".2f",
    "bias": "+.2f",
    "p95": ".2f",
    "max": ".2f",
}


def errors(run: RunFacts) -> Iterator[Block]:
    """Show every slice of ``errors``."""
    yield Text(
        text="p95: 95 % of the absolute errors are smaller. At clip level a cell counts once, with its means over "
        "frames. A narrow range of scores lowers a correlation: do not compare correlations within a range with the "
        "one over all scores."
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
            [
                name,
                *(number(figure[key], form) for key, form in _ERROR_FORMATS.items()),
                *(correlation(figure[key]) for key in ("plcc", "srocc")),
            ]
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
                *(_figure(name, evidence[name][end]) for end in ("value", "low", "high")),
                *_without(name, evidence[name]["without_one_min"]),
                *_without(name, evidence[name]["without_one_max"]),
            ]
            for name, title in figures.RESAMPLED.items()
        ],
    )
    for name, title in figures.RESAMPLED.items():
        if evidence[name]["undefined"]:
            yield Text(text=f"{title}: no interval, {evidence[name]['undefined']}.")


def _figure(name: str, value: float | None) -> TableCell:
    return number(value) if name == "rmse" else correlation(value)


def _without(name: str, extreme: Mapping[str, Any] | None) -> list[TableCell | str]:
    return ["–", "–"] if extreme is None else [_figure(name, extreme["value"]), str(extreme["group"])]


def baselines(run: RunFacts) -> Iterator[Block]:
    """Compare the ensemble with simpler models and the shipped one on the same rows."""
    models = run.evidence["baselines"]
    block = run.evidence.get("codec_block")
    if isinstance(block, str):
        yield Text(text=block)
    yield Text(
        text="Differences are the ensemble's figure minus the baseline's, with intervals of a paired bootstrap "
        "over groups: above 0 for PLCC and below 0 for RMSE the ensemble is better. A baseline that has not converged "
        "is no measure; its figures are grey."
    )
    ends = ("difference", "low", "high")
    yield Table(
        caption="Baselines",
        rows=[_baseline(name, model) for name, model in models.items()],
        columns=(
            "baseline",
            "mean PLCC",
            "RMSE",
            *(f"PLCC {end}" for end in ends),
            *(f"RMSE {end}" for end in ends),
            "converged",
            "leaked",
        ),
    )
    yield Items(items=tuple(_described(name, model) for name, model in models.items()))


_LEAKED = {True: "YES", False: "no", None: "unknown"}
_CONVERGED = {True: "yes", False: "NOT CONVERGED", None: "–"}


def _baseline(name: str, model: Mapping[str, Any]) -> list[TableCell | str]:
    between, converged = model["difference"] or {}, model.get("converged")
    cells = [correlation(model["mean_plcc"]), number(model["rmse"])]
    for figure, form in (("mean_plcc", difference), ("rmse", _signed)):
        cells += [form(between.get(figure, {}).get(end)) for end in ("value", "low", "high")]
    if converged is False:
        cells = [replace(cell, quiet=True) for cell in cells]
    return [
        name,
        *cells,
        TableCell(text=_CONVERGED[converged], bad=converged is False),
        TableCell(text=_LEAKED[model["leaked"]], bad=model["leaked"] is True),
    ]


def _signed(value: float | None) -> TableCell:
    return number(value, "+.2f")


def _described(name: str, model: Mapping[str, Any]) -> str:
    """Say what a baseline is; of the model given with ``--baseline`` also its file and what it was trained on."""
    parts = [model["what"]]
    if shipped := model["model"]:
        parts += [f"file {shipped['file']}, SHA-256 {shipped['sha256'][:16]}", model["leaked_reason"]]
    if model.get("converged") is False:
        trend = model["convergence"]
        parts.append(
            f"fewer than the {EPOCHS_TO_TELL} epochs that would tell whether it has converged"
            if trend is None
            else f"loss {trend['last_tenth']:.4g} in the last tenth of the training, {trend['tenth_before']:.4g} in "
            "the tenth before"
        )
    return f"{name}: {'; '.join([*parts, *model['problems']])}."


def holdouts(run: RunFacts) -> Iterator[Block]:
    """Show how well encoders and boxes are predicted that were not in training."""
    block = run.evidence.get("codec_block")
    if isinstance(block, Mapping):
        yield Text(text=block["conclusion"])
        if unseen := block.get("unseen"):
            yield Table(
                caption="Each encoder and content group held out together: with and without the codec block",
                columns=("unseen encoder", "RMSE with", "RMSE without", "ratio", "difference", "low", "high"),
                rows=[_unseen(encoder, figures) for encoder, figures in unseen.items()],
            )
    seen = run.evidence.get("errors", {}).get("frame", {}).get("per_encoder", {})
    for by, report in run.holdouts.items():
        yield Text(
            text=f"--holdout {by}: each {by} in turn was left out of the training. Its sources were in training with "
            "the others, so this says nothing about unseen content."
        )
        rows: list[list[TableCell | str]] = []
        for fold in report["folds"]:
            seeds = [figure["rmse"] for figure in fold["per_seed"].values()]
            rows.append(
                [
                    str(fold["held_out"]),
                    number(fold["n_val"], "d"),
                    number(fold["rmse"]),
                    TableCell(text=f"{min(seeds):.2f} to {max(seeds):.2f}", key=max(seeds)),
                    number(fold["bias"], "+.2f"),
                    correlation(fold["plcc"]),
                    *([number(seen[fold["held_out"]]["rmse"])] if by == "encoder" and seen else []),
                ]
            )
        in_training = ("RMSE when in training",) if by == "encoder" and seen else ()
        yield Table(
            caption=f"By held-out {by}, ensemble mean",
            columns=(f"held-out {by}", "frames", "RMSE", "RMSE of the seeds", "bias", "PLCC", *in_training),
            rows=rows,
        )


def _unseen(encoder: str, figures: Mapping[str, Any]) -> list[TableCell | str]:
    between = figures["difference"]
    return [
        encoder,
        number(figures["rmse_with"]),
        number(figures["rmse_without"]),
        number(figures["ratio"]),
        *(number(between[end], "+.2f") for end in ("value", "low", "high")),
    ]


def calibration(run: RunFacts) -> Iterator[Block]:
    """Show the intervals around a single score."""
    if widths := run.evidence.get("half_widths"):
        yield from _half_widths(widths)
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
                "simulated coverage",
                "covered, mean over groups",
                "worst group",
                "covered there",
                "width, VMAF points",
            ),
        )
    for level in evidence["levels"]:
        if "too_few" in level:
            yield Text(text=level["too_few"][:1].upper() + level["too_few"][1:] + ".")
    ratio = evidence["spread"].get("error_over_spread")
    if ratio is not None:
        yield Text(
            text=f"Seed disagreement (score_std): the RMSE is {ratio:.1f} times the typical standard deviation of the "
            "seeds. It shows where the seeds differ, and is no measure of the error."
        )


def _half_widths(widths: Mapping[str, Any]) -> Iterator[Block]:
    """Show how far from the teacher a score may be, of a frame and of a clip, at each level."""
    rows: list[list[TableCell | str]] = []
    for kind, levels in widths.items():
        for level, one in sorted(levels.items()):
            rows.append(
                [
                    kind,
                    percent(float(level)),
                    _width(one["half_width"]),
                    str(one["method"]),
                    number(one["groups"], "d"),
                    "–" if one["coverage"] is None else percent(one["coverage"], 1),
                    _named(one["worst_group"]),
                ]
            )
    yield Table(
        caption="Calibrated half-widths: a score of unseen content is within so many VMAF points of the teacher's",
        columns=("of a", "level", "half-width", "method", "groups", "covered, leaving a group out", "worst group"),
        rows=rows,
    )


def _width(half_width: float | None) -> TableCell:
    return TableCell(text="–") if half_width is None else TableCell(text=f"±{half_width:.2f}", key=half_width)


def _named(group: Any) -> str:
    """Return a worst group as a text, with its coverage where it has one."""
    if not isinstance(group, Mapping):
        return "–" if group is None else str(group)
    covered = group.get("coverage")
    return str(group["name"]) + ("" if covered is None else f", {percent(covered, 1).text} covered")


def _simulated(coverage: Mapping[str, float] | None) -> str:
    if coverage is None:
        return "–"
    low, high = percent(coverage["low"]).text, percent(coverage["high"]).text
    return low if low == high else f"{low} to {high}"


def _level(level: Mapping[str, Any]) -> list[TableCell | str]:
    worst = level["worst_group"]
    return [
        percent(level["level"]),
        _simulated(level.get("simulated_coverage")),
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
    saturated, outside = evidence["saturated"], evidence["outside_training"]
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
    yield from _near_duplicates(evidence["near_duplicates"])
    if "rows_by_source" in evidence:  # verdicts of version 1 lack it
        yield Text(text=share_sentence(evidence["rows_by_source"]))
    for name, count in evidence["thin_encoders"]["encoders"].items():
        yield Text(text=f"Few rows of {name}: {count['groups']} groups, {count['cells']} cells, {count['rows']} rows.")


def _near_duplicates(found: Mapping[str, Any]) -> Iterator[Block]:
    """Show sources in different folds with the same content: by fingerprints, else by features."""
    sure = found.get("method") == "fingerprints"
    by_features = found.get("suspected", ()) if sure else found["pairs"]
    if sure and found["pairs"]:
        yield Table(
            caption="Sources in different folds that show the same content",
            columns=("source", "same content as", "similarity", "threshold", "mirrored"),
            rows=[
                [
                    *(TableCell(text=str(name), bad=True) for name in pair["sources"]),
                    number(pair["similarity"], ".2f"),
                    number(pair["threshold"], ".2f"),
                    "yes" if pair["mirrored"] else "no",
                ]
                for pair in found["pairs"]
            ],
        )
    if by_features:
        yield Table(
            caption="Sources in different folds that may show the same content, by features alone",
            columns=("source", "perhaps the same content as", "correlation of motion2", "of the other features"),
            rows=[[*map(str, one["sources"]), number(one["motion2"]), number(one["others"])] for one in by_features],
        )
    if not found["pairs"]:
        how = "by fingerprints" if sure else "by features"
        yield Text(
            text=f"No two sources in different folds show the same content ({found['compared']} pairs compared {how}, "
            f"{found['not_comparable']} not comparable)."
        )
