"""How much the figures depend on the clips: a bootstrap over content groups, never over frames. Pure.

Frames of one encode are not independent, nor are encodes of one source; content groups were sampled. A resample draws
as many groups as the corpus has, with replacement, and takes all rows of each. Up to ``ENUMERATED`` groups every
resample is computed, weighted with its probability; with more they are drawn, and more of them where an end of the
interval is so far out that few resamples decide it. Intervals are BCa (Efron 1987, "Better bootstrap confidence
intervals"). With few groups they are too narrow (:mod:`kit.verdict.simulated` says how much), and the folds share
training data, which no resample shows: they are optimistic.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations_with_replacement

import numpy as np
from numpy.typing import NDArray

from kit.core import contract
from kit.training.predictions import Predictions
from kit.verdict import simulated
from kit.verdict.metrics import Values, mean_ranks, pearson
from kit.verdict.out_of_fold import CellFacts, columns, ensemble_mean, split

#: Resamples of every interval, drawn from the same stream: the n-th resample has the same groups everywhere.
RESAMPLES, SEED = 4000, 20260701
#: Up to so many groups all resamples are computed: 7 groups have 1,716 different ones.
ENUMERATED = 7
#: Where fewer than so many drawn figures are beyond an end, more are drawn, up to the most.
BEYOND, MOST_RESAMPLES = 10, 64_000
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

    def statistics(self, *, version: int = contract.VERDICT_VERSION) -> dict[str, Statistic]:
        """Return the figures by name: means over groups of PLCC and SROCC, and the RMSE of all rows.

        Groups without a correlation are left out of the means; by the rules of version 1 the mean is then NaN.
        """
        mean = _mean if version > 1 else _plain_mean
        return {
            "mean_plcc": mean(self.plcc),
            "srocc": mean(self.srocc),
            "rmse": lambda index: np.sqrt(self.square[index].sum(axis=-1) / self.rows[index].sum(axis=-1)),
        }


def _plain_mean(values: Values) -> Statistic:
    return lambda index: values[index].mean(axis=-1)


def _mean(values: Values) -> Statistic:
    """Return the mean over the groups that have a value; NaN where a resample has none of them."""
    defined = np.isfinite(values)
    if defined.all():
        return _plain_mean(values)
    filled = np.where(defined, values, 0.0)

    def mean(index: NDArray[np.int64]) -> Values:
        with np.errstate(invalid="ignore"):
            result: Values = filled[index].sum(axis=-1) / defined[index].sum(axis=-1)
        return result

    return mean


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


def uncertainty(by_group: ByGroup, *, version: int = contract.VERDICT_VERSION) -> dict[str, object]:
    """Build the ``uncertainty`` object of a verdict of a version."""
    groups = len(by_group.groups)
    figures = by_group.statistics(version=version)
    common = {"groups": groups, "level": LEVEL, "method": METHOD, "caution": CAUTION}
    if version == 1:
        own: dict[str, object] = {"resamples": RESAMPLES, "seed": SEED, "worst_group": _worst_group(by_group)}
    else:
        undefined = ~np.isfinite(by_group.plcc)
        own = {
            "left_out": [name for name, hit in zip(by_group.groups, undefined, strict=True) if hit],
            "resamples": len(_enumerated(groups)[1]) if groups <= ENUMERATED else RESAMPLES,
            "seed": None if groups <= ENUMERATED else SEED,
            "simulated_coverage": simulated.lookup(simulated.BOOTSTRAP, groups),
            "worst_group": _worst_group(by_group) if undefined.all() else _worst_group(by_group, undefined),
        }
    return {
        **common,
        **own,
        **{
            name: {**interval(figure, groups, version=version), **_without_one(figure, by_group.groups)}
            for name, figure in figures.items()
        },
    }


def _worst_group(by_group: ByGroup, left_out: NDArray[np.bool_] | None = None) -> dict[str, object]:
    """Return the group with the lowest PLCC; an undefined PLCC is the lowest unless it is left out."""
    plccs = np.where(np.isfinite(by_group.plcc), by_group.plcc, -np.inf if left_out is None else np.inf)
    index = int(np.argmin(plccs))
    plcc = float(by_group.plcc[index])
    return {"group": by_group.groups[index], "plcc": plcc if math.isfinite(plcc) else None}


def distribution(predictions: Predictions, cells: Mapping[str, CellFacts]) -> dict[str, Values]:
    """Draw every figure ``RESAMPLES`` times, for a plot: float64 [RESAMPLES] by name; empty where it is undefined."""
    parts = by_group(predictions, cells)
    every = np.arange(len(parts.groups))
    return {
        name: _finite(figure(_drawn(len(every), RESAMPLES)))[0] if math.isfinite(float(figure(every))) else np.empty(0)
        for name, figure in parts.statistics().items()
    }


def interval(figure: Statistic, groups: int, *, version: int = contract.VERDICT_VERSION) -> dict[str, object]:
    """Compute ``value``, ``low`` and ``high`` of a figure of all groups; null with the reason in ``undefined``.

    Since version 2 ``resamples`` says from how many; version 1 always drew ``RESAMPLES``.
    """
    value = float(figure(np.arange(groups)))
    empty: dict[str, object] = {"low": None, "high": None, **({} if version == 1 else {"resamples": None})}
    if not math.isfinite(value):
        reason = "a group whose prediction or target is constant has no correlation"
        return {"value": None, **empty, "undefined": reason}
    low, high, count = _ends(figure, groups, adaptive=version > 1)
    if not (math.isfinite(low) and math.isfinite(high)):
        reason = "all groups have the same figure: their spread says nothing"
        return {"value": value, **empty, "undefined": reason}
    return {
        "value": value,
        "low": low,
        "high": high,
        **({} if version == 1 else {"resamples": count}),
        "undefined": None,
    }


def _ends(figure: Statistic, groups: int, *, adaptive: bool) -> tuple[float, float, int]:
    """Compute the ends of the BCa interval, NaN where it has none, and the number of resamples.

    Args:
        adaptive: enumerate the resamples of few groups, and draw more where few are beyond an end.
    """
    value, acceleration = float(figure(np.arange(groups))), _acceleration(figure, groups)
    if not math.isfinite(acceleration):
        return math.nan, math.nan, 0
    if adaptive and groups <= ENUMERATED:
        index, weights = _enumerated(groups)
        drawn, weights = _finite(figure(index), weights)
        ends = _levels(value, acceleration, drawn, weights)
        low, high = (_weighted_quantile(drawn, weights, end) for end in ends)
        return low, high, len(index)
    parts = [figure(_drawn(groups, RESAMPLES))]
    count = RESAMPLES
    generator: np.random.Generator | None = None
    while True:
        drawn, _ = _finite(np.concatenate(parts))
        ends = _levels(value, acceleration, drawn, np.full(len(drawn), 1 / max(1, len(drawn))))
        if not all(map(math.isfinite, ends)):
            return math.nan, math.nan, count
        beyond = min(ends[0], 1 - ends[1]) * len(drawn)
        if not adaptive or beyond >= BEYOND or count >= MOST_RESAMPLES:
            low, high = np.quantile(drawn, ends).tolist()
            return low, high, count
        generator = generator or np.random.default_rng([SEED, 1])
        more = [generator.integers(0, groups, (RESAMPLES, groups)) for _ in range(3 * count // RESAMPLES)]
        parts += [figure(np.sort(index, axis=-1)) for index in more]
        count *= 4


def _acceleration(figure: Statistic, groups: int) -> float:
    """Return Efron's acceleration from the figures without one group each; NaN where these are all equal."""
    every = np.arange(groups)
    left = figure(np.stack([np.delete(every, index) for index in range(groups)])) if groups > 1 else np.empty(0)
    apart = left[np.isfinite(left)].mean() - left[np.isfinite(left)] if np.isfinite(left).any() else np.zeros(1)
    size = float((apart**2).sum())
    return float((apart**3).sum()) / (6 * size**1.5) if size > 0 else math.nan


def _levels(value: float, acceleration: float, drawn: Values, weights: Values) -> tuple[float, float]:
    """Return the shares of the resampled figures below the ends of the interval (Efron 1987, BCa)."""
    from scipy.special import ndtr, ndtri

    below = float(weights[drawn < value].sum() + weights[drawn <= value].sum()) / 2
    if not 0 < below < 1:
        return math.nan, math.nan
    bias = float(ndtri(below))
    tails = [bias + sign * float(ndtri((1 + LEVEL) / 2)) for sign in (-1, 1)]
    low, high = (float(ndtr(bias + tail / (1 - acceleration * tail))) for tail in tails)
    return low, high


def _finite(values: Values, weights: Values | None = None) -> tuple[Values, Values]:
    """Leave out the resamples without a figure: only groups without a correlation were drawn."""
    hit = np.isfinite(values)
    kept = np.ones(len(values)) if weights is None else weights
    return values[hit], kept[hit] / kept[hit].sum() if hit.any() else kept[hit]


def _weighted_quantile(values: Values, weights: Values, share: float) -> float:
    """Return the smallest value with at least this share of the weights at or below it; NaN for no share."""
    if not math.isfinite(share):
        return math.nan
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weights[order])
    # sums of weights are rounded: a share that is met exactly must not be missed by a rounding error
    return float(values[order[min(int(np.searchsorted(reached, share - 1e-12)), len(order) - 1)]])


@cache
def _enumerated(groups: int) -> tuple[NDArray[np.int64], Values]:
    """Return every resample of K groups, a multiset each, int64 [n, K] sorted, and its probability [n]."""
    index = np.array(list(combinations_with_replacement(range(groups), groups)), dtype=np.int64)
    counts = np.stack([(index == group).sum(axis=-1) for group in range(groups)], axis=-1)
    factorials = np.array([math.factorial(count) for count in range(groups + 1)], dtype=np.float64)
    weights: Values = factorials[groups] / factorials[counts].prod(axis=-1) / float(groups) ** groups
    return index, weights


@cache
def _drawn(groups: int, count: int) -> NDArray[np.int64]:
    """Return resamples of K groups, int64 [count, K].

    Each is sorted: a resample is a multiset, in another order its sum could be rounded differently and ties be lost.
    """
    index: NDArray[np.int64] = np.random.default_rng(SEED).integers(0, groups, (count, groups))
    return np.sort(index, axis=-1)


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
