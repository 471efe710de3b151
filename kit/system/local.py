"""Places on this machine that outlive a run: the cache and the box's tag."""

from __future__ import annotations

import re
import secrets
from pathlib import Path

import platformdirs

from kit.system.fsio import write_bytes
from kit.system.outputs import write_error

APP = "vmaf-ensemble-kit"


def cache_dir() -> Path:
    """Folder for what can be made again: hashes of clips, demo clips."""
    return platformdirs.user_cache_path(APP)


def usable_cache(out_dir: Path) -> Path:
    """The cache, or a folder in the run folder where the user's own cannot be written."""
    folder = cache_dir()
    return folder if write_error(folder) is None else out_dir / ".cache"


def box_tag() -> tuple[str, str]:
    """A random tag that stays the same for this user on this machine, and where it came from.

    It says nothing about either. Where it cannot be kept, it is made for this run only.
    """
    path = platformdirs.user_state_path(APP) / "box"
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
