"""Agreement between predictions and teacher. Pure; a number that is not finite is an error that names it.

scipy.stats is imported late, here and in the evidence: it takes a second, and most commands judge nothing.
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
    """Agreement of ``n`` predictions with their targets.

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
    """Compute the agreement of two vectors of equal length.

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
    result = Agreement(n=len(target), plcc=plcc, srocc=srocc, krocc=krocc, **error_figures(prediction, target))
    if not_finite := [name for name, value in result.as_dict().items() if not math.isfinite(value)]:
        raise InvalidEvidence([f"{what}: {', '.join(not_finite)} not finite"])
    return result


def correlations(prediction: Values, target: Values) -> tuple[float, float, float]:
    """Compute Pearson's r, Spearman's rho and Kendall's tau-b, each -1 to 1, of vectors that are not constant."""
    return (
        pearson(prediction, target),
        spearman(prediction, target),
        _kendall(prediction, target),
    )


def spearman(one: Values, two: Values) -> float:
    """Compute Spearman's rho of vectors that are not constant: Pearson's correlation of mean ranks."""
    return pearson(mean_ranks(one), mean_ranks(two))


def mean_ranks(values: Values) -> Values:
    """Rank each of ``values`` [n] from 1 to n, ties by mean rank."""
    from scipy import stats

    ranks: Values = stats.rankdata(values)
    return ranks


def pearson(one: Values, two: Values) -> float:
    """Compute Pearson's linear correlation, -1 to 1, of two vectors that are not constant."""
    first, second = one - one.mean(), two - two.mean()
    # no BLAS product: it would start threads, and round differently on another machine
    size = math.sqrt(float(np.sum(first * first))) * math.sqrt(float(np.sum(second * second)))
    return max(-1.0, min(1.0, float(np.sum(first * second)) / size))


#: Up to this many values Kendall's tau is counted pair by pair: scipy takes at least a millisecond, which includes a
#: p-value that nobody needs.
_PAIRWISE = 128


def _kendall(prediction: Values, target: Values) -> float:
    if len(target) > _PAIRWISE:
        from scipy import stats

        return float(stats.kendalltau(prediction, target).statistic)
    one = np.sign(np.subtract.outer(prediction, prediction))
    two = np.sign(np.subtract.outer(target, target))
    return float(np.sum(one * two) / math.sqrt(np.count_nonzero(one)) / math.sqrt(np.count_nonzero(two)))


def error_figures(prediction: Values, target: Values) -> dict[str, float]:
    """Compute ``rmse``, ``mae`` and ``bias`` of finite vectors, also where a correlation does not exist."""
    error = prediction - target
    return {
        "rmse": float(np.sqrt(np.mean(error**2))),
        "mae": float(np.mean(np.abs(error))),
        "bias": float(np.mean(error)),
    }


def agreement_as_json(prediction: Values, target: Values, *, what: str) -> dict[str, object]:
    """Compute the agreement of some of the rows as JSON.

    Their scores may be constant (every frame at 100): then the correlations are null, with the reason in ``undefined``.

    Raises:
        InvalidEvidence: a value is not finite, or the vectors are empty.
    """
    try:
        return {**agreement(prediction, target, what=what).as_dict(), "undefined": None}
    except InvalidEvidence as error:
        if not len(target) or not (np.isfinite(prediction).all() and np.isfinite(target).all()):
            raise
        reasons = [problem.removeprefix(f"{what}: ") for problem in error.problems]
        missing = dict.fromkeys(("plcc", "srocc", "krocc"))
        return {"n": len(target), **missing, **error_figures(prediction, target), "undefined": "; ".join(reasons)}


@dataclass(frozen=True, kw_only=True)
class Pooled:
    """The frame scores of one clip, pooled as libvmaf does.

    Attributes:
        mean, min: VMAF points.
        harmonic_mean: 1 / mean(1 / (score + 1)) - 1, in which low scores weigh more.
    """

    mean: float
    harmonic_mean: float
    min: float


def pooled(scores: Values) -> Pooled:
    """Pool frame scores, float64 [n], n at least 1, VMAF points. Formulas: libvmaf's ``vmaf_score_pooled``."""
    return Pooled(
        mean=float(scores.mean()), harmonic_mean=float(1 / np.mean(1 / (scores + 1)) - 1), min=float(scores.min())
    )
