"""Conversion of pixel formats. Pure."""

from __future__ import annotations

from kit.core import contract
from kit.core.values import EncodeSettings


def conversion(settings: EncodeSettings, pix_fmt: str) -> str:
    """Return the filters that convert a source of ``pix_fmt`` for encoding and scoring; empty for the same format."""
    if settings.score_pix_fmt == pix_fmt:
        return ""
    return f"{contract.CONVERT},format={settings.score_pix_fmt}"
