"""Encoders as a probe leaves them."""

from __future__ import annotations

from typing import Any

from kit.core.values import NO_DEVICE, ReadyEncoder


def ready(name: str = "libx264", **facts: Any) -> ReadyEncoder:
    """An encoder as a probe leaves it, with facts of one's own."""
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
