"""What this machine is. ``probe_host`` looks, ``classify`` judges and says why; only the first touches anything."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass, replace
from pathlib import Path

from kit.core.errors import BadInput, ToolFailed
from kit.platforms.facts import (
    NVIDIA_FIELDS,
    NVIDIA_SAYS,
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
    """A platform tag and what follows from it.

    Attributes:
        candidates: encoders to try by default, in order; those that fail the probe are left out.
        fallback: encoders to use when no candidate works.
        reason: why this tag, and what is known to be missing.
    """

    tag: str
    candidates: tuple[str, ...]
    fallback: tuple[str, ...] = _SOFTWARE
    reason: str


def classify(facts: HostFacts) -> Platform:
    """The platform tag of a machine, by operating system first, then by what encodes."""
    if facts.system == "Darwin":
        return _mac(facts)
    if facts.system != "Linux":
        system = facts.system or "unknown"
        reason = f"{system} on {facts.machine}: not one the kit was made for"
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
    """The facts with the one GPU and the one render node that were asked for, if any were.

    Args:
        gpu: index as nvidia-smi counts.
        render_node: e.g. ``renderD129``.
        cuda_visible: value of ``CUDA_VISIBLE_DEVICES``; CUDA counts only the GPUs that it names.

    Raises:
        BadInput: there is no such device.
    """
    gpus, nodes = _visible(facts.gpus, cuda_visible), facts.nodes
    if gpu is not None:
        gpus = tuple(seen for seen in gpus if seen.index == gpu)
        if not gpus:
            hidden = any(seen.index == gpu for seen in facts.gpus)
            there = "; ".join(f"{seen.index}: {seen}" for seen in facts.gpus) or facts.nvidia_problem
            raise BadInput(
                f"--gpu {gpu}: {'CUDA_VISIBLE_DEVICES hides it' if hidden else 'no such GPU'}",
                hint=f"nvidia-smi: {there}.",
            )
    if render_node is not None:
        nodes = tuple(node for node in nodes if node.name == render_node)
        if not nodes:
            there = ", ".join(f"{node.name} ({node.driver or node.problem})" for node in facts.nodes) or "none"
            raise BadInput(f"--render-node {render_node}: no such node", hint=f"Under {RENDER_NODES}: {there}.")
    return replace(facts, gpus=gpus, nodes=nodes)


def _visible(gpus: tuple[NvidiaGpu, ...], cuda_visible: str) -> tuple[NvidiaGpu, ...]:
    """The GPUs in CUDA's order with CUDA's numbers; names of other kinds than an index (UUIDs) tell the kit nothing."""
    if len(gpus) < 2:
        return gpus
    named = [word.strip() for word in cuda_visible.split(",") if word.strip()]
    if not named or not all(word.isdigit() for word in named):
        return gpus if named else tuple(replace(gpu, ordinal=number) for number, gpu in enumerate(gpus))
    by_index = {gpu.index: gpu for gpu in gpus}
    seen = [by_index[int(word)] for word in named if int(word) in by_index]
    return tuple(replace(gpu, ordinal=number) for number, gpu in enumerate(seen))


def _mac(facts: HostFacts) -> Platform:
    chip = f", {facts.chip}" if facts.chip else ""
    note = "; under Rosetta, where constant quality is not to be had" if facts.translated else ""
    reason = f"macOS on {facts.machine}{chip}{note}"
    return Platform(tag=f"darwin-{facts.machine}-cpu", candidates=VideoToolbox.encoders, reason=reason)


def _listed(gpus: tuple[NvidiaGpu, ...]) -> str:
    return "; ".join(f"{gpu.index}: {gpu}" for gpu in gpus) if len(gpus) > 1 else str(gpus[0])


def _no_intel(facts: HostFacts) -> str:
    if not facts.nodes:
        return "no /dev/dri in this container" if facts.container else "no render node"
    told = (f"{node.name}: {node.driver or node.problem}" for node in facts.nodes)
    return f"no node with Intel's iHD ({', '.join(told)})"


def _where(facts: HostFacts) -> str:
    return "; inside WSL" if facts.wsl else "; inside a container" if facts.container else ""


def probe_host(processes: Processes) -> HostFacts:
    """Look at the machine. What is missing is no error; the reason is kept."""
    system, machine = platform.system(), platform.machine()
    if system == "Darwin":
        return _probe_mac(machine, processes)
    gpus, problem = _nvidia(processes) if system == "Linux" else ((), "not looked for")
    names = sorted(path.name for path in RENDER_NODES.glob("renderD*"))
    return HostFacts(
        system=system,
        machine=machine,
        cores=usable_cores(),
        memory_bytes=_memory(),
        wsl="microsoft" in platform.release().lower(),
        container=_in_container(),
        gpus=gpus,
        nvidia_problem=problem,
        nodes=tuple(_node(name, processes) for name in names),
    )


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
        memory_bytes=_memory(),
        chip=chip,
        translated=known.get("sysctl.proc_translated") == "1",
        nvidia_problem="macOS",
    )


def _output(argv: list[str], processes: Processes) -> str:
    """What a tool prints, nothing where it fails: an unknown key of sysctl exits 1."""
    try:
        return processes.run(argv, tried=f"asking {argv[0]}", timeout=20).stdout.decode("utf-8", "replace")
    except ToolFailed:
        return ""


def _nvidia(processes: Processes) -> tuple[tuple[NvidiaGpu, ...], str]:
    """The GPUs, or why there are none; asked again without the field that drivers up to 470 do not know."""
    gpus, problem = _ask_nvidia(NVIDIA_FIELDS, processes)
    if "is not a valid field" in problem:
        return _ask_nvidia(tuple(field for field in NVIDIA_FIELDS if field != "compute_cap"), processes)
    return gpus, problem


def _ask_nvidia(fields: tuple[str, ...], processes: Processes) -> tuple[tuple[NvidiaGpu, ...], str]:
    argv = ["nvidia-smi", f"--query-gpu={','.join(fields)}", "--format=csv,noheader"]
    try:
        done = processes.run(argv, tried="asking nvidia-smi for GPUs", timeout=20)
    except ToolFailed as error:
        if error.returncode is None:
            return (), "nvidia-smi is not installed"
        said = next((phrase for phrase in NVIDIA_SAYS if phrase in error.message + error.stdout), "")
        return (), f"nvidia-smi failed: {said}" if said else f"nvidia-smi failed with exit status {error.returncode}"
    gpus = parse_nvidia_smi(done.stdout.decode("utf-8", "replace"), fields)
    return gpus, "" if gpus else "nvidia-smi lists no GPU"


def _node(name: str, processes: Processes) -> RenderNode:
    argv = ["vainfo", "--display", "drm", "--device", str(RENDER_NODES / name)]
    try:
        done = processes.run(argv, tried=f"asking vainfo about {name}", timeout=20)
    except ToolFailed as error:
        if error.returncode is None:
            return RenderNode(name=name, problem="vainfo is not installed")
        return parse_vainfo(name, error.stdout + error.message)
    return parse_vainfo(name, done.stdout.decode("utf-8", "replace") + done.stderr)
