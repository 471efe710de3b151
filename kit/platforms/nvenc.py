"""NVIDIA's encoder."""

from __future__ import annotations

from collections.abc import Mapping

from kit.platforms.base import scale_63, score_format
from kit.platforms.facts import HostFacts
from kit.types import EncodeSettings

#: GeForce driver version from which on so many sessions are allowed.
_SESSIONS = (((591, 59), 12), ((550,), 8), ((530,), 5), ((0,), 3))


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".") if part.isdigit())


class Nvenc:
    """Constant quality; ``-cq 0`` would mean "automatic", so 1 is the lowest."""

    name = "nvenc"
    encoders = ("h264_nvenc", "hevc_nvenc", "av1_nvenc")
    busy: tuple[str, ...] = ("out of memory (10)", "incompatible client key")
    remedies: Mapping[str, str] = {
        "Cannot load libcuda.so.1": "No NVIDIA driver here; on WSL put /usr/lib/wsl/lib on the library path.",
        "Cannot load libnvidia-encode.so.1": "Install the driver's encode library; in a container set "
        "NVIDIA_DRIVER_CAPABILITIES=video.",
        "does not support the required nvenc API version": "Install a newer NVIDIA driver (610 or later).",
        "unsupported device": "This GPU has no NVENC.",
        "out of memory (10)": "Probably the session limit: close other encodes and try again.",
        "incompatible client key": "Probably the session limit: close other encodes and try again.",
        "Codec not supported": "This GPU does not encode that codec.",
        "10 bit encode not supported": "This GPU encodes that codec in 8 bit only.",
        "No capable devices found": "Another GPU may be meant.",
        "CUDA_ERROR_NO_DEVICE": "The driver shows no GPU to this process.",
    }

    def settings(self, encoder: str, cq: int, pix_fmt: str) -> EncodeSettings:
        """``-rc vbr -cq N -b:v 0 -preset p4``; av1's scale ends at 63."""
        accepted = ("yuv420p",) if encoder == "h264_nvenc" else ("yuv420p", "yuv420p10le")
        score = score_format(encoder, pix_fmt, accepted)
        value = scale_63(cq) if encoder == "av1_nvenc" else max(1, cq)
        return EncodeSettings(
            encoder=encoder, preset="p4", cq=cq,
            argv=("-c:v", encoder, "-rc", "vbr", "-cq", str(value), "-b:v", "0", "-preset", "p4"),
            encode_pix_fmt="p010le" if score == "yuv420p10le" else score, score_pix_fmt=score,
        )  # fmt: skip

    def device_args(self, facts: HostFacts) -> tuple[str, ...]:
        """None: ffmpeg takes the first GPU."""
        return ()

    def max_parallel(self, facts: HostFacts) -> int | None:
        """Sessions a GeForce driver allows system-wide; professional cards have no fixed cap.

        The steps are hints from the community, so a box that allows fewer is met at run time.
        """
        if not facts.gpus or "GeForce" not in facts.gpus[0].name:
            return 3 if not facts.gpus else None
        driver = _version(facts.gpus[0].driver)
        return next((limit for since, limit in _SESSIONS if driver >= since), _SESSIONS[-1][1])

    def build(self, stream: bytes, ffmpeg_version: str, facts: HostFacts) -> str:
        """GPU and driver."""
        return f"ffmpeg {ffmpeg_version}, {facts.gpus[0] if facts.gpus else 'unknown GPU'}"
