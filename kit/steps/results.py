"""The results of the last two steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The verdict as written: ``word`` is PROMOTE, HOLD or INVALID, ``document`` the whole JSON."""

    word: str
    document: Mapping[str, Any]

    @property
    def described(self) -> str:
        """The result in a sentence, for a message."""
        return f"the verdict {self.word} is written"


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """The file to send back. ``verdict`` is None for a shard alone."""

    path: Path
    size: int
    sha256: str
    verdict: str | None

    @property
    def described(self) -> str:
        """The result in a sentence, for a message."""
        return f"the verdict {self.verdict} is packed as {self.path.name}"
