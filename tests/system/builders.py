"""Find files."""

from __future__ import annotations

import fnmatch
import os
from pathlib import Path


def below(folder: Path, pattern: str) -> list[Path]:
    """Return files below a folder while another process works there; ``rglob`` fails if a folder disappears."""
    return [Path(place, name) for place, _, files in os.walk(folder) for name in fnmatch.filter(files, pattern)]
