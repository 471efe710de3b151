"""Encoders inside ffmpeg that need no hardware: libx264, libx265, libsvtav1, libaom-av1, libvvenc."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import ClassVar

from kit.core.values import EncodeSettings
from kit.platforms.base import EncoderFamily, scale_63, score_format
from kit.platforms.facts import HostFacts

_PLANAR_10 = tuple(f"yuv{chroma}p{bits}" for bits in ("", "10le") for chroma in (420, 422, 444))
_PLANAR_12 = (*_PLANAR_10, "yuv420p12le", "yuv422p12le", "yuv444p12le")

_ACCEPTED = {
    "libx264": _PLANAR_10,
    "libx265": _PLANAR_12,
    "libsvtav1": ("yuv420p", "yuv420p10le"),
    "libaom-av1": _PLANAR_12,
    "libvvenc": ("yuv420p10le",),
}

#: Version strings that the libraries write into their streams.
_BUILDS = (rb"x264 - core \d+(?: r\d+(?: [0-9a-f]+)?)?", rb"x265 \(build \d+\) - [\w.+-]+")


class Software(EncoderFamily):
    """Always one thread: with another number, four of the five encoders write different bits."""

    name = "software"
    encoders = tuple(_ACCEPTED)
    remedies: ClassVar[Mapping[str, str]] = {
        "Unknown encoder": "This ffmpeg was built without it; omit --ffmpeg to use the bundled one.",
    }

    def settings(self, encoder: str, cq: int, pix_fmt: str, variant: str) -> EncodeSettings:
        """Return the arguments: one thread, a fixed preset, constant quality."""
        fmt = score_format(encoder, pix_fmt, _ACCEPTED[encoder])
        preset, knobs = _knobs(encoder, cq)
        return EncodeSettings(
            encoder=encoder,
            preset=preset,
            cq=cq,
            argv=("-c:v", encoder, *knobs, "-threads", "1"),
            encode_pix_fmt=fmt,
            score_pix_fmt=fmt,
        )

    def max_parallel(self, facts: HostFacts) -> int | None:
        """Return None: as many as there are cores."""
        return None

    def build(self, stream: bytes, ffmpeg_version: str, facts: HostFacts) -> str:
        """Return the library's version if the stream has it, else ffmpeg's."""
        for pattern in _BUILDS:
            if match := re.search(pattern, stream):
                return match[0].decode("ascii")
        return f"ffmpeg {ffmpeg_version}"


def _knobs(encoder: str, cq: int) -> tuple[str, tuple[str, ...]]:
    """Return the preset and the arguments for a quality point."""
    if encoder in ("libx264", "libx265"):
        return "medium", ("-preset", "medium", "-crf", str(cq))
    if encoder == "libsvtav1":
        return "8", ("-preset", "8", "-crf", str(scale_63(cq)))
    if encoder == "libaom-av1":
        return "6", ("-cpu-used", "6", "-crf", str(round(cq * 63 / 51)))
    # libvvenc has no -crf: with one it warns, exits 0 and encodes every point alike
    return "faster", ("-preset", "faster", "-qp", str(cq), "-pix_fmt", "yuv420p10le")
