"""Filters that change a pixel format. Pure."""

from __future__ import annotations

from kit.core import contract
from kit.core.values import EncodeSettings


def conversion(settings: EncodeSettings, pix_fmt: str) -> str:
    """The filters that turn a source of ``pix_fmt`` into what is encoded and scored; empty where nothing changes."""
    if settings.score_pix_fmt == pix_fmt:
        return ""
    return f"{contract.CONVERT},format={settings.score_pix_fmt}"
