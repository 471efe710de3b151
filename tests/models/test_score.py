"""Scores of an exported model: of a corpus, and of a pair of clips."""

from __future__ import annotations

import csv
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from kit.core import contract, exits, layout
from kit.core.errors import BadInput, CheckFailed
from kit.core.values import SourceFile
from kit.heads.scoring import Encode, score_pair
from kit.models import graph, runtime
from kit.models.model_file import open_model
from kit.system.fsio import scratch_folder
from kit.system.proc import Processes
from kit.system.stall import TimeLimits
from kit.training.model import Network
from kit.training.standardiser import fit_standardiser
from kit.verdict.metrics import pooled
from kit.video.ffmpeg import Ffmpeg
from kit.video.scorers import base, golden, pair, vmaf_tool
from kit.video.scorers.base import Work
from kit.video.scorers.ffmpeg_filter import FilterScorer
from kit.video.scorers.log import Scores
from kit.video.scorers.proof import means
from kit.video.sources.read import Tools
from kit.video.sources.scan import inspect
from tests.cli.builders import Command
from tests.models.builders import SECOND_VERSION, STEM
from tests.training.builders import make_table, networks
from tests.video.builders import MakeClip, cell_of, write_tool

TABLE = make_table()
SCALE = fit_standardiser(TABLE.features, np.arange(len(TABLE), dtype=np.int32))


@pytest.fixture
def models(promoted: Path, tmp_path: Path) -> Path:
    return shutil.copytree(promoted / layout.EXPORTS, tmp_path / "models")


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    """A model on the features alone, without a sidecar."""
    path = tmp_path / "plain.onnx"
    path.write_bytes(graph.fused(networks("mlp_small"), SCALE))
    return path


#: ``ask("--model", …, code=2)`` returns the JSON of `score`, and its text on stderr.
Ask = Callable[..., tuple[dict[str, Any], str]]


@pytest.fixture
def ask(command: Command, capsys: pytest.CaptureFixture[str]) -> Ask:
    def score(*argv: str | Path, code: int = exits.OK) -> tuple[dict[str, Any], str]:
        assert command(["score", *map(str, argv)]) == code, capsys.readouterr().err
        out, err = capsys.readouterr()
        return json.loads(out) if out else {}, err

    return score


# ------------------------------------------------------------------------------------------ a corpus


def test_every_cell_of_a_corpus_is_compared_with_its_teacher(models: Path, promoted: Path, ask: Ask) -> None:
    found, err = ask("--model", models / f"{STEM}_ensemble.onnx", "--corpus", promoted, "--json")
    shard = json.loads((promoted / "corpus" / "shard.json").read_text())
    assert [cell["name"] for cell in found["encodes"]] == sorted(
        f"{cell['source']}/{cell['encoder']}/cq{cell['cq']:02d}" for cell in shard["cells"]
    )
    by_name = {f"{cell['source']}/{cell['encoder']}/cq{cell['cq']:02d}": cell for cell in shard["cells"]}
    for cell in found["encodes"]:
        rows = pq.read_table(promoted / "corpus" / by_name[cell["name"]]["path"])
        assert cell["libvmaf"] == pytest.approx(rows.column("vmaf").to_pylist(), abs=1e-5)
        assert len(cell["score"]) == len(cell["score_std"]) == cell["frames"] == rows.num_rows
        assert cell["pooled"]["mean"] == pytest.approx(np.mean(cell["score"]))
        assert cell["pooled"]["min"] == min(cell["score"])
        assert cell["pooled"]["mean_spread"] == pytest.approx(np.mean(cell["score_std"]))
    assert found["agreement"]["plcc"] > 0.99
    assert found["libvmaf"] == contract.DEFAULT_TEACHER
    assert found["model"]["id"] == f"{STEM}_ensemble"
    assert found["remarks"] == []
    assert "vmaf_v0.6.1" in err
    assert "144 frames" in err


def test_the_csv_overwrites_no_model(models: Path, promoted: Path, tmp_path: Path, ask: Ask) -> None:
    names = [f"{STEM}_ensemble{suffix}" for suffix in (".onnx", ".json")] + ["registry.json"]
    for name in names:
        shutil.copy(models / name, tmp_path / name)
    before = [(tmp_path / name).read_bytes() for name in names]
    for name in names:
        argv = ("--model", tmp_path / names[0], "--corpus", promoted / "corpus", "--csv", tmp_path / name)
        _, err = ask(*argv, code=exits.BAD_INPUT)
        assert "both input and output" in err or "is a registry" in err
    assert [(tmp_path / name).read_bytes() for name in names] == before


def test_the_csv_has_every_frame_as_it_is(models: Path, promoted: Path, tmp_path: Path, ask: Ask) -> None:
    target = tmp_path / "frames.csv"
    model = models / f"{STEM}_seed0.onnx"
    found, _ = ask("--model", model, "--corpus", promoted / "corpus", "--csv", target, "--json")
    with target.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    columns = ["name", "encoder", "preset", "cq", "frame_index", "score", "vmaf_v0.6.1", "low", "high", "outside"]
    assert list(rows[0]) == columns
    assert [float(row["score"]) for row in rows] == [value for cell in found["encodes"] for value in cell["score"]]
    assert [int(row["frame_index"]) for row in rows[:13]] == [*range(12), 0]
    assert found["encodes"][0]["score_std"] is None
    half_width = found["model"]["half_widths"]["frame"]["0.95"]["half_width"]
    for row in rows:
        assert float(row["low"]) == pytest.approx(max(0, float(row["score"]) - half_width))
        assert float(row["high"]) == pytest.approx(min(100, float(row["score"]) + half_width))
        assert row["outside"] == "0"


def changed(path: Path, **fields: object) -> Path:
    """A model whose sidecar has other values; None removes a field."""
    document = json.loads(path.with_suffix(".json").read_text()) | fields
    kept = {name: value for name, value in document.items() if value is not None or name not in fields}
    path.with_suffix(".json").write_text(json.dumps(kept))
    return path


def test_a_clip_has_an_interval_around_its_mean(models: Path, promoted: Path, ask: Ask) -> None:
    found, err = ask("--model", models / f"{STEM}_ensemble.onnx", "--corpus", promoted, "--json")
    half_width = json.loads((promoted / "PROMOTE.json").read_text())["evidence"]["half_widths"]["clip"]["0.95"][
        "half_width"
    ]
    covered = 0
    for cell in found["encodes"]:
        interval, mean = cell["pooled"]["interval"], cell["pooled"]["mean"]
        assert interval == pytest.approx({"low": max(0, mean - half_width), "high": min(100, mean + half_width)})
        covered += interval["low"] <= cell["pooled"]["libvmaf_mean"] <= interval["high"]
        assert (cell["outside"], cell["outside_frames"], cell["resolution"]) == ([], 0, "64x64")
    assert covered >= 0.95 * len(found["encodes"])
    first = found["encodes"][0]["pooled"]["interval"]
    assert f"{first['low']:.2f} to {first['high']:.2f}" in err


def test_what_is_outside_of_the_training_is_flagged(models: Path, promoted: Path, tmp_path: Path, ask: Ask) -> None:
    path = models / f"{STEM}_ensemble.onnx"
    ranges = json.loads(path.with_suffix(".json").read_text())["input_ranges"]
    narrow = ranges | {"motion2": [0.0, 0.5], "crf_norm": [19 / 63, 31 / 63]}
    changed(path, input_ranges=narrow, resolutions=["640x360"])
    found, err = ask("--model", path, "--corpus", promoted, "--csv", tmp_path / "f.csv", "--json")
    motion, beyond = {}, 0
    for cell in found["encodes"]:
        lines = {line.split()[0]: line for line in cell["outside"]}
        assert ("cq" in lines) == (cell["cq"] == 43)
        assert lines.get("cq", "cq 43 > 31") == "cq 43 > 31"
        motion |= {cell["name"]: lines["motion2"]} if "motion2" in lines else {}
        beyond += cell["outside_frames"]
    assert motion
    name, line = next(iter(motion.items()))
    assert re.fullmatch(r"motion2 [0-9.]+ > 0\.5( \(\d+ of 12 frames\))?", line)
    assert f"outside training range: {line} in {name}" in found["remarks"]
    assert "outside training range: motion2" in " ".join(err.split())
    assert "outside training: resolution 64x64; trained on 640x360" in found["remarks"]
    with (tmp_path / "f.csv").open(newline="") as stream:
        assert sum(int(row["outside"]) for row in csv.DictReader(stream)) == beyond


def test_an_encoder_that_was_not_in_training_has_no_range_of_quality_points(promoted: Path) -> None:
    model = open_model(promoted / layout.EXPORTS / f"{STEM}_ensemble.onnx")
    frames = Scores(version="x", features=np.full((3, 6), 0.5), vmaf=np.zeros(3), others={})
    known, unknown = (
        score_pair(model, "x", frames, Encode(encoder=name, preset=None, cq=51), "64x64")
        for name in ("libx264", "xeve")
    )
    assert "cq 51 > 43" in known.outside
    assert not any(line.startswith("cq") for line in unknown.outside)


def test_an_earlier_sidecar_has_no_interval(models: Path, promoted: Path, ask: Ask) -> None:
    path = changed(models / f"{STEM}_ensemble.onnx", **dict.fromkeys(("schema_version", *SECOND_VERSION)))
    found, _ = ask("--model", path, "--corpus", promoted, "--json")
    assert found["model"]["half_widths"] is None
    assert all(cell["pooled"]["interval"] is None and not cell["outside"] for cell in found["encodes"])
    (remark,) = found["remarks"]
    assert "no interval" in remark


def test_a_model_without_a_sidecar_says_so(plain: Path, promoted: Path, ask: Ask) -> None:
    found, err = ask("--model", plain, "--corpus", promoted, "--json")
    assert "plain.json" in err
    assert found["model"] == {
        "file": "plain.onnx",
        "sha256": found["model"]["sha256"],
        "id": None,
        "codec_aware": False,
        "ensemble": True,
        "teacher": None,
        "half_widths": None,
    }
    assert "no interval" in found["remarks"][0]


# ------------------------------------------------------------------------------------------ a model file


#: A number that no double can hold.
WIDTHS = {"0.95": {"half_width": 10**400, "method": "m", "groups": 3, "worst_group": None, "coverage": None}}


def recorded(name: str, value: object) -> Callable[[Path], object]:
    """Return a change of a field of a model's sidecar."""

    def change(path: Path) -> None:
        sidecar = path.with_suffix(".json")
        sidecar.write_text(json.dumps(json.loads(sidecar.read_text()) | {name: value}))

    return change


@pytest.mark.parametrize(
    ("change", "error", "value"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-4] + b"\0\0\0\0"), (CheckFailed, BadInput), "sha256|load"),
        (lambda path: path.with_suffix(".json").write_text("{}"), BadInput, "required property"),
        (lambda path: path.with_suffix(".json").write_text("{"), BadInput, "_seed0.json"),
        (recorded("half_widths", {"frame": WIDTHS, "clip": WIDTHS}), BadInput, "half_width: .* is not of type"),
        (recorded("input_ranges", {"motion2": [5.0, 1.0]}), BadInput, "motion2: 5.0 is above 1.0"),
        (lambda path: path.write_text("no model"), BadInput, "_seed0.onnx"),
        (lambda path: path.unlink(), BadInput, "_seed0.onnx"),
        (
            lambda path: path.write_bytes(graph.single(networks()[0], SCALE)),
            CheckFailed,
            "sha256",
        ),
    ],
)
def test_a_model_that_cannot_be_trusted_is_refused(
    change: Callable[[Path], object], error: type[Exception], value: str, models: Path
) -> None:
    path = models / f"{STEM}_seed0.onnx"
    open_model(path)
    change(path)
    with pytest.raises(error, match=value):
        open_model(path)


def test_a_graph_with_other_outputs_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(graph.single(networks()[0], SCALE, "quality"))
    with pytest.raises(BadInput, match="quality"):
        open_model(tmp_path / "m.onnx")


def test_a_score_that_is_not_finite_is_an_error(tmp_path: Path) -> None:
    broken: Network = networks("linear")[0]
    with torch.no_grad():
        broken.biases[0].fill_(torch.nan)
    (tmp_path / "m.onnx").write_bytes(graph.single(broken, SCALE))
    with pytest.raises(CheckFailed, match="200 values of score"):
        open_model(tmp_path / "m.onnx").scores(TABLE.features, TABLE.codec)


def test_harmonic_mean_is_that_of_libvmaf() -> None:
    found = pooled(np.array([0.0, 50.0, 100.0]))
    assert found.mean == 50
    assert found.min == 0
    assert found.harmonic_mean == pytest.approx(3 / (1 / 1 + 1 / 51 + 1 / 101) - 1)


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    session = runtime.open_session(graph.fused(networks(), SCALE))
    whole = runtime.compute(session, TABLE.features, TABLE.codec)
    monkeypatch.setattr(runtime, "BLOCK", 7)
    parts = runtime.compute(session, TABLE.features, TABLE.codec)
    for name, values in whole.items():
        assert parts[name] == pytest.approx(values, abs=1e-4)


# ------------------------------------------------------------------------------------------ a pair of clips


def golden_files(folder: Path, name: str) -> tuple[SourceFile, SourceFile]:
    """A golden pair as headerless files whose names tell their geometry."""
    (made,) = (found for found in golden.pairs() if found.name == name)
    files = []
    for role, luma in (("reference", made.reference), ("distorted", made.distorted)):
        path = folder / f"{role}_480x270_25fps_{made.bits}bit_420.yuv"
        golden.write_clip(path, luma, made.bits)
        files.append(SourceFile(path=path, kind="yuv", label=role, geometry=made.geometry))
    return files[0], files[1]


@pytest.mark.ffmpeg
@pytest.mark.parametrize("name", ["natural-8bit", "natural-10bit"])
@pytest.mark.parametrize("by", ["filter", "tool"])
def test_features_of_a_golden_pair(name: str, by: str, tmp_path: Path, ffmpeg: Ffmpeg) -> None:
    scorer: base.CellScorer = FilterScorer(ffmpeg=ffmpeg)
    if by == "tool":
        stand_in = write_tool(tmp_path / "tool" / "vmaf", ffmpeg)
        scorer = vmaf_tool.locate(stand_in, origin="here", ffmpeg=ffmpeg, processes=Processes())
    reference, distorted = golden_files(tmp_path, name)
    scores = pair.extract(scorer, reference, distorted, processes=Processes(), threads=2)
    assert means(scores) == pytest.approx(golden.EXPECTED[name], abs=contract.GOLDEN_TOLERANCE)


@pytest.mark.ffmpeg
def test_a_pair_has_the_features_of_the_cell(tmp_path: Path, make_clip: MakeClip, tools: Tools) -> None:
    cell = cell_of(make_clip(tmp_path / "Life.mkv", "Life", frames=20), tools)
    scorer, processes = FilterScorer(ffmpeg=tools.ffmpeg), Processes()
    work = Work(file=cell.source.file, settings=cell.settings, teacher=cell.teacher, keep="kept.mkv")
    with scratch_folder() as scratch:
        base.run(scorer, work, tools.ffmpeg, processes=processes, scratch=scratch, tried="a cell", limit=TimeLimits())
        expected = scorer.scores(scratch, "")
        distorted = inspect(scratch / "kept.mkv", "kept", assumed=None, tools=tools)
        found = pair.extract(scorer, cell.source.file, distorted, processes=processes, threads=1)
    assert np.array_equal(found.features, expected.features)
    assert np.array_equal(found.vmaf, expected.vmaf)


@pytest.mark.ffmpeg
def test_from_two_clips_to_scores(models: Path, tmp_path: Path, ask: Ask) -> None:
    reference, distorted = golden_files(tmp_path, "natural-8bit")
    found, err = ask(
        "--model",
        models / f"{STEM}_ensemble.onnx",
        "--ref",
        reference.path,
        "--dis",
        distorted.path,
        "--encoder",
        "hevc_nvenc",
        "--cq",
        "31",
        "--preset",
        "p4",
        "--json",
    )
    (encode,) = found["encodes"]
    assert (encode["encoder"], encode["preset"], encode["cq"], encode["frames"]) == ("hevc_nvenc", "p4", 31, 6)
    assert np.mean(encode["libvmaf"]) == pytest.approx(golden.EXPECTED["natural-8bit"][-1], abs=2e-3)
    assert all(0 <= value <= 100 for value in encode["score"])
    assert found["libvmaf"] == "vmaf_v0.6.1"
    remark, about_interval = (line for line in found["remarks"] if not line.startswith("outside"))
    assert remark == "hevc_nvenc: the model was not trained on it, and scores it like any unknown encoder."
    assert "interval" in about_interval
    assert any("resolution 480x270" in line for line in found["remarks"])
    assert remark.split(";")[0] in " ".join(err.split())


@pytest.mark.ffmpeg
def test_a_yuv_without_geometry_in_its_name(plain: Path, tmp_path: Path, ask: Ask) -> None:
    for file, name in zip(golden_files(tmp_path, "natural-8bit"), ("r.yuv", "d.yuv"), strict=True):
        file.path.rename(tmp_path / name)
    pair_of = ("--model", plain, "--ref", tmp_path / "r.yuv", "--dis", tmp_path / "d.yuv")
    found, _ = ask(*pair_of, "--geometry", "480x270@25", "--json")
    assert found["encodes"][0]["frames"] == 6
    assert "geometry" in ask(*pair_of, code=exits.BAD_INPUT)[1]


@pytest.mark.ffmpeg
def test_clips_that_differ_are_refused_with_both(
    plain: Path, clips: Path, tmp_path: Path, make_clip: MakeClip, ask: Ask
) -> None:
    shorter = make_clip(tmp_path / "short.mkv", "Fractal", frames=7)
    err = ask("--model", plain, "--ref", clips / "Fractal.mkv", "--dis", shorter, code=exits.BAD_INPUT)[1]
    assert "Fractal.mkv: 320x180 yuv420p, range tv, 25 fps, 10 frames" in err
    assert "short.mkv: 320x180 yuv420p, range tv, 25 fps, 7 frames" in err


def pair_of(clips: Path) -> tuple[str | Path, ...]:
    return "--ref", clips / "Fractal.mkv", "--dis", clips / "Fractal.mkv"


@pytest.mark.ffmpeg
@pytest.mark.parametrize(
    ("options", "value"),
    [
        ((), "--encoder"),
        (("--encoder", "libx264"), "--cq"),
        (("--encoder", "libx264", "--cq", "31", "--preset", "p4"), "'p4'"),
        (("--encoder", "h264_amf", "--cq", "31", "--preset", "balanced"), "h264_amf"),
        (("--encoder", "libx264", "--cq", "99"), "99"),
        (("--encoder", "libx264", "--cq", "31", "--geometry", "320x180@25"), "--geometry"),
    ],
)
def test_a_codec_aware_model_needs_the_encode(
    options: tuple[str, ...], value: str, models: Path, clips: Path, ask: Ask
) -> None:
    err = ask("--model", models / f"{STEM}_seed0.onnx", *pair_of(clips), *options, code=exits.BAD_INPUT)[1]
    assert value in err


@pytest.mark.ffmpeg
def test_an_encoder_outside_the_vocabulary_is_reported(models: Path, clips: Path, ask: Ask) -> None:
    model = models / f"{STEM}_seed0.onnx"
    found, err = ask("--model", model, *pair_of(clips), "--encoder", "xeve", "--cq", "31", "--json")
    assert "xeve" in err
    # a clip against itself: libvmaf's scores may all be equal, and then there is no correlation
    assert (found["agreement"]["plcc"] is None) == (found["agreement"]["undefined"] is not None)


@pytest.mark.ffmpeg
def test_options_without_effect_are_refused(plain: Path, clips: Path, promoted: Path, ask: Ask) -> None:
    def refused(*argv: str | Path) -> str:
        return ask("--model", plain, *argv, code=exits.BAD_INPUT)[1]

    assert "plain.onnx" in refused(*pair_of(clips), "--encoder", "libx264", "--cq", "31")
    assert "--cq is about --ref and --dis" in refused("--corpus", promoted, "--cq", "31")
    assert "--ffmpeg is about --ref and --dis" in refused("--corpus", promoted, "--ffmpeg", "/x")
    assert "Give either --corpus" in refused("--ref", clips / "Fractal.mkv")
    assert "Give either --corpus" in refused("--corpus", promoted, *pair_of(clips))
    assert "Give either --corpus" in refused()
    assert "a file" in refused("--ref", clips, "--dis", clips / "Fractal.mkv")
