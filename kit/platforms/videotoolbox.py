"""Apple's VideoToolbox."""

from __future__ import annotations

from collections.abc import Mapping

from kit.platforms.base import score_format
from kit.platforms.facts import HostFacts
from kit.types import EncodeSettings


class VideoToolbox:
    """Constant quality, which only an arm64 ffmpeg takes."""

    name = "videotoolbox"
    encoders = ("h264_videotoolbox", "hevc_videotoolbox")
    busy: tuple[str, ...] = ("cannot create compression session",)
    remedies: Mapping[str, str] = {
        "qscale not available for encoder": "Constant quality needs an arm64 ffmpeg on Apple silicon, not Rosetta.",
        "cannot create compression session": "The encoder is busy: close other encodes and try again.",
        "Unrecognized option 'realtime'": "VideoToolbox exists on macOS only.",
    }

    def settings(self, encoder: str, cq: int, pix_fmt: str) -> EncodeSettings:
        """``-q:v`` = 100 − 2N within 1–99; software fallback refused."""
        accepted = ("yuv420p",) if encoder == "h264_videotoolbox" else ("yuv420p", "yuv420p10le")
        score = score_format(encoder, pix_fmt, accepted)
        profile = ("-profile:v", "main10") if score == "yuv420p10le" else ()
        quality = min(99, max(1, 100 - 2 * cq))
        return EncodeSettings(
            encoder=encoder, preset="", cq=cq,
            argv=("-c:v", encoder, "-q:v", str(quality), "-realtime", "0", "-allow_sw", "0", *profile),
            encode_pix_fmt="p010le" if score == "yuv420p10le" else score, score_pix_fmt=score,
        )  # fmt: skip

    def device_args(self, facts: HostFacts) -> tuple[str, ...]:
        """None: there is one media engine."""
        return ()

    def max_parallel(self, facts: HostFacts) -> int | None:
        """Two: no limit is documented, and more bring nothing."""
        return 2

    def build(self, stream: bytes, ffmpeg_version: str, facts: HostFacts) -> str:
        """ffmpeg's version and the architecture."""
        return f"ffmpeg {ffmpeg_version}, VideoToolbox {facts.machine}"
