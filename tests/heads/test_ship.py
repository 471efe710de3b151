"""Exported heads: compared with tables and viewers, validated, registered."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kit.core import contract, exits
from kit.core.inputs import DEFAULT_INPUTS
from kit.features import table
from kit.heads import register
from kit.heads.table_facts import table_facts
from kit.models import graph, latency, runtime
from kit.models.card import parameters
from kit.models.model_file import open_model
from kit.models.sidecar import sidecar_problems
from kit.system import validation
from kit.training import checkpoint
from kit.training.draws import Draws
from kit.training.model import Network
from kit.training.recipe import Recipe, architecture
from kit.training.standardiser import Standardiser
from kit.video.sources.demo import DEMO_IDENTITIES
from tests.cli.builders import Ask, Command
from tests.features.builders import LINE, OFFSET, SLOPES, line
from tests.models.builders import foreign


@pytest.fixture
def model(tmp_path: Path, ask: Ask) -> Path:
    """The line as an exported head that was fitted with ``s1`` held out."""
    return exported(tmp_path / "made" / "line.onnx", ask, offset=OFFSET)


def exported(path: Path, ask: Ask, *, offset: float) -> Path:
    arrays = {
        "weights.0": SLOPES[None, :],
        "biases.0": np.array([offset], dtype=np.float32),
        "mean": np.zeros(6, dtype=np.float32),
        "std": np.ones(6, dtype=np.float32),
    }
    origin = {
        "held_out": ["npd/s1"],
        "rows_held_out": 60,
        "fitted_groups": ["s0", "s2", "s3"],
        "seed": 0,
        "device": "cpu",
        "config_sha256": "0" * 64,
    }
    kept = path.with_suffix(".safetensors")
    fitted = checkpoint.Checkpoint(
        kind=checkpoint.HEAD,
        recipe=Recipe(epochs=2, arch="linear"),
        arrays=arrays,
        facts=table_facts(LINE) | origin,
    )
    checkpoint.write(kept, fitted)
    ask("export", "--checkpoint", kept, "--out", path)
    return path


def test_a_model_is_compared_with_its_teacher_and_timed(
    model: Path, line_table: Path, tmp_path: Path, ask: Ask
) -> None:
    found, err = ask("eval", "--model", model, "--features", line_table, "--out-json", tmp_path / "e.json", "--json")
    assert found == json.loads((tmp_path / "e.json").read_text())
    assert found["n_samples"] == len(LINE) == 240
    assert min(found["plcc"], found["srocc"]) > 0.99
    assert found["rmse"] == pytest.approx(0.1, rel=0.2)
    assert 0 < found["latency_ms_p50_per_clip"] <= found["latency_ms_p95_per_clip"] < 1000
    assert found["run_provenance"]["inputs"]["features"]["sha256"]
    assert found["rows_fitted_on"] == 180
    assert "180 of 240 rows" in err
    scores = runtime.compute(open_model(model).session, LINE.rows().features, LINE.rows().codec)["vmaf"]
    assert found["bias"] == pytest.approx(float((scores - LINE.frame["vmaf"]).mean()), abs=1e-4)


@pytest.mark.parametrize(("split", "samples"), [("held-out", 60), ("fold=fold0", 120), ("source=s3", 60)])
def test_a_split_is_the_rows_of_some_sources(split: str, samples: int, model: Path, line_table: Path, ask: Ask) -> None:
    found, err = ask("eval", "--model", model, "--features", line_table, "--split", split, "--json")
    assert (found["n_samples"], found["split"]) == (samples, split)
    assert ("fitted to" in err) == (split != "held-out")


@pytest.mark.parametrize(
    ("split", "values"),
    [("source=s9", "s0, s1, s2, s3"), ("train", "corpus, source"), ("vmaf=3", "held-out")],
)
def test_an_invalid_split_is_refused(split: str, values: str, model: Path, line_table: Path, ask: Ask) -> None:
    err = ask("eval", "--model", model, "--features", line_table, "--split", split, code=exits.BAD_INPUT)[1]
    assert split in err
    assert values in err


def test_the_sources_of_a_fit_are_not_guessed(model: Path, line_table: Path, ask: Ask) -> None:
    model.with_suffix(".json").unlink()
    argv = ("eval", "--model", model, "--features", line_table)
    found, err = ask(*argv, "--json")
    assert found["rows_fitted_on"] is None
    assert "line.onnx" in err
    assert "--split held-out" in ask(*argv, "--split", "held-out", code=exits.BAD_INPUT)[1]


def test_clips_are_compared_with_subjective_scores_of_viewers(
    model: Path, line_table: Path, tmp_path: Path, ask: Ask
) -> None:
    argv = ("eval", "--model", model, "--features", line_table, "--target", "mos")
    assert "join-mos" in ask(*argv, code=exits.BAD_INPUT)[1]
    means = LINE.frame.groupby("clip")["vmaf"].mean()
    lines = [f"{clip},{1 + mean / 25}" for clip, mean in means.items() if clip != "c5"]
    (tmp_path / "mos.csv").write_text("\n".join(["clip,MOS", *lines]) + "\n")
    ask(
        "join-mos",
        "--features",
        line_table,
        "--mos",
        tmp_path / "mos.csv",
        "--on",
        "clip=clip",
        "--score",
        "MOS",
        "--out",
        tmp_path / "joined.parquet",
    )
    argv = ("eval", "--model", model, "--features", tmp_path / "joined.parquet", "--target", "mos")
    found, err = ask(*argv, "--json")
    assert found["n_samples"] == 7
    assert found["mapping"]["slope"] == pytest.approx(1 / 25, rel=0.01)
    assert found["mapping"]["intercept"] == pytest.approx(1, abs=0.05)
    assert found["rmse"] < 0.01
    assert found["bias"] == pytest.approx(0, abs=1e-9)
    assert found["teacher_itself"]["rmse"] == pytest.approx(0, abs=1e-9)
    assert "the teacher" in err
    (tmp_path / "same.csv").write_text("\n".join(["clip,MOS", *(f"{clip},3" for clip in means.index)]) + "\n")
    ask(
        "join-mos",
        "--features",
        line_table,
        "--mos",
        tmp_path / "same.csv",
        "--on",
        "clip=clip",
        "--score",
        "MOS",
        "--out",
        tmp_path / "same.parquet",
    )
    same = ("eval", "--model", model, "--features", tmp_path / "same.parquet", "--target", "mos")
    found, err = ask(*same, "--out-json", tmp_path / "same_e.json", "--json", code=exits.INVALID)
    assert found == json.loads((tmp_path / "same_e.json").read_text())
    assert (found["n_samples"], found["plcc"]) == (8, None)
    assert "constant (3)" in err
    two = (*argv, "--split", "source=s0")
    assert "2 of these clips" in ask(*two, code=exits.INVALID)[1]


def test_json_that_cannot_be_written_is_an_error(
    model: Path, line_table: Path, monkeypatch: pytest.MonkeyPatch, command: Command
) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    unread, write = os.pipe()
    os.close(unread)
    argv = ["eval", "--model", str(model), "--features", str(line_table), "--json"]
    failing = ["validate", *argv[1:], "--rows", "50", "--max-rmse", "0.01"]
    with Path("/dev/full").open("w") as full, os.fdopen(write, "w") as gone:
        for arguments, stream, code in ((failing, full, exits.INVALID), (argv, gone, exits.OK)):
            monkeypatch.setattr(sys, "stdout", stream)
            assert command(arguments) == code
    with Path("/dev/full").open("w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        assert command(argv) == exits.DISK_FULL


def test_a_table_of_another_teacher_is_refused(model: Path, tmp_path: Path, ask: Ask) -> None:
    table.write(tmp_path / "neg.parquet", line("vmaf_v0.6.1neg"), facts={})
    _, err = ask("eval", "--model", model, "--features", tmp_path / "neg.parquet", code=exits.BAD_INPUT)
    assert "vmaf_v0.6.1;" in err
    assert "vmaf_v0.6.1neg" in err


def test_a_codec_aware_model_is_refused_by_eval(line_table: Path, tmp_path: Path, ask: Ask) -> None:
    scale = Standardiser(mean=np.zeros(6, dtype=np.float32), std=np.ones(6, dtype=np.float32))
    (tmp_path / "m.onnx").write_bytes(graph.single(Network(architecture(), Draws(0, ""), 50.0), scale))
    _, err = ask("eval", "--model", tmp_path / "m.onnx", "--features", line_table, code=exits.BAD_INPUT)
    assert "codec block" in err
    assert "score --corpus" in err


def test_the_synthetic_clip_is_within_the_ranges_of_features() -> None:
    given = latency.synthetic_clip(DEFAULT_INPUTS)
    assert given[contract.FEATURES_INPUT].shape == (240, 6)
    for column, name in zip(given[contract.FEATURES_INPUT].T, contract.FEATURES, strict=True):
        low, high = contract.FEATURE_RANGES[name]
        assert low <= column.min() < column.max() <= high
    assert all(np.array_equal(value, latency.synthetic_clip(DEFAULT_INPUTS)[name]) for name, value in given.items())


def validated(model: Path, line_table: Path, ask: Ask, *further: object, code: int = exits.OK) -> dict[str, Any]:
    """Validate on 50 of the 60 held-out rows, unless ``further`` says otherwise; return the report."""
    argv = ("validate", "--model", model, "--features", line_table, "--rows", "50", *further, "--json")
    found, _ = ask(*argv, code=code)
    assert found == json.loads(model.with_suffix(".validation.json").read_text())
    assert validation.problems("validation", found) == []
    return found


def test_a_model_within_the_limits_passes(model: Path, line_table: Path, ask: Ask) -> None:
    found = validated(model, line_table, ask, "--split", "held-out", "--rows", "50", "--max-rmse", "0.2")
    assert (found["passed"], found["reasons"], found["rows_fitted_on"]) == (True, [], 0)
    assert found["limits"] == {"rows": 50, "min_plcc": 0.97, "max_rmse": 0.2, "allow_training_rows": False}
    assert found["looser"] == ["50 rows (default 100)"]
    assert found["figures"]["n"] == 50


def test_held_out_rows_are_the_default_and_the_error_has_a_limit(model: Path, line_table: Path, ask: Ask) -> None:
    found = validated(model, line_table, ask)
    assert (found["passed"], found["split"], found["rows_fitted_on"]) == (True, "held-out", 0)
    assert found["limits"]["max_rmse"] == contract.SHIP_MAX_RMSE == 3.0


@pytest.mark.parametrize("split", ["fold=fold0", "source=s0"])
def test_rows_that_the_model_was_fitted_to_are_refused_unless_allowed(
    split: str, model: Path, line_table: Path, ask: Ask
) -> None:
    found = validated(model, line_table, ask, "--split", split, code=exits.INVALID)
    (reason,) = found["reasons"]
    assert "--allow-training-rows" in reason
    assert str(found["rows_fitted_on"]) in reason
    assert "line.onnx has not passed" in registered(model, ask, code=exits.INVALID)
    allowed = validated(model, line_table, ask, "--split", split, "--allow-training-rows")
    assert any("fitted to" in text for text in allowed["looser"])
    registered(model, ask)
    (line,) = json.loads((model.parent / "registry.json").read_text())["models"]
    assert "Looser limits" in line["notes"]
    assert "Looser than the default limit" in (model.parent / "a_line.md").read_text()


def test_a_model_without_a_record_of_its_sources_is_refused_unless_allowed(
    model: Path, line_table: Path, ask: Ask
) -> None:
    model.with_suffix(".json").unlink()
    (reason,) = validated(model, line_table, ask, code=exits.INVALID)["reasons"]
    assert "--allow-training-rows" in reason
    assert validated(model, line_table, ask, "--allow-training-rows")["passed"]


def test_initial_weights_do_not_pass(line_table: Path, tmp_path: Path, ask: Ask) -> None:
    ask("fit", "--epochs", "0", "--out", tmp_path / "fit")
    ask("export", "--checkpoint", tmp_path / "fit" / "checkpoint.safetensors", "--out", tmp_path / "new.onnx")
    found = validated(tmp_path / "new.onnx", line_table, ask, "--max-rmse", "1000", code=exits.INVALID)
    assert "initial weights" in found["reasons"][0]


def test_a_head_that_was_fitted_to_demo_clips_is_no_model_for_measurements(
    model: Path, line_table: Path, ask: Ask
) -> None:
    validated(model, line_table, ask)
    sidecar = json.loads(model.with_suffix(".json").read_text())
    sidecar["corpus"]["fitted_groups"].append(DEMO_IDENTITIES["Pebbles"])
    model.with_suffix(".json").write_text(json.dumps(sidecar))
    registered(model, ask)
    (line,) = json.loads((model.parent / "registry.json").read_text())["models"]
    assert line["smoke"]
    assert "1 built-in demo clips" in line["notes"]
    assert "No model for measurements" in (model.parent / "a_line.md").read_text()


def test_the_checked_rows_are_spread_over_the_table(model: Path, line_table: Path, ask: Ask) -> None:
    found = validated(model, line_table, ask, "--split", "fold=fold0", "--rows", "8", "--allow-training-rows")
    chosen = LINE.only((LINE.frame["fold"] == "fold0").to_numpy()).rows()
    every = np.arange(0, 120, 17)
    scores = runtime.compute(open_model(model).session, chosen.features[every], chosen.codec[every])["vmaf"]
    assert found["figures"]["n"] == len(every)
    assert found["figures"]["bias"] == pytest.approx(float((scores - chosen.target[every]).mean()), abs=1e-4)


@pytest.mark.parametrize(
    ("limit", "reason"),
    [
        (("--max-rmse", "0.01"), r"RMSE 0\.\d\d VMAF points.* 0\.01"),
        (("--min-plcc", "1"), r"PLCC 0\.99\d\d.* 1"),
    ],
)
def test_a_model_that_misses_a_limit_does_not_pass(
    limit: tuple[str, str], reason: str, model: Path, line_table: Path, ask: Ask
) -> None:
    found = validated(model, line_table, ask, *limit, code=exits.INVALID)
    assert not found["passed"]
    assert [bool(re.fullmatch(reason, line)) for line in found["reasons"]] == [True]


def test_a_constant_model_does_not_pass(line_table: Path, tmp_path: Path, ask: Ask) -> None:
    path = exported(tmp_path / "high.onnx", ask, offset=1e6)
    found = validated(path, line_table, ask, code=exits.INVALID)
    assert found["figures"]["plcc"] is None
    assert "constant (100)" in found["reasons"][0]
    assert "RMSE" in found["reasons"][1]


def test_a_model_of_another_exporter_follows_the_rules(line_table: Path, tmp_path: Path, ask: Ask) -> None:
    path = foreign(tmp_path / "old.onnx", opset=13)
    found = validated(path, line_table, ask, "--allow-training-rows", code=exits.INVALID)
    assert found["figures"]["plcc"] > 0.99
    assert "13" in found["reasons"][0]


def test_more_rows_than_the_table_has_are_refused(model: Path, line_table: Path, ask: Ask) -> None:
    argv = ("validate", "--model", model, "--features", line_table, "--rows", "241", "--allow-training-rows")
    err = ask(*argv, code=exits.BAD_INPUT)[1]
    assert "--rows 241" in err
    assert "240" in err
    assert not model.with_suffix(".validation.json").exists()


def registered(model: Path, ask: Ask, *further: object, name: str = "a_line", code: int = exits.OK) -> str:
    argv = ("register", "--model", model, "--id", name, "--kind", "fr", "--license", "bsd-3-clause", *further)
    return ask(*argv, code=code)[1]


@pytest.fixture
def registry(model: Path, line_table: Path, tmp_path: Path, ask: Ask) -> Path:
    """A registry of one model."""
    validated(model, line_table, ask, "--split", "held-out", "--rows", "50")
    registered(model, ask, "--registry", tmp_path / "models" / "registry.json")
    return tmp_path / "models" / "registry.json"


@pytest.mark.essential
def test_a_registered_model_has_a_sidecar_a_card_and_a_line(registry: Path, model: Path) -> None:
    folder = registry.parent
    assert {path.name for path in folder.iterdir() if path.name != ".lock"} == {
        "registry.json",
        "a_line.onnx",
        "a_line.json",
        "a_line.md",
    }
    listed, sidecar = json.loads(registry.read_text()), json.loads((folder / "a_line.json").read_text())
    assert validation.problems("registry", listed) == sidecar_problems(sidecar) == []
    (line,) = listed["models"]
    assert (line["id"], line["kind"], line["license"], line["smoke"]) == ("a_line", "fr", "BSD-3-Clause", False)
    assert sidecar["validation"]["figures"]["n"] == 50
    assert sidecar["registration"]["inputs"]["model"]["sha256"] == line["sha256"]
    assert sidecar["run_provenance"]["inputs"].keys() == {"checkpoint"}
    assert sidecar["run_provenance"]["args"] == {"checkpoint": "<out>/line.safetensors", "out": "<out>/line.onnx"}
    assert (folder / line["onnx"]).read_bytes() == model.read_bytes()
    assert open_model(folder / "a_line.onnx").sidecar == sidecar
    card = (folder / "a_line.md").read_text()
    assert line["description"].endswith("teacher vmaf_v0.6.1; fitted to 180 rows of npd")
    assert re.findall(r"\d+", line["notes"]) == ["180", "3", "60", "1", "50", "100"]
    for part in ("7 weights", "from 0 to 100", "`npd/s0`, `npd/s2`, `npd/s3`", "| held out | `npd/s1` |", "## Limits"):
        assert part in card


def test_the_example_of_the_card_runs(registry: Path) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", (registry.parent / "a_line.md").read_text(), re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-c", example], cwd=registry.parent, capture_output=True, text=True, check=True, timeout=60
    )
    assert float(done.stdout) == pytest.approx(OFFSET, abs=1e-3)  # the means of its features are zero


def test_a_registry_grows_and_an_id_is_used_once(registry: Path, model: Path, ask: Ask) -> None:
    before = {path.name: path.read_bytes() for path in registry.parent.iterdir()}
    option = ("--registry", registry)
    assert "--id a_line" in registered(model, ask, *option, code=exits.BAD_INPUT)
    assert {path.name: path.read_bytes() for path in registry.parent.iterdir()} == before
    registered(model, ask, *option, name="another")
    assert [line["id"] for line in json.loads(registry.read_text())["models"]] == ["a_line", "another"]


@pytest.mark.parametrize(
    ("name", "license_id", "value"), [("A-Line", "MIT", "--id"), ("b", "none of yours", "--license")]
)
def test_an_invalid_id_or_license_is_refused(name: str, license_id: str, value: str, model: Path, ask: Ask) -> None:
    argv = ("register", "--model", model, "--id", name, "--kind", "fr", "--license", license_id)
    assert value in ask(*argv, code=exits.BAD_INPUT)[1]


@pytest.mark.parametrize("kind", ["nr", "filter"])
def test_another_kind_than_that_of_the_sidecar_is_refused(kind: str, model: Path, line_table: Path, ask: Ask) -> None:
    validated(model, line_table, ask)
    argv = ("register", "--model", model, "--id", "a_line", "--kind", kind, "--license", "MIT")
    err = ask(*argv, code=exits.BAD_INPUT)[1]
    assert f"--kind {kind}" in err
    assert "line.onnx" in err
    assert not (model.parent / "registry.json").exists()


def test_a_model_that_has_not_passed_is_not_registered(model: Path, line_table: Path, ask: Ask) -> None:
    assert "line.validation.json" in registered(model, ask, code=exits.BAD_INPUT)
    validated(model, line_table, ask, "--max-rmse", "0.01", code=exits.INVALID)
    assert "RMSE" in registered(model, ask, code=exits.INVALID)
    assert not (model.parent / "registry.json").exists()
    assert not (model.parent / "a_line.onnx").exists()


def test_files_that_do_not_belong_together_are_refused(
    registry: Path, model: Path, line_table: Path, tmp_path: Path, ask: Ask
) -> None:
    other = exported(tmp_path / "other" / "line.onnx", ask, offset=OFFSET + 1)
    report = ("--validation", model.with_suffix(".validation.json"))
    assert "line.validation.json" in registered(other, ask, *report, code=exits.INVALID)
    other.with_suffix(".json").write_bytes(model.with_suffix(".json").read_bytes())
    assert "line.json: sha256" in registered(other, ask, *report, code=exits.INVALID)
    (registry.parent / "a_line.onnx").write_bytes(other.read_bytes())
    err = registered(model, ask, "--registry", registry, name="b", code=exits.INVALID)
    assert "a_line.onnx" in err
    assert "registry.json" in err


def test_foreign_files_are_kept_and_a_killed_registration_continues(registry: Path, model: Path, ask: Ask) -> None:
    folder = registry.parent
    (folder / "b.md").write_text("foreign")
    err = registered(model, ask, "--registry", registry, name="b", code=exits.BAD_INPUT)
    assert str(folder / "b.md") in err
    (folder / "b.onnx").write_bytes(model.read_bytes())  # another file next to the same model may be foreign
    assert str(folder / "b.md") in registered(model, ask, "--registry", registry, name="b", code=exits.BAD_INPUT)
    assert (folder / "b.md").read_text() == "foreign"
    registry.unlink()  # all files but the line: as after a kill
    registered(model, ask, "--registry", registry)
    assert len(json.loads(registry.read_text())["models"]) == 1


def test_a_model_without_a_sidecar_and_a_model_of_a_run_are_not_registered(tmp_path: Path, ask: Ask) -> None:
    path = foreign(tmp_path / "old.onnx")
    assert "old.json" in registered(path, ask, code=exits.BAD_INPUT)
    scale = Standardiser(mean=np.zeros(6, dtype=np.float32), std=np.ones(6, dtype=np.float32))
    path.write_bytes(graph.single(Network(architecture("linear"), Draws(0, ""), 50.0), scale))
    assert "exports/registry.json" in registered(path, ask, code=exits.BAD_INPUT)


def test_the_number_of_weights_and_biases() -> None:
    widths = [architecture(name).widths for name in ("linear", "mlp_small", "mlp_medium")]
    assert list(map(parameters, widths)) == [7, 257, 2561]


def test_licenses_are_spelled_as_in_spdx() -> None:
    assert register.spdx("bsd-3-clause or mit") == "BSD-3-Clause OR MIT"


# ------------------------------------------------------------------------------------------- paths


def digest(folder: Path) -> dict[str, bytes]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != ".lock")
    return {str(path): path.read_bytes() for path in files}


def test_inputs_are_not_overwritten(model: Path, line_table: Path, renamed: Path, tmp_path: Path, ask: Ask) -> None:
    before = digest(tmp_path)
    held = ("--model", model, "--features", line_table, "--out-json")
    kept, data = model.with_suffix(".safetensors"), renamed.parent / "tiny_v1.onnx.data"
    for argv in (
        ("eval", *held, model),
        ("eval", *held, line_table),
        ("validate", *held, model.with_suffix(".json")),
        ("repair-onnx", renamed, "--out", renamed),
        ("repair-onnx", renamed, "--out", data),
        ("repair-onnx", renamed, "--data", line_table, "--out", line_table),
    ):
        assert "both input and output" in ask(*argv, code=exits.BAD_INPUT)[1]
    table_as_model = line_table.rename(line_table.with_name("f.onnx"))
    argv = ("export", "--checkpoint", kept, "--features", table_as_model, "--out", table_as_model)
    assert "both input and output" in ask(*argv, code=exits.BAD_INPUT)[1]
    table_as_model.rename(line_table)
    assert digest(tmp_path) == before


def test_registered_files_are_not_overwritten(registry: Path, model: Path, line_table: Path, ask: Ask) -> None:
    (registry.parent / "link.onnx").symlink_to("a_line.onnx")
    before = digest(registry.parent)
    for name in ("a_line.onnx", "a_line.json", "a_line.md", "registry.json", "link.onnx"):
        out = registry.with_name(name)
        for argv in (
            ("eval", "--model", model, "--features", line_table, "--out-json", out),
            ("validate", "--model", model, "--features", line_table, "--rows", "50", "--out-json", out),
            ("repair-onnx", model, "--out", out),
            ("export", "--checkpoint", model.with_suffix(".safetensors"), "--out", out.with_suffix(".onnx")),
        ):
            err = ask(*argv, code=exits.BAD_INPUT)[1]
            assert "a registry" in err or "registered in registry.json" in err
    assert digest(registry.parent) == before


def test_an_export_overwrites_only_an_earlier_one(model: Path, line_table: Path, tmp_path: Path, ask: Ask) -> None:
    kept = model.with_suffix(".safetensors")
    ask("combine", f"npd={line_table}", "--out", tmp_path / "tab.parquet")
    (tmp_path / "notes.json").write_text('{"bought": "milk"}')
    (tmp_path / "draft.json").write_text("no JSON")
    (tmp_path / "measured.json").write_text('{"table_sha256": "0", "round_trip": {"encoder": "libx264", "crf": 35}}')
    foreign(tmp_path / "theirs.onnx")
    (tmp_path / "cut.onnx").write_bytes(model.read_bytes()[:-9])
    before = digest(tmp_path)
    for name in ("tab.json", "notes.json", "draft.json", "measured.json", "theirs.onnx", "cut.onnx"):
        out = (tmp_path / name).with_suffix(".onnx")
        err = ask("export", "--checkpoint", kept, "--out", out, code=exits.BAD_INPUT)[1]
        assert str(tmp_path / name) in err
    assert digest(tmp_path) == before
    first, _ = ask("export", "--checkpoint", kept, "--out", model, "--json")
    model.with_suffix(".json").unlink()  # as after a kill
    assert ask("export", "--checkpoint", kept, "--out", model, "--json")[0]["sha256"] == first["sha256"]


def test_a_table_overwrites_no_registered_file(registry: Path, line_table: Path, ask: Ask) -> None:
    before = digest(registry.parent)
    argv = ("combine", f"npd={line_table}", "--out", registry.with_name("a_line.parquet"))
    assert "a_line.json is registered in registry.json" in ask(*argv, code=exits.BAD_INPUT)[1]
    assert digest(registry.parent) == before


def test_a_comparison_overwrites_no_registered_model(registry: Path, model: Path, line_table: Path, ask: Ask) -> None:
    registered(model, ask, "--registry", registry, name="loso")
    before = digest(registry.parent)
    err = ask("loso", "--features", line_table, "--epochs", "1", "--out", registry.parent, code=exits.BAD_INPUT)[1]
    assert "loso.json is registered in registry.json" in err
    assert {name: one for name, one in digest(registry.parent).items() if name in before} == before


def test_an_id_is_used_once_in_a_folder_with_any_registries(registry: Path, model: Path, ask: Ask) -> None:
    registry = registry.rename(registry.with_name("first.json"))
    before = digest(registry.parent)
    err = registered(model, ask, "--registry", registry.with_name("third.json"), code=exits.BAD_INPUT)
    assert "registered in first.json" in err
    err = registered(model, ask, "--registry", registry.with_name("third.json"), name="first", code=exits.BAD_INPUT)
    assert "first.json is a registry" in err
    assert digest(registry.parent) == before


def test_nothing_is_written_next_to_a_damaged_registry(registry: Path, model: Path, line_table: Path, ask: Ask) -> None:
    registry.write_text("{}")
    before = digest(registry.parent)
    argv = ("eval", "--model", model, "--features", line_table, "--out-json", registry.with_name("a_line.json"))
    assert "registry.json" in ask(*argv, code=exits.BAD_INPUT)[1]
    assert digest(registry.parent) == before


@pytest.mark.parametrize("name", ["made", "models/a_line.json", "models/registry"])
def test_a_registry_has_its_own_json_file(name: str, registry: Path, model: Path, tmp_path: Path, ask: Ask) -> None:
    before = digest(tmp_path)
    assert str(tmp_path / name) in registered(model, ask, "--registry", tmp_path / name, code=exits.BAD_INPUT)
    assert digest(tmp_path) == before


@pytest.mark.parametrize("name", ["", "f.parquet/below", "/proc/nowhere/x"])
def test_a_path_that_cannot_be_written_is_named(
    name: str, model: Path, line_table: Path, tmp_path: Path, ask: Ask
) -> None:
    out = tmp_path / name if name else model.parent
    kept, folder_named_so = model.with_suffix(".safetensors"), tmp_path / "folder.onnx"
    folder_named_so.mkdir()
    for argv in (
        ("eval", "--model", model, "--features", line_table, "--out-json", out),
        ("validate", "--model", model, "--features", line_table, "--rows", "50", "--out-json", out),
        ("export", "--checkpoint", kept, "--out", out.with_suffix(".onnx") if name else folder_named_so),
        ("fit", "--epochs", "0", "--out", out if name else line_table),
    ):
        err = ask(*argv, code=exits.BAD_INPUT)[1]
        assert any(str(one) in err for one in (out, out.parent, folder_named_so, line_table))
        assert "Traceback" not in err


@pytest.mark.parametrize(
    "limit",
    [
        ("--min-plcc", "nan"),
        ("--max-rmse", "nan"),
        ("--max-rmse", "inf"),
        ("--min-plcc", "-1"),
        ("--min-plcc", "0"),
        ("--min-plcc", "1.1"),
        ("--max-rmse", "0"),
    ],
)
def test_a_limit_is_a_finite_number_in_its_range(
    limit: tuple[str, str], model: Path, line_table: Path, ask: Ask
) -> None:
    name, text = limit
    message = ask("validate", "--model", model, "--features", line_table, *limit, code=exits.BAD_INPUT)[1]
    assert f"{name}: {text!r}" in message


def test_the_limits_of_the_ship_gate_are_on_the_card(model: Path, line_table: Path, ask: Ask) -> None:
    found = validated(model, line_table, ask, "--min-plcc", "0.5", "--max-rmse", "7")
    report = model.with_suffix(".validation.json")
    report.write_text(json.dumps(found | {"limits": found["limits"] | {"min_plcc": -1}}))
    assert "line.validation.json" in registered(model, ask, code=exits.BAD_INPUT)
    report.write_text(json.dumps(found))
    limits = "PLCC of at least 0.5, RMSE of at most 7, on 50 held-out rows"
    assert limits in registered(model, ask)
    assert limits in (model.parent / "a_line.md").read_text()
