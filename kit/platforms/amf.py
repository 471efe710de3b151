"""AMD's Advanced Media Framework."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from kit.core.values import EncodeSettings
from kit.platforms.base import EncoderFamily
from kit.platforms.facts import HostFacts


class Amf(EncoderFamily):
    """Constant QP. Never a default: its runtime is rarely installed on Linux."""

    name = "amf"
    encoders = ("h264_amf", "hevc_amf", "av1_amf")
    eight_bit_input = "nv12"
    remedies: ClassVar[Mapping[str, str]] = {
        "libamfrt64.so.1 failed to open": "Install AMD's AMF runtime (amf-amdgpu-pro)."
    }

    def settings(self, encoder: str, cq: int, pix_fmt: str, variant: str) -> EncodeSettings:
        """Use the same QP for every frame type; AV1's index scale is five times as fine."""
        value = str(5 * cq if encoder == "av1_amf" else cq)
        qps = ("-qp_i", value, "-qp_p", value) + (() if encoder == "hevc_amf" else ("-qp_b", value))
        options = ("-usage", "transcoding", "-quality", "balanced", "-rc", "cqp", *qps)
        return self.device_settings(encoder, cq, pix_fmt, options, preset="balanced", ten_bit=encoder != "h264_amf")

    def build(self, stream: bytes, ffmpeg_version: str, facts: HostFacts) -> str:
        """Return ffmpeg's version; the runtime's is unknown."""
        return f"ffmpeg {ffmpeg_version}, AMF"
