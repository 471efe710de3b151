"""Doing the same to many clips at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from kit.pool import Lane, run_lanes

_T = TypeVar("_T")
_R = TypeVar("_R")


def _nothing() -> None:
    """Hashing a file starts no process that could be ended."""


def in_parallel(
    work: Callable[[_T], _R], items: Sequence[_T], *, workers: int, stop: Callable[[], None] = _nothing
) -> list[_R]:
    """The results of ``work`` in the order of ``items``; one lane of :func:`kit.pool.run_lanes`."""
    return run_lanes(work, [Lane(workers=workers, items=items)], stop=stop)
