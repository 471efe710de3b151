"""Base class of encoder families, and helpers for all of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import ClassVar

from kit.core.errors import BadInput
from kit.core.geometry import PIXEL_FORMATS
from kit.core.values import NO_DEVICE, EncoderDevice, EncodeSettings, Finding
from kit.platforms.facts import HostFacts

#: The variant of a family with one variant.
ONLY = ""


class EncoderFamily(ABC):
    """An encoder family: everything that differs between families, with defaults for software encoders.

    Attributes:
        name: e.g. ``nvenc``.
        encoders: its entries of the vocabulary.
        variants: modes of encoding, the best first; the probe takes the first that the device supports.
        lacking: ffmpeg's messages for an unsupported variant; the probe then tries the next one.
        busy: ffmpeg's messages for a device that accepts no further encode at once.
        remedies: ffmpeg's message for a failed encoder to what helps.
        eight_bit_input: the format of 8 bits that a device reads.
    """

    name: ClassVar[str]
    encoders: ClassVar[tuple[str, ...]]
    variants: ClassVar[tuple[str, ...]] = (ONLY,)
    lacking: ClassVar[tuple[str, ...]] = ()
    busy: ClassVar[tuple[str, ...]] = ()
    remedies: ClassVar[Mapping[str, str]] = MappingProxyType({})
    eight_bit_input: ClassVar[str] = "yuv420p"

    @abstractmethod
    def settings(self, encoder: str, cq: int, pix_fmt: str, variant: str) -> EncodeSettings:
        """Return the arguments for quality point ``cq`` (0–51) of a source with ``pix_fmt``."""

    @abstractmethod
    def build(self, stream: bytes, ffmpeg_version: str, facts: HostFacts) -> str:
        """Return the identity of the encoder's code or device, from its output and the box's facts."""

    def device(self, facts: HostFacts) -> EncoderDevice:
        """Return the ffmpeg arguments that select the device."""
        return NO_DEVICE

    def device_settings(
        self,
        encoder: str,
        cq: int,
        pix_fmt: str,
        options: tuple[str, ...],
        *,
        preset: str,
        ten_bit: bool,
        ten_bit_options: tuple[str, ...] = (),
    ) -> EncodeSettings:
        """Return the settings of an encoder on a device, which encodes 4:2:0 only.

        Args:
            options: its arguments after ``-c:v NAME``.
            ten_bit: it encodes 10 bits too.
            ten_bit_options: further arguments for 10 bits.
        """
        score = score_format(encoder, pix_fmt, ("yuv420p", "yuv420p10le") if ten_bit else ("yuv420p",))
        ten = score == "yuv420p10le"
        return EncodeSettings(
            encoder=encoder,
            preset=preset,
            cq=cq,
            argv=("-c:v", encoder, *options, *(ten_bit_options if ten else ())),
            encode_pix_fmt="p010le" if ten else self.eight_bit_input,
            score_pix_fmt=score,
        )

    def max_parallel(self, facts: HostFacts) -> int | None:
        """Return the most encodes at once; None for no limit. Two keep a hardware encoder busy."""
        return 2

    def findings(self, facts: HostFacts, *, works: bool) -> tuple[Finding, ...]:
        """Return findings about the box's devices and drivers; none if the box has no device of this family.

        Args:
            works: an encoder of the family has passed the probe.
        """
        return ()


def score_format(encoder: str, pix_fmt: str, accepted: Sequence[str]) -> str:
    """Return the accepted format nearest to the source's: itself, else the same bits with less chroma, else more bits.

    Fewer bits come last, the most first. VMAF reads luma only, so chroma is reduced before bits.

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
        raise BadInput(f"{encoder} does not support pixel format {pix_fmt}", hint="Leave this encoder out.")
    return min(accepted, key=distance)


def scale_63(cq: int) -> int:
    """Map a quality point from 0–51 to the 0–63 scale of AV1 encoders, never 0 (lossless or automatic)."""
    return max(1, round(cq * 63 / 51))
