"""Looking at files."""

from __future__ import annotations

import fnmatch
import os
from pathlib import Path


def below(folder: Path, pattern: str) -> list[Path]:
    """Files below a folder that another process is working in; ``rglob`` fails where a folder goes away meanwhile."""
    return [Path(place, name) for place, _, files in os.walk(folder) for name in fnmatch.filter(files, pattern)]
