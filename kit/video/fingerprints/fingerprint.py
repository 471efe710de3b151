"""The fingerprint of a clip: a small perceptual hash of the luma of its frames. Pure.

A hash is a picture of 24 x 24 signs. The luma is averaged over 24 x 24 blocks; each block is compared with its
surroundings: the mean of 3 x 3 blocks around it with that of 9 x 9. Lighter gives 1, darker -1, and 0 if the difference
is below 0.3 of its root mean square in the frame. Brightness, contrast and gamma change few of these signs, scaling and
compression hardly any. Black bars are left out. A frame without contrast has zeros only: it takes part in no
comparison.

Only integers decide, so that every machine makes the same fingerprint.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kit.core.errors import CheckFailed
from kit.core.geometry import PIXEL_FORMATS
from kit.core.values import Geometry

#: Version of the hash; fingerprints of different versions are not compared.
VERSION = 1
#: Blocks in a row and in a column of a hash.
GRID = 24
#: Most hashes of a clip: of a longer one every second, fourth … frame is hashed.
MOST = 128
#: Luma samples in a row or column that are read at least, if the frame has them; of a larger frame every k-th.
_READ = 384
_NEAR, _FAR = 1, 4
#: Signs of differences below this share of their root mean square are 0, as a fraction.
_DEAD = (3, 10)
#: A frame whose differences have a smaller root mean square has no contrast; in levels of 8 bits.
_LEAST_CONTRAST = 0.5
#: Blocks of a bar differ by less than so many levels of 8 bits.
_BAR_RANGE = 2
#: Fixed-point units of a block's mean in a level of 8 bits.
_UNIT = 256
#: Five signs in a byte.
_POWERS = np.array([1, 3, 9, 27, 81], dtype=np.int64)
_HINT = "The shard is damaged: get it again."
#: Bytes of a hash.
HASH_BYTES = -(-GRID * GRID // len(_POWERS))


@dataclass(frozen=True, kw_only=True)
class Fingerprint:
    """The hashes of a clip.

    Attributes:
        fps: frames per second of the clip.
        every: the first frame and every such frame after it has a hash.
        hashes: int8 [hashes, 24, 24], each -1, 0 or 1; all 0 where a frame has no contrast.
    """

    fps: Fraction
    every: int
    hashes: NDArray[np.int8]

    def as_dict(self) -> dict[str, object]:
        """Return what a manifest stores; frames per second are in the geometry beside it."""
        digits = (self.hashes.reshape(len(self.hashes), -1) + 1).astype(np.int64)
        padded = np.pad(digits, ((0, 0), (0, HASH_BYTES * len(_POWERS) - digits.shape[1])))
        packed = (padded.reshape(len(digits), HASH_BYTES, -1) @ _POWERS).astype(np.uint8)
        return {"version": VERSION, "every": self.every, "hashes": base64.b64encode(packed.tobytes()).decode()}


def read_fingerprint(value: Mapping[str, Any], geometry: Mapping[str, Any]) -> Fingerprint | None:
    """Return the fingerprint that :meth:`Fingerprint.as_dict` wrote; None if another version made it.

    Args:
        geometry: of the clip, with ``fps`` as ``num/den`` and ``frames``.

    Raises:
        CheckFailed: it does not belong to a clip of this geometry, or is damaged.
    """
    if value["version"] != VERSION:
        return None
    frames, every = int(geometry["frames"]), int(value["every"])
    try:
        packed = np.frombuffer(base64.b64decode(value["hashes"], validate=True), dtype=np.uint8)
    except binascii.Error as error:
        raise CheckFailed(f"a fingerprint is not base64: {error}", hint=_HINT) from error
    count, fps = -(-frames // every), _fps(geometry["fps"])
    if every != spacing(frames) or len(packed) != count * HASH_BYTES:
        raise CheckFailed(
            f"a fingerprint of {frames} frames has {len(packed)} bytes and one hash in {every} frames, expected "
            f"{-(-frames // spacing(frames)) * HASH_BYTES} bytes and one in {spacing(frames)}",
            hint=_HINT,
        )
    if (largest := int(packed.max())) >= 3 ** len(_POWERS):
        raise CheckFailed(
            f"a fingerprint has the byte {largest}, expected {3 ** len(_POWERS) - 1} at most: five signs", hint=_HINT
        )
    digits = packed.reshape(count, HASH_BYTES, 1).astype(np.int64) // _POWERS % 3
    signs = (digits.reshape(count, -1)[:, : GRID * GRID] - 1).astype(np.int8)
    return Fingerprint(fps=fps, every=every, hashes=signs.reshape(count, GRID, GRID))


def _fps(text: str) -> Fraction:
    """Read ``num/den``; 0 frames per second are refused."""
    numerator, _, denominator = text.partition("/")
    if not (int(numerator) and int(denominator)):
        raise CheckFailed(f"a clip with a fingerprint has {text} frames per second, expected more than 0", hint=_HINT)
    return Fraction(int(numerator), int(denominator))


def fingerprint_of(source: Mapping[str, Any]) -> Fingerprint | None:
    """Return the fingerprint of a source in a manifest; None if it has none of this version.

    Raises:
        CheckFailed: as :func:`read_fingerprint`.
    """
    if source.get("fingerprint") is None or source["geometry"] is None:
        return None
    return read_fingerprint(source["fingerprint"], source["geometry"])


def spacing(frames: int) -> int:
    """Return the power of two such that every such frame of a clip gives at most ``MOST`` hashes."""
    every = 1
    while -(-frames // every) > MOST:
        every *= 2
    return every


class Fingerprinter:
    """Makes the fingerprint of a clip whose frames pass by.

    Args:
        geometry: of the clip; the number of frames decides which of them are hashed.
    """

    def __init__(self, geometry: Geometry) -> None:
        self._geometry, self._every = geometry, spacing(geometry.frames)
        self._hashes: list[NDArray[np.int8]] = []
        self._index = 0
        bits = PIXEL_FORMATS[geometry.pix_fmt].bits
        self._dtype, self._levels = np.dtype("u1" if bits == 8 else "<u2"), 1 << (bits - 8)
        self._steps = tuple(max(1, size // _READ) for size in (geometry.height, geometry.width))

    def add(self, frame: bytes) -> None:
        """Take the next frame, planar, luma first."""
        if self._index % self._every == 0:
            height, width = self._geometry.height, self._geometry.width
            luma = np.frombuffer(frame, dtype=self._dtype, count=height * width).reshape(height, width)
            self._hashes.append(frame_hash(luma[:: self._steps[0], :: self._steps[1]], self._levels))
        self._index += 1

    def result(self) -> Fingerprint:
        """Return the fingerprint of the frames so far."""
        return Fingerprint(fps=self._geometry.fps, every=self._every, hashes=np.stack(self._hashes))


def frame_hash(luma: NDArray[Any], levels: int = 1) -> NDArray[np.int8]:
    """Return the hash of a frame, int8 [24, 24].

    Args:
        luma: unsigned [height, width], at least 24 each.
        levels: of its values in one level of 8 bits.
    """
    blocks = _block_means(luma, levels)
    inside = _inside_bars(blocks)
    shown = blocks[inside]
    difference = np.zeros(blocks.shape, dtype=np.int64)
    if shown.size:
        # 81 times the difference of the two means, an integer
        far, near = _box_sums(shown, _FAR), _box_sums(shown, _NEAR)
        difference[inside] = near * ((2 * _FAR + 1) ** 2 // (2 * _NEAR + 1) ** 2) - far
    scale, squares = (2 * _FAR + 1) ** 2 * _UNIT, int((difference**2).sum())
    if squares < (_LEAST_CONTRAST * scale) ** 2 * difference.size:
        return np.zeros(difference.shape, dtype=np.int8)
    small = difference**2 * (_DEAD[1] ** 2 * difference.size) < _DEAD[0] ** 2 * squares
    return np.where(small, 0, np.sign(difference)).astype(np.int8)


def _block_means(luma: NDArray[Any], levels: int) -> NDArray[np.int64]:
    """Average a picture over 24 x 24 blocks, in units of 1/256 of a level of 8 bits."""
    starts = [_starts(size) for size in luma.shape]
    rows = np.add.reduceat(luma, starts[0], axis=0, dtype=np.uint32)
    sums = np.add.reduceat(rows, starts[1], axis=1, dtype=np.int64)
    counts = np.outer(*(np.diff([*own, size]) for own, size in zip(starts, luma.shape, strict=True)))
    means: NDArray[np.int64] = sums * _UNIT // (counts * levels)
    return means


def _inside_bars(blocks: NDArray[np.int64]) -> tuple[slice, slice]:
    """Return the rows and columns of the picture within bars.

    Bars are rows at the top and the bottom, and columns at the sides, whose blocks are all alike; the next row or
    column is left out too, since a bar may end within it. Else letterboxed clips would be alike by their bars.
    """
    rows = slice(_bar(blocks), max(len(blocks) - _bar(blocks[::-1]), 0))
    inner = blocks[rows].T
    return rows, slice(_bar(inner), max(len(inner) - _bar(inner[::-1]), 0))


def _bar(rows: NDArray[np.int64]) -> int:
    """Return how many rows a bar at the top covers, with the one where it ends; 0 without a bar."""
    if rows.size == 0:
        return 0
    highest, lowest = np.maximum.accumulate(rows.max(axis=1)), np.minimum.accumulate(rows.min(axis=1))
    alike = highest - lowest < _BAR_RANGE * _UNIT
    bar = len(rows) if alike.all() else int(np.argmin(alike))
    return min(bar + 1, len(rows)) if bar else 0


def _starts(size: int) -> NDArray[np.int64]:
    return np.arange(GRID, dtype=np.int64) * size // GRID


def _box_sums(blocks: NDArray[np.int64], radius: int) -> NDArray[np.int64]:
    """Sum the squares of 2 radius + 1 blocks around each block; the border is repeated."""
    padded = np.pad(blocks, radius, mode="edge")
    summed = np.pad(padded.cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
    side = 2 * radius + 1
    sums: NDArray[np.int64] = (
        summed[side:, side:] - summed[:-side, side:] - summed[side:, :-side] + summed[:-side, :-side]
    )
    return sums


def fingerprints_of(sources: Sequence[Mapping[str, Any]]) -> dict[str, Fingerprint]:
    """Return the fingerprints of the sources of a manifest by their labels, of those that have one."""
    found = {str(source["label"]): fingerprint_of(source) for source in sources}
    return {label: fingerprint for label, fingerprint in found.items() if fingerprint is not None}
