"""Folders on this machine that outlive a run: the cache, and the state with the box's tag."""

from __future__ import annotations

import re
import secrets
from pathlib import Path

import platformdirs

from kit.system.fsio import write_bytes
from kit.system.outputs import write_error

APP = "vmaf-ensemble-kit"


def cache_dir() -> Path:
    """Return the user's folder for files that can be made again: environments, demo clips, hashes of clips."""
    return platformdirs.user_cache_path(APP)


def state_dir() -> Path:
    """Return the folder of the box's tag."""
    return platformdirs.user_state_path(APP)


def usable_cache(out_dir: Path) -> Path:
    """Return the cache; if it cannot be written, a folder in the run folder."""
    folder = cache_dir()
    return folder if write_error(folder) is None else out_dir / ".cache"


def box_tag() -> tuple[str, str]:
    """Return a random tag of this user on this machine, and its origin in words.

    The tag reveals neither. If it cannot be stored, it is new for each run.
    """
    path = state_dir() / "box"
    try:
        kept = path.read_text(encoding="ascii").strip()
        if re.fullmatch(r"box-[0-9a-f]{8}", kept):
            return kept, "random tag of this machine"
    except (OSError, UnicodeDecodeError):
        pass
    tag = f"box-{secrets.token_hex(4)}"
    try:
        write_bytes(path, tag.encode())
    except OSError:
        return tag, "random tag of this run"
    return tag, "random tag of this machine"
