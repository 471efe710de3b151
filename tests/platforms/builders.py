"""Builders of probed encoders."""

from __future__ import annotations

from typing import Any

from kit.core.values import NO_DEVICE, ReadyEncoder


def ready(name: str = "libx264", **facts: Any) -> ReadyEncoder:
    """Return a probed encoder; ``facts`` replace its defaults."""
    values: dict[str, Any] = {
        "name": name,
        "family": "software",
        "build": f"{name} 1",
        "variant": "",
        "device": NO_DEVICE,
        "max_parallel": None,
        "megapixels_per_second": 1.0,
    }
    return ReadyEncoder(**(values | facts))
