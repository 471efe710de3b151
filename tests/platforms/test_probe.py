"""The probe with stand-ins for devices, which print ffmpeg's messages or run libx264."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from kit.platforms import probe_cache
from kit.platforms.facts import HostFacts, NvidiaGpu
from kit.platforms.probe import ProbeResult, probe
from kit.system.proc import Processes
from kit.video.ffmpeg import Ffmpeg
from tests.cli.builders import Kit

pytestmark = pytest.mark.ffmpeg

FACTS = HostFacts(
    system="Linux",
    machine="x86_64",
    cores=2,
    memory_bytes=None,
    gpus=(NvidiaGpu(index=0, name="NVIDIA L4", driver="615.1", sessions=1),),
)

#: A device that refuses some arguments. It logs its calls and encodes with libx264.
DEVICE = """#!{python}
import os, sys
words = sys.argv[1:]
at = words.index("-c:v")
name, stop = words[at + 1], words.index("-stats_enc_post")
with open({folder!r} + "/calls", "a") as calls:
    calls.write(" ".join(words[at + 1 : stop]) + "\\n")
refusals = {refusals!r}
for text, line in refusals.items():
    if text in " ".join(words[:stop]):
        sys.stderr.write("[" + name + " @ 0xADDR] [error] " + line + "\\nConversion failed!\\n")
        sys.exit(171)
words[at:stop] = ["-c:v", "libx264", "-crf", "31", "-pix_fmt", {pix_fmt!r}]
if "-init_hw_device" in words:
    place = words.index("-init_hw_device")
    del words[place : place + 2]
os.execv({ffmpeg!r}, [{ffmpeg!r}, *words])
"""


def device(folder: Path, ffmpeg: Ffmpeg, refusals: dict[str, str], pix_fmt: str = "yuv420p") -> Ffmpeg:
    path = folder / "ffmpeg"
    path.write_text(
        DEVICE.format(
            python=sys.executable, folder=str(folder), ffmpeg=str(ffmpeg.path), refusals=refusals, pix_fmt=pix_fmt
        )
    )
    path.chmod(0o755)
    return replace(ffmpeg, path=path)


def probed(
    names: list[str], there: Ffmpeg, pix_fmts: list[str], *, cache: Path | None = None, facts: HostFacts = FACTS
) -> ProbeResult:
    return probe(names, pix_fmts, ffmpeg=there, facts=facts, processes=Processes(), cache=cache)


def calls(folder: Path) -> list[str]:
    path = folder / "calls"
    return path.read_text().splitlines() if path.exists() else []


NO_ICQ = {"-global_quality": "Selected ratecontrol mode is unsupported"}


def test_cqp_replaces_an_unsupported_icq(tmp_path: Path, ffmpeg: Ffmpeg) -> None:
    result = probed(["av1_qsv"], device(tmp_path, ffmpeg, NO_ICQ, "nv12"), ["yuv420p"])
    assert [encoder.variant for encoder in result.ready] == ["cqp"]
    assert calls(tmp_path) == ["av1_qsv -global_quality 31 -preset medium", "av1_qsv -q:v 155 -preset medium"]


def test_a_device_without_both_is_left_out(tmp_path: Path, ffmpeg: Ffmpeg) -> None:
    there = device(tmp_path, ffmpeg, {**NO_ICQ, "-q:v": "Selected ratecontrol mode is unsupported"})
    result = probed(["hevc_qsv"], there, ["yuv420p"])
    assert [(lost.reason, lost.remedy) for lost in result.left_out] == [
        ("Selected ratecontrol mode is unsupported", "This GPU has neither ICQ nor CQP for that codec.")
    ]
    assert len(calls(tmp_path)) == 2


def test_another_error_ends_the_probe(tmp_path: Path, ffmpeg: Ffmpeg) -> None:
    there = device(tmp_path, ffmpeg, {"-global_quality": "Error creating a MFX session: -9."})
    result = probed(["hevc_qsv"], there, ["yuv420p"])
    assert result.ready == ()
    assert "libmfx-gen1.2" in result.left_out[0].remedy
    assert len(calls(tmp_path)) == 1


def test_eight_bits_replace_unsupported_ten_bits(tmp_path: Path, ffmpeg: Ffmpeg) -> None:
    there = device(tmp_path, ffmpeg, {"format=p010le": "10 bit encode not supported"})
    result = probed(["h264_nvenc"], there, ["yuv420p", "yuv420p10le"])
    assert [encoder.variant for encoder in result.ready] == ["8 bit"]
    # both clips with ten bits allowed, of which the second fails; then both without
    assert len(calls(tmp_path)) == 4


def test_the_chosen_gpu_is_named_behind_the_encoders_arguments(tmp_path: Path, ffmpeg: Ffmpeg) -> None:
    two = replace(FACTS, gpus=(replace(FACTS.gpus[0], ordinal=1),))
    result = probed(["hevc_nvenc"], device(tmp_path, ffmpeg, {}), ["yuv420p"], facts=two)
    assert [encoder.name for encoder in result.ready] == ["hevc_nvenc"]
    assert calls(tmp_path) == ["hevc_nvenc -rc vbr -cq 31 -b:v 0 -preset p4 -gpu 1"]


def test_a_success_is_remembered_and_a_failure_is_not(tmp_path: Path, ffmpeg: Ffmpeg) -> None:
    there = device(tmp_path, ffmpeg, {"av1_nvenc": "Codec not supported"})
    cache = tmp_path / "cache"
    names = ["hevc_nvenc", "av1_nvenc"]
    first = probed(names, there, ["yuv420p"], cache=cache)
    again = probed(names, there, ["yuv420p"], cache=cache)
    assert (first.remembered, again.remembered) == ((), ("hevc_nvenc",))
    assert again.ready == first.ready
    assert again.left_out == first.left_out
    assert [line.split()[0] for line in sorted(calls(tmp_path))] == ["av1_nvenc", "av1_nvenc", "hevc_nvenc"]


def test_changed_facts_need_a_new_probe(tmp_path: Path, ffmpeg: Ffmpeg) -> None:
    there, cache = device(tmp_path, ffmpeg, {}), tmp_path / "cache"
    probed(["hevc_nvenc"], there, ["yuv420p"], cache=cache)
    gpu = FACTS.gpus[0]
    busy = replace(FACTS, gpus=(replace(gpu, sessions=5),))
    assert probed(["hevc_nvenc"], there, ["yuv420p"], cache=cache, facts=busy).remembered == ("hevc_nvenc",)
    driver = replace(FACTS, gpus=(replace(gpu, driver="620.1"),))
    assert probed(["hevc_nvenc"], there, ["yuv420p"], cache=cache, facts=driver).remembered == ()
    assert probed(["hevc_nvenc"], there, ["yuv420p10le"], cache=cache).remembered == ()
    there.path.write_text(there.path.read_text() + "# another build\n")
    assert probed(["hevc_nvenc"], there, ["yuv420p"], cache=cache).remembered == ()
    assert len(calls(tmp_path)) == 4


@pytest.mark.parametrize("damage", ["age", "future", "text", "fields"])
def test_an_old_or_damaged_result_is_ignored(damage: str, tmp_path: Path, ffmpeg: Ffmpeg) -> None:
    there, cache = device(tmp_path, ffmpeg, {}), tmp_path / "cache"
    probed(["hevc_nvenc"], there, ["yuv420p"], cache=cache)
    (kept,) = (cache / "probes").iterdir()
    value = json.loads(kept.read_text())
    if damage == "text":
        kept.write_text("{")
    else:
        if damage == "fields":
            value["encoder"]["colour"] = "red"
        else:
            value["probed_at"] += -probe_cache.KEPT if damage == "age" else 3600
        kept.write_text(json.dumps(value))
    assert probed(["hevc_nvenc"], there, ["yuv420p"], cache=cache).remembered == ()


def test_unknown_devices_are_refused(tmp_path: Path, kit_here: Kit) -> None:
    done = kit_here("platform", "--gpu", "9", cwd=tmp_path)
    assert done.returncode == 2
    assert "--gpu 9" in done.stderr
    done = kit_here("platform", "--render-node", "renderD999", cwd=tmp_path)
    assert done.returncode == 2
    assert "renderD999" in done.stderr
