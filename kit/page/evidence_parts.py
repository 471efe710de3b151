"""The parts of the page that show the evidence of a verdict: how far off, how sure, against what, on what."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from kit.page import figures
from kit.page.blocks import Block, Cell, Figures, Table, Text, number, percent
from kit.page.gather import Facts

#: Ranges of the teacher's score, from low to high.
_RANGES = ("<60", "60-80", "80-95", ">95")
_ERRORS = ("count", "RMSE", "MAE", "bias", "95 % below", "largest", "PLCC", "SROCC")


def errors(facts: Facts) -> Iterator[Block]:
    """Every slice of ``errors``."""
    yield Text(
        text="At clip level a cell counts once, with its means over frames. A narrow range lowers a "
        "correlation, so those within a range are not to be held against the one of all."
    )
    for level, title in (("clip", "clip level"), ("frame", "frame level")):
        found = facts.evidence["errors"][level]
        whole = [("ensemble mean", found["overall"])]
        whole += [(f"seed {seed}", one) for seed, one in found["per_seed"].items()]
        whole += [(f"teacher {name}", found["per_range"][name]) for name in _RANGES]
        yield _error_table(f"Everything, every seed, and by teacher's score, {title}", "of", dict(whole))
    frame = facts.evidence["errors"]["frame"]
    for name, title in (("per_encoder", "encoder"), ("per_source_encoder", "source x encoder")):
        yield _error_table(f"By {title}, frame level", title, frame[name])


def _error_table(caption: str, of: str, found: Mapping[str, Mapping[str, Any]]) -> Table:
    rows: list[list[Cell | str]] = []
    for name, one in found.items():
        points = [
            number(one[figure], "+.2f" if figure == "bias" else ".2f")
            for figure in ("rmse", "mae", "bias", "p95", "max")
        ]
        rows.append([name, number(one["count"], "d"), *points, *(number(one[c], ".4f") for c in ("plcc", "srocc"))])
    return Table(caption=caption, columns=(of, *_ERRORS), rows=rows)


def uncertainty(facts: Facts) -> Iterator[Block]:
    """Intervals and the distributions behind them."""
    found = facts.evidence["uncertainty"]
    yield Text(
        text=f"{found['method']}, {found['resamples']} resamples of {found['groups']} groups, "
        f"{percent(found['level']).text} intervals. {found['caution']}"
    )
    if drawn := figures.bootstrap(facts):
        yield Figures(figures=drawn)
    yield Table(
        caption="Figures, their intervals, and what leaving one group out makes of them",
        columns=("figure", "value", "low", "high", "lowest without", "group", "highest without", "the group"),
        rows=[
            [
                figures.RESAMPLED[name],
                *_interval(found[name]),
                *_without(found[name]["without_one_min"]),
                *_without(found[name]["without_one_max"]),
            ]
            for name in figures.RESAMPLED
        ],
    )
    for name in figures.RESAMPLED:
        if found[name]["undefined"]:
            yield Text(text=f"{figures.RESAMPLED[name]}: no interval, {found[name]['undefined']}.")


def _interval(found: Mapping[str, Any]) -> list[Cell]:
    return [number(found[end], ".4f") for end in ("value", "low", "high")]


def _without(found: Mapping[str, Any] | None) -> list[Cell | str]:
    return ["–", "–"] if found is None else [number(found["value"], ".4f"), str(found["group"])]


def baselines(facts: Facts) -> Iterator[Block]:
    """What simpler models and the shipped one come to on the same rows."""
    found = facts.evidence["baselines"]
    if line := facts.evidence.get("codec_block"):
        yield Text(text=line)
    yield Text(
        text="Differences are the ensemble's figure minus the baseline's, with intervals of a paired bootstrap "
        "over groups: above 0 for PLCC and below 0 for RMSE the ensemble is better."
    )
    yield Table(
        caption="Baselines",
        rows=[_baseline(name, one) for name, one in found.items()],
        columns=(
            "baseline",
            "mean PLCC",
            "RMSE",
            "PLCC differs",
            "from",
            "to",
            "RMSE differs",
            "from",
            "to",
            "p (z)",
            "p (F)",
            "leaked",
        ),
    )
    for name, one in found.items():
        told = [one["what"], *([one["leaked_reason"]] if one["model"] else []), *one["problems"]]
        yield Text(text=f"{name}: {'; '.join(told)}.")
    tested = [one["p1401"] for one in found.values() if one["p1401"]]
    if tested:
        first = tested[0]
        yield Text(
            text=f"p: ITU-T P.1401 at clip level, {first['clips']} clips, Fisher's z and the RMSE; corrected: "
            f"{first['correction']}. Assumed: {'; '.join(first['assumptions'])}."
        )


_LEAKED = {True: "YES", False: "no", None: "not told"}


def _baseline(name: str, one: Mapping[str, Any]) -> list[Cell | str]:
    difference, tests = one["difference"] or {}, one["p1401"] or {}
    cells: list[Cell | str] = [name, number(one["mean_plcc"], ".4f"), number(one["rmse"])]
    for figure, form in (("mean_plcc", "+.4f"), ("rmse", "+.2f")):
        cells += [number(difference.get(figure, {}).get(end), form) for end in ("value", "low", "high")]
    cells += [number((tests.get(test) or {}).get("p_holm"), ".2g") for test in ("fisher_z", "rmse")]
    return [*cells, Cell(text=_LEAKED[one["leaked"]], bad=one["leaked"] is True)]


def calibration(facts: Facts) -> Iterator[Block]:
    """Intervals around a single score."""
    found = facts.evidence["calibration"]
    yield Text(text=f"How far off the score of a clip never seen may be: {found['method']}. {found['applies']}")
    if drawn := figures.calibration(facts):
        yield Figures(figures=drawn)
    told = [one for one in found["levels"] if "coverage" in one]
    if told:
        yield Table(
            caption="Intervals by level",
            rows=[_level(one) for one in told],
            columns=("level", "guaranteed", "covered, mean over groups", "worst group", "covers", "width, VMAF points"),
        )
    for one in found["levels"]:
        if "too_few" in one:
            yield Text(text=one["too_few"][:1].upper() + one["too_few"][1:] + ".")
    spread = found["spread"]
    if spread["coverage"] is not None:
        ratio = (
            ""
            if spread["error_over_spread"] is None
            else (f" The RMSE is {spread['error_over_spread']:.1f} times the seeds' typical standard deviation.")
        )
        yield Text(text=f"The seeds' own spread: {spread['what']}; found {percent(spread['coverage'], 1).text}.{ratio}")


def _level(one: Mapping[str, Any]) -> list[Cell | str]:
    worst = one["worst_group"]
    return [
        percent(one["level"]),
        percent(one["guarantee"]),
        percent(one["coverage"], 1),
        str(worst["name"]),
        percent(worst["coverage"], 1),
        number(one["width"]),
    ]


def coverage(facts: Facts) -> Iterator[Block]:
    """What the corpus shows, and where it is thin."""
    found = facts.evidence["coverage"]
    ranges = {**found["features"], "teacher, VMAF": found["scores"]}
    yield Table(
        caption="Ranges over all rows",
        columns=("column", "lowest", "highest"),
        rows=[[name, number(span["min"], ".4g"), number(span["max"], ".4g")] for name, span in ranges.items()],
    )
    saturated, outside, alike = found["saturated"], found["outside_training"], found["near_duplicates"]
    share = percent(saturated["share"], 1).text
    yield Text(
        text=f"{share} of the rows are at {saturated['score']:g}, where nothing more can be told apart. "
        f"{outside['rows']} rows in {outside['cells']} cells lie outside the range of features "
        f"that their fold was trained on."
    )
    if outside["worst"]:
        yield Table(
            caption="Cells furthest outside",
            columns=("cell", "rows", "share", "features"),
            rows=[
                [str(one["cell"]), number(one["rows"], "d"), percent(one["share"], 1), ", ".join(one["features"])]
                for one in outside["worst"]
            ],
        )
    if alike["pairs"]:
        yield Table(
            caption="Sources in different folds that show the same",
            columns=("source", "and", "motion2", "others"),
            rows=[
                [
                    Cell(text=str(one["sources"][0]), bad=True),
                    Cell(text=str(one["sources"][1]), bad=True),
                    number(one["motion2"]),
                    number(one["others"]),
                ]
                for one in alike["pairs"]
            ],
        )
    else:
        yield Text(text=f"No two sources in different folds show the same ({alike['compared']} pairs compared).")
    for name, one in found["thin_encoders"]["encoders"].items():
        yield Text(text=f"Little of {name}: {one['groups']} groups, {one['cells']} cells, {one['rows']} rows.")
