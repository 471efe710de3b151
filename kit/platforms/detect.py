"""Detect the platform: ``probe_host`` gathers facts with processes, ``classify`` and ``narrowed`` are pure."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass, replace
from pathlib import Path

import psutil

from kit.core.errors import BadInput, ToolFailed
from kit.platforms.facts import (
    NVIDIA_FIELDS,
    NVIDIA_MESSAGES,
    RENDER_NODES,
    HostFacts,
    NvidiaGpu,
    RenderNode,
    parse_chip,
    parse_nvidia_smi,
    parse_sysctl,
    parse_vainfo,
)
from kit.platforms.nvenc import Nvenc
from kit.platforms.qsv import Qsv
from kit.platforms.videotoolbox import VideoToolbox
from kit.system.proc import Processes

_SOFTWARE = ("libx264",)


@dataclass(frozen=True, kw_only=True)
class Platform:
    """A platform tag and its encoders.

    Attributes:
        candidates: encoders that are probed by default, in order.
        fallback: encoders to use if no candidate works.
        reason: the reason for the tag, with what is missing.
    """

    tag: str
    candidates: tuple[str, ...]
    fallback: tuple[str, ...] = _SOFTWARE
    reason: str


def classify(facts: HostFacts) -> Platform:
    """Return the platform of a machine, from its operating system and its encoding devices."""
    if facts.system == "Darwin":
        return _mac(facts)
    if facts.system != "Linux":
        system = facts.system or "unknown"
        reason = f"{system} on {facts.machine} is not supported"
        return Platform(tag=f"{system.lower()}-{facts.machine}-cpu", candidates=_SOFTWARE, reason=reason)
    if facts.machine in ("aarch64", "arm64"):
        return Platform(tag="linux-aarch64-cpu", candidates=_SOFTWARE, reason="Linux on Arm")
    prefix = f"linux-{facts.machine}"
    if facts.gpus:
        qsv = Qsv.encoders if facts.ihd_nodes else ()
        reason = f"nvidia-smi shows {_listed(facts.gpus)}" + (f"; iHD on {facts.ihd_nodes[0].name}" if qsv else "")
        return Platform(tag=f"{prefix}-cuda", candidates=Nvenc.encoders + qsv, reason=reason + _where(facts))
    if facts.ihd_nodes:
        reason = f"vainfo shows iHD on {', '.join(node.name for node in facts.ihd_nodes)}"
        return Platform(tag=f"{prefix}-sycl", candidates=Qsv.encoders, reason=reason + _where(facts))
    reason = f"no NVIDIA GPU ({facts.nvidia_problem or 'none listed'}), {_no_intel(facts)}{_where(facts)}"
    return Platform(tag=f"{prefix}-vulkan", candidates=_SOFTWARE, reason=reason)


def narrowed(facts: HostFacts, *, gpu: int | None, render_node: str | None, cuda_visible: str = "") -> HostFacts:
    """Return the facts with the requested GPU and render node only.

    Args:
        gpu: index of nvidia-smi; None for all.
        render_node: e.g. ``renderD129``; None for all.
        cuda_visible: value of ``CUDA_VISIBLE_DEVICES``; CUDA numbers only the GPUs in it.

    Raises:
        BadInput: the device does not exist.
    """
    gpus, nodes = _visible(facts.gpus, cuda_visible), facts.nodes
    if gpu is not None:
        gpus = tuple(one for one in gpus if one.index == gpu)
        if not gpus:
            hidden = any(one.index == gpu for one in facts.gpus)
            known = "; ".join(f"{one.index}: {one}" for one in facts.gpus) or facts.nvidia_problem
            raise BadInput(
                f"--gpu {gpu}: {'CUDA_VISIBLE_DEVICES hides it' if hidden else 'no such GPU'}",
                hint=f"GPUs of nvidia-smi: {known}.",
            )
    if render_node is not None:
        nodes = tuple(node for node in nodes if node.name == render_node)
        if not nodes:
            known = ", ".join(f"{node.name} ({node.driver or node.problem})" for node in facts.nodes) or "none"
            raise BadInput(f"--render-node {render_node}: no such node", hint=f"Nodes in {RENDER_NODES}: {known}.")
    return replace(facts, gpus=gpus, nodes=nodes)


def _visible(gpus: tuple[NvidiaGpu, ...], cuda_visible: str) -> tuple[NvidiaGpu, ...]:
    """Return the GPUs in CUDA's order with CUDA's numbers; without numbers if ``cuda_visible`` has UUIDs."""
    if len(gpus) < 2:
        return gpus
    names = [word.strip() for word in cuda_visible.split(",") if word.strip()]
    if not names or not all(word.isdigit() for word in names):
        return gpus if names else tuple(replace(gpu, ordinal=number) for number, gpu in enumerate(gpus))
    by_index = {gpu.index: gpu for gpu in gpus}
    visible = [by_index[int(word)] for word in names if int(word) in by_index]
    return tuple(replace(gpu, ordinal=number) for number, gpu in enumerate(visible))


def _mac(facts: HostFacts) -> Platform:
    chip = f", {facts.chip}" if facts.chip else ""
    note = "; under Rosetta, which has no constant quality" if facts.translated else ""
    reason = f"macOS on {facts.machine}{chip}{note}"
    return Platform(tag=f"darwin-{facts.machine}-cpu", candidates=VideoToolbox.encoders, reason=reason)


def _listed(gpus: tuple[NvidiaGpu, ...]) -> str:
    return "; ".join(f"{gpu.index}: {gpu}" for gpu in gpus) if len(gpus) > 1 else str(gpus[0])


def _no_intel(facts: HostFacts) -> str:
    if not facts.nodes:
        return "no /dev/dri in this container" if facts.container else "no render node"
    drivers = (f"{node.name}: {node.driver or node.problem}" for node in facts.nodes)
    return f"no render node with Intel's iHD ({', '.join(drivers)})"


def _where(facts: HostFacts) -> str:
    return "; inside WSL" if facts.wsl else "; inside a container" if facts.container else ""


def probe_host(processes: Processes) -> HostFacts:
    """Gather facts about the machine. A missing tool is not an error; the facts have the reason."""
    system, machine = platform.system(), platform.machine()
    if system == "Darwin":
        return _probe_mac(machine, processes)
    gpus, problem = _nvidia(processes) if system == "Linux" else ((), "not searched")
    names = sorted(path.name for path in RENDER_NODES.glob("renderD*"))
    return HostFacts(
        system=system,
        machine=machine,
        cores=usable_cores(),
        memory_bytes=psutil.virtual_memory().total,
        wsl="microsoft" in platform.release().lower(),
        container=_in_container(),
        gpus=gpus,
        nvidia_problem=problem,
        nodes=tuple(_node(name, processes) for name in names),
    )


def usable_cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _in_container() -> bool:
    return any(Path(mark).exists() for mark in ("/.dockerenv", "/run/.containerenv"))


def _probe_mac(machine: str, processes: Processes) -> HostFacts:
    keys = ("hw.optional.arm64", "sysctl.proc_translated")
    facts = {key: _output(["sysctl", key], processes) for key in keys}
    known = parse_sysctl("\n".join(facts.values()))
    chip = parse_chip(_output(["system_profiler", "SPHardwareDataType", "-json"], processes))
    return HostFacts(
        system="Darwin",
        machine=machine,
        cores=usable_cores(),
        memory_bytes=psutil.virtual_memory().total,
        chip=chip,
        translated=known.get("sysctl.proc_translated") == "1",
        nvidia_problem="macOS",
    )


def _output(argv: list[str], processes: Processes) -> str:
    """Return the output of a tool, empty if it fails: sysctl exits 1 for an unknown key."""
    try:
        return processes.run(argv, tried=f"running {argv[0]}", timeout=20).stdout.decode("utf-8", "replace")
    except ToolFailed:
        return ""


def _nvidia(processes: Processes) -> tuple[tuple[NvidiaGpu, ...], str]:
    """Return the GPUs, or why there are none; retry without the field that drivers up to 470 lack."""
    gpus, problem = _query_nvidia(NVIDIA_FIELDS, processes)
    if "is not a valid field" in problem:
        return _query_nvidia(tuple(field for field in NVIDIA_FIELDS if field != "compute_cap"), processes)
    return gpus, problem


def _query_nvidia(fields: tuple[str, ...], processes: Processes) -> tuple[tuple[NvidiaGpu, ...], str]:
    argv = ["nvidia-smi", f"--query-gpu={','.join(fields)}", "--format=csv,noheader"]
    try:
        done = processes.run(argv, tried="running nvidia-smi", timeout=20)
    except ToolFailed as error:
        if error.returncode is None:
            return (), "nvidia-smi is not installed"
        message = next((phrase for phrase in NVIDIA_MESSAGES if phrase in error.message + error.stdout), "")
        return (
            (),
            f"nvidia-smi failed: {message}" if message else f"nvidia-smi failed with exit status {error.returncode}",
        )
    gpus = parse_nvidia_smi(done.stdout.decode("utf-8", "replace"), fields)
    return gpus, "" if gpus else "nvidia-smi lists no GPU"


def _node(name: str, processes: Processes) -> RenderNode:
    argv = ["vainfo", "--display", "drm", "--device", str(RENDER_NODES / name)]
    try:
        done = processes.run(argv, tried=f"running vainfo for {name}", timeout=20)
    except ToolFailed as error:
        if error.returncode is None:
            return RenderNode(name=name, problem="vainfo is not installed")
        return parse_vainfo(name, error.stdout + error.message)
    return parse_vainfo(name, done.stdout.decode("utf-8", "replace") + done.stderr)
