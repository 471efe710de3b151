"""How far a score of unseen content may be off, and what the ensemble's own spread says of that. Pure.

Grouped jackknife+ / CV+ (Barber, Candès, Ramdas, Tibshirani 2021, "Predictive inference with the jackknife+") with
content groups as what is exchangeable: each group weighs 1/(K+1), its rows alike, and 1/(K+1) lies at infinity (Dunn,
Wasserman, Ramdas 2023; Lee, Barber, Willett 2023 for such layers). The half-width at α is the 1-α quantile of the
absolute out-of-fold error of the ensemble mean; it is finite for α ≥ 1/(K+1) alone, and its guarantee is 1-2α.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from kit.training.predictions import Predictions
from kit.verdict.base import CellFacts, columns, ensemble_mean, split
from kit.verdict.metrics import Values, mean_ranks, pearson

#: What is asked for; a level is what is guaranteed, 1-2α.
LEVELS = (0.5, 0.8, 0.9, 0.95)
APPLIES = (
    "The guarantee is for the leave-one-group-out predictors and a new group like these; not for the model "
    "fitted on everything."
)
#: Of a normal error with a known standard deviation, 95 % lie within so many of it.
NORMAL = 1.96


def groups_needed(level: float) -> int:
    """The fewest groups for which the interval of a level is finite: α = (1-level)/2 ≥ 1/(K+1)."""
    return math.ceil(2 / (1 - level) - 1 - 1e-9)


def calibrated(predictions: Predictions, cells: Mapping[str, CellFacts]) -> dict[str, object]:
    """The ``calibration`` object of a verdict."""
    averaged, (seeds, target) = ensemble_mean(predictions), columns(predictions)
    off = np.abs(averaged.prediction.astype(np.float64) - target)
    parts = split([cells[key].group for key in averaged.cells], averaged.cell)
    folds = len({cells[key].fold for key in averaged.cells})
    sorted_off = {name: np.sort(off[rows]) for name, rows in parts.items()}
    return {
        "method": f"grouped {'jackknife+' if folds == len(parts) else 'CV+'} over content groups",
        "groups": len(parts),
        "folds": folds,
        "applies": APPLIES,
        "levels": [_level(level, sorted_off, folds) for level in LEVELS],
        "spread": _spread(np.stack(list(seeds.values())), off, list(parts.values())),
    }


def _level(level: float, off: Mapping[str, Values], folds: int) -> dict[str, object]:
    """One level: the interval's width, and how much of each group an interval made of the other groups covers."""
    groups = len(off)
    if groups < (needed := groups_needed(level)):
        return {
            "level": level,
            "too_few": f"too few sources for {level:.0%}".replace("%", " %")
            + f": needs at least {needed} content groups, there are {groups}",
        }
    covered = {}
    for name, own in off.items():
        half = _half_width(level, [other for label, other in off.items() if label != name], groups)
        covered[name] = float(np.searchsorted(own, half, side="right") / len(own))
    worst = min(covered, key=covered.__getitem__)
    return {
        "level": level,
        "alpha": (1 - level) / 2,
        "coverage": float(np.mean(list(covered.values()))),
        "worst_group": {"name": worst, "coverage": covered[worst]},
        "width": 2 * _half_width(level, list(off.values()), groups),
        "guarantee": level - _loss(groups, folds),
    }


def _half_width(level: float, off: Sequence[Values], groups: int) -> float:
    """The smallest error below which, mean over these groups, (1-α)(K+1)/K of the rows are, K being all groups.

    Args:
        off: the groups' absolute errors, each sorted.
    """
    share = min(1.0, (1 - (1 - level) / 2) * (groups + 1) / groups)
    values = np.concatenate(off)
    weights = np.concatenate([np.full(len(own), 1 / (len(off) * len(own))) for own in off])
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weights[order])
    # sums of weights are rounded: a share that is met exactly must not be missed by a rounding
    place = min(int(np.searchsorted(reached, share - 1e-9)), len(order) - 1)
    return float(values[order[place]])


def _loss(groups: int, folds: int) -> float:
    """What CV+ with fewer folds than groups guarantees less (Barber et al. 2021, theorem 4); 0 for jackknife+."""
    return min(2 * (1 - 1 / folds) / (groups / folds + 1), (1 - folds / groups) / (folds + 1))


def _spread(scores: Values, off: Values, groups: Sequence[NDArray[np.int64]]) -> dict[str, object]:
    """Whether the standard deviation over seeds (``score_std`` of an exported ensemble) tells the error.

    Args:
        scores: float64 [seeds, n]; off: float64 [n], absolute error of their mean.
    """
    what = (
        f"share of rows, mean over groups, that lie within {NORMAL} standard deviations of the seeds; "
        "95 % if they told the error"
    )
    if len(scores) < 2:
        return {
            "what": what,
            "mean": None,
            "coverage": None,
            "error_over_spread": None,
            "srocc_with_error": None,
            "undefined": "one seed has no spread",
        }
    std = scores.std(axis=0, ddof=1)
    within = off <= NORMAL * std
    typical = float(np.sqrt(np.mean(std**2)))
    defined = np.ptp(std) > 0 and np.ptp(off) > 0
    return {
        "what": what,
        "mean": float(std.mean()),
        "coverage": float(np.mean([within[rows].mean() for rows in groups])),
        "error_over_spread": float(np.sqrt(np.mean(off**2)) / typical) if typical > 0 else None,
        "srocc_with_error": pearson(mean_ranks(std), mean_ranks(off)) if defined else None,
        "undefined": None if defined else "the spread or the error is the same in all rows",
    }
