"""Compare JSON values of a bundle with values computed again. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

#: Other machines may sum doubles in another order: figures differ by less than this, relatively.
SAME = 1e-9
#: Differences and problems that a check lists.
_LISTED = 8


def listed(lines: Sequence[str]) -> str:
    """Join lines into one, with the number of those left out."""
    more = len(lines) - _LISTED
    return "; ".join(lines[:_LISTED]) + (f"; and {more} more" if more > 0 else "")


def differences(
    received: Any, computed: Any, *, skip: Sequence[str] = (), where: str = "", tolerance: float = SAME
) -> list[str]:
    """List where two JSON values differ, one line each.

    Args:
        skip: names of the outermost object to leave out.
        where: path of the outermost value, the beginning of every line.
        tolerance: of numbers, relative and absolute.
    """
    if isinstance(received, dict) and isinstance(computed, Mapping):
        names = sorted((received.keys() | computed.keys()) - set(skip))
        pairs = [(f"{where}.{name}" if where else name, received.get(name), computed.get(name)) for name in names]
    elif isinstance(received, list) and isinstance(computed, list | tuple) and len(received) == len(computed):
        pairs = [(f"{where}[{index}]", *pair) for index, pair in enumerate(zip(received, computed, strict=True))]
    elif _equal(received, computed, tolerance):
        return []
    else:
        return [f"{where}: {_short(received)}, computed again {_short(computed)}"]
    return [line for name, one, two in pairs for line in differences(one, two, where=name, tolerance=tolerance)]


def _equal(one: Any, two: Any, tolerance: float) -> bool:
    if (
        isinstance(one, bool)
        or isinstance(two, bool)
        or not all(isinstance(value, int | float) for value in (one, two))
    ):
        return type(one) is type(two) and bool(one == two)
    return math.isclose(one, two, rel_tol=tolerance, abs_tol=tolerance)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:60] + "…"
