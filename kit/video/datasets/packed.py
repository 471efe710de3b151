"""``pack.json``: the list of clips in a packed folder."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path, PurePosixPath
from typing import Any

from kit import __version__
from kit.core import contract
from kit.core.errors import BadInput
from kit.core.geometry import checked_format, parse_fps
from kit.core.values import Geometry
from kit.system.fsio import write_json
from kit.system.validation import read_valid

PACK = "pack.json"


@dataclass(frozen=True, kw_only=True)
class PackedClip:
    """A lossless copy of a clip.

    Attributes:
        path: relative to the folder, with ``/``.
        size, sha256: of the copy's bytes.
        src_sha256: identity of the source, the same for the copy.
        original: original file name with its suffix.
    """

    path: str
    size: int
    sha256: str
    src_sha256: str
    label: str
    group: str
    original: str
    geometry: Geometry


@dataclass(frozen=True, kw_only=True)
class Pack:
    """A packed folder."""

    dataset: str
    codec: str
    clips: tuple[PackedClip, ...]


def write_pack(folder: Path, pack: Pack) -> None:
    """Write ``pack.json``."""
    clips = [
        {**vars(clip), "geometry": {**vars(clip.geometry), "fps": _rate(clip.geometry.fps)}} for clip in pack.clips
    ]
    value = {
        "schema_version": contract.SCHEMA_VERSION,
        "kit_version": __version__,
        "dataset": pack.dataset,
        "codec": pack.codec,
        "clips": clips,
    }
    write_json(folder / PACK, value)


def _rate(fps: Fraction) -> str:
    return f"{fps.numerator}/{fps.denominator}"


def read_pack(folder: Path) -> Pack:
    """Read ``pack.json``.

    Raises:
        Missing: the folder has no ``pack.json``.
        BadInput: another format, or a path outside the folder.
    """
    path = folder / PACK
    value = read_valid(path, "pack", written_by="dataset pack", hint="Copy the folder again.")
    clips = tuple(PackedClip(**{**clip, "geometry": _geometry(**clip["geometry"])}) for clip in value["clips"])
    if outside := [clip.path for clip in clips if not is_inside(clip.path) or "/" in clip.original]:
        raise BadInput(f"{path}: paths outside the folder: {', '.join(outside)}", hint="Do not use this folder.")
    return Pack(dataset=value["dataset"], codec=value["codec"], clips=clips)


def _geometry(*, fps: str, frames: int, range: str, **size: Any) -> Geometry:  # noqa: A002 - key of the file
    return checked_format(fps=parse_fps(fps), range_=range, **size).with_frames(frames)


def is_inside(name: str) -> bool:
    """Return whether a relative path stays inside its folder."""
    path = PurePosixPath(name)
    return bool(name) and not path.is_absolute() and ".." not in path.parts
