"""``pack.json``: the list of clips in a packed folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path, PurePosixPath
from typing import Any

from kit import __version__
from kit.core import contract
from kit.core.errors import BadInput
from kit.core.geometry import checked_format
from kit.core.values import Geometry
from kit.system.fsio import read_json, write_json

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
    value: Any = read_json(path, written_by="dataset pack")
    try:
        if value["schema_version"] != contract.SCHEMA_VERSION:
            raise BadInput(f"{path}: schema version {value['schema_version']!r}, expected {contract.SCHEMA_VERSION}")
        clips = tuple(_clip(item) for item in value["clips"])
        pack = Pack(dataset=str(value["dataset"]), codec=str(value["codec"]), clips=clips)
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise BadInput(
            f"{path} is not the list of a packed folder: {error!r}", hint="Copy the folder again."
        ) from error
    if outside := [clip.path for clip in clips if not is_inside(clip.path) or "/" in clip.original]:
        raise BadInput(f"{path}: paths outside the folder: {', '.join(outside)}", hint="Do not use this folder.")
    return pack


def _clip(item: Mapping[str, Any]) -> PackedClip:
    stored = item["geometry"]
    raw = checked_format(
        width=int(stored["width"]),
        height=int(stored["height"]),
        pix_fmt=str(stored["pix_fmt"]),
        fps=Fraction(str(stored["fps"])),
        range_=str(stored["range"]),
    )
    texts = {name: str(item[name]) for name in ("path", "sha256", "src_sha256", "label", "group", "original")}
    return PackedClip(**texts, size=int(item["size"]), geometry=raw.with_frames(int(stored["frames"])))


def is_inside(name: str) -> bool:
    """Return whether a relative path stays inside its folder."""
    path = PurePosixPath(name)
    return bool(name) and not path.is_absolute() and ".." not in path.parts
