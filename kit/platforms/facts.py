"""Facts about a box, and how they are read from what its tools print. Pure."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import dataclass
from pathlib import Path

#: Where Linux shows DRM render nodes.
RENDER_NODES = Path("/dev/dri")

#: Columns asked of nvidia-smi; no uuid, serial number or PCI address among them.
NVIDIA_FIELDS = (
    "index",
    "name",
    "driver_version",
    "compute_cap",
    "memory.total",
    "encoder.stats.sessionCount",
    "mig.mode.current",
)
#: What nvidia-smi and vainfo are known to say when they cannot answer; their other words may name addresses.
NVIDIA_SAYS = (
    "couldn't communicate with the NVIDIA driver",
    "Driver/library version mismatch",
    "No devices were found",
    "is not a valid field to query",
)
VAINFO_SAYS = ("init failed", "vaGetDriverNames() failed", "vaInitialize failed", "Failed to open")


@dataclass(frozen=True, kw_only=True)
class NvidiaGpu:
    """One row of nvidia-smi. What it does not know (``[N/A]``, ``[Not Supported]``) is None.

    Attributes:
        index: nvidia-smi's, in the order of PCI addresses.
        ordinal: CUDA's number of it in this process; None where nothing has to be chosen.
        compute_cap: e.g. ``8.9``; unknown up to driver 470.
        memory_mib: installed memory; sessions: encode sessions open now; mig: whether it is split (MIG).
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
        driver: ``iHD``, ``i965``, ``Mesa`` or another; empty where vainfo gave nothing.
        version: of the driver, e.g. ``23.4.3``.
        encodes: codecs it encodes, of ``h264``, ``hevc``, ``hevc10``, ``av1``; JPEG is none.
        problem: why vainfo gave nothing.
    """

    name: str
    driver: str = ""
    version: str = ""
    encodes: tuple[str, ...] = ()
    problem: str = ""


@dataclass(frozen=True, kw_only=True)
class HostFacts:
    """What was seen of the machine, without judgement.

    Attributes:
        system: ``Linux``, ``Darwin`` or another name that the operating system gives itself.
        machine: ``x86_64``, ``aarch64`` or ``arm64``.
        cores: how many this process may use.
        memory_bytes: installed memory; None where it cannot be read.
        wsl, container: a Linux inside Windows; a process inside a container.
        chip: Apple's name of the processor; translated: this process runs under Rosetta.
        nvidia_problem: why ``nvidia-smi`` gave nothing, empty if it answered.
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
        """Render nodes that Intel's media driver serves."""
        return tuple(node for node in self.nodes if node.driver == "iHD")


def parse_nvidia_smi(text: str, fields: tuple[str, ...] = NVIDIA_FIELDS) -> tuple[NvidiaGpu, ...]:
    """Read ``--format=csv,noheader`` rows; lines that are no rows (messages) are passed over."""
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
    found = re.match(r"\d+", text)
    return int(found[0]) if found else None


_PROFILES = {"H264Main": "h264", "H264High": "h264", "HEVCMain": "hevc", "HEVCMain10": "hevc10", "AV1Profile0": "av1"}


def parse_vainfo(name: str, text: str) -> RenderNode:
    """Read what ``vainfo --display drm --device NODE`` printed, stdout and stderr together."""
    driver = re.search(r"Driver version: (Intel )?(\w+)(?:.*? - (\d[\d.]*))?", text)
    pairs = re.findall(r"VAProfile(\w+)\s*:\s*VAEntrypoint(EncSlice(?:LP)?)\b", text)
    encodes = tuple(dict.fromkeys(_PROFILES[profile] for profile, _ in pairs if profile in _PROFILES))
    if driver is None:
        said = next((phrase for phrase in VAINFO_SAYS if phrase in text), "")
        return RenderNode(name=name, problem=f"vainfo: {said}" if said else "vainfo says nothing of a driver")
    return RenderNode(name=name, driver=driver[2], version=driver[3] or "", encodes=encodes)


def parse_sysctl(text: str) -> dict[str, str]:
    """Read ``sysctl`` lines ``key: value``; a key that is unknown there is simply absent."""
    return dict(re.findall(r"^([\w.]+)[:=]\s*(.*?)\s*$", text, re.MULTILINE))


def parse_chip(text: str) -> str:
    """Apple's processor from ``system_profiler SPHardwareDataType -json``; no serial number, no UUID."""
    try:
        hardware = json.loads(text)["SPHardwareDataType"][0]
        return str(hardware.get("chip_type") or hardware.get("cpu_type") or "")
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        return ""
