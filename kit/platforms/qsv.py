"""Intel Quick Sync Video."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from kit.core.values import EncoderDevice, EncodeSettings, Finding
from kit.platforms.base import EncoderFamily
from kit.platforms.facts import RENDER_NODES, HostFacts

_ICQ, _CQP = "icq", "cqp"
_SILENT = "To encode with an Intel GPU, install vainfo and intel-media-va-driver-non-free and join the group render."


class Qsv(EncoderFamily):
    """ICQ, ``-global_quality`` 1–51 without a maximum rate; CQP on devices without ICQ.

    The low-power mode of the 11th to 14th generation has no ICQ, nor has av1 on Arc before media driver 23.3.4.
    """

    name = "qsv"
    encoders = ("h264_qsv", "hevc_qsv", "av1_qsv")
    eight_bit_input = "nv12"
    variants = (_ICQ, _CQP)
    lacking: ClassVar[tuple[str, ...]] = ("Selected ratecontrol mode is unsupported",)
    remedies: ClassVar[Mapping[str, str]] = {
        "Error creating a MFX session: -9": "Install libmfx-gen1.2 (11th generation and later) or libmfx1, and "
        "intel-media-va-driver-non-free; the user must be in the group render.",
        "No VA display found for device": "No such render node, or no permission for it (group render).",
        "No device available": "No render node of an Intel GPU; the user must be in the group render.",
        "Selected ratecontrol mode is unsupported": "This GPU has neither ICQ nor CQP for that codec.",
        "Device creation failed": "No Intel GPU answers: no render node, or the user is not in the group render.",
        "libva-drm.so.2: failed to load": "Install libva2 and libva-drm2.",
    }

    def settings(self, encoder: str, cq: int, pix_fmt: str, variant: str) -> EncodeSettings:
        """Use preset medium. h264 silently reduces 10 bits to 8, so it gets 8. CQP of av1 is 5N."""
        knob, scale = ("-q:v", 5 if encoder == "av1_qsv" else 1) if variant == _CQP else ("-global_quality", 1)
        options = (knob, str(scale * max(1, cq)), "-preset", "medium")
        return self.device_settings(encoder, cq, pix_fmt, options, preset="medium", ten_bit=encoder != "h264_qsv")

    def device(self, facts: HostFacts) -> EncoderDevice:
        """Open the first node with Intel's driver, else the first render node."""
        nodes = facts.ihd_nodes or facts.nodes
        at = f"qsv=hw,child_device={RENDER_NODES / nodes[0].name}" if nodes else "qsv=hw"
        return EncoderDevice(opened=("-init_hw_device", at))

    def build(self, stream: bytes, ffmpeg_version: str, facts: HostFacts) -> str:
        """Return ffmpeg's version and the media driver's."""
        version = facts.ihd_nodes[0].version if facts.ihd_nodes else "unknown"
        return f"ffmpeg {ffmpeg_version}, iHD {version}"

    def findings(self, facts: HostFacts, *, works: bool) -> tuple[Finding, ...]:
        """Report the render node that encodes, or its driver's problem."""
        silent = [node for node in facts.nodes if node.problem]
        if silent and not facts.ihd_nodes and not facts.gpus:
            text = "; ".join(f"{node.name}: {node.problem}" for node in silent)
            return (Finding(check="render nodes", status="warning", found=text, remedy=_SILENT),)
        if not facts.ihd_nodes:
            return ()
        node, others = facts.ihd_nodes[0], [other.name for other in facts.ihd_nodes[1:]]
        text = f"{node.name}: iHD {node.version or 'of unknown version'}, encodes {', '.join(node.encodes) or 'none'}"
        text += f"; also {', '.join(others)}, see --render-node" if others else ""
        if works:
            return (Finding(check="Intel GPU", status="pass", found=text),)
        return (
            Finding(
                check="Intel GPU",
                status="warning",
                found=f"{text}; Quick Sync does not work",
                remedy="See its encoders above.",
            ),
        )
