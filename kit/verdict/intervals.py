"""How much the figures depend on the clips: a bootstrap over content groups, never over frames. Pure.

Frames of one encode are not independent, nor are encodes of one source; content groups were sampled. A resample draws
as many groups as the corpus has, with replacement, and takes all rows of each. Intervals are BCa (Efron 1987, "Better
bootstrap confidence intervals"). With few groups such intervals are too narrow (Cameron, Gelbach, Miller 2008), and
the folds share training data, which no resample shows: they are optimistic.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kit.training.predictions import Predictions
from kit.verdict.metrics import Values, mean_ranks, pearson
from kit.verdict.out_of_fold import CellFacts, columns, ensemble_mean, split

#: Resamples of every interval, drawn from the same stream: the n-th resample has the same groups everywhere.
RESAMPLES, SEED = 4000, 20260701
LEVEL = 0.95
METHOD = "BCa cluster bootstrap over content groups"
CAUTION = (
    "Optimistic: folds share training data, and with few groups such intervals are too narrow; they tell how "
    "much the figure depends on which clips were chosen."
)
#: Maps indices of groups [..., k] to a figure [...].
Statistic = Callable[[NDArray[np.int64]], Values]


@dataclass(frozen=True, kw_only=True)
class ByGroup:
    """The parts of each of K content groups that the figures are computed from.

    Attributes:
        plcc, srocc: float64 [K], of a group's rows, mean over seeds as in the gate; NaN where a seed has none.
        square: float64 [K], sum of the squared errors of the ensemble mean; rows: float64 [K].
    """

    groups: tuple[str, ...]
    plcc: Values
    srocc: Values
    square: Values
    rows: Values

    def statistics(self) -> dict[str, Statistic]:
        """Return the figures by name: means over groups of PLCC and SROCC, and the RMSE of all rows."""
        return {
            "mean_plcc": lambda index: self.plcc[index].mean(axis=-1),
            "srocc": lambda index: self.srocc[index].mean(axis=-1),
            "rmse": lambda index: np.sqrt(self.square[index].sum(axis=-1) / self.rows[index].sum(axis=-1)),
        }


def by_group(predictions: Predictions, cells: Mapping[str, CellFacts]) -> ByGroup:
    """Split predictions by content group, also where several groups share a fold."""
    averaged, (seeds, target) = ensemble_mean(predictions), columns(predictions)
    parts = split([cells[key].group for key in averaged.cells], averaged.cell)
    error = averaged.prediction.astype(np.float64) - target
    plcc, srocc = [], []
    for rows in parts.values():
        ranks = mean_ranks(target[rows])
        scores = [seed[rows] for seed in seeds.values()]
        plcc.append(np.mean([_correlation(one, target[rows]) for one in scores]))
        srocc.append(np.mean([_correlation(mean_ranks(one), ranks) for one in scores]))
    return ByGroup(
        groups=tuple(parts),
        plcc=np.array(plcc),
        srocc=np.array(srocc),
        square=np.array([np.sum(error[rows] ** 2) for rows in parts.values()]),
        rows=np.array([float(len(rows)) for rows in parts.values()]),
    )


def _correlation(one: Values, two: Values) -> float:
    """Compute Pearson's correlation; NaN where a vector is constant."""
    return pearson(one, two) if np.ptp(one) > 0 and np.ptp(two) > 0 else math.nan


def uncertainty(by_group: ByGroup) -> dict[str, object]:
    """Build the ``uncertainty`` object of a verdict."""
    return {
        "groups": len(by_group.groups),
        "resamples": RESAMPLES,
        "seed": SEED,
        "level": LEVEL,
        "method": METHOD,
        "caution": CAUTION,
        "worst_group": _worst_group(by_group),
        **{
            name: {**interval(figure, len(by_group.groups)), **_without_one(figure, by_group.groups)}
            for name, figure in by_group.statistics().items()
        },
    }


def _worst_group(by_group: ByGroup) -> dict[str, object]:
    """Return the group with the lowest PLCC; an undefined PLCC is the lowest."""
    index = int(np.argmin(np.where(np.isfinite(by_group.plcc), by_group.plcc, -np.inf)))
    plcc = float(by_group.plcc[index])
    return {"group": by_group.groups[index], "plcc": plcc if math.isfinite(plcc) else None}


def distribution(predictions: Predictions, cells: Mapping[str, CellFacts]) -> dict[str, Values]:
    """Resample every figure: float64 [RESAMPLES] by name; empty for a figure without an interval."""
    parts = by_group(predictions, cells)
    return {name: _resampled(figure, len(parts.groups))[2] for name, figure in parts.statistics().items()}


def interval(figure: Statistic, groups: int) -> dict[str, object]:
    """Compute ``value``, ``low`` and ``high`` of a figure of all groups; null with the reason in ``undefined``."""
    value = float(figure(np.arange(groups)))
    if not math.isfinite(value):
        reason = "a group whose prediction or target is constant has no correlation"
        return {"value": None, "low": None, "high": None, "undefined": reason}
    low, high, _ = _resampled(figure, groups)
    if not (math.isfinite(low) and math.isfinite(high)):
        reason = "all groups have the same figure: their spread says nothing"
        return {"value": value, "low": None, "high": None, "undefined": reason}
    return {"value": value, "low": low, "high": high, "undefined": None}


def _resampled(figure: Statistic, groups: int) -> tuple[float, float, Values]:
    """Compute the ends of the interval, NaN where BCa has none, and the resampled figures."""
    from scipy import stats

    def sorted_first(index: NDArray[np.int64], axis: int) -> Values:
        # a resample is a multiset: in another order its sum could be rounded differently, and ties would be lost
        return figure(np.sort(np.moveaxis(index, axis, -1), axis=-1))

    if not math.isfinite(float(figure(np.arange(groups)))):
        return math.nan, math.nan, np.empty(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # degenerate data: the result is NaN, which is reported
        result = stats.bootstrap(
            (np.arange(groups),),
            sorted_first,
            n_resamples=RESAMPLES,
            vectorized=True,
            confidence_level=LEVEL,
            method="BCa",
            rng=np.random.default_rng(SEED),
            axis=-1,
        )
    ends = result.confidence_interval
    return float(ends.low), float(ends.high), np.asarray(result.bootstrap_distribution, dtype=np.float64)


def _without_one(figure: Statistic, groups: Sequence[str]) -> dict[str, object]:
    """Compute the lowest and the highest figure when one group is left out, with the name of that group."""
    every = np.arange(len(groups))
    without = {name: float(figure(np.delete(every, index))) for index, name in enumerate(groups)}
    finite = {name: value for name, value in without.items() if math.isfinite(value)}
    if not finite:
        return {"without_one_min": None, "without_one_max": None}
    lowest, highest = min(finite, key=finite.__getitem__), max(finite, key=finite.__getitem__)
    return {
        "without_one_min": {"value": finite[lowest], "group": lowest},
        "without_one_max": {"value": finite[highest], "group": highest},
    }
