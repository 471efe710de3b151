"""The mean difference in bitrate between two encoders at equal quality: Bjøntegaard's delta rate. Pure.

G. Bjøntegaard, "Calculation of average PSNR differences between RD-curves", VCEG-M33, 2001: the logarithm of the rate
is interpolated over quality and averaged over the range of quality that both curves have. The interpolation is PCHIP
(piecewise cubic, monotone), as in the JCT-VC common test conditions (JCTVC-L1100, 2013), since a polynomial through
all points can swing between them. Two points are joined by a straight line.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

#: Points of each curve below which the figure says little: the method was published for four.
USUAL_POINTS = 4


@dataclass(frozen=True, kw_only=True)
class Point:
    """One encode: its rate (any unit, above 0) and its quality."""

    rate: float
    quality: float


@dataclass(frozen=True, kw_only=True)
class BdRate:
    """The difference in rate of one encoder from another.

    Attributes:
        share: mean difference, -0.2 for a fifth less at equal quality; None without a common range.
        low, high: range of quality that both curves have; None without one.
        reason: why there is no figure; empty where there is one.
    """

    share: float | None
    low: float | None
    high: float | None
    reason: str


def bd_rate(anchor: Sequence[Point], other: Sequence[Point]) -> BdRate:
    """Compute how much more rate ``other`` needs than ``anchor`` at equal quality, mean over the common range."""
    for name, curve in (("the first", anchor), ("the second", other)):
        if reason := _unusable(curve):
            return BdRate(share=None, low=None, high=None, reason=f"{name} curve {reason}")
    low = max(min(point.quality for point in curve) for curve in (anchor, other))
    high = min(max(point.quality for point in curve) for curve in (anchor, other))
    if high <= low:
        return BdRate(share=None, low=None, high=None, reason="the ranges of quality do not overlap")
    means = [_mean_log_rate(curve, low, high) for curve in (anchor, other)]
    return BdRate(share=float(np.expm1(means[1] - means[0])), low=low, high=high, reason="")


def _unusable(curve: Sequence[Point]) -> str:
    """Return why a curve cannot be interpolated, or an empty text."""
    if len(curve) < 2:
        return f"has {len(curve)} quality point{'' if len(curve) == 1 else 's'}, 2 are needed"
    ordered = sorted(curve, key=lambda point: point.rate)
    if any(one.rate >= two.rate or one.quality >= two.quality for one, two in pairwise(ordered)):
        return "does not rise: more rate does not mean more quality at every point"
    return ""


def _mean_log_rate(curve: Sequence[Point], low: float, high: float) -> float:
    """Average the natural logarithm of the rate over a range of quality."""
    from scipy.interpolate import PchipInterpolator

    ordered = sorted(curve, key=lambda point: point.quality)
    log_rate = PchipInterpolator([point.quality for point in ordered], np.log([point.rate for point in ordered]))
    return float(log_rate.integrate(low, high)) / (high - low)
