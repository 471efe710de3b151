"""The shape of an encoder family, and what all families share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from kit.core.errors import BadInput
from kit.core.geometry import PIXEL_FORMATS
from kit.core.values import Device, EncodeSettings, Finding
from kit.platforms.facts import HostFacts

#: The variant of a family that has but one.
ONLY = ""


class EncoderFamily(Protocol):
    """One way of encoding. Everything that differs between families is said here and nowhere else."""

    @property
    def name(self) -> str:
        """Name of the family, e.g. ``nvenc``."""

    @property
    def encoders(self) -> tuple[str, ...]:
        """Entries of the vocabulary that belong to it."""

    @property
    def remedies(self) -> Mapping[str, str]:
        """What ffmpeg says when an encoder fails, to what helps."""

    @property
    def busy(self) -> tuple[str, ...]:
        """What ffmpeg says when the device takes no further encode at once."""

    @property
    def variants(self) -> tuple[str, ...]:
        """Ways of encoding, the best first; the probe takes the first that the device has."""

    @property
    def lacking(self) -> tuple[str, ...]:
        """What ffmpeg says when the device has not the way it was asked for, so that the next one is tried."""

    def settings(self, encoder: str, cq: int, pix_fmt: str, variant: str) -> EncodeSettings:
        """Arguments for quality point ``cq`` (0–51) on a source of ``pix_fmt``."""

    def device(self, facts: HostFacts) -> Device:
        """How ffmpeg finds the device."""

    def findings(self, facts: HostFacts, *, works: bool) -> tuple[Finding, ...]:
        """What there is to say of the box's devices and drivers, nothing on a box that has none of this family.

        Args:
            works: whether one of its encoders has passed the probe.
        """

    def max_parallel(self, facts: HostFacts) -> int | None:
        """How many encodes may run at once; None for as many as there are cores."""

    def build(self, stream: bytes, ffmpeg_version: str, facts: HostFacts) -> str:
        """Identity of what encodes, from a stream it has written and the box's facts."""


def score_format(encoder: str, pix_fmt: str, accepted: Sequence[str]) -> str:
    """The accepted format nearest to the source's: itself, else the same bits with less chroma, else more bits.

    Fewer bits come last, the most first. VMAF reads luma only, so chroma goes before bits.

    Raises:
        BadInput: ``accepted`` is empty.
    """
    source = PIXEL_FORMATS[pix_fmt]

    def distance(name: str) -> tuple[bool, int, bool, int]:
        fmt = PIXEL_FORMATS[name]
        return (
            fmt.bits < source.bits,
            abs(fmt.bits - source.bits),
            fmt.chroma > source.chroma,
            abs(fmt.chroma - source.chroma),
        )

    if not accepted:
        raise BadInput(f"{encoder} cannot take {pix_fmt}")
    return min(accepted, key=distance)


def scale_63(cq: int) -> int:
    """A quality point of the 0–51 scale on the 0–63 scale of AV1 encoders, never 0 (lossless or automatic)."""
    return max(1, round(cq * 63 / 51))
