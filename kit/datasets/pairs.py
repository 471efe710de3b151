"""Distorted clips beside their references: a headerless file whose geometry must follow from its size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from kit.datasets.base import Distorted
from kit.errors import BadInput
from kit.geometry import frame_bytes
from kit.types import Geometry, SourceFile


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A distorted clip with its geometry, and the reference it is compared with; both have the same frames."""

    distorted: SourceFile
    reference: SourceFile
    quality: int
    height: int
    bitrate: int


def pair_up(found: Sequence[Distorted], files: Sequence[SourceFile]) -> tuple[tuple[Pair, ...], dict[Path, BadInput]]:
    """Every pair whose clips can be read, and what is wrong with each other distorted clip."""
    by_path = {file.path: file for file in files}
    pairs, problems = [], {}
    for one in found:
        where = f"{one.path.parent.name}/{one.path.name}"
        reference = by_path.get(one.reference)
        if reference is None:
            problems[one.path] = BadInput(f"{where}: its reference {one.reference.name} cannot be used")
            continue
        try:
            geometry = stored_geometry(one.path.stat().st_size, one.height, reference.geometry)
        except BadInput as error:
            problems[one.path] = BadInput(f"{where}: {error.message}")
            continue
        file = SourceFile(path=one.path, kind="yuv", label=one.path.stem, geometry=geometry)
        pairs.append(
            Pair(distorted=file, reference=reference, quality=one.quality, height=one.height, bitrate=one.bitrate)
        )
    return tuple(pairs), problems


def stored_geometry(size: int, height: int, reference: Geometry) -> Geometry:
    """How a distorted clip is stored: at the reference's size, or 16:9 at its own height (an even width).

    The frames decide: only the geometry that gives as many as the reference has is believed.

    Args:
        size: bytes of the file.

    Raises:
        BadInput: no geometry fits, or more than one does.
    """
    low = height * 16 // 9 // 2 * 2
    widths = [low] if low * 9 == height * 16 else [low, low + 2]
    candidates = dict.fromkeys([(reference.width, reference.height), *((width, height) for width in widths)])
    fits = [
        (w, h) for w, h in candidates if frame_bytes(w, h, reference.pix_fmt) * reference.frames == size
    ]  # fmt: skip
    tried = ", ".join(f"{w}x{h}" for w, h in candidates)
    if not fits:
        raise BadInput(f"its {size} bytes are not the reference's {reference.frames} frames of any of {tried}")
    if len(fits) > 1:
        raise BadInput(f"its {size} bytes fit more than one of {tried}")
    return replace(reference, width=fits[0][0], height=fits[0][1])
