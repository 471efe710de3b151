"""AMD's Advanced Media Framework."""

from __future__ import annotations

from collections.abc import Mapping

from kit.core.values import NO_DEVICE, Device, EncodeSettings, Finding
from kit.platforms.base import ONLY, score_format
from kit.platforms.facts import HostFacts


class Amf:
    """Constant QP. Never a default: its runtime is rarely installed on Linux."""

    name = "amf"
    encoders = ("h264_amf", "hevc_amf", "av1_amf")
    variants = (ONLY,)
    lacking: tuple[str, ...] = ()
    busy: tuple[str, ...] = ()
    remedies: Mapping[str, str] = {"libamfrt64.so.1 failed to open": "Install AMD's AMF runtime (amf-amdgpu-pro)."}

    def settings(self, encoder: str, cq: int, pix_fmt: str, variant: str) -> EncodeSettings:
        """The same QP for every frame type; AV1's index scale is five times as fine."""
        accepted = ("yuv420p",) if encoder == "h264_amf" else ("yuv420p", "yuv420p10le")
        score = score_format(encoder, pix_fmt, accepted)
        value = str(5 * cq if encoder == "av1_amf" else cq)
        qps = ("-qp_i", value, "-qp_p", value) + (() if encoder == "hevc_amf" else ("-qp_b", value))
        return EncodeSettings(
            encoder=encoder,
            preset="balanced",
            cq=cq,
            argv=("-c:v", encoder, "-usage", "transcoding", "-quality", "balanced", "-rc", "cqp", *qps),
            encode_pix_fmt="p010le" if score == "yuv420p10le" else "nv12",
            score_pix_fmt=score,
        )

    def device(self, facts: HostFacts) -> Device:
        """Nothing to say: the runtime finds the device."""
        return NO_DEVICE

    def max_parallel(self, facts: HostFacts) -> int | None:
        """Two keep the device busy."""
        return 2

    def build(self, stream: bytes, ffmpeg_version: str, facts: HostFacts) -> str:
        """ffmpeg's version; the runtime's is not known yet."""
        return f"ffmpeg {ffmpeg_version}, AMF"

    def findings(self, facts: HostFacts, *, works: bool) -> tuple[Finding, ...]:
        """None: it is never a default, and its encoders' own findings tell of the runtime."""
        return ()
