"""The function that Dask runs on a worker, by name. The scheduler imports this module too, so it imports little."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def make(request: Mapping[str, Any]) -> dict[str, Any]:
    """Make the requested cell on the worker that runs this, and return its reply."""
    from distributed import get_worker

    reply: dict[str, Any] = get_worker().maker.make(request)
    return reply
