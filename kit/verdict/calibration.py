"""Intervals around a single score of unseen content, and whether the spread over seeds shows the error. Pure.

Grouped jackknife+ / CV+ (Barber, Candès, Ramdas, Tibshirani 2021, "Predictive inference with the jackknife+") with
content groups as the exchangeable units: each group weighs 1/(K+1), its rows equally, and 1/(K+1) is at infinity (Dunn,
Wasserman, Ramdas 2023; Lee, Barber, Willett 2023 for such layers). The half-width at α is the 1-α quantile of the
absolute out-of-fold error of the ensemble mean; it is finite only for α ≥ 1/(K+1), and its guarantee is 1-2α.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from kit.training.predictions import Predictions
from kit.verdict.metrics import Values, mean_ranks, pearson
from kit.verdict.out_of_fold import CellFacts, columns, ensemble_mean, split

#: Guaranteed levels, 1-2α.
LEVELS = (0.5, 0.8, 0.9, 0.95)
APPLIES = (
    "The guarantee is for the leave-one-group-out predictors and a new group like these; not for the model "
    "fitted on everything."
)
#: 95 % of normal errors are within this many standard deviations.
NORMAL = 1.96


def groups_needed(level: float) -> int:
    """Return the fewest groups K for which the interval of a level is finite: α = (1-level)/2 ≥ 1/(K+1)."""
    return math.ceil(2 / (1 - level) - 1 - 1e-9)


def calibration(predictions: Predictions, cells: Mapping[str, CellFacts]) -> dict[str, object]:
    """Build the ``calibration`` object of a verdict."""
    average, (seeds, target) = ensemble_mean(predictions), columns(predictions)
    error = np.abs(average.prediction.astype(np.float64) - target)
    groups = split([cells[key].group for key in average.cells], average.cell)
    folds = len({cells[key].fold for key in average.cells})
    sorted_errors = {name: np.sort(error[rows]) for name, rows in groups.items()}
    return {
        "method": f"grouped {'jackknife+' if folds == len(groups) else 'CV+'} over content groups",
        "groups": len(groups),
        "folds": folds,
        "applies": APPLIES,
        "levels": [_level(level, sorted_errors, folds) for level in LEVELS],
        "spread": _spread(np.stack(list(seeds.values())), error, list(groups.values())),
    }


def _level(level: float, errors: Mapping[str, Values], folds: int) -> dict[str, object]:
    """Compute the width of a level's interval, and how much of each group an interval from the others covers.

    Args:
        errors: absolute errors of each group, sorted, VMAF points.
    """
    groups = len(errors)
    if groups < (needed := groups_needed(level)):
        percent = f"{level:.0%}".replace("%", " %")
        reason = f"too few sources for {percent}: needs at least {needed} content groups, there are {groups}"
        return {"level": level, "too_few": reason}
    covered = {}
    for name, own in errors.items():
        half = half_width(level, [other for label, other in errors.items() if label != name], groups)
        covered[name] = float(np.searchsorted(own, half, side="right") / len(own))
    worst = min(covered, key=covered.__getitem__)
    return {
        "level": level,
        "alpha": (1 - level) / 2,
        "coverage": float(np.mean(list(covered.values()))),
        "worst_group": {"name": worst, "coverage": covered[worst]},
        "width": 2 * half_width(level, list(errors.values()), groups),
        "guarantee": level - _loss(groups, folds),
    }


def half_width(level: float, errors: Sequence[Values], groups: int) -> float:
    """Return the smallest error below which, mean over these groups, (1-α)(K+1)/K of the rows are.

    Args:
        errors: absolute errors of some groups, each sorted, VMAF points; groups: K, the number of all groups.
    """
    share = min(1.0, (1 - (1 - level) / 2) * (groups + 1) / groups)
    values = np.concatenate(errors)
    weights = np.concatenate([np.full(len(own), 1 / (len(errors) * len(own))) for own in errors])
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weights[order])
    # sums of weights are rounded: a share that is met exactly must not be missed by a rounding error
    index = min(int(np.searchsorted(reached, share - 1e-9)), len(order) - 1)
    return float(values[order[index]])


def _loss(groups: int, folds: int) -> float:
    """Return how much less CV+ guarantees with fewer folds than groups (Barber et al. 2021, theorem 4)."""
    return min(2 * (1 - 1 / folds) / (groups / folds + 1), (1 - folds / groups) / (folds + 1))


def _spread(scores: Values, error: Values, groups: Sequence[NDArray[np.int64]]) -> dict[str, object]:
    """Compare the standard deviation over seeds (``score_std`` of an exported ensemble) with the error.

    Args:
        scores: float64 [seeds, n]; error: float64 [n], absolute error of their mean.
    """
    what = (
        f"share of rows, mean over groups, whose error is within {NORMAL} standard deviations of the seeds; "
        "95 % if the spread showed the error"
    )
    if len(scores) < 2:
        names = ("mean", "coverage", "error_over_spread", "srocc_with_error")
        return {"what": what, **dict.fromkeys(names), "undefined": "one seed has no spread"}
    std = scores.std(axis=0, ddof=1)
    within = error <= NORMAL * std
    typical = float(np.sqrt(np.mean(std**2)))
    defined = np.ptp(std) > 0 and np.ptp(error) > 0
    return {
        "what": what,
        "mean": float(std.mean()),
        "coverage": float(np.mean([within[rows].mean() for rows in groups])),
        "error_over_spread": float(np.sqrt(np.mean(error**2)) / typical) if typical > 0 else None,
        "srocc_with_error": pearson(mean_ranks(std), mean_ranks(error)) if defined else None,
        "undefined": None if defined else "the spread or the error is the same in all rows",
    }
