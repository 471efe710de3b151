"""Facts about a box, and parsers of the output of its tools. Pure."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import dataclass
from pathlib import Path

#: Folder of DRM render nodes on Linux.
RENDER_NODES = Path("/dev/dri")

#: Queried columns of nvidia-smi, without uuid, serial number and PCI address.
NVIDIA_FIELDS = (
    "index",
    "name",
    "driver_version",
    "compute_cap",
    "memory.total",
    "encoder.stats.sessionCount",
    "mig.mode.current",
)
#: Known error messages of nvidia-smi and vainfo; other messages may contain addresses.
NVIDIA_MESSAGES = (
    "couldn't communicate with the NVIDIA driver",
    "Driver/library version mismatch",
    "No devices were found",
    "is not a valid field to query",
)
VAINFO_MESSAGES = ("init failed", "vaGetDriverNames() failed", "vaInitialize failed", "Failed to open")


@dataclass(frozen=True, kw_only=True)
class NvidiaGpu:
    """One row of nvidia-smi. ``[N/A]`` and ``[Not Supported]`` are None.

    Attributes:
        index: nvidia-smi's number, in the order of PCI addresses.
        ordinal: CUDA's number in this process; None with a single GPU.
        compute_cap: e.g. ``8.9``; unknown up to driver 470.
        memory_mib: installed memory.
        sessions: open encode sessions.
        mig: the GPU is partitioned (MIG).
    """

    index: int
    name: str
    driver: str
    compute_cap: str | None = None
    memory_mib: int | None = None
    sessions: int | None = None
    mig: bool = False
    ordinal: int | None = None

    def __str__(self) -> str:
        return f"{self.name}, driver {self.driver}"


@dataclass(frozen=True, kw_only=True)
class RenderNode:
    """A DRM render node as vainfo describes it.

    Attributes:
        name: e.g. ``renderD128``.
        driver: ``iHD``, ``i965``, ``Mesa`` or another; empty if vainfo failed.
        version: of the driver, e.g. ``23.4.3``.
        encodes: the video codecs that it encodes, of ``h264``, ``hevc``, ``hevc10``, ``av1``.
        problem: why vainfo failed.
    """

    name: str
    driver: str = ""
    version: str = ""
    encodes: tuple[str, ...] = ()
    problem: str = ""


@dataclass(frozen=True, kw_only=True)
class HostFacts:
    """Facts about the machine.

    Attributes:
        system: ``Linux``, ``Darwin`` or another name of the operating system.
        machine: ``x86_64``, ``aarch64`` or ``arm64``.
        cores: cores that this process may use.
        memory_bytes: installed memory; None if unknown.
        wsl, container: a Linux inside Windows; a process inside a container.
        chip: Apple's name of the processor.
        translated: this process runs under Rosetta.
        nvidia_problem: why ``nvidia-smi`` failed; empty if it did not.
    """

    system: str
    machine: str
    cores: int
    memory_bytes: int | None
    wsl: bool = False
    container: bool = False
    chip: str = ""
    translated: bool = False
    gpus: tuple[NvidiaGpu, ...] = ()
    nvidia_problem: str = ""
    nodes: tuple[RenderNode, ...] = ()

    @property
    def ihd_nodes(self) -> tuple[RenderNode, ...]:
        """Render nodes with Intel's media driver."""
        return tuple(node for node in self.nodes if node.driver == "iHD")


def parse_nvidia_smi(text: str, fields: tuple[str, ...] = NVIDIA_FIELDS) -> tuple[NvidiaGpu, ...]:
    """Parse ``--format=csv,noheader`` rows; skip lines that are not rows (messages)."""
    gpus = []
    for row in csv.reader(text.splitlines(), skipinitialspace=True):
        if len(row) != len(fields) or not row[0].strip().isdigit():
            continue
        value = {field: cell.strip() for field, cell in zip(fields, row, strict=True)}
        capability = value.get("compute_cap", "")
        gpus.append(
            NvidiaGpu(
                index=int(value["index"]),
                name=value["name"],
                driver=value["driver_version"],
                compute_cap=capability if re.fullmatch(r"\d+\.\d+", capability) else None,
                memory_mib=_number(value.get("memory.total", "")),
                sessions=_number(value.get("encoder.stats.sessionCount", "")),
                mig=value.get("mig.mode.current") == "Enabled",
            )
        )
    return tuple(gpus)


def _number(text: str) -> int | None:
    match = re.match(r"\d+", text)
    return int(match[0]) if match else None


_PROFILES = {"H264Main": "h264", "H264High": "h264", "HEVCMain": "hevc", "HEVCMain10": "hevc10", "AV1Profile0": "av1"}


def parse_vainfo(name: str, text: str) -> RenderNode:
    """Parse the output of ``vainfo --display drm --device NODE``, stdout and stderr together."""
    driver = re.search(r"Driver version: (Intel )?(\w+)(?:.*? - (\d[\d.]*))?", text)
    pairs = re.findall(r"VAProfile(\w+)\s*:\s*VAEntrypoint(EncSlice(?:LP)?)\b", text)
    encodes = tuple(dict.fromkeys(_PROFILES[profile] for profile, _ in pairs if profile in _PROFILES))
    if driver is None:
        message = next((phrase for phrase in VAINFO_MESSAGES if phrase in text), "")
        return RenderNode(name=name, problem=f"vainfo: {message}" if message else "vainfo: no driver in its output")
    return RenderNode(name=name, driver=driver[2], version=driver[3] or "", encodes=encodes)


def parse_sysctl(text: str) -> dict[str, str]:
    """Parse ``sysctl`` lines ``key: value``."""
    return dict(re.findall(r"^([\w.]+)[:=]\s*(.*?)\s*$", text, re.MULTILINE))


def parse_chip(text: str) -> str:
    """Return Apple's processor from ``system_profiler SPHardwareDataType -json``, without serial number and UUID."""
    try:
        hardware = json.loads(text)["SPHardwareDataType"][0]
        return str(hardware.get("chip_type") or hardware.get("cpu_type") or "")
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        return ""
