"""What this machine is. ``probe_host`` looks, ``classify`` judges and says why; only the first touches anything."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass

from kit.errors import ToolFailed
from kit.platforms.base import RENDER_NODES, HostFacts
from kit.proc import Processes

_NVENC = ("h264_nvenc", "hevc_nvenc", "av1_nvenc")
_QSV = ("h264_qsv", "hevc_qsv", "av1_qsv")
#: What nvidia-smi is known to say when it cannot answer.
_NVIDIA_SAYS = (
    "couldn't communicate with the NVIDIA driver",
    "Driver/library version mismatch",
    "No devices were found",
    "is not a valid field to query",
)
_VIDEOTOOLBOX = ("h264_videotoolbox", "hevc_videotoolbox")


@dataclass(frozen=True, kw_only=True)
class Platform:
    """A platform tag and what follows from it.

    Attributes:
        candidates: encoders to try by default, in order; those that fail the probe are left out.
        fallback: encoders to use when no candidate works.
        reason: why this tag.
    """

    tag: str
    candidates: tuple[str, ...]
    fallback: tuple[str, ...] = ("libx264",)
    reason: str


def classify(facts: HostFacts) -> Platform:
    """The platform tag of a machine."""
    if facts.system == "Darwin":
        return Platform(tag=f"darwin-{facts.machine}-cpu", candidates=_VIDEOTOOLBOX, reason=f"macOS on {facts.machine}")
    if facts.machine in ("aarch64", "arm64"):
        return Platform(tag=f"{facts.system.lower()}-aarch64-cpu", candidates=("libx264",), reason="Linux on Arm")
    prefix = f"{facts.system.lower()}-{facts.machine}"
    if facts.gpus:
        qsv = _QSV if facts.ihd_nodes else ()
        reason = f"nvidia-smi shows {facts.gpus[0]}" + (", and an Intel node with iHD is there" if qsv else "")
        return Platform(tag=f"{prefix}-cuda", candidates=_NVENC + qsv, reason=reason)
    if facts.ihd_nodes:
        return Platform(tag=f"{prefix}-sycl", candidates=_QSV, reason=f"vainfo shows iHD on {facts.ihd_nodes[0]}")
    return Platform(
        tag=f"{prefix}-vulkan", candidates=("libx264",),
        reason=f"no NVIDIA GPU ({facts.nvidia_problem}), no Intel render node",
    )  # fmt: skip


def probe_host(processes: Processes) -> HostFacts:
    """Look at the machine. What is missing is no error; the reason is kept."""
    system, machine = platform.system(), platform.machine()
    gpus, problem = _nvidia(processes) if system == "Linux" else ((), "macOS")
    nodes = tuple(sorted(path.name for path in RENDER_NODES.glob("renderD*")))
    return HostFacts(
        system=system, machine=machine, cores=usable_cores(), memory_bytes=_memory(), gpus=gpus,
        nvidia_problem=problem, render_nodes=nodes,
        ihd_nodes=tuple(node for node in nodes if _has_ihd(node, processes)),
    )  # fmt: skip


def usable_cores() -> int:
    """Cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _memory() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return None


def _nvidia(processes: Processes) -> tuple[tuple[str, ...], str]:
    argv = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        done = processes.run(argv, tried="asking nvidia-smi for GPUs", timeout=20)
    except ToolFailed as error:
        if error.returncode is None:
            return (), "nvidia-smi is not installed"
        # its own words may name PCI addresses, which stay here
        known = next((phrase for phrase in _NVIDIA_SAYS if phrase in error.message), "")
        return (), f"nvidia-smi failed: {known}" if known else f"nvidia-smi failed with exit status {error.returncode}"
    lines = [line.strip() for line in done.stdout.decode("utf-8", "replace").splitlines() if line.strip()]
    return (tuple(lines), "") if lines else ((), "nvidia-smi lists no GPU")


def _has_ihd(node: str, processes: Processes) -> bool:
    argv = ["vainfo", "--display", "drm", "--device", str(RENDER_NODES / node)]
    try:
        done = processes.run(argv, tried=f"asking vainfo about {node}", timeout=20)
    except ToolFailed:
        return False
    return "iHD" in done.stdout.decode("utf-8", "replace") + done.stderr
