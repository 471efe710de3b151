"""Numbers as texts: enough digits, and no more."""

from __future__ import annotations

import pytest

from kit.core.texts import beside, correlation, difference


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.95, "0.9500"),
        (0.99987, "0.9999"),
        (0.99998, "0.99998"),
        (0.9999961, "0.999996"),
        (-0.99998, "-0.99998"),
        (1.0, "1.0000"),
        (0.0, "0.0000"),
        (1 - 1e-13, "1.0000"),
        (None, "–"),
    ],
)
def test_a_correlation_has_as_many_digits_as_differ_from_1(value: float | None, text: str) -> None:
    assert correlation(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0.0012, "+0.0012"), (-0.000034, "-0.00003"), (0.0, "+0.0000"), (1e-14, "+0.0000"), (None, "–")]
)
def test_a_difference_has_as_many_digits_as_differ_from_0(value: float | None, text: str) -> None:
    assert difference(value) == text


@pytest.mark.parametrize(("value", "text"), [(2.996, "2.996"), (3.0, "3.00"), (4.1, "4.10"), (3.0004, "3.0004")])
def test_a_figure_is_not_rounded_to_a_threshold_that_it_misses(value: float, text: str) -> None:
    assert beside(value, 3.0) == text
