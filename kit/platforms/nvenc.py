"""NVIDIA's encoder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from kit.core.values import NO_DEVICE, EncoderDevice, EncodeSettings, Finding
from kit.platforms.base import EncoderFamily, scale_63
from kit.platforms.facts import HostFacts, NvidiaGpu

#: GeForce driver version and the sessions that it and later ones allow.
_SESSIONS = (((591, 59), 12), ((550,), 8), ((530,), 5), ((0,), 3))
#: Driver that the NVENC interface (13.1) of the bundled ffmpeg requires.
_DRIVER_OF_BUNDLED = (610,)

_TEN_BIT, _EIGHT_BIT = "10 bit", "8 bit"


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".") if part.isdigit())


class Nvenc(EncoderFamily):
    """Constant quality; ``-cq 0`` means "automatic", so 1 is the lowest.

    h264 supports 10 bits since Blackwell only; the probe tries it.
    """

    name = "nvenc"
    encoders = ("h264_nvenc", "hevc_nvenc", "av1_nvenc")
    variants = (_TEN_BIT, _EIGHT_BIT)
    lacking: ClassVar[tuple[str, ...]] = ("10 bit encode not supported",)
    busy: ClassVar[tuple[str, ...]] = ("out of memory (10)", "incompatible client key")
    remedies: ClassVar[Mapping[str, str]] = {
        "Cannot load libcuda.so.1": "No NVIDIA driver here; on WSL put /usr/lib/wsl/lib on the library path.",
        "Cannot load libnvidia-encode.so.1": "Install the driver's encode library; in a container set "
        "NVIDIA_DRIVER_CAPABILITIES=video.",
        "does not support the required nvenc API version": "Install a newer NVIDIA driver (610 or later).",
        "unsupported device": "This GPU has no NVENC.",
        "out of memory (10)": "Probably the session limit: close other encodes and try again.",
        "incompatible client key": "Probably the session limit: close other encodes and try again.",
        "Codec not supported": "This GPU does not encode that codec.",
        "10 bit encode not supported": "This GPU encodes that codec in 8 bit only.",
        "No capable devices found": "Choose another GPU with --gpu.",
        "CUDA_ERROR_NO_DEVICE": "The driver shows no GPU to this process.",
    }

    def settings(self, encoder: str, cq: int, pix_fmt: str, variant: str) -> EncodeSettings:
        """Return ``-rc vbr -cq N -b:v 0 -preset p4``; the scale of av1 ends at 63."""
        value = scale_63(cq) if encoder == "av1_nvenc" else max(1, cq)
        options = ("-rc", "vbr", "-cq", str(value), "-b:v", "0", "-preset", "p4")
        return self.device_settings(encoder, cq, pix_fmt, options, preset="p4", ten_bit=variant != _EIGHT_BIT)

    def device(self, facts: HostFacts) -> EncoderDevice:
        """Select the GPU by CUDA's number, if there are several."""
        gpu = facts.gpus[0] if facts.gpus else None
        return NO_DEVICE if gpu is None or gpu.ordinal is None else EncoderDevice(chosen=("-gpu", str(gpu.ordinal)))

    def max_parallel(self, facts: HostFacts) -> int | None:
        """Return the system-wide sessions of a GeForce driver; professional cards have no fixed limit.

        The limits are not documented by NVIDIA; a run also handles a box that allows fewer.
        """
        if not facts.gpus or "GeForce" not in facts.gpus[0].name:
            return 3 if not facts.gpus else None
        driver = _version(facts.gpus[0].driver)
        return next((limit for since, limit in _SESSIONS if driver >= since), _SESSIONS[-1][1])

    def build(self, stream: bytes, ffmpeg_version: str, facts: HostFacts) -> str:
        """Return ffmpeg's version, GPU and driver."""
        return f"ffmpeg {ffmpeg_version}, {facts.gpus[0] if facts.gpus else 'unknown GPU'}"

    def findings(self, facts: HostFacts, *, works: bool) -> tuple[Finding, ...]:
        """Report the GPU that encodes and its known problems."""
        if not facts.gpus:
            return ()
        gpu = facts.gpus[0]
        findings = [_used(facts)] if works else [_unused(gpu)]
        if gpu.mig:
            findings.append(
                Finding(
                    check="GPU partitions",
                    status="warning",
                    found=f"{gpu.name} is split (MIG)",
                    remedy="Switch MIG off to use its encoder.",
                )
            )
        if gpu.sessions:
            text = f"{gpu.sessions} open encode sessions of other programs"
            findings.append(
                Finding(check="NVENC sessions", status="warning", found=text, remedy="Close them to go faster.")
            )
        return tuple(findings)


def _used(facts: HostFacts) -> Finding:
    several = "; the first of " + "; ".join(f"{gpu.index}: {gpu.name}" for gpu in facts.gpus) + ", see --gpu"
    return Finding(check="GPU", status="pass", found=f"{facts.gpus[0]}" + (several if len(facts.gpus) > 1 else ""))


def _unused(gpu: NvidiaGpu) -> Finding:
    old = _version(gpu.driver) < _DRIVER_OF_BUNDLED
    remedy = (
        "The bundled ffmpeg needs driver 610 or later: install it, or put the system's ffmpeg on PATH."
        if old
        else "See its encoders above."
    )
    return Finding(check="GPU", status="warning", found=f"{gpu}: NVENC does not work", remedy=remedy)
