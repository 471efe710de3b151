"""The table of BD-rates: how much more bitrate an encoder needs than another at equal quality, source by source."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from kit.core import contract
from kit.page.blocks import Block, Table, TableCell, Text
from kit.page.gather import RunFacts, ScoredCell
from kit.verdict.bd_rate import USUAL_POINTS, BdRate, Point, bd_rate

#: A curve: the cells of an encoder with one preset.
_Curve = Sequence[ScoredCell]


def bd_rates(run: RunFacts) -> Iterator[Block]:
    """Compare the encoders of each source that has two or more; nothing where no source has two."""
    curves = {label: _curves(run, label) for label in sorted(run.sources)}
    order = _anchors_first(curves)
    rows: list[list[TableCell | str]] = []
    found: dict[tuple[str, str], list[tuple[str, float, float]]] = {}
    for label, of_source in curves.items():
        names = [name for name in order if name in of_source]
        for name in names[1:]:
            anchor, other = of_source[names[0]], of_source[name]
            teacher, predicted = (bd_rate(_points(anchor, by), _points(other, by)) for by in ("target", "prediction"))
            rows.append([label, name, names[0], *_row(teacher, predicted, len(_points(anchor, "target")), other)])
            if teacher.share is not None and predicted.share is not None:
                found.setdefault((name, names[0]), []).append((label, teacher.share, predicted.share))
    if not rows:
        return
    yield Text(
        text="BD-rate: how much more bitrate an encoder needs than another at equal VMAF, mean over the range of VMAF "
        "that both have (Bjøntegaard, VCEG-M33; PCHIP interpolation of the logarithm of the rate over the mean VMAF of "
        "each cell). By prediction: the same with the ensemble's scores. The difference is what the ensemble would get "
        "wrong in a comparison of encoders."
    )
    for (name, anchor_name), shares in found.items():
        yield Text(text=_summary(name, anchor_name, shares, sum(row[1] == name for row in rows)))
    if any(
        len(_points(curve, "target")) < USUAL_POINTS for of_source in curves.values() for curve in of_source.values()
    ):
        yield Text(
            text=f"Some curves have fewer than the usual {USUAL_POINTS} quality points (--cqs); with two, a curve is a "
            "straight line."
        )
    yield Table(
        caption="BD-rate by source",
        columns=(
            "source",
            "encoder",
            "compared with",
            "by teacher",
            "by prediction",
            "difference, points of %",
            "common VMAF range",
            "quality points",
        ),
        rows=rows,
    )


def _curves(run: RunFacts, label: str) -> dict[str, _Curve]:
    """Group the cells of a source that have a rate by encoder, and by preset where an encoder has several."""
    presets: dict[str, set[str | None]] = {}
    for cell in run.cells:
        presets.setdefault(cell.entry.encoder, set()).add(cell.entry.preset)
    curves: dict[str, list[ScoredCell]] = {}
    for cell in run.of_source(label):
        if cell.rate:
            encoder = cell.entry.encoder
            name = encoder if len(presets[encoder]) == 1 else f"{encoder} {cell.entry.preset}"
            curves.setdefault(name, []).append(cell)
    return dict(curves)


def _anchors_first(curves: Mapping[str, Mapping[str, _Curve]]) -> list[str]:
    """Order the names of curves: those with the most cells first, of several the anchor encoder."""
    cells: dict[str, int] = {}
    for of_source in curves.values():
        for name, curve in of_source.items():
            cells[name] = cells.get(name, 0) + len(curve)
    return sorted(cells, key=lambda name: (-cells[name], not name.startswith(contract.ANCHOR_ENCODER), name))


def _points(curve: _Curve, by: str) -> list[Point]:
    """Return a point for each quality point: the mean over frames; of cells that two boxes made, the mean over both."""
    by_cq: dict[int, list[ScoredCell]] = {}
    for cell in curve:
        by_cq.setdefault(cell.entry.cq, []).append(cell)
    return [
        Point(
            rate=float(np.exp(np.mean([np.log(cell.rate or 1.0) for cell in cells]))),
            quality=float(np.mean([getattr(cell.scores, by).mean() for cell in cells])),
        )
        for cells in by_cq.values()
    ]


def _row(teacher: BdRate, predicted: BdRate, anchor_points: int, other: _Curve) -> list[TableCell | str]:
    points = (anchor_points, len(_points(other, "target")))
    reasons = {"teacher": teacher.reason, "prediction": predicted.reason}
    given = {name: reason for name, reason in reasons.items() if reason}
    if len(set(given.values())) == 1 and len(given) == len(reasons):
        why = teacher.reason
    else:
        why = "; ".join(f"by {name}: {reason}" for name, reason in given.items())
    both = teacher.share is not None and predicted.share is not None
    return [
        _percent(teacher.share),
        _percent(predicted.share),
        _percent(predicted.share - teacher.share if both else None, unit=""),  # type: ignore[operator]
        f"none: {why}" if why else f"{teacher.low:.1f} to {teacher.high:.1f}",
        f"{points[1]} and {points[0]}",
    ]


def _percent(share: float | None, unit: str = " %") -> TableCell:
    return TableCell(text="–") if share is None else TableCell(text=_signed(share) + unit, key=100 * share)


def _signed(share: float) -> str:
    """Format a share in per cent with its sign, without a negative zero."""
    return f"{round(100 * share, 1) + 0.0:+.1f}"


def _summary(name: str, anchor: str, shares: Sequence[tuple[str, float, float]], sources: int) -> str:
    teacher, predicted = (float(np.mean([share[place] for share in shares])) for place in (1, 2))
    worst: Any = max(shares, key=lambda share: abs(share[2] - share[1]))
    return (
        f"{name} against {anchor}, mean over {len(shares)} of {sources} sources: {_signed(teacher)} % by the "
        f"teacher, {_signed(predicted)} % by the prediction; the largest difference is "
        f"{_signed(worst[2] - worst[1])} points ({worst[0]})."
    )
