"""What a verification says of one thing."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing that was looked at: what had to be there, what was found, and whether that is the same."""

    name: str
    passed: bool
    expected: str
    found: str
