"""The one function that Dask carries to a worker, by name. Light: the scheduler imports this module too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def make(job: Mapping[str, Any]) -> dict[str, Any]:
    """Make the cell that a client asks for, on the worker that runs this."""
    from distributed import get_worker

    made: dict[str, Any] = get_worker().maker.make(job)
    return made
