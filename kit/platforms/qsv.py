"""Intel Quick Sync Video."""

from __future__ import annotations

from collections.abc import Mapping

from kit.platforms.base import score_format
from kit.platforms.facts import RENDER_NODES, HostFacts
from kit.types import EncodeSettings


class Qsv:
    """ICQ: ``-global_quality`` without a maximum rate, 1–51."""

    name = "qsv"
    encoders = ("h264_qsv", "hevc_qsv", "av1_qsv")
    busy: tuple[str, ...] = ()
    remedies: Mapping[str, str] = {
        "Error creating a MFX session: -9": "Install libmfx-gen1.2 (11th generation and later) or libmfx1, and "
        "intel-media-va-driver-non-free; the user must be in the group render.",
        "No VA display found for device": "No such render node, or no permission for it (group render).",
        "No device available": "No Intel GPU's render node is there; the user must be in the group render.",
        "Selected ratecontrol mode is unsupported": "The low-power mode of this GPU has no ICQ.",
        "Device creation failed": "No Intel GPU answers: no render node, or the user is not in the group render.",
        "libva-drm.so.2: failed to load": "Install libva2 and libva-drm2.",
    }

    def settings(self, encoder: str, cq: int, pix_fmt: str) -> EncodeSettings:
        """Preset medium; 10-bit h264 would silently be cut to 8, so it is 8 from the start."""
        accepted = ("yuv420p",) if encoder == "h264_qsv" else ("yuv420p", "yuv420p10le")
        score = score_format(encoder, pix_fmt, accepted)
        return EncodeSettings(
            encoder=encoder, preset="medium", cq=cq,
            argv=("-c:v", encoder, "-global_quality", str(max(1, cq)), "-preset", "medium"),
            encode_pix_fmt="p010le" if score == "yuv420p10le" else "nv12", score_pix_fmt=score,
        )  # fmt: skip

    def device_args(self, facts: HostFacts) -> tuple[str, ...]:
        """The first node with Intel's driver, else the first render node there is."""
        nodes = facts.ihd_nodes or facts.nodes
        return ("-init_hw_device", f"qsv=hw,child_device={RENDER_NODES / nodes[0].name}" if nodes else "qsv=hw")

    def max_parallel(self, facts: HostFacts) -> int | None:
        """Two keep the device busy."""
        return 2

    def build(self, stream: bytes, ffmpeg_version: str, facts: HostFacts) -> str:
        """ffmpeg's version and the media driver's."""
        version = facts.ihd_nodes[0].version if facts.ihd_nodes else "unknown"
        return f"ffmpeg {ffmpeg_version}, iHD {version}"
