"""Platform tags, encoders and reasons from recorded output of nvidia-smi, vainfo, sysctl and system_profiler.

The values are from public captures, without numbers that identify a machine.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from kit.platforms.detect import classify, probe_host
from kit.platforms.facts import (
    HostFacts,
    NvidiaGpu,
    RenderNode,
    parse_chip,
    parse_nvidia_smi,
    parse_sysctl,
    parse_vainfo,
)
from kit.platforms.registry import family_of
from kit.system.proc import Processes

NVENC = ("h264_nvenc", "hevc_nvenc", "av1_nvenc")
QSV = ("h264_qsv", "hevc_qsv", "av1_qsv")
APPLE = ("h264_videotoolbox", "hevc_videotoolbox")
X264 = ("libx264",)

RTX_4080 = "0, NVIDIA GeForce RTX 4080 SUPER, 595.71.05, 8.9, 16376 MiB, 0, [N/A]"
RTX_2080 = "0, NVIDIA GeForce RTX 2080 SUPER, 610.57.04, 7.5, 8192 MiB, 0, [N/A]"
H100_MIG = "1, NVIDIA H100 80GB HBM3, 590.48.01, 9.0, 81559 MiB, 0, Enabled"
L40S = "0, NVIDIA L40S, 595.80, 8.9, 46068 MiB, 2, [N/A]"
OLD = "0, GeForce GTX 1060 6GB, 470.57.02, 6078 MiB, [Not Supported], [N/A]"

ARC = """libva info: VA-API version 1.19.0
vainfo: Driver version: Intel iHD driver for Intel(R) Gen Graphics - 23.3.2 ()
vainfo: Supported profile and entrypoints
      VAProfileH264High               :\tVAEntrypointVLD
      VAProfileH264High               :\tVAEntrypointEncSliceLP
      VAProfileJPEGBaseline           :\tVAEntrypointEncPicture
      VAProfileHEVCMain10             :\tVAEntrypointEncSliceLP
      VAProfileHEVCMain               :\tVAEntrypointEncSliceLP
      VAProfileAV1Profile0            :\tVAEntrypointVLD
      VAProfileAV1Profile0            :\tVAEntrypointEncSliceLP
"""
TIGER_LAKE = """vainfo: Driver version: Intel iHD driver for Intel(R) Gen Graphics - 22.3.1 ()
      VAProfileH264Main               : VAEntrypointEncSlice
      VAProfileHEVCMain               : VAEntrypointEncSlice
      VAProfileHEVCMain10             : VAEntrypointVLD
      VAProfileAV1Profile0            : VAEntrypointVLD
"""
RADEON = """vainfo: Driver version: Mesa Gallium driver 26.1.5 for AMD Radeon 780M Graphics (radeonsi, DRM 3.64)
      VAProfileH264High               : VAEntrypointEncSlice
      VAProfileAV1Profile0            : VAEntrypointEncSlice
"""
NO_PERMISSION = """libva info: VA-API version 1.20.0
libva error: vaGetDriverNames() failed with unknown libva error
vaInitialize failed with error code -1 (unknown libva error),exit
"""


def box(system: str = "Linux", machine: str = "x86_64", **own: object) -> HostFacts:
    plain = HostFacts(
        system=system, machine=machine, cores=8, memory_bytes=None, nvidia_problem="nvidia-smi is not installed"
    )
    return replace(plain, **own)  # type: ignore[arg-type]


def gpus(*rows: str) -> dict[str, object]:
    return {"gpus": parse_nvidia_smi("\n".join(rows)), "nvidia_problem": ""}


def nodes(*texts: str) -> dict[str, object]:
    return {"nodes": tuple(parse_vainfo(f"renderD{128 + i}", text) for i, text in enumerate(texts))}


BOXES = {
    "nothing": (box(), "linux-x86_64-vulkan", X264, ("nvidia-smi is not installed", "no render node")),
    "one GPU": (box(**gpus(RTX_4080)), "linux-x86_64-cuda", NVENC, ("RTX 4080 SUPER, driver 595.71.05",)),
    "two GPUs": (box(**gpus(RTX_4080, H100_MIG)), "linux-x86_64-cuda", NVENC, ("0: NVIDIA GeForce", "1: NVIDIA H100")),
    "NVIDIA and iHD": (
        box(**gpus(RTX_2080), **nodes(TIGER_LAKE)),
        "linux-x86_64-cuda",
        NVENC + QSV,
        ("RTX 2080", "iHD on renderD128"),
    ),
    "Arc": (box(**nodes(ARC)), "linux-x86_64-sycl", QSV, ("iHD on renderD128",)),
    "iGPU of the 11th generation": (box(**nodes(TIGER_LAKE)), "linux-x86_64-sycl", QSV, ("renderD128",)),
    "two nodes, one Intel's": (box(**nodes(RADEON, ARC)), "linux-x86_64-sycl", QSV, ("iHD on renderD129",)),
    "AMD": (box(**nodes(RADEON)), "linux-x86_64-vulkan", X264, ("renderD128: Mesa",)),
    "no permission": (box(**nodes(NO_PERMISSION)), "linux-x86_64-vulkan", X264, ("vaGetDriverNames() failed",)),
    "driver and library differ": (
        box(nvidia_problem="nvidia-smi failed: Driver/library version mismatch"),
        "linux-x86_64-vulkan",
        X264,
        ("Driver/library version mismatch",),
    ),
    "WSL": (box(wsl=True, **gpus(RTX_4080)), "linux-x86_64-cuda", NVENC, ("inside WSL",)),
    "container": (box(container=True), "linux-x86_64-vulkan", X264, ("no /dev/dri in this container",)),
    "container with a GPU": (box(container=True, **gpus(L40S)), "linux-x86_64-cuda", NVENC, ("inside a container",)),
    "Arm": (box(machine="aarch64"), "linux-aarch64-cpu", X264, ("Linux on Arm",)),
    "M4": (box("Darwin", "arm64", chip="Apple M4"), "darwin-arm64-cpu", APPLE, ("macOS on arm64, Apple M4",)),
    "Rosetta": (
        box("Darwin", "x86_64", chip="Apple M2", translated=True),
        "darwin-x86_64-cpu",
        APPLE,
        ("under Rosetta",),
    ),
    "Intel Mac": (box("Darwin", "x86_64"), "darwin-x86_64-cpu", APPLE, ("macOS on x86_64",)),
    "FreeBSD": (box("FreeBSD", "amd64"), "freebsd-amd64-cpu", X264, ("FreeBSD on amd64",)),
}


@pytest.mark.parametrize("name", BOXES)
def test_a_box(name: str) -> None:
    facts, tag, candidates, reasons = BOXES[name]
    result = classify(facts)
    assert (result.tag, result.candidates, result.fallback) == (tag, candidates, X264)
    for reason in reasons:
        assert reason in result.reason


def test_rows_of_nvidia_smi() -> None:
    assert parse_nvidia_smi(RTX_4080 + "\n" + H100_MIG) == (
        NvidiaGpu(
            index=0,
            name="NVIDIA GeForce RTX 4080 SUPER",
            driver="595.71.05",
            compute_cap="8.9",
            memory_mib=16376,
            sessions=0,
        ),
        NvidiaGpu(
            index=1,
            name="NVIDIA H100 80GB HBM3",
            driver="590.48.01",
            compute_cap="9.0",
            memory_mib=81559,
            sessions=0,
            mig=True,
        ),
    )
    without = ("index", "name", "driver_version", "memory.total", "encoder.stats.sessionCount", "mig.mode.current")
    assert parse_nvidia_smi(OLD, without) == (
        NvidiaGpu(index=0, name="GeForce GTX 1060 6GB", driver="470.57.02", memory_mib=6078),
    )


@pytest.mark.parametrize("text", ["", "No devices were found", RTX_4080[:40], "x, " + RTX_4080, "0, a, b"])
def test_other_lines_give_no_gpu(text: str) -> None:
    assert parse_nvidia_smi(text) == ()


def test_output_of_vainfo() -> None:
    assert parse_vainfo("renderD128", ARC) == RenderNode(
        name="renderD128", driver="iHD", version="23.3.2", encodes=("h264", "hevc10", "hevc", "av1")
    )
    assert parse_vainfo("renderD128", TIGER_LAKE).encodes == ("h264", "hevc")
    assert parse_vainfo("renderD128", RADEON).driver == "Mesa"
    assert parse_vainfo("renderD128", NO_PERMISSION).problem == "vainfo: vaGetDriverNames() failed"
    assert parse_vainfo("renderD128", "").problem
    for cut in range(0, len(ARC), 7):
        assert parse_vainfo("n", ARC[:cut]).name == "n"


def test_output_of_sysctl_and_system_profiler() -> None:
    assert parse_sysctl("hw.optional.arm64: 1\nsysctl.proc_translated: 0\n") == {
        "hw.optional.arm64": "1",
        "sysctl.proc_translated": "0",
    }
    profile = '{"SPHardwareDataType": [{"chip_type": "Apple M2", "serial_number": "X", "number_processors": 2}]}'
    assert parse_chip(profile) == "Apple M2"
    for text in ("", "{", "[]", '{"SPHardwareDataType": []}', '{"SPHardwareDataType": [1]}', profile[:30]):
        assert parse_chip(text) == ""


@pytest.mark.parametrize(
    ("name", "driver", "limit"),
    [
        ("NVIDIA GeForce RTX 2080", "470.57.02", 3),
        ("NVIDIA GeForce RTX 2080", "530.41.03", 5),
        ("NVIDIA GeForce RTX 2080", "550.54.14", 8),
        ("NVIDIA GeForce RTX 2080", "591.58", 8),
        ("NVIDIA GeForce RTX 2080", "591.86", 12),
        ("NVIDIA GeForce RTX 2080", "610.57.04", 12),
        ("NVIDIA L40S", "470.57.02", None),
    ],
)
def test_sessions_by_driver(name: str, driver: str, limit: int | None) -> None:
    facts = box(gpus=(NvidiaGpu(index=0, name=name, driver=driver),))
    assert family_of("h264_nvenc").max_parallel(facts) == limit


def test_this_box_has_a_platform() -> None:
    facts = probe_host(Processes())
    assert facts.cores >= 1
    assert facts.memory_bytes
    assert classify(facts).tag.count("-") >= 2
    assert facts.gpus or facts.nvidia_problem
