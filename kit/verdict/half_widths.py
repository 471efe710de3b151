"""Half-widths of intervals around a score of unseen content, for frames and for clips. Pure.

With ``CONFORMAL_GROUPS`` content groups or more: the grouped conformal half-width, with content groups as the
exchangeable units (Dunn, Wasserman, Ramdas 2023, "Distribution-free prediction sets for two-layer hierarchical
models"): each group weighs 1/(K+1), its errors alike, and 1/(K+1) is at infinity. With fewer groups: a two-level model
of the errors, a mean of the group plus a deviation within it, both normal; its half-width is
t(K-1)·√(s_b²·(1 + 1/K) + s_w²), with the mean square s_b² of the groups' mean errors and s_w² of what remains.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kit.training.predictions import Predictions
from kit.verdict.metrics import Values
from kit.verdict.out_of_fold import CellFacts, columns, ensemble_mean, split

#: Requested coverages.
LEVELS = (0.5, 0.8, 0.9, 0.95)
#: The fewest groups for which the conformal half-width at 95 % is finite: level ≤ K/(K+1).
CONFORMAL_GROUPS = 19
CONFORMAL, STUDENT = "grouped conformal", "two-level Student-t"


def errors_by_group(predictions: Predictions, cells: Mapping[str, CellFacts]) -> dict[str, dict[str, Values]]:
    """Return the errors of the ensemble mean by content group, for ``frame`` and ``clip``, VMAF points.

    The error of a clip is the mean error over the frames of its cell.
    """
    average, (_, target) = ensemble_mean(predictions), columns(predictions)
    error = average.prediction.astype(np.float64) - target
    labels = [cells[key].group for key in average.cells]
    frames = np.bincount(average.cell, minlength=len(labels))
    means = np.bincount(average.cell, weights=error, minlength=len(labels)) / frames
    each_cell = np.arange(len(labels), dtype=np.int32)
    return {
        "frame": {name: error[rows] for name, rows in split(labels, average.cell).items()},
        "clip": {name: means[rows] for name, rows in split(labels, each_cell).items()},
    }


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A half-width and how much of each group an interval made of the other groups covers.

    Attributes:
        half_width: VMAF points; covered: share of its rows by group.
    """

    half_width: float
    covered: Mapping[str, float]

    @property
    def coverage(self) -> float:
        """Mean over groups."""
        return float(np.mean(list(self.covered.values())))

    @property
    def worst_group(self) -> dict[str, object]:
        """The group with the smallest share."""
        worst = min(self.covered, key=self.covered.__getitem__)
        return {"name": worst, "coverage": self.covered[worst]}


def half_widths(errors: Mapping[str, Mapping[str, Values]]) -> dict[str, object]:
    """Build the ``half_widths`` object of a verdict of the errors by group, for frames and for clips."""
    return {unit: _entries(of_group) for unit, of_group in errors.items()}


def _entries(errors: Mapping[str, Values]) -> dict[str, dict[str, object]]:
    conformal = len(errors) >= CONFORMAL_GROUPS
    measured = conformal_widths(LEVELS, errors) if conformal else _student_widths(LEVELS, errors)
    return {
        f"{level:g}": {
            "half_width": one.half_width,
            "method": CONFORMAL if conformal else STUDENT,
            "groups": len(errors),
            "worst_group": one.worst_group,
            "coverage": one.coverage,
        }
        for level, one in measured.items()
    }


def conformal_widths(levels: Sequence[float], errors: Mapping[str, Values]) -> dict[float, Measured]:
    """Compute the conformal half-width of each level; errors are sorted once for all groups that are left out."""
    sizes = {name: np.abs(own) for name, own in errors.items()}
    values, weights, owner = _pooled(list(sizes.values()))
    every = [_quantile(level, values, weights, len(errors)) for level in levels]
    covered: list[dict[str, float]] = [{} for _ in levels]
    for number, (name, own) in enumerate(sizes.items()):
        others = np.where(owner == number, 0.0, weights)
        for place, level in enumerate(levels):
            covered[place][name] = float(np.mean(own <= _quantile(level, values, others, len(errors))))
    return {
        level: Measured(half_width=width, covered=shares)
        for level, width, shares in zip(levels, every, covered, strict=True)
    }


def _student_widths(levels: Sequence[float], errors: Mapping[str, Values]) -> dict[float, Measured]:
    measured = {}
    for level in levels:
        covered = {
            name: float(
                np.mean(np.abs(own) <= student_half_width(level, [errors[other] for other in errors if other != name]))
            )
            for name, own in errors.items()
        }
        measured[level] = Measured(half_width=student_half_width(level, list(errors.values())), covered=covered)
    return measured


def _pooled(sizes: Sequence[Values]) -> tuple[Values, Values, NDArray[np.int64]]:
    """Return the absolute errors of all groups in order, the weight of each, and its group."""
    values = np.concatenate(sizes)
    order = np.argsort(values, kind="stable")
    weights = np.concatenate([np.full(len(own), 1 / len(own)) for own in sizes])
    owner = np.repeat(np.arange(len(sizes)), [len(own) for own in sizes])
    return values[order], weights[order], owner[order]


def _quantile(level: float, values: Values, weights: Values, groups: int) -> float:
    """Return the smallest of the sorted values with level·(K+1)/K of the weights at or below it."""
    share = min(1.0, level * (groups + 1) / groups)
    reached = np.cumsum(weights)
    # sums of weights are rounded: a share that is met exactly must not be missed by a rounding error
    index = int(np.searchsorted(reached, (share - 1e-9) * reached[-1]))
    return float(values[min(index, len(values) - 1)])


def conformal_half_width(level: float, errors: Sequence[Values], groups: int) -> float:
    """Return the smallest absolute error below which, mean over these groups, level·(K+1)/K of the rows are.

    Args:
        errors: of some groups, VMAF points; groups: K, the number of all groups.
    """
    values, weights, _ = _pooled([np.abs(own) for own in errors])
    return _quantile(level, values, weights, groups)


def student_half_width(level: float, errors: Sequence[Values]) -> float:
    """Return t(K-1)·√(s_b²·(1 + 1/K) + s_w²) of the errors of K groups, VMAF points.

    s_b² is Σ(mean error of a group)²/(K-1), about 0 and not about their mean, since the interval is around the
    prediction and a common bias counts; s_w² is the mean over groups of the variance within one.
    """
    from scipy.special import stdtrit

    count = len(errors)
    means = np.array([own.mean() for own in errors])
    between = float((means**2).sum()) / (count - 1)
    within = float(np.mean([own.var(ddof=1) if len(own) > 1 else 0.0 for own in errors]))
    return float(stdtrit(count - 1, (1 + level) / 2)) * math.sqrt(between * (1 + 1 / count) + within)
