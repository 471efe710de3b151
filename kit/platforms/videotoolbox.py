"""Apple's VideoToolbox."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from kit.core.values import EncodeSettings, Finding
from kit.platforms.base import EncoderFamily
from kit.platforms.facts import HostFacts


class VideoToolbox(EncoderFamily):
    """Constant quality, which only an arm64 ffmpeg supports."""

    name = "videotoolbox"
    encoders = ("h264_videotoolbox", "hevc_videotoolbox")
    busy: ClassVar[tuple[str, ...]] = ("cannot create compression session",)
    remedies: ClassVar[Mapping[str, str]] = {
        "qscale not available for encoder": "Constant quality needs an arm64 ffmpeg on Apple silicon, not Rosetta.",
        "cannot create compression session": "The encoder is busy: close other encodes and try again.",
        "Unrecognized option 'realtime'": "VideoToolbox exists on macOS only.",
    }

    def settings(self, encoder: str, cq: int, pix_fmt: str, variant: str) -> EncodeSettings:
        """Return ``-q:v`` = 100 − 2N within 1–99, without software fallback."""
        quality = min(99, max(1, 100 - 2 * cq))
        return self.device_settings(
            encoder,
            cq,
            pix_fmt,
            ("-q:v", str(quality), "-realtime", "0", "-allow_sw", "0"),
            preset="",
            ten_bit=encoder != "h264_videotoolbox",
            ten_bit_options=("-profile:v", "main10"),
        )

    def build(self, stream: bytes, ffmpeg_version: str, facts: HostFacts) -> str:
        """Return ffmpeg's version and the architecture."""
        return f"ffmpeg {ffmpeg_version}, VideoToolbox {facts.machine}"

    def findings(self, facts: HostFacts, *, works: bool) -> tuple[Finding, ...]:
        """Report whether constant quality works on this Mac."""
        if facts.system != "Darwin":
            return ()
        chip = facts.chip or facts.machine
        if works:
            return (Finding(check="VideoToolbox", status="pass", found=chip),)
        if facts.translated:
            remedy = "Start the kit with an arm64 Python; Rosetta has no constant quality."
        elif facts.machine == "x86_64":
            remedy = "None: constant quality needs Apple silicon; libx264 is used."
        else:
            remedy = "See its encoders above."
        return (Finding(check="VideoToolbox", status="warning", found=f"{chip}: does not work", remedy=remedy),)
