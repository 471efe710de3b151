"""Half-widths of intervals around a score of unseen content, for frames and for clips. Pure.

With ``CONFORMAL_GROUPS`` content groups or more: the grouped conformal half-width, with content groups as the
exchangeable units (Dunn, Wasserman, Ramdas 2023, "Distribution-free prediction sets for two-layer hierarchical
models"): each group weighs 1/(K+1), its errors alike, and 1/(K+1) is at infinity. With fewer groups: a two-level model
of the errors, a mean of the group plus a deviation within it, both normal; its half-width is
t(K-1)·√(s_b²·(1 + 1/K) + s_w²), with the mean square s_b² of the groups' mean errors and s_w² of what remains.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

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


def half_widths(errors: Mapping[str, Mapping[str, Values]]) -> dict[str, object]:
    """Build the ``half_widths`` object of a verdict of the errors by group, for frames and for clips."""
    return {unit: {f"{level:g}": _entry(level, of_group) for level in LEVELS} for unit, of_group in errors.items()}


def _entry(level: float, errors: Mapping[str, Values]) -> dict[str, object]:
    groups = len(errors)
    conformal = groups >= CONFORMAL_GROUPS
    entry = {"method": CONFORMAL if conformal else STUDENT, "groups": groups}
    if groups < 3:
        return {"half_width": None, **entry, "worst_group": None, "coverage": None}

    def width(of: Sequence[Values]) -> float:
        return conformal_half_width(level, of, groups) if conformal else student_half_width(level, of)

    covered = coverage_without_one(errors, width)
    worst = min(covered, key=covered.__getitem__)
    return {
        "half_width": width(list(errors.values())),
        **entry,
        "worst_group": {"name": worst, "coverage": covered[worst]},
        "coverage": float(np.mean(list(covered.values()))),
    }


def coverage_without_one(
    errors: Mapping[str, Values], width_of: Callable[[Sequence[Values]], float]
) -> dict[str, float]:
    """Return the share of each group's errors inside an interval made of the other groups."""
    return {
        name: float(np.mean(np.abs(own) <= width_of([other for label, other in errors.items() if label != name])))
        for name, own in errors.items()
    }


def conformal_half_width(level: float, errors: Sequence[Values], groups: int) -> float:
    """Return the smallest absolute error below which, mean over these groups, level·(K+1)/K of the rows are.

    Args:
        errors: of some groups, VMAF points; groups: K, the number of all groups.
    """
    share = min(1.0, level * (groups + 1) / groups)
    values = np.abs(np.concatenate(errors))
    weights = np.concatenate([np.full(len(own), 1 / (len(errors) * len(own))) for own in errors])
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weights[order])
    # sums of weights are rounded: a share that is met exactly must not be missed by a rounding error
    index = min(int(np.searchsorted(reached, share - 1e-9)), len(order) - 1)
    return float(values[order[index]])


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
