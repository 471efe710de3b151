"""The functional probe against stand-ins for devices, which answer in ffmpeg's own words or hand over to libx264."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from kit.platforms import remembered
from kit.platforms.facts import HostFacts, NvidiaGpu
from kit.platforms.probe import Probed, probe
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

#: A device that takes some arguments and refuses others. It counts its calls, and encodes with libx264.
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


def ask(
    names: list[str], there: Ffmpeg, pix_fmts: list[str], *, cache: Path | None = None, facts: HostFacts = FACTS
) -> Probed:
    return probe(names, pix_fmts, ffmpeg=there, facts=facts, processes=Processes(), cache=cache)


def calls(folder: Path) -> list[str]:
    path = folder / "calls"
    return path.read_text().splitlines() if path.exists() else []


NO_ICQ = {"-global_quality": "Selected ratecontrol mode is unsupported"}


def test_where_icq_is_refused_cqp_is_taken(tmp_path: Path, ffmpeg: Ffmpeg) -> None:
    found = ask(["av1_qsv"], device(tmp_path, ffmpeg, NO_ICQ, "nv12"), ["yuv420p"])
    assert [encoder.variant for encoder in found.ready] == ["cqp"]
    assert calls(tmp_path) == ["av1_qsv -global_quality 31 -preset medium", "av1_qsv -q:v 155 -preset medium"]


def test_a_device_that_has_neither_is_left_out(tmp_path: Path, ffmpeg: Ffmpeg) -> None:
    there = device(tmp_path, ffmpeg, {**NO_ICQ, "-q:v": "Selected ratecontrol mode is unsupported"})
    found = ask(["hevc_qsv"], there, ["yuv420p"])
    assert [(lost.reason, lost.remedy) for lost in found.left_out] == [
        ("Selected ratecontrol mode is unsupported", "This GPU has neither ICQ nor CQP for that codec.")
    ]
    assert len(calls(tmp_path)) == 2


def test_another_fault_does_not_lead_to_the_next_variant(tmp_path: Path, ffmpeg: Ffmpeg) -> None:
    there = device(tmp_path, ffmpeg, {"-global_quality": "Error creating a MFX session: -9."})
    found = ask(["hevc_qsv"], there, ["yuv420p"])
    assert found.ready == ()
    assert "libmfx-gen1.2" in found.left_out[0].remedy
    assert len(calls(tmp_path)) == 1


def test_ten_bits_are_given_up_where_the_gpu_has_eight(tmp_path: Path, ffmpeg: Ffmpeg) -> None:
    there = device(tmp_path, ffmpeg, {"format=p010le": "10 bit encode not supported"})
    found = ask(["h264_nvenc"], there, ["yuv420p", "yuv420p10le"])
    assert [encoder.variant for encoder in found.ready] == ["8 bit"]
    # both clips with ten bits allowed, of which the second fails; then both without
    assert len(calls(tmp_path)) == 4


def test_the_chosen_gpu_is_named_behind_the_encoders_arguments(tmp_path: Path, ffmpeg: Ffmpeg) -> None:
    two = replace(FACTS, gpus=(replace(FACTS.gpus[0], ordinal=1),))
    found = ask(["hevc_nvenc"], device(tmp_path, ffmpeg, {}), ["yuv420p"], facts=two)
    assert [encoder.name for encoder in found.ready] == ["hevc_nvenc"]
    assert calls(tmp_path) == ["hevc_nvenc -rc vbr -cq 31 -b:v 0 -preset p4 -gpu 1"]


def test_a_success_is_remembered_and_a_failure_is_not(tmp_path: Path, ffmpeg: Ffmpeg) -> None:
    there = device(tmp_path, ffmpeg, {"av1_nvenc": "Codec not supported"})
    cache = tmp_path / "cache"
    names = ["hevc_nvenc", "av1_nvenc"]
    first = ask(names, there, ["yuv420p"], cache=cache)
    again = ask(names, there, ["yuv420p"], cache=cache)
    assert (first.remembered, again.remembered) == ((), ("hevc_nvenc",))
    assert again.ready == first.ready
    assert again.left_out == first.left_out
    assert [line.split()[0] for line in sorted(calls(tmp_path))] == ["av1_nvenc", "av1_nvenc", "hevc_nvenc"]


def test_what_decides_is_looked_at_before_a_probe_is_spared(tmp_path: Path, ffmpeg: Ffmpeg) -> None:
    there, cache = device(tmp_path, ffmpeg, {}), tmp_path / "cache"
    ask(["hevc_nvenc"], there, ["yuv420p"], cache=cache)
    gpu = FACTS.gpus[0]
    busy = replace(FACTS, gpus=(replace(gpu, sessions=5),))
    assert ask(["hevc_nvenc"], there, ["yuv420p"], cache=cache, facts=busy).remembered == ("hevc_nvenc",)
    driver = replace(FACTS, gpus=(replace(gpu, driver="620.1"),))
    assert ask(["hevc_nvenc"], there, ["yuv420p"], cache=cache, facts=driver).remembered == ()
    assert ask(["hevc_nvenc"], there, ["yuv420p10le"], cache=cache).remembered == ()
    there.path.write_text(there.path.read_text() + "# another build\n")
    assert ask(["hevc_nvenc"], there, ["yuv420p"], cache=cache).remembered == ()
    assert len(calls(tmp_path)) == 4


@pytest.mark.parametrize("damage", ["age", "future", "text", "fields"])
def test_an_answer_that_is_old_or_damaged_is_none(damage: str, tmp_path: Path, ffmpeg: Ffmpeg) -> None:
    there, cache = device(tmp_path, ffmpeg, {}), tmp_path / "cache"
    ask(["hevc_nvenc"], there, ["yuv420p"], cache=cache)
    (kept,) = (cache / "probes").iterdir()
    value = json.loads(kept.read_text())
    if damage == "text":
        kept.write_text("{")
    else:
        if damage == "fields":
            value["encoder"]["colour"] = "red"
        else:
            value["probed_at"] += -remembered.KEPT if damage == "age" else 3600
        kept.write_text(json.dumps(value))
    assert ask(["hevc_nvenc"], there, ["yuv420p"], cache=cache).remembered == ()


def test_devices_that_are_not_there_are_refused_by_name(tmp_path: Path, kit_here: Kit) -> None:
    done = kit_here("platform", "--gpu", "9", cwd=tmp_path)
    assert done.returncode == 2
    assert "--gpu 9: no such GPU" in done.stderr
    done = kit_here("platform", "--render-node", "renderD999", cwd=tmp_path)
    assert done.returncode == 2
    assert "--render-node renderD999: no such node" in done.stderr
