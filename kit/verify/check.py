"""The result of one check of a verification."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Check:
    """One check: its name, the expected state, the measured result, and whether they agree."""

    name: str
    passed: bool
    expected: str
    found: str
