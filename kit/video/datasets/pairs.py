"""Pairs of distorted clips and references; the geometry of a headerless clip is inferred from its size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from kit.core.errors import BadInput
from kit.core.geometry import frame_bytes
from kit.core.values import Geometry, SourceFile
from kit.video.datasets.base import Distorted
from kit.video.sources.scan import yuv_geometry

_SIDECAR = "Copy the clip again if it is truncated, or write its geometry to a .json sidecar."


@dataclass(frozen=True, kw_only=True)
class DistortedPair:
    """A distorted clip and its reference, with the same number of frames."""

    distorted: SourceFile
    reference: SourceFile
    quality: int
    height: int
    bitrate: int


def pair_up(
    distorted: Sequence[Distorted], files: Sequence[SourceFile]
) -> tuple[tuple[DistortedPair, ...], dict[Path, BadInput]]:
    """Return the readable pairs, and the error of every other distorted clip."""
    by_path = {file.path: file for file in files}
    pairs, problems = [], {}
    for one in distorted:
        where = f"{one.path.parent.name}/{one.path.name}"
        reference = by_path.get(one.reference)
        if reference is None:
            problems[one.path] = BadInput(f"{where}: its reference {one.reference.name} cannot be used")
            continue
        try:
            geometry = _geometry(one, reference.geometry)
        except BadInput as error:
            message = error.message.removeprefix(f"{one.path.name}: ")
            problems[one.path] = BadInput(f"{where}: {message}", hint=error.hint)
            continue
        file = SourceFile(path=one.path, kind="yuv", label=one.path.stem, geometry=geometry)
        pairs.append(
            DistortedPair(
                distorted=file, reference=reference, quality=one.quality, height=one.height, bitrate=one.bitrate
            )
        )
    return tuple(pairs), problems


def _geometry(one: Distorted, reference: Geometry) -> Geometry:
    """Return the geometry in the sidecar, else the one inferred from the frames of the reference."""
    size = one.path.stat().st_size
    if not one.path.with_suffix(".json").is_file():
        return infer_stored_geometry(size, one.height, reference)
    stated = yuv_geometry(one.path, None)
    if stated.frames != reference.frames:
        raise BadInput(
            f"its {size} bytes are {stated.frames} frames of {stated.width}x{stated.height} {stated.pix_fmt} "
            f"(sidecar), the reference has {reference.frames}",
            hint=_SIDECAR,
        )
    return stated


def infer_stored_geometry(size: int, height: int, reference: Geometry) -> Geometry:
    """Infer the size of a distorted clip: that of its reference, or its height with 16:9 or the reference's shape.

    The one that gives the reference's number of frames is right. Widths are even.

    Args:
        size: bytes of the file.
        height: lines of the encode.

    Raises:
        BadInput: no size or several sizes give this number of frames.
    """
    shapes = ((16, 9), (reference.width, reference.height))
    widths = [width for shape in shapes for width in _widths(height, *shape)]
    candidates = dict.fromkeys([(reference.width, reference.height), *((width, height) for width in widths)])
    fits = [(w, h) for w, h in candidates if frame_bytes(w, h, reference.pix_fmt) * reference.frames == size]
    tried = ", ".join(f"{w}x{h}" for w, h in candidates)
    if not fits:
        raise BadInput(
            f"its {size} bytes are not {reference.frames} frames, as the reference has, of any of {tried}",
            hint=_SIDECAR,
        )
    if len(fits) > 1:
        raise BadInput(f"its {size} bytes match several of {tried}", hint=_SIDECAR)
    return replace(reference, width=fits[0][0], height=fits[0][1])


def _widths(height: int, across: int, down: int) -> tuple[int, ...]:
    """Return the even width of a height and shape, or the two even widths around a fractional one."""
    low = height * across // down // 2 * 2
    return (low,) if low * down == height * across else (low, low + 2)
