"""Distorted clips beside their references: a headerless file whose geometry must follow from its size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from kit.core.errors import BadInput
from kit.core.geometry import frame_bytes
from kit.core.values import Geometry, SourceFile
from kit.video.datasets.base import Distorted
from kit.video.sources.scan import yuv_geometry


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
            geometry = _geometry(one, reference.geometry)
        except BadInput as error:
            problems[one.path] = BadInput(f"{where}: {error.message.removeprefix(f'{one.path.name}: ')}")
            continue
        file = SourceFile(path=one.path, kind="yuv", label=one.path.stem, geometry=geometry)
        pairs.append(
            Pair(distorted=file, reference=reference, quality=one.quality, height=one.height, bitrate=one.bitrate)
        )
    return tuple(pairs), problems


def _geometry(one: Distorted, reference: Geometry) -> Geometry:
    """What a sidecar says (the name tells the height alone), else what the frames of the reference leave possible."""
    size = one.path.stat().st_size
    if not one.path.with_suffix(".json").is_file():
        return stored_geometry(size, one.height, reference)
    told = yuv_geometry(one.path, None)
    if told.frames != reference.frames:
        raise BadInput(
            f"its {size} bytes are {told.frames} frames of {told.width}x{told.height} {told.pix_fmt}, as its sidecar "
            f"says; the reference has {reference.frames}"
        )
    return told


def stored_geometry(size: int, height: int, reference: Geometry) -> Geometry:
    """How a distorted clip is stored: as large as its reference, or at its own height, 16:9 or as wide as that is.

    The frames decide: only the geometry that gives as many as the reference has is believed. Widths are even.

    Args:
        size: bytes of the file.

    Raises:
        BadInput: no geometry fits, or more than one does.
    """
    shapes = ((16, 9), (reference.width, reference.height))
    widths = [width for shape in shapes for width in _widths(height, *shape)]
    candidates = dict.fromkeys([(reference.width, reference.height), *((width, height) for width in widths)])
    fits = [(w, h) for w, h in candidates if frame_bytes(w, h, reference.pix_fmt) * reference.frames == size]
    tried = ", ".join(f"{w}x{h}" for w, h in candidates)
    if not fits:
        raise BadInput(f"its {size} bytes are not the reference's {reference.frames} frames of any of {tried}")
    if len(fits) > 1:
        raise BadInput(f"its {size} bytes fit more than one of {tried}")
    return replace(reference, width=fits[0][0], height=fits[0][1])


def _widths(height: int, across: int, down: int) -> tuple[int, ...]:
    """Even widths of a picture of this height and shape: the exact one, else those on both sides of it."""
    low = height * across // down // 2 * 2
    return (low,) if low * down == height * across else (low, low + 2)
