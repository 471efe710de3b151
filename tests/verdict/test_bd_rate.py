"""Bjøntegaard's delta rate against values computed by hand and published ones."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest

from kit.verdict.bd_rate import Point, bd_rate


def curve(*points: tuple[float, float]) -> list[Point]:
    return [Point(rate=rate, quality=quality) for rate, quality in points]


#: An encoder whose rate doubles every ten points of quality.
DOUBLING = curve((100, 60), (200, 70), (400, 80), (800, 90))


def scaled(points: Sequence[Point], factor: float, shift: float = 0.0) -> list[Point]:
    return [Point(rate=point.rate * factor, quality=point.quality + shift) for point in points]


def share(anchor: Sequence[Point], other: Sequence[Point]) -> float:
    result = bd_rate(anchor, other)
    assert result.share is not None, result.reason
    return result.share


@pytest.mark.parametrize("factor", [0.5, 0.8, 1.0, 1.25])
def test_a_constant_factor_in_rate_is_that_factor(factor: float) -> None:
    assert share(DOUBLING, scaled(DOUBLING, factor)) == pytest.approx(factor - 1, abs=1e-12)


def test_five_points_more_at_equal_rate_are_half_a_doubling_less_rate() -> None:
    result = bd_rate(DOUBLING, scaled(DOUBLING, 1, shift=5))
    assert result.share == pytest.approx(2**-0.5 - 1, abs=1e-12)
    assert (result.low, result.high) == (65, 90)


def test_only_the_common_range_counts() -> None:
    longer = [Point(rate=50, quality=50), *DOUBLING, Point(rate=1600, quality=100)]
    result = bd_rate(longer, scaled(DOUBLING, 0.8))
    assert (result.low, result.high) == (60, 90)
    assert result.share == pytest.approx(-0.2, abs=1e-12)


def test_two_straight_lines_of_different_slope_by_hand() -> None:
    # ln rate: 0 to 2 against 1 to 1.5 over the same qualities; the means are 1 and 1.25
    anchor, other = curve((1, 50), (math.exp(2), 90)), curve((math.e, 50), (math.exp(1.5), 90))
    assert share(anchor, other) == pytest.approx(math.exp(0.25) - 1, abs=1e-12)
    assert share(other, anchor) == pytest.approx(math.exp(-0.25) - 1, abs=1e-12)


@pytest.mark.parametrize(
    ("anchor", "other", "published"),
    [
        # JCTVC-E137, with PCHIP: the values in libvmaf's test of its BD-rate calculator
        (
            [(108048.8736, 43.6471), (61279.976, 40.3953), (33905.6656, 37.247), (18883.6928, 34.2911)],
            [(108061.2784, 43.6768), (61299.9936, 40.4232), (33928.7472, 37.2761), (18910.912, 34.3147)],
            -0.00465215420752807,
        ),
        (
            [(40433.8848, 37.5761), (7622.7456, 35.3756), (2394.488, 33.8977), (1017.6184, 32.0603)],
            [(40370.12, 37.5982), (7587.0024, 35.4025), (2390.0944, 33.9194), (1017.0984, 32.0822)],
            -0.018779823450567612,
        ),
    ],
)
def test_published_curves_give_the_published_value(
    anchor: list[tuple[float, float]], other: list[tuple[float, float]], published: float
) -> None:
    assert share(curve(*anchor), curve(*other)) == pytest.approx(published, abs=5e-5)


@pytest.mark.parametrize(
    ("anchor", "other", "words"),
    [
        (DOUBLING, scaled(DOUBLING, 1, shift=40), "do not overlap"),
        (DOUBLING, scaled(DOUBLING, 1, shift=30), "do not overlap"),
        (DOUBLING, DOUBLING[:1], "the second curve has 1 quality point, 2 are needed"),
        ([], DOUBLING, "the first curve has 0 quality points"),
        (DOUBLING, curve((100, 80), (200, 80), (400, 90)), "does not rise"),
        (curve((100, 80), (100, 85)), DOUBLING, "does not rise"),
    ],
)
def test_without_a_common_range_the_reason_is_given(
    anchor: Sequence[Point], other: Sequence[Point], words: str
) -> None:
    result = bd_rate(anchor, other)
    assert result.share is None
    assert words in result.reason
