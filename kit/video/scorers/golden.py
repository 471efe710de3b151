"""The golden table: small generated pairs of clips with known scores. A scorer with other scores is not used.

The pairs are computed with integers from a counter-based generator (Salmon et al. 2011, Philox), so their bytes are the
same everywhere. The checkerboards follow libvmaf's own test clips: 1920x1080, squares of ten pixels, moving left by one
pixel per frame, distorted by a shift of one or ten pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kit.core.values import Geometry

#: Changes with every change of a pair or an expected value; part of the scorer's id.
GOLDEN_VERSION = 1

Plane = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class GoldenPair:
    """A reference and a distorted clip: luma planes, int64 [frames, height, width], in the range of ``bits``."""

    name: str
    bits: int
    reference: Plane
    distorted: Plane

    @property
    def geometry(self) -> Geometry:
        frames, height, width = self.reference.shape
        return Geometry(
            width=width,
            height=height,
            pix_fmt="yuv420p" if self.bits == 8 else f"yuv420p{self.bits}le",
            range="tv",
            fps=Fraction(25),
            frames=frames,
        )


def _checkerboard(frames: int, shift: int) -> Plane:
    y, x = np.arange(1080, dtype=np.int64)[:, None], np.arange(1920, dtype=np.int64)[None, :]
    boards: list[Plane] = [((x + t + shift) // 10 + y // 10) % 2 * 255 for t in range(frames)]
    return np.stack(boards)


def _lattice(key: int, height: int, width: int) -> Plane:
    raw = np.random.Philox(key=key).random_raw(height * width)
    return (raw >> np.uint64(56)).astype(np.int64).reshape(height, width)


def _enlarged(lattice: Plane, factor: int, height: int, width: int) -> Plane:
    """Interpolate bilinearly with integers; values are multiplied by ``factor`` squared."""
    y, x = np.arange(height, dtype=np.int64), np.arange(width, dtype=np.int64)
    row, col, fy, fx = y // factor, x // factor, (y % factor)[:, None], (x % factor)[None, :]
    top: Plane = lattice[row][:, col] * (factor - fx) + lattice[row][:, col + 1] * fx
    low: Plane = lattice[row + 1][:, col] * (factor - fx) + lattice[row + 1][:, col + 1] * fx
    blended: Plane = top * (factor - fy) + low * fy
    return blended


def _natural(frames: int, bits: int) -> tuple[Plane, Plane]:
    """Return panning value noise, amplitude proportional to wavelength, and the same blurred and quantised."""
    height, width, margin = 270, 480, 2 * frames + 2
    total = np.zeros((height, width + margin), dtype=np.int64)
    for octave, factor in enumerate((2, 4, 8, 16, 32)):
        lattice = _lattice(octave + 1, height // factor + 2, (width + margin) // factor + 2)
        total += _enlarged(lattice, factor, height, width + margin) * factor // (factor * factor)
    # the sum of the factors is 62, values reach 255 * 62
    luma = (16 << (bits - 8)) + total * (219 << (bits - 8)) // (255 * 62)
    reference: Plane = np.stack([luma[:, 2 * t : 2 * t + width] for t in range(frames)])
    padded = np.pad(reference, ((0, 0), (1, 1), (1, 1)), mode="edge")
    shifted = [padded[:, dy : dy + height, dx : dx + width] for dy in range(3) for dx in range(3)]
    blurred = np.stack(shifted).sum(axis=0, dtype=np.int64) // 9
    step = 6 << (bits - 8)
    return reference, blurred // step * step + step // 2


def pairs() -> tuple[GoldenPair, ...]:
    """Return the golden pairs, in order."""
    board = _checkerboard(3, 0)
    flat = np.full((3, 270, 480), 128, dtype=np.int64)
    natural8, natural10 = _natural(6, 8), _natural(6, 10)
    return (
        GoldenPair(name="checkerboard-1", bits=8, reference=board, distorted=_checkerboard(3, 1)),
        GoldenPair(name="checkerboard-10", bits=8, reference=board, distorted=_checkerboard(3, 10)),
        GoldenPair(name="flat", bits=8, reference=flat, distorted=flat),
        GoldenPair(name="natural-8bit", bits=8, reference=natural8[0], distorted=natural8[1]),
        GoldenPair(name="natural-10bit", bits=10, reference=natural10[0], distorted=natural10[1]),
    )


def write_clip(path: Path, luma: Plane, bits: int) -> None:
    """Write a planar 4:2:0 clip with flat chroma, 8 bit or little-endian 16-bit samples."""
    frames, height, width = luma.shape
    dtype = "<u1" if bits == 8 else "<u2"
    chroma = np.full(2 * ((width + 1) // 2) * ((height + 1) // 2), 128 << (bits - 8), dtype=dtype)
    with path.open("wb") as stream:
        for frame in range(frames):
            stream.write(luma[frame].astype(dtype).tobytes())
            stream.write(chroma.tobytes())


#: Mean over the frames of each pair: the six features, then the score of vmaf_v0.6.1.
EXPECTED: Mapping[str, tuple[float, float, float, float, float, float, float]] = {
    "checkerboard-1": (0.794946, 0.109066, 0.287483, 0.324569, 0.476584, 14.618288, 37.745359),
    "checkerboard-10": (0.046674, 0.000000, 0.000000, 0.000000, 0.000000, 14.618288, 9.075955),
    "flat": (1.000000, 1.000000, 1.000000, 1.000000, 1.000000, 0.000000, 97.428043),
    "natural-8bit": (0.956336, 0.670455, 0.975101, 0.987532, 0.992138, 2.843756, 90.374504),
    "natural-10bit": (0.957180, 0.673853, 0.974524, 0.987240, 0.991920, 2.843224, 90.521727),
}
