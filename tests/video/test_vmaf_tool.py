"""The vmaf tool gives the rows that ffmpeg's filter gives, and is not taken at its word.

No real tool is here: a stand-in takes its recorded options as strictly and computes with the real libvmaf.
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
from tests.video.builders import MakeClip, cell_of, made, write_model, write_tool

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
    """The small pairs alone, where the large ones would only take time."""
    small = tuple(pair for pair in golden.pairs() if pair.name.startswith("natural"))
    monkeypatch.setattr(golden, "pairs", lambda: small)


def bench(folder: Path, ffmpeg: Ffmpeg, scorer: FilterScorer | VmafTool) -> Bench:
    folder.mkdir()
    return Bench(ffmpeg=ffmpeg, processes=Processes(), folder=folder, box="b", platform="p", corpus="c", scorer=scorer)


@pytest.mark.parametrize("args", [(), ("-pix_fmt", "yuv420p10le"), ("-color_range", "pc")], ids=["8", "10", "full"])
def test_the_tool_gives_the_filters_rows(
    args: tuple[str, ...], tmp_path: Path, make_clip: MakeClip, tools: Tools, tool: ToolOf
) -> None:
    """60 frames: more than x264 looks ahead, so a coupled reference would have hung."""
    (tmp_path / "ref").mkdir()
    cell = cell_of(make_clip(tmp_path / "ref" / "a.mkv", "Life", *args, frames=60), tools)
    one, one_stream = made(cell, bench(tmp_path / "one", tools.ffmpeg, FilterScorer(ffmpeg=tools.ffmpeg)))
    two, two_stream = made(cell, bench(tmp_path / "two", tools.ffmpeg, tool("cpu")))
    assert np.array_equal(one.features, two.features)
    assert np.array_equal(one.vmaf, two.vmaf)
    assert one.facts == two.facts
    assert one_stream == two_stream


@pytest.mark.parametrize(
    ("mode", "told"),
    [
        ("refuses", "It ended before the others|ignored an option|exit status 0"),
        ("dies", "exit status 234"),
        ("cuda-stays", "was to use cpu and used cuda"),
    ],
)
def test_a_tool_that_does_something_else_fails_the_cell(  # noqa: PLR0917 - fixtures
    mode: str, told: str, tmp_path: Path, make_clip: MakeClip, tools: Tools, tool: ToolOf
) -> None:
    (tmp_path / "ref").mkdir()
    cell = cell_of(make_clip(tmp_path / "ref" / "a.mkv", "Life"), tools)
    asked = tool("cuda" if mode == "cuda-stays" else mode)
    if mode == "cuda-stays":
        asked = replace(asked, masks_gpu=False)
    found = produce(cell, bench(tmp_path / "out", tools.ffmpeg, asked))
    assert isinstance(found, FailedCell)
    assert any(text in found.reason for text in told.split("|")), found.reason
    assert list((tmp_path / "out").iterdir()) == []


def test_the_tool_proves_itself(tool: ToolOf) -> None:
    found = tool("cpu")
    proof = vmaf_tool.check(found, teacher=Teacher(id="vmaf_v0.6.1neg"), processes=Processes())
    assert (found.version, found.masks_gpu, found.backend) == ("3.2.0", True, "cpu")
    assert (proof.id, proof.version) == ("cpu/golden-1", "3.2.0")
    assert list(proof.golden) == [*golden.EXPECTED, "natural-10bit vmaf_v0.6.1neg"]


def test_cuda_is_used_where_it_was_asked_for(tool: ToolOf, few: None) -> None:
    proof = vmaf_tool.check(replace(tool("cuda"), backend="cuda"), teacher=CANONICAL, processes=Processes())
    assert proof.id == "cuda/golden-1"
    # the same tool, not asked: it is told to leave the GPU alone, and does
    assert vmaf_tool.check(tool("cuda"), teacher=CANONICAL, processes=Processes()).id == "cpu/golden-1"


@pytest.mark.parametrize(
    ("mode", "told"),
    [
        ("cuda-wrong", "does not reproduce the golden table"),
        ("cuda-absent", "was to use cuda and used cpu"),
        ("cpu", "was to use cuda and used cpu"),
        ("3.1", "3.1.0 does not tell whether it used CUDA"),
        ("no-gpu", "was to use cuda and used cpu"),
    ],
)
def test_cuda_that_was_asked_for_and_not_used_is_an_error(mode: str, told: str, tool: ToolOf, few: None) -> None:
    with pytest.raises(PrerequisiteFailed, match=told) as error:
        vmaf_tool.check(replace(tool(mode), backend="cuda"), teacher=CANONICAL, processes=Processes())
    assert "--scorer-backend" in error.value.hint


def test_the_filter_has_no_cuda(tmp_path: Path, ffmpeg: Ffmpeg) -> None:
    with pytest.raises(PrerequisiteFailed, match="ffmpeg's filter scores on the CPU"):
        choose.located(None, origin="", folder=tmp_path, backend="cuda", ffmpeg=ffmpeg, processes=Processes())


@pytest.mark.parametrize("mode", ["cpu", "3.1"])
def test_another_teacher_goes_beside_the_features_own_model(
    mode: str, tmp_path: Path, make_clip: MakeClip, tools: Tools, tool: ToolOf
) -> None:
    """Two models in one pass, built in or a file; a log from before 3.2.0 lacks three metrics that nobody needs."""
    (tmp_path / "ref").mkdir()
    clip = make_clip(tmp_path / "ref" / "a.mkv", "Life")
    model = teachers.resolve(write_model(tmp_path / "odd: name, it's.json"))
    for index, teacher in enumerate((Teacher(id="vmaf_v0.6.1neg"), model)):
        cell = replace(cell_of(clip, tools), teacher=teacher)
        one, _ = made(cell, bench(tmp_path / f"one{index}", tools.ffmpeg, FilterScorer(ffmpeg=tools.ffmpeg)))
        two, _ = made(cell, bench(tmp_path / f"two{index}", tools.ffmpeg, tool(mode)))
        assert np.array_equal(one.features, two.features)
        assert np.array_equal(one.vmaf, two.vmaf)
        assert one.facts == two.facts


def test_an_ignored_option_and_an_unknown_teacher_are_refused(tool: ToolOf, few: None) -> None:
    with pytest.raises(PrerequisiteFailed, match="ignored an option: vmaf: unrecognized option '--threads'"):
        vmaf_tool.check(tool("refuses"), teacher=CANONICAL, processes=Processes())
    with pytest.raises(PrerequisiteFailed, match="cannot score with vmaf_v9") as error:
        vmaf_tool.check(tool("cpu"), teacher=Teacher(id="vmaf_v9"), processes=Processes())
    assert "--teacher" in error.value.hint


def test_what_is_no_vmaf_tool_is_refused(tmp_path: Path, ffmpeg: Ffmpeg) -> None:
    def refused(path: Path, told: str) -> None:
        with pytest.raises(PrerequisiteFailed, match=told):
            vmaf_tool.locate(path, origin="x", ffmpeg=ffmpeg, processes=Processes())

    refused(tmp_path / "none", "is not a file")
    refused(Path("/bin/echo"), "like another program")
    (tmp_path / "plain").write_text("text")
    refused(tmp_path / "plain", "does not run")


#: Two frames in the shape of the tool's own log, values from a recorded one (Highway, libx264, CRF 31).
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


def test_the_recorded_shape_of_a_log() -> None:
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


def test_the_shape_of_a_log_from_before_3_2_with_two_models(tool: ToolOf) -> None:
    """Three metrics fewer, and the features' own model beside the teacher."""
    before = re.sub(r'"integer_(aim|adm3|motion3)": [\d.]+,\s*', "", LOG.replace("3.2.0", "3.1.0"))
    before = before.replace('"teacher": 8', '"canonical": 70.5, "teacher": 8')
    assert "integer_aim" not in before
    scores = log.parse(before)
    assert (scores.version, scores.vmaf.tolist()) == ("3.1.0", [79.833361, 82.035382])
    assert np.array_equal(scores.features, log.parse(LOG).features)
    old = tool("3.1")
    vmaf_tool.check_used(old, before, "")
    with pytest.raises(log.LogError, match="does not tell whether it used CUDA"):
        vmaf_tool.check_used(replace(old, backend="cuda"), before, "")
    with pytest.raises(log.LogError, match="was to use cpu and used cuda"):
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
    told = json.loads((tmp_path / "run" / "prereqs.json").read_text())
    assert told["scored_by"]["kind"] == "vmaf tool"
    assert told["scored_by"]["origin"] == "environment LIBVMAF_BIN"
    path.write_text(path.read_text() + "# another\n")
    again = kit_here("corpus", "--out-dir", str(tmp_path / "run"), cwd=tmp_path)
    assert again.returncode == 2
    assert "the scorer is another one" in again.stderr
