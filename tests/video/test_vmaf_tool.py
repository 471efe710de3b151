"""The vmaf tool gives the same rows as ffmpeg's filter, and its faults are detected.

A stand-in parses the recorded options of the real tool as strictly and scores with the real libvmaf.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kit.core.errors import PrerequisiteFailed
from kit.core.values import Teacher
from kit.corpus.make.produce import Bench, produce
from kit.corpus.store.shard import FailedCell
from kit.system.proc import Processes
from kit.video.ffmpeg import Ffmpeg
from kit.video.scorers import choose, golden, log, teachers, vmaf_tool
from kit.video.scorers.ffmpeg_filter import FilterScorer
from kit.video.scorers.teachers import CANONICAL
from kit.video.scorers.vmaf_tool import VmafTool
from kit.video.sources.read import Tools
from tests.cli.builders import Kit
from tests.video.builders import MakeClip, cell_of, produced, write_model, write_tool

pytestmark = pytest.mark.ffmpeg

#: ``tool("cuda")`` is a located stand-in with that mode.
ToolOf = Callable[[str], VmafTool]


@pytest.fixture
def tool(tmp_path: Path, ffmpeg: Ffmpeg) -> ToolOf:
    def make(mode: str) -> VmafTool:
        path = write_tool(tmp_path / "tool" / "vmaf", ffmpeg, mode)
        return vmaf_tool.locate(path, origin="command line", ffmpeg=ffmpeg, processes=Processes())

    return make


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """The small golden pairs only, for speed."""
    small = tuple(pair for pair in golden.pairs() if pair.name.startswith("natural"))
    monkeypatch.setattr(golden, "pairs", lambda: small)


def bench(folder: Path, ffmpeg: Ffmpeg, scorer: FilterScorer | VmafTool) -> Bench:
    folder.mkdir()
    return Bench(ffmpeg=ffmpeg, processes=Processes(), folder=folder, box="b", platform="p", corpus="c", scorer=scorer)


@pytest.mark.parametrize("args", [(), ("-pix_fmt", "yuv420p10le"), ("-color_range", "pc")], ids=["8", "10", "full"])
def test_the_tool_gives_the_filters_rows(
    args: tuple[str, ...], tmp_path: Path, make_clip: MakeClip, tools: Tools, tool: ToolOf
) -> None:
    """60 frames are more than x264's lookahead: a reference from the encoding process would hang."""
    (tmp_path / "ref").mkdir()
    cell = cell_of(make_clip(tmp_path / "ref" / "a.mkv", "Life", *args, frames=60), tools)
    one, one_stream = produced(cell, bench(tmp_path / "one", tools.ffmpeg, FilterScorer(ffmpeg=tools.ffmpeg)))
    two, two_stream = produced(cell, bench(tmp_path / "two", tools.ffmpeg, tool("cpu")))
    assert np.array_equal(one.features, two.features)
    assert np.array_equal(one.vmaf, two.vmaf)
    assert one.facts == two.facts
    assert one_stream == two_stream


@pytest.mark.parametrize(
    ("mode", "reasons"),
    [
        ("refuses", ("ended before", "--threads", "exit status 0")),
        ("dies", ("exit status 234",)),
        ("cuda-stays", ("used cuda",)),
    ],
)
def test_a_faulty_tool_fails_the_cell(  # noqa: PLR0917 - fixtures
    mode: str, reasons: tuple[str, ...], tmp_path: Path, make_clip: MakeClip, tools: Tools, tool: ToolOf
) -> None:
    (tmp_path / "ref").mkdir()
    cell = cell_of(make_clip(tmp_path / "ref" / "a.mkv", "Life"), tools)
    scorer = tool("cuda" if mode == "cuda-stays" else mode)
    if mode == "cuda-stays":
        scorer = replace(scorer, masks_gpu=False)
    result = produce(cell, bench(tmp_path / "out", tools.ffmpeg, scorer))
    assert isinstance(result, FailedCell)
    assert any(text in result.reason for text in reasons), result.reason
    assert list((tmp_path / "out").iterdir()) == []


def test_the_tool_reproduces_the_golden_table(tool: ToolOf) -> None:
    scorer = tool("cpu")
    proof = vmaf_tool.check(scorer, teacher=Teacher(id="vmaf_v0.6.1neg"), processes=Processes())
    assert (scorer.version, scorer.masks_gpu, scorer.backend) == ("3.2.0", True, "cpu")
    assert (proof.id, proof.version) == ("cpu/golden-1", "3.2.0")
    assert list(proof.golden) == [*golden.EXPECTED, "natural-10bit vmaf_v0.6.1neg"]


def test_requested_cuda_is_used(tool: ToolOf, few: None) -> None:
    proof = vmaf_tool.check(replace(tool("cuda"), backend="cuda"), teacher=CANONICAL, processes=Processes())
    assert proof.id == "cuda/golden-1"
    # the same tool with the CPU backend: the mask switches CUDA off
    assert vmaf_tool.check(tool("cuda"), teacher=CANONICAL, processes=Processes()).id == "cpu/golden-1"


@pytest.mark.parametrize(
    ("mode", "reason"),
    [
        ("cuda-wrong", "golden table"),
        ("cuda-absent", "used cpu"),
        ("cpu", "used cpu"),
        ("3.1", r"3\.1\.0"),
        ("no-gpu", "used cpu"),
    ],
)
def test_unused_cuda_is_an_error(mode: str, reason: str, tool: ToolOf, few: None) -> None:
    with pytest.raises(PrerequisiteFailed, match=reason) as error:
        vmaf_tool.check(replace(tool(mode), backend="cuda"), teacher=CANONICAL, processes=Processes())
    assert "--scorer-backend" in error.value.hint


def test_the_filter_has_no_cuda(tmp_path: Path, ffmpeg: Ffmpeg) -> None:
    with pytest.raises(PrerequisiteFailed, match="--scorer-backend cuda"):
        choose.locate_scorer(None, origin="", folder=tmp_path, backend="cuda", ffmpeg=ffmpeg, processes=Processes())


@pytest.mark.parametrize("mode", ["cpu", "3.1"])
def test_another_teacher_and_the_canonical_model_in_one_pass(
    mode: str, tmp_path: Path, make_clip: MakeClip, tools: Tools, tool: ToolOf
) -> None:
    """The teacher is built in or a file; a log from before 3.2.0 lacks three unused metrics."""
    (tmp_path / "ref").mkdir()
    clip = make_clip(tmp_path / "ref" / "a.mkv", "Life")
    model = teachers.resolve(write_model(tmp_path / "odd: name, it's.json"))
    for index, teacher in enumerate((Teacher(id="vmaf_v0.6.1neg"), model)):
        cell = replace(cell_of(clip, tools), teacher=teacher)
        one, _ = produced(cell, bench(tmp_path / f"one{index}", tools.ffmpeg, FilterScorer(ffmpeg=tools.ffmpeg)))
        two, _ = produced(cell, bench(tmp_path / f"two{index}", tools.ffmpeg, tool(mode)))
        assert np.array_equal(one.features, two.features)
        assert np.array_equal(one.vmaf, two.vmaf)
        assert one.facts == two.facts


def test_an_ignored_option_and_an_unknown_teacher_are_refused(tool: ToolOf, few: None) -> None:
    with pytest.raises(PrerequisiteFailed, match="unrecognized option '--threads'"):
        vmaf_tool.check(tool("refuses"), teacher=CANONICAL, processes=Processes())
    with pytest.raises(PrerequisiteFailed, match="vmaf_v9") as error:
        vmaf_tool.check(tool("cpu"), teacher=Teacher(id="vmaf_v9"), processes=Processes())
    assert "--teacher" in error.value.hint


def test_another_program_is_refused(tmp_path: Path, ffmpeg: Ffmpeg) -> None:
    def refused(path: Path) -> None:
        with pytest.raises(PrerequisiteFailed, match=str(path)):
            vmaf_tool.locate(path, origin="x", ffmpeg=ffmpeg, processes=Processes())

    refused(tmp_path / "none")
    refused(Path("/bin/echo"))
    (tmp_path / "plain").write_text("text")
    refused(tmp_path / "plain")


#: Two frames of a recorded log of the tool (Highway, libx264, CRF 31).
LOG = """{
  "version": "3.2.0",
  "fps": 345.10,
  "frames": [
    {"frameNum": 0, "metrics": {"integer_adm2": 0.950708, "integer_aim": 0.028634, "integer_adm3": 0.961037,
     "integer_vif_scale0": 0.507823, "integer_vif_scale1": 0.849178, "integer_vif_scale2": 0.920047,
     "integer_vif_scale3": 0.952718, "integer_motion2": 0.000000, "integer_motion3": 4.395378, "teacher": 79.833361}},
    {"frameNum": 1, "metrics": {"integer_adm2": 0.947441, "integer_aim": 0.033472, "integer_adm3": 0.956985,
     "integer_vif_scale0": 0.484228, "integer_vif_scale1": 0.818125, "integer_vif_scale2": 0.898849,
     "integer_vif_scale3": 0.938849, "integer_motion2": 3.976261, "integer_motion3": 3.976261, "teacher": 82.035382}}
  ],
  "pooled_metrics": {"teacher": {"min": 79.833361, "max": 82.035382, "mean": 80.934372, "harmonic_mean": 80.919391}},
  "aggregate_metrics": {
  }
}"""


def test_a_recorded_log() -> None:
    scores = log.parse(LOG)
    assert scores.version == "3.2.0"
    assert scores.features[1].tolist() == [0.947441, 0.484228, 0.818125, 0.898849, 0.938849, 3.976261]
    assert scores.vmaf.tolist() == [79.833361, 82.035382]
    assert vmaf_tool.backend_of(LOG, "", "3.2.0") == "cpu"
    on_gpu = LOG.replace("integer_motion3", "x")
    assert vmaf_tool.backend_of(on_gpu, "", "3.2.0") == "cuda"
    assert vmaf_tool.backend_of(on_gpu, "problem during vmaf_cuda_state_init, using CPU", "3.2.0") == "cpu"
    assert vmaf_tool.backend_of(on_gpu, "", "3.1.0") == ""
    assert vmaf_tool.backend_of(LOG[:300], "", "3.2.0") == ""


def test_a_log_before_3_2_with_two_models(tool: ToolOf) -> None:
    """Three metrics fewer, and the canonical model next to the teacher."""
    before = re.sub(r'"integer_(aim|adm3|motion3)": [\d.]+,\s*', "", LOG.replace("3.2.0", "3.1.0"))
    before = before.replace('"teacher": 8', '"canonical": 70.5, "teacher": 8')
    assert "integer_aim" not in before
    scores = log.parse(before)
    assert (scores.version, scores.vmaf.tolist()) == ("3.1.0", [79.833361, 82.035382])
    assert np.array_equal(scores.features, log.parse(LOG).features)
    old = tool("3.1")
    vmaf_tool.check_used(old, before, "")
    with pytest.raises(log.LogError, match="CUDA"):
        vmaf_tool.check_used(replace(old, backend="cuda"), before, "")
    with pytest.raises(log.LogError, match="used cuda"):
        vmaf_tool.check_used(replace(old, version="3.2.0"), before, "")


def test_a_run_with_the_tool(tmp_path: Path, kit_here: Kit, clips: Path, ffmpeg: Ffmpeg) -> None:
    path = write_tool(tmp_path / "vmaf", ffmpeg)
    done = kit_here(
        "run",
        "--ref-dir",
        str(clips),
        "--out-dir",
        str(tmp_path / "run"),
        "--cqs",
        "31",
        "--shard-only",
        "--box",
        "b",
        cwd=tmp_path,
        env={"LIBVMAF_BIN": str(path)},
    )
    assert done.returncode == 0, done.stderr
    prereqs = json.loads((tmp_path / "run" / "prereqs.json").read_text())
    assert prereqs["scored_by"]["kind"] == "vmaf tool"
    assert prereqs["scored_by"]["origin"] == "environment LIBVMAF_BIN"
    path.write_text(path.read_text() + "# another\n")
    again = kit_here("corpus", "--out-dir", str(tmp_path / "run"), cwd=tmp_path)
    assert again.returncode == 2
    assert "scorer" in again.stderr
