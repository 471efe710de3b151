"""The figures of a run, one function each, from facts to a picture with its words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kit.page import plots
from kit.page.blocks import Figure, percent
from kit.page.gather import Facts, PageCell, Rows, together
from kit.verdict import out_of_fold
from kit.verdict.intervals import distribution
from kit.verdict.judge import cell_facts
from kit.verdict.metrics import described

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

#: Panels of one kind; the tables beside them have every source.
PANELS = 12
#: Dots of a panel; of more rows the largest errors and every n-th of the others are drawn.
_DOTS, _LARGEST = 6000, 300


def predicted(facts: Facts) -> tuple[Figure, ...]:
    """Predicted against teacher, a panel a source, those with the largest RMSE first."""
    low = min(min(cell.rows.target.min(), cell.rows.prediction.min()) for cell in facts.cells)
    edges = (float(max(0.0, 10 * np.floor(low / 10))), 101.0)
    return tuple(_predicted(facts, number, label, edges) for number, label in enumerate(facts.sources[:PANELS], 1))


def _predicted(facts: Facts, number: int, label: str, edges: tuple[float, float]) -> Figure:
    cells = facts.of_source(label)
    rows = together(cells)
    found: Any = described(rows.prediction, rows.target, what=label)
    plcc = "PLCC does not exist" if found["plcc"] is None else f"PLCC {found['plcc']:.4f}"
    figures = f"RMSE {rows.rmse:.2f}, bias {rows.bias:+.2f}, {plcc}, {len(rows.target)} frames"

    def draw(axes: Axes) -> None:
        axes.plot(edges, edges, color=plots.INK, linewidth=0.9, linestyle="--", zorder=1)
        for encoder, part in _by_encoder(facts, cells):
            dots = _thinned(together(part))
            axes.scatter(
                dots.target,
                dots.prediction,
                s=5,
                alpha=0.45,
                color=plots.colour(encoder),
                linewidths=0,
                rasterized=True,
                zorder=2,
            )
        for encoder, part in _by_encoder(facts, cells):
            axes.scatter(
                [c.rows.target.mean() for c in part],
                [c.rows.prediction.mean() for c in part],
                s=30,
                facecolors="none",
                edgecolors=plots.colour(encoder),
                marker=plots.marker(encoder),
                linewidths=1.2,
                zorder=3,
            )
        axes.set(xlim=edges, ylim=edges, xlabel="teacher, VMAF", ylabel="predicted, VMAF", title=plots.short(label))
        axes.set_aspect("equal")
        plots.legend(axes, facts.encoders, "upper left")

    return plots.figure(
        f"predicted-{number:02d}",
        caption=figures,
        draw=draw,
        alt=f"Predicted against teacher for {label}, with the line where both are the same: {figures}.",
    )


def _by_encoder(facts: Facts, cells: Sequence[PageCell]) -> list[tuple[int, list[PageCell]]]:
    """Cells of each encoder that has any, with its number among all."""
    parts = [
        (index, [cell for cell in cells if cell.entry.encoder == name]) for index, name in enumerate(facts.encoders)
    ]
    return [(index, part) for index, part in parts if part]


def _thinned(rows: Rows) -> Rows:
    if len(rows.target) <= _DOTS:
        return rows
    order = np.argsort(-np.abs(rows.error), kind="stable")
    kept = np.sort(np.concatenate([order[:_LARGEST], np.sort(order[_LARGEST:])[:: -(-len(order) // _DOTS)]]))
    return Rows(target=rows.target[kept], prediction=rows.prediction[kept])


def errors(facts: Facts) -> tuple[Figure, ...]:
    """RMSE and bias of every encoder at every quality point."""
    points = sorted({cell.entry.cq for cell in facts.cells})
    found: dict[str, dict[int, Rows]] = {}
    for name in facts.encoders:
        of = {cq: [c for c in facts.cells if (c.entry.encoder, c.entry.cq) == (name, cq)] for cq in points}
        found[name] = {cq: together(part) for cq, part in of.items() if part}
    made = []
    for what, title in (("rmse", "RMSE"), ("bias", "bias (predicted minus teacher)")):
        values = {name: {cq: float(getattr(rows, what)) for cq, rows in of.items()} for name, of in found.items()}
        every = {(name, cq): value for name, of in values.items() for cq, value in of.items()}
        worst = max(every, key=lambda place: abs(every[place]))
        figure = f"{every[worst]:.2f}" if what == "rmse" else f"{every[worst]:+.2f}"
        told = f"largest for {worst[0]} at quality point {worst[1]}: {figure} VMAF points"
        made.append(_lines(facts, f"error-{what}", title, values, told))
    return tuple(made)


def _lines(facts: Facts, name: str, title: str, values: Mapping[str, Mapping[int, float]], told: str) -> Figure:
    def draw(axes: Axes) -> None:
        for index, of in enumerate(values.values()):
            axes.plot(list(of), list(of.values()), color=plots.colour(index), marker=plots.marker(index))
        axes.axhline(0, color=plots.INK, linewidth=0.9)
        if len(points := sorted({cq for of in values.values() for cq in of})) <= 12:
            axes.set_xticks(points)
        axes.set(xlabel="quality point (cq), coarser to the right", ylabel="VMAF points", title=title)
        plots.legend(axes, facts.encoders, "best")

    return plots.figure(
        name, alt=f"{title} by encoder and quality point, {told}.", caption=f"{title}: {told}", draw=draw
    )


#: Where the axis of PLCC may have its ticks, and the PLCC beyond which it ends.
_PLCCS, _ONE = (0, 0.5, 0.9, 0.99, 0.999, 0.9999), 0.99999


def _nines(plcc: float) -> float:
    """A scale on which 0.99 and 0.999 are as far apart as 0.9 and 0.99."""
    return float(-np.log10(1 - min(max(plcc, 0.0), _ONE)))


def folds(facts: Facts) -> tuple[Figure, ...]:
    """PLCC of every member, a line a fold, lowest first."""
    members = {
        seed: {fold["held_out"]: fold["plcc"] for fold in report["folds"]}
        for seed, report in facts.reports.items()
        if seed != out_of_fold.ENSEMBLE
    }
    lowest = sorted({(min(of[label] for of in members.values()), label) for label in next(iter(members.values()))})
    shown, least = lowest[: 2 * PANELS], float(facts.verdict["gate"]["per_seed_min"])

    def draw(axes: Axes) -> None:
        for index, of in enumerate(members.values()):
            axes.scatter(
                [_nines(of[label]) for _, label in shown],
                range(len(shown)),
                color=plots.colour(index),
                marker=plots.marker(index),
                s=24,
            )
        axes.axvline(_nines(least), color=plots.INK, linewidth=0.9, linestyle="--")
        ticks = [value for value in _PLCCS if min(_nines(least), _nines(lowest[0][0])) - 0.4 <= _nines(value)]
        axes.set_xticks([_nines(value) for value in ticks], [f"{value:g}" for value in ticks])
        axes.set_yticks(range(len(shown)), [plots.short(label)[:20] for _, label in shown])
        axes.invert_yaxis()
        axes.set(xlabel=f"PLCC (dashed: {least:g}, what the gate asks for)", title="PLCC of every seed by fold")
        plots.legend(axes, [f"seed {seed}" for seed in members], "best")

    told = f"the lowest is {lowest[0][0]:.4f} with {lowest[0][1]} held out"
    return (
        plots.figure(
            "folds", alt=f"PLCC of every seed by fold; {told}.", caption=f"PLCC by fold: {told}", draw=draw, left=0.32
        ),
    )


def rate_quality(facts: Facts) -> tuple[Figure, ...]:
    """Teacher and prediction against rate, a panel a source, a line an encoder."""
    there = [label for label in facts.sources if any(cell.rate for cell in facts.of_source(label))]
    return tuple(_rate_quality(facts, number, label) for number, label in enumerate(there[:PANELS], 1))


def _rate_quality(facts: Facts, number: int, label: str) -> Figure:
    cells = [cell for cell in facts.of_source(label) if cell.rate]
    off = max(cells, key=lambda cell: abs(cell.rows.bias))
    told = f"furthest apart at {off.entry.encoder} cq {off.entry.cq}: {off.rows.bias:+.2f} VMAF points"

    def draw(axes: Axes) -> None:
        for encoder, part in _by_encoder(facts, cells):
            curve = sorted(part, key=lambda cell: cell.rate or 0.0)
            rates = [cell.rate or 0.0 for cell in curve]
            axes.plot(
                rates, [c.rows.target.mean() for c in curve], color=plots.colour(encoder), marker=plots.marker(encoder)
            )
            axes.plot(
                rates,
                [c.rows.prediction.mean() for c in curve],
                color=plots.colour(encoder),
                linestyle=":",
                marker=plots.marker(encoder),
                markerfacecolor="none",
            )
        axes.set_xscale("log")
        axes.set(
            xlabel="kbit/s" if facts.timed_rates else "kbit a frame",
            ylabel="VMAF, mean over frames",
            title=plots.short(label),
        )
        _plain_ticks(axes.xaxis, [cell.rate or 0.0 for cell in cells])
        plots.legend(axes, facts.encoders, "lower right")

    return plots.figure(
        f"rate-{number:02d}",
        caption=told,
        draw=draw,
        alt=f"Rate and quality of {label}, teacher as solid and prediction as dotted lines, {told}.",
    )


def _plain_ticks(axis: Axis, values: Sequence[float]) -> None:
    """Ticks of a logarithmic axis at 1, 2, 5 times powers of ten, as numbers without exponents."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if max(values) < 60 * min(values) else (1.0,)))
    axis.set_major_formatter(FuncFormatter(lambda value, _place: f"{value:g}"))
    axis.set_minor_locator(NullLocator())


def training(facts: Facts) -> tuple[Figure, ...]:
    """The training loss of every seed."""
    losses = {
        seed: np.sqrt(report["training_loss"]) for seed, report in facts.reports.items() if seed != out_of_fold.ENSEMBLE
    }
    first, last = (float(np.mean([of[place] for of in losses.values()])) for place in (0, -1))
    count = len(next(iter(losses.values())))

    def draw(axes: Axes) -> None:
        for index, of in enumerate(losses.values()):
            axes.plot(
                range(1, count + 1),
                of,
                color=plots.colour(index),
                linewidth=1.1,
                marker=plots.marker(index) if count < 10 else "",
            )
        axes.set_yscale("log")
        _plain_ticks(axes.yaxis, [float(value) for of in losses.values() for value in of])
        axes.set(xlabel="epoch", ylabel="RMSE while training, VMAF points", title="Training")
        plots.legend(axes, [f"seed {seed}" for seed in losses], "upper right")

    told = f"from {first:.2f} to {last:.2f} VMAF points in {count} epochs, mean over {len(losses)} seeds"
    return (
        plots.figure("training", alt=f"Training error by epoch: {told}.", caption=f"Training error {told}", draw=draw),
    )


#: What the resampled figures are called.
RESAMPLED = {"mean_plcc": "mean PLCC", "srocc": "mean SROCC", "rmse": "RMSE, VMAF points"}


def bootstrap(facts: Facts) -> tuple[Figure, ...]:
    """The distribution of each figure that has an interval."""
    if facts.predictions is None:
        return ()
    drawn = distribution(facts.predictions, cell_facts(facts.shard, facts.evidence["folds"]))
    told = facts.evidence["uncertainty"]
    return tuple(
        _distribution(name, values, told[name], told["level"])
        for name, values in drawn.items()
        if told[name]["low"] is not None
    )


def _distribution(name: str, values: NDArray[np.float64], found: Mapping[str, Any], level: float) -> Figure:
    title = RESAMPLED[name]
    told = f"{found['value']:.4f}, {percent(level).text} interval {found['low']:.4f} to {found['high']:.4f}"

    def draw(axes: Axes) -> None:
        axes.hist(values, bins=40, color=plots.colour(0), alpha=0.75)
        axes.axvline(found["value"], color=plots.INK, linewidth=1.4)
        for edge in ("low", "high"):
            axes.axvline(found[edge], color=plots.INK, linewidth=0.9, linestyle="--")
        axes.set(ylabel="resamples", title=title)
        axes.locator_params(axis="x", nbins=5)

    return plots.figure(
        f"bootstrap-{name.replace('_', '-')}",
        alt=f"Distribution of {title} over {len(values)} resamples: {told}.",
        caption=f"{title}: {told}",
        draw=draw,
    )


def calibration(facts: Facts) -> tuple[Figure, ...]:
    """Coverage found against the level asked for, where there are levels with enough groups."""
    levels = [one for one in facts.evidence["calibration"]["levels"] if "coverage" in one]
    if not levels:
        return ()
    told = ", ".join(f"{percent(one['level']).text}: {percent(one['coverage'], 1).text}" for one in levels)
    edges = (0.4, 1.02)

    def draw(axes: Axes) -> None:
        axes.plot(edges, edges, color=plots.INK, linewidth=0.9, linestyle="--")
        axes.plot(
            [one["level"] for one in levels],
            [one["coverage"] for one in levels],
            color=plots.colour(0),
            marker=plots.marker(0),
        )
        axes.plot(
            [one["level"] for one in levels],
            [one["worst_group"]["coverage"] for one in levels],
            color=plots.colour(1),
            marker=plots.marker(1),
            linestyle="none",
        )
        plots.legend(axes, ["mean over groups", "worst group"], loc="lower right")
        axes.set(
            xlabel="level",
            ylabel="share of held-out rows inside",
            title="Coverage of intervals",
            xlim=edges,
            ylim=(min(0.4, *(one["worst_group"]["coverage"] for one in levels)) - 0.04, 1.04),
        )

    return (
        plots.figure(
            "calibration",
            alt=f"Coverage found by nominal level: {told}.",
            caption=f"Coverage by level: {told}",
            draw=draw,
        ),
    )
