"""Agreement between predictions and teacher. Pure; every number is finite or an error with a name.

scipy.stats comes late, here and in the evidence: it takes a second, and most commands judge nothing.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from kit.core.errors import InvalidEvidence

Values = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How well ``n`` predictions agree with their targets.

    Attributes:
        plcc: Pearson's linear correlation, -1 to 1.
        srocc: Spearman's rank correlation, ties by mean rank.
        krocc: Kendall's tau-b.
        rmse, mae: root mean square and mean absolute error in VMAF points, no mapping applied.
        bias: mean of prediction minus target in VMAF points.
    """

    n: int
    plcc: float
    srocc: float
    krocc: float
    rmse: float
    mae: float
    bias: float

    def as_dict(self) -> dict[str, float]:
        return asdict(self)


def agreement(prediction: Values, target: Values, *, what: str) -> Agreement:
    """Compare two vectors of equal length.

    Args:
        prediction, target: float64 [n], VMAF points.
        what: names the vectors in an error, e.g. ``seed 3, held out Highway``.

    Raises:
        InvalidEvidence: fewer than 3 values, a value that is not finite, or a constant vector, for which no
            correlation exists.
    """
    if prediction.shape != target.shape or prediction.ndim != 1:
        raise ValueError(f"{what}: shapes {prediction.shape} and {target.shape} differ or are not vectors")
    problems = []
    if len(target) < 3:
        problems.append(f"{what}: {len(target)} rows, a correlation needs at least 3")
    for name, values in (("prediction", prediction), ("target", target)):
        if bad := int(np.count_nonzero(~np.isfinite(values))):
            problems.append(f"{what}: {bad} of {len(values)} {name} values are not finite")
        elif len(values) and np.ptp(values) == 0:
            problems.append(f"{what}: the {name} is constant ({values[0]:.6g}), its correlation is undefined")
    if problems:
        raise InvalidEvidence(problems)
    plcc, srocc, krocc = correlations(prediction, target)
    found = Agreement(n=len(target), plcc=plcc, srocc=srocc, krocc=krocc, **errors(prediction, target))
    if strange := [name for name, value in found.as_dict().items() if not math.isfinite(value)]:
        raise InvalidEvidence([f"{what}: {', '.join(strange)} not finite"])
    return found


def correlations(prediction: Values, target: Values) -> tuple[float, float, float]:
    """Pearson's r, Spearman's rho (Pearson's of mean ranks) and Kendall's tau-b of vectors that are not constant."""
    return (
        pearson(prediction, target),
        spearman(prediction, target),
        _kendall(prediction, target),
    )


def spearman(one: Values, two: Values) -> float:
    """Pearson's correlation of mean ranks, of vectors that are not constant."""
    return pearson(mean_ranks(one), mean_ranks(two))


def mean_ranks(values: Values) -> Values:
    """Rank of each value among ``values`` [n], 1 to n, ties by mean rank."""
    from scipy import stats

    ranks: Values = stats.rankdata(values)
    return ranks


def pearson(one: Values, two: Values) -> float:
    """Pearson's linear correlation of two vectors that are not constant, -1 to 1."""
    first, second = one - one.mean(), two - two.mean()
    # no product of BLAS: it would start threads, and round otherwise on another machine
    size = math.sqrt(float(np.sum(first * first))) * math.sqrt(float(np.sum(second * second)))
    return max(-1.0, min(1.0, float(np.sum(first * second)) / size))


#: Up to so many values Kendall's tau is counted pair by pair: scipy takes a millisecond at least, also for its p-value.
_PAIRWISE = 128


def _kendall(prediction: Values, target: Values) -> float:
    if len(target) > _PAIRWISE:
        from scipy import stats

        return float(stats.kendalltau(prediction, target).statistic)
    one = np.sign(np.subtract.outer(prediction, prediction))
    two = np.sign(np.subtract.outer(target, target))
    return float(np.sum(one * two) / math.sqrt(np.count_nonzero(one)) / math.sqrt(np.count_nonzero(two)))


def errors(prediction: Values, target: Values) -> dict[str, float]:
    """``rmse``, ``mae`` and ``bias`` of finite vectors, defined also where a correlation is not."""
    error = prediction - target
    return {
        "rmse": float(np.sqrt(np.mean(error**2))),
        "mae": float(np.mean(np.abs(error))),
        "bias": float(np.mean(error)),
    }


def described(prediction: Values, target: Values, *, what: str) -> dict[str, object]:
    """The figures of a part of the rows as JSON.

    A part may well be constant (every frame at 100): then its correlations are null, and ``undefined`` says why.

    Raises:
        InvalidEvidence: a value is not finite, or there is none.
    """
    try:
        return {**agreement(prediction, target, what=what).as_dict(), "undefined": None}
    except InvalidEvidence as error:
        if not len(target) or not (np.isfinite(prediction).all() and np.isfinite(target).all()):
            raise
        reasons = [problem.removeprefix(f"{what}: ") for problem in error.problems]
        none = dict.fromkeys(("plcc", "srocc", "krocc"))
        return {"n": len(target), **none, **errors(prediction, target), "undefined": "; ".join(reasons)}


@dataclass(frozen=True, kw_only=True)
class Pooled:
    """Frame scores of one clip as one figure each, as libvmaf pools them.

    Attributes:
        mean, min: VMAF points.
        harmonic_mean: 1 / mean(1 / (score + 1)) - 1, which low scores weigh on more.
    """

    mean: float
    harmonic_mean: float
    min: float


def pooled(scores: Values) -> Pooled:
    """Pool frame scores, float64 [n], n at least 1, VMAF points. Formulas: libvmaf's ``vmaf_score_pooled``."""
    return Pooled(
        mean=float(scores.mean()), harmonic_mean=float(1 / np.mean(1 / (scores + 1)) - 1), min=float(scores.min())
    )
