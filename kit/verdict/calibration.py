"""Intervals around a single score of unseen content, and what the seeds' disagreement says of the error. Pure.

The grouped jackknife with content groups as units: the half-width is a quantile of the absolute out-of-fold errors of
the ensemble mean, in which each group weighs 1/(K+1), its rows alike, and 1/(K+1) is at infinity. It is not the
jackknife+ (Barber, Candès, Ramdas, Tibshirani 2021), which needs every member's score of a new frame, and has no
guarantee; how often it covers was simulated (:mod:`kit.verdict.simulated`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from kit.core import contract
from kit.training.predictions import Predictions
from kit.verdict import simulated
from kit.verdict.half_widths import LEVELS, conformal_widths
from kit.verdict.metrics import Values, mean_ranks, pearson
from kit.verdict.out_of_fold import CellFacts, columns, ensemble_mean

APPLIES = (
    "The widths are those of leave-one-group-out predictors; the model fitted on everything is mostly a little "
    "better. There is no guarantee: the simulated coverage is that of a made learner with so many groups."
)
_SPREAD = (
    "seed disagreement, the standard deviation over seeds of scores inside the range; where a seed's score is at an "
    "end of it, clipping hides the disagreement, and the row is left out"
)


def groups_needed(level: float) -> int:
    """Return the fewest groups K for which the interval of a level is finite: level ≤ K/(K+1)."""
    return math.ceil(level / (1 - level) - 1e-9)


def calibration(
    predictions: Predictions, cells: Mapping[str, CellFacts], errors: Mapping[str, Values]
) -> dict[str, object]:
    """Build the ``calibration`` object of a verdict.

    Args:
        errors: of the frames of each content group, VMAF points.
    """
    folds = len({cells[key].fold for key in predictions.cells})
    return {
        "method": f"grouped {'jackknife' if folds == len(errors) else 'cross-validation'} over content groups",
        "groups": len(errors),
        "folds": folds,
        "applies": APPLIES,
        "levels": _levels(errors),
        "spread": _spread(predictions),
    }


def _levels(errors: Mapping[str, Values]) -> list[dict[str, object]]:
    """Compute the width of each level's interval, and how much of each group an interval from the others covers."""
    groups = len(errors)
    measured = conformal_widths([level for level in LEVELS if groups >= groups_needed(level)], errors)
    return [
        {
            "level": level,
            "coverage": measured[level].coverage,
            "worst_group": measured[level].worst_group,
            "width": 2 * measured[level].half_width,
            "simulated_coverage": simulated.lookup(simulated.JACKKNIFE[level], groups),
        }
        if level in measured
        else {"level": level, "too_few": _too_few(level, groups)}
        for level in LEVELS
    ]


def _too_few(level: float, groups: int) -> str:
    percent = f"{level:.0%}".replace("%", " %")
    return f"too few sources for {percent}: needs at least {groups_needed(level)} content groups, there are {groups}"


def _spread(predictions: Predictions) -> dict[str, object]:
    """Compare the standard deviation over seeds with the error, on rows where clipping hides nothing."""
    by_seed, target = columns(predictions)
    scores = np.stack(list(by_seed.values()))
    error = np.abs(ensemble_mean(predictions).prediction.astype(np.float64) - target)
    low, high = contract.SCORE_RANGE
    inside = ((scores > low) & (scores < high)).all(axis=0)
    result = {"what": _SPREAD, "clipped": float(1 - inside.mean())}
    names = ("mean", "error_over_spread", "srocc_with_error")
    if len(scores) < 2 or not inside.any():
        reason = "one seed has no spread" if len(scores) < 2 else "every row has a score at an end of the range"
        return {**result, **dict.fromkeys(names), "undefined": reason}
    std, error = scores[:, inside].std(axis=0, ddof=1), error[inside]
    typical = float(np.sqrt(np.mean(std**2)))
    defined = np.ptp(std) > 0 and np.ptp(error) > 0
    return {
        **result,
        "mean": float(std.mean()),
        "error_over_spread": float(np.sqrt(np.mean(error**2)) / typical) if typical > 0 else None,
        "srocc_with_error": pearson(mean_ranks(std), mean_ranks(error)) if defined else None,
        "undefined": None if defined else "the spread or the error is the same in all rows",
    }
