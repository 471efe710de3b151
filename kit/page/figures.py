"""The figures of a run, one function each: a drawing with its caption and its text for those who cannot see it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kit.core.texts import correlation
from kit.page import plots
from kit.page.blocks import Figure, percent
from kit.page.gather import RunFacts, ScoredCell, Scores, joined
from kit.verdict.intervals import distribution
from kit.verdict.judge import cell_facts
from kit.verdict.metrics import agreement_as_json

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

#: Panels of one kind; the tables have every source.
PANELS = 12
#: Lines of the figure of folds, as many as its labels have room for.
_FOLDS = 16
#: Dots of a panel: with more rows, the largest errors and every n-th of the others are drawn.
_DOTS, _LARGEST = 6000, 300
#: Points of a line over time at most, each a mean over as many frames as needed; with so few, each has a marker.
_MOMENTS, _FEW_MOMENTS = 120, 12
#: Titles of the resampled figures.
RESAMPLED = {"mean_plcc": "mean PLCC", "srocc": "mean SROCC", "rmse": "RMSE, VMAF points"}
#: Ticks of the axis of PLCC, and the PLCC at its end.
_PLCCS, _PLCC_END = (0, 0.5, 0.9, 0.99, 0.999, 0.9999), 0.99999


def predicted(run: RunFacts) -> tuple[Figure, ...]:
    """Plot prediction against teacher, a panel per source, those with the largest RMSE first."""
    lowest = min(min(cell.scores.target.min(), cell.scores.prediction.min()) for cell in run.cells)
    limits = (float(max(0.0, 10 * np.floor(lowest / 10))), 101.0)
    return tuple(_predicted(run, number, label, limits) for number, label in enumerate(run.sources[:PANELS], 1))


def _predicted(run: RunFacts, number: int, label: str, limits: tuple[float, float]) -> Figure:
    by_encoder = _by_encoder(run, run.of_source(label))
    scores = joined(run.of_source(label))
    agreement: Any = agreement_as_json(scores.prediction, scores.target, what=label)
    plcc = "PLCC undefined" if agreement["plcc"] is None else f"PLCC {correlation(agreement['plcc'])}"
    figures = f"RMSE {scores.rmse:.2f}, bias {scores.bias:+.2f}, {plcc}, {len(scores.target)} frames"

    def draw(axes: Axes) -> None:
        axes.plot(limits, limits, color=plots.INK, linewidth=0.9, linestyle="--", zorder=1)
        for encoder, cells in by_encoder:
            dots, colour = _thinned(joined(cells)), plots.colour(encoder)
            axes.scatter(
                dots.target, dots.prediction, s=5, alpha=0.45, color=colour, linewidths=0, rasterized=True, zorder=2
            )
        for encoder, cells in by_encoder:
            axes.scatter(
                [cell.scores.target.mean() for cell in cells],
                [cell.scores.prediction.mean() for cell in cells],
                s=30,
                facecolors="none",
                edgecolors=plots.colour(encoder),
                marker=plots.marker(encoder),
                linewidths=1.2,
                zorder=3,
            )
        axes.set(xlim=limits, ylim=limits, xlabel="teacher, VMAF", ylabel="predicted, VMAF", title=plots.short(label))
        axes.set_aspect("equal")
        plots.legend(axes, run.encoders, "upper left", [encoder for encoder, _ in by_encoder])

    alt = f"Predicted against teacher for {label}, with the line of equal scores: {figures}."
    return plots.figure(f"predicted-{number:02d}", alt=alt, caption=figures, draw=draw)


def _by_encoder(run: RunFacts, cells: Sequence[ScoredCell]) -> list[tuple[int, list[ScoredCell]]]:
    """Group cells by encoder, each with its number among all encoders."""
    parts = [(index, [cell for cell in cells if cell.entry.encoder == name]) for index, name in enumerate(run.encoders)]
    return [(index, part) for index, part in parts if part]


def _thinned(scores: Scores) -> Scores:
    if len(scores.target) <= _DOTS:
        return scores
    order = np.argsort(-np.abs(scores.error), kind="stable")
    others = np.sort(order[_LARGEST:])
    kept = np.sort(np.concatenate([order[:_LARGEST], others[:: -(-len(order) // _DOTS)]]))
    return Scores(target=scores.target[kept], prediction=scores.prediction[kept])


def errors(run: RunFacts) -> tuple[Figure, ...]:
    """Plot RMSE and bias of every encoder at every quality point."""
    points = {point: joined(cells) for point, cells in run.by_point().items()}
    rmse = {point: scores.rmse for point, scores in points.items()}
    bias = {point: scores.bias for point, scores in points.items()}
    return (
        _by_quality_point(run, "error-rmse", "RMSE", rmse, ".2f"),
        _by_quality_point(run, "error-bias", "bias (predicted minus teacher)", bias, "+.2f"),
    )


def _by_quality_point(
    run: RunFacts, name: str, title: str, values: Mapping[tuple[str, int], float], form: str
) -> Figure:
    worst = max(values, key=lambda point: abs(values[point]))
    summary = f"largest for {worst[0]} at quality point {worst[1]}: {values[worst]:{form}} VMAF points"

    def draw(axes: Axes) -> None:
        drawn = [index for index, encoder in enumerate(run.encoders) if any(name == encoder for name, _ in values)]
        for index in drawn:
            own = {cq: value for (name, cq), value in values.items() if name == run.encoders[index]}
            axes.plot(list(own), list(own.values()), color=plots.colour(index), marker=plots.marker(index))
        axes.axhline(0, color=plots.INK, linewidth=0.9)
        if len(points := sorted({cq for _, cq in values})) <= 12:
            axes.set_xticks(points)
        axes.set(xlabel="quality point (cq), coarser to the right", ylabel="VMAF points", title=title)
        plots.legend(axes, run.encoders, "best", drawn)

    alt = f"{title} by encoder and quality point, {summary}."
    return plots.figure(name, alt=alt, caption=f"{title}: {summary}", draw=draw)


def _nines(plcc: float) -> float:
    """Map PLCC to a scale on which 0.99 and 0.999 are as far apart as 0.9 and 0.99."""
    return float(-np.log10(1 - min(max(plcc, 0.0), _PLCC_END)))


def folds(run: RunFacts) -> tuple[Figure, ...]:
    """Plot the PLCC of every member, a line per fold, lowest first."""
    members = {
        seed: {fold["held_out"]: fold["plcc"] for fold in report["folds"]} for seed, report in run.seed_reports.items()
    }
    plccs = {label: [of[label] for of in members.values()] for label in next(iter(members.values()))}
    lowest = sorted((min(of_fold), label) for label, of_fold in plccs.items() if None not in of_fold)
    if not lowest:
        return ()
    shown, required = lowest[:_FOLDS], float(run.verdict["gate"]["per_seed_min"])

    def draw(axes: Axes) -> None:
        for index, of_seed in enumerate(members.values()):
            axes.scatter(
                [_nines(of_seed[label]) for _, label in shown],
                range(len(shown)),
                color=plots.colour(index),
                marker=plots.marker(index),
                s=24,
            )
        axes.axvline(_nines(required), color=plots.INK, linewidth=0.9, linestyle="--")
        ticks = [value for value in _PLCCS if min(_nines(required), _nines(lowest[0][0])) - 0.4 <= _nines(value)]
        axes.set_xticks([_nines(value) for value in ticks], [f"{value:g}" for value in ticks])
        axes.set_yticks(range(len(shown)), [plots.short(label)[:20] for _, label in shown])
        axes.invert_yaxis()
        axes.set(xlabel=f"PLCC (dashed: {required:g}, required by the gate)", title="PLCC of every seed by fold")
        plots.legend(axes, [f"seed {seed}" for seed in members], "best")

    of_all = f", the {len(shown)} lowest of {len(lowest)} folds" if len(shown) < len(lowest) else ""
    summary = f"the lowest is {correlation(lowest[0][0])} with {lowest[0][1]} held out{of_all}"
    alt = f"PLCC of every seed by fold; {summary}."
    return (plots.figure("folds", alt=alt, caption=f"PLCC by fold: {summary}", draw=draw, left=0.32),)


def rate_quality(run: RunFacts) -> tuple[Figure, ...]:
    """Plot teacher and prediction against rate, a panel per source, a line per encoder."""
    sources = [label for label in run.sources if any(cell.rate for cell in run.of_source(label))]
    return tuple(_rate_quality(run, number, label) for number, label in enumerate(sources[:PANELS], 1))


def _rate_quality(run: RunFacts, number: int, label: str) -> Figure:
    cells = [cell for cell in run.of_source(label) if cell.rate]
    worst = max(cells, key=lambda cell: abs(cell.scores.bias))
    summary = f"largest difference at {worst.entry.encoder} cq {worst.entry.cq}: {worst.scores.bias:+.2f} VMAF points"

    def draw(axes: Axes) -> None:
        for encoder, part in _by_encoder(run, cells):
            curve = sorted(part, key=lambda cell: cell.rate or 0.0)
            rates = [cell.rate or 0.0 for cell in curve]
            style: dict[str, Any] = {"color": plots.colour(encoder), "marker": plots.marker(encoder)}
            axes.plot(rates, [cell.scores.target.mean() for cell in curve], **style)
            prediction = [cell.scores.prediction.mean() for cell in curve]
            axes.plot(rates, prediction, linestyle=":", markerfacecolor="none", **style)
        axes.set_xscale("log")
        unit = "kbit/s" if run.timed_rates else "kbit per frame"
        axes.set(xlabel=unit, ylabel="VMAF, mean over frames", title=plots.short(label))
        _plain_ticks(axes.xaxis, [cell.rate or 0.0 for cell in cells])
        plots.legend(axes, run.encoders, "lower right", [encoder for encoder, _ in _by_encoder(run, cells)])

    alt = f"Rate and quality of {label}, teacher as solid and prediction as dotted lines, {summary}."
    return plots.figure(f"rate-{number:02d}", alt=alt, caption=summary, draw=draw)


def over_time(run: RunFacts) -> tuple[Figure, ...]:
    """Plot the mean error at each moment of a clip, a panel per source, a line per encoder."""
    return tuple(_over_time(run, number, label) for number, label in enumerate(run.sources[:PANELS], 1))


def _over_time(run: RunFacts, number: int, label: str) -> Figure:
    fps, by_encoder = run.fps(label), _by_encoder(run, run.of_source(label))
    lines = {encoder: _mean_error(cells, fps) for encoder, cells in by_encoder}
    unit = "frame" if fps is None else "s"
    moment, error = max(
        ((m, e) for line in lines.values() for m, e in zip(*line, strict=True)), key=lambda one: abs(one[1])
    )
    where = f"frame {moment:.0f}" if fps is None else f"{moment:.1f} s"
    summary = f"largest mean error at {where}: {error:+.2f} VMAF points"

    def draw(axes: Axes) -> None:
        axes.axhline(0, color=plots.INK, linewidth=0.9)
        for encoder, (moments, errors) in lines.items():
            few = len(moments) <= _FEW_MOMENTS
            axes.plot(
                moments,
                errors,
                color=plots.colour(encoder),
                linewidth=1.2,
                marker=plots.marker(encoder),
                markevery=1 if few else len(moments) // 4,
                markersize=4,
            )
        axes.set(xlabel=f"time in the clip, {unit}", ylabel="predicted minus teacher", title=plots.short(label))
        plots.legend(axes, run.encoders, "best", lines)

    alt = f"Error over time of {label}, mean over its encodes: {summary}."
    return plots.figure(f"time-{number:02d}", alt=alt, caption=summary, draw=draw)


def _mean_error(cells: Sequence[ScoredCell], fps: float | None) -> tuple[list[float], list[float]]:
    """Average the error of several encodes at each moment: moments in seconds, or frames without a rate, and means."""
    frames = np.concatenate([cell.frames for cell in cells])
    width = -(-(int(frames.max()) + 1) // _MOMENTS)
    part, error = frames // width, np.concatenate([cell.scores.error for cell in cells])
    counts = np.bincount(part)
    shown = np.flatnonzero(counts)
    middle = (shown + 0.5) * width - 0.5
    means = np.bincount(part, weights=error)[shown] / counts[shown]
    return (middle if fps is None else middle / fps).tolist(), means.tolist()


def _plain_ticks(axis: Axis, values: Sequence[float]) -> None:
    """Set ticks of a logarithmic axis at 1, 2, 5 times powers of ten, as numbers without exponents."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if max(values) < 60 * min(values) else (1.0,)))
    axis.set_major_formatter(FuncFormatter(lambda value, _place: f"{value:g}"))
    axis.set_minor_locator(NullLocator())


def training(run: RunFacts) -> tuple[Figure, ...]:
    """Plot the training loss of every seed."""
    losses = {seed: np.sqrt(report["training_loss"]) for seed, report in run.seed_reports.items()}
    first, last = (float(np.mean([loss[epoch] for loss in losses.values()])) for epoch in (0, -1))
    epochs = len(next(iter(losses.values())))

    def draw(axes: Axes) -> None:
        for index, loss in enumerate(losses.values()):
            marker = plots.marker(index) if epochs < 10 else ""
            axes.plot(range(1, epochs + 1), loss, color=plots.colour(index), linewidth=1.1, marker=marker)
        axes.set_yscale("log")
        _plain_ticks(axes.yaxis, [float(value) for loss in losses.values() for value in loss])
        axes.set(xlabel="epoch", ylabel="RMSE in training, VMAF points", title="Training")
        plots.legend(axes, [f"seed {seed}" for seed in losses], "upper right")

    summary = f"from {first:.2f} to {last:.2f} VMAF points in {epochs} epochs, mean over {len(losses)} seeds"
    alt = f"Training error by epoch: {summary}."
    return (plots.figure("training", alt=alt, caption=f"Training error {summary}", draw=draw),)


def bootstrap(run: RunFacts) -> tuple[Figure, ...]:
    """Plot the distribution of each figure that has an interval."""
    if run.predictions is None:
        return ()
    resampled = distribution(run.predictions, cell_facts(run.shard, run.evidence["folds"]))
    evidence = run.evidence["uncertainty"]
    return tuple(
        _distribution(name, values, evidence[name], evidence["level"])
        for name, values in resampled.items()
        if evidence[name]["low"] is not None
    )


def _resampled(name: str, value: float) -> str:
    return f"{value:.2f}" if name == "rmse" else correlation(value)


def _distribution(name: str, values: NDArray[np.float64], interval: Mapping[str, Any], level: float) -> Figure:
    title = RESAMPLED[name]
    value, low, high = (_resampled(name, interval[end]) for end in ("value", "low", "high"))
    summary = f"{value}, {percent(level).text} interval {low} to {high}"

    def draw(axes: Axes) -> None:
        axes.hist(values, bins=40, color=plots.colour(0), alpha=0.75)
        axes.axvline(interval["value"], color=plots.INK, linewidth=1.4)
        for end in ("low", "high"):
            axes.axvline(interval[end], color=plots.INK, linewidth=0.9, linestyle="--")
        axes.set(ylabel="resamples", title=title)
        axes.locator_params(axis="x", nbins=5)

    alt = f"Distribution of {title} over {len(values)} resamples: {summary}."
    return plots.figure(f"bootstrap-{name.replace('_', '-')}", alt=alt, caption=f"{title}: {summary}", draw=draw)


def calibration(run: RunFacts) -> tuple[Figure, ...]:
    """Plot the measured coverage against the nominal level, where levels have enough groups."""
    levels = [level for level in run.evidence["calibration"]["levels"] if "coverage" in level]
    if not levels:
        return ()
    nominal, mean = [level["level"] for level in levels], [level["coverage"] for level in levels]
    worst = [level["worst_group"]["coverage"] for level in levels]
    summary = ", ".join(
        f"{percent(one).text}: {percent(share, 1).text}" for one, share in zip(nominal, mean, strict=True)
    )
    limits = (0.4, 1.02)

    def draw(axes: Axes) -> None:
        axes.plot(limits, limits, color=plots.INK, linewidth=0.9, linestyle="--")
        axes.plot(nominal, mean, color=plots.colour(0), marker=plots.marker(0))
        axes.plot(nominal, worst, color=plots.colour(1), marker=plots.marker(1), linestyle="none")
        plots.legend(axes, ["mean over groups", "worst group"], loc="lower right")
        axes.set(
            xlabel="level",
            ylabel="share of held-out rows inside",
            title="Coverage of intervals",
            xlim=limits,
            ylim=(min(0.4, *worst) - 0.04, 1.04),
        )

    alt = f"Measured coverage by nominal level: {summary}."
    return (plots.figure("calibration", alt=alt, caption=f"Coverage by level: {summary}", draw=draw),)
