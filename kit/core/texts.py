"""Numbers as texts, the same on the page, on the screen and in messages. Pure."""

from __future__ import annotations

from collections.abc import Callable

#: Decimals at most; what is left beyond them is a rounding error.
_MOST = 9


def correlation(value: float | None, least: int = 4) -> str:
    """Format a correlation with as many decimals as differ from 1: 0.9987, 0.99998; a dash for None.

    Args:
        least: decimals at least.
    """
    if value is None:
        return "–"
    return _decimals(value, least, lambda text: abs(value) < 1 and abs(float(text)) == 1)


def difference(value: float | None, least: int = 4) -> str:
    """Format a difference with its sign and as many decimals as differ from 0: -0.0012, +0.00003; a dash for None."""
    if value is None:
        return "–"
    return _decimals(value, least, lambda text: value != 0 and float(text) == 0, sign="+")


def beside(value: float, threshold: float, least: int = 2) -> str:
    """Format a figure so that it differs from 0 and a threshold where it does: 2.996 beside 3 is not 3.00."""
    others = {limit for limit in (0.0, threshold) if value != limit}
    return _decimals(value, least, lambda text: float(text) in others)


def _decimals(value: float, least: int, too_few: Callable[[str], bool], sign: str = "") -> str:
    """Format with the fewest decimals from ``least`` on that are not too few; with ``least`` where none are enough."""
    for count in range(least, _MOST + 1):
        text = f"{value:{sign}.{count}f}"
        if not too_few(text):
            return text
    return f"{value:{sign}.{least}f}"
