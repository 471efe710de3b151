"""Bundles of other boxes: an honest one is valid, and each forgery fails the check made for it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from kit.core import contract, exits, layout
from kit.corpus.store.shard import read_manifest
from kit.options.session import KIT_ROOT
from kit.steps import step_03_train, step_04_verdict
from kit.system.fsio import sha256_file, write_json
from kit.system.proc import Processes
from kit.training import predictions
from kit.training.predictions import Predictions
from kit.verify.bundle import UNPROVEN, UNSIGNED, verify
from kit.verify.check import Check
from kit.verify.checks import run_checks
from kit.verify.differences import differences
from kit.verify.received_run import ReceivedRun
from tests.cli.builders import Command
from tests.models.builders import STEM
from tests.options.builders import run_in
from tests.verify.builders import TOP, bundle_of, edit, files_of, manifest_of, packed


@pytest.fixture
def run(promoted: Path, tmp_path: Path) -> Path:
    return shutil.copytree(promoted, tmp_path / "run")


Change = Callable[[Path], object]


def checked(run: Path, word: str | None = "PROMOTE") -> dict[str, Check]:
    """Return every check of a run folder as if unpacked from its bundle."""
    write_json(run / layout.MANIFEST, manifest_of(files_of(run), word))
    return {check.name: check for check in run_checks(ReceivedRun(run))}


def failed(run: Path, word: str | None = "PROMOTE") -> list[str]:
    return [name for name, check in checked(run, word).items() if not check.passed]


def repredict(run: Path, change: Callable[[Predictions], Predictions]) -> None:
    """Change the predictions and their hash in every document."""
    path = run / layout.PREDICTIONS
    predictions.write(path, change(predictions.read(path)))
    digest = sha256_file(path)
    edit(run / layout.TRAINING, lambda value: value.update(predictions_sha256=digest))
    edit(run / "PROMOTE.json", lambda value: value["evidence"].update(predictions_sha256=digest))


# ------------------------------------------------------------------------------------------------ honest bundles


@pytest.mark.essential
def test_an_honest_promotion_is_valid_from_the_archive_to_the_models(
    run: Path, tmp_path: Path, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(["verify", str(bundle_of(run, tmp_path / f"{TOP}.tar.gz")), "--json"]) == exits.OK
    result = json.loads(capsys.readouterr().out)
    assert [check["name"] for check in result["checks"]] == [
        "archive",
        "documents",
        "verdict file",
        "cells",
        "scores",
        "demo",
        "scorer",
        "recipe",
        "predictions",
        "targets",
        "baselines",
        "reports",
        "gate",
        "evidence",
        "model descriptions",
        "model files",
        "model scores",
        "model cards",
    ]
    assert all(check["passed"] for check in result["checks"])
    assert (result["valid"], result["verdict"], result["box"]) == (True, "PROMOTE", "testbox")
    assert result["labels"] == [UNSIGNED, UNPROVEN]


@pytest.mark.essential
def test_members_trained_again_prove_the_predictions(
    run: Path, tmp_path: Path, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = bundle_of(run, tmp_path / f"{TOP}.tar.gz")
    assert command(["verify", str(bundle), "--retrain", "2", "--device", "cpu", "--json"]) == exits.OK
    result = json.loads(capsys.readouterr().out)
    assert result["labels"] == [UNSIGNED]
    again = {check["name"]: check["found"] for check in result["checks"][-3:]}
    assert list(again) == ["training", "training of baselines", "training of models"]
    assert "2 of 12" in again["training"]
    assert "RMS of 0," in again["training"]
    assert "RMS of 0," in again["training of baselines"]


def test_a_hold_and_a_shard_alone_are_valid(run: Path) -> None:
    config, session = run_in(run, epochs=1)
    trained = step_03_train.run(config, read_manifest(run / layout.CORPUS), session)
    assert step_04_verdict.run(config, trained, session).word == "HOLD"
    assert failed(run, "HOLD") == []
    shutil.rmtree(run / layout.LOSO)
    (run / "HOLD.json").unlink()
    assert failed(run, None) == []


def test_a_justified_invalid_verdict_is_a_valid_bundle(run: Path) -> None:
    config, session = run_in(run, folds="kfold:5")
    trained = step_03_train.run(config, read_manifest(run / layout.CORPUS), session)
    assert step_04_verdict.run(config, trained, session).word == "INVALID"
    assert failed(run, "INVALID") == []
    # without its reason the verdict is not justified
    edit(run / layout.TRAINING, lambda value: value.update(problems=[], folds="loso"))
    edit(run / "INVALID.json", lambda value: value["evidence"].update(problems=[], folds="loso"))
    assert "evidence" in failed(run, "INVALID")


def test_the_wording_of_kit_0_1_is_still_valid(run: Path) -> None:
    def reword(value: Any) -> None:
        value["evidence"]["calibration"]["spread"]["what"] = "an earlier explanation"
        for cell in value["evidence"]["coverage"]["outside_training"]["worst"]:
            source, encoder, point = cell["cell"].split("/")
            cell["cell"] = f"{source} x {encoder} x cq {int(point.removeprefix('cq'))}"

    outside = json.loads((run / "PROMOTE.json").read_text())["evidence"]["coverage"]["outside_training"]
    assert outside["worst"]
    edit(run / "PROMOTE.json", reword)
    assert failed(run) == []


def test_texts_of_another_kit_version_may_differ_but_not_what_may_ship(run: Path) -> None:
    def reword(value: Any) -> None:
        value["recommendation"] = "another wording"
        value["evidence"]["target"]["sentence"] = "another explanation"

    edit(run / "PROMOTE.json", reword)
    assert failed(run) == ["evidence"]
    edit(run / "PROMOTE.json", lambda value: value["run_provenance"].update(kit_version="0.0.1"))
    assert failed(run) == []
    edit(run / "PROMOTE.json", lambda value: value.update(may_ship=not value["may_ship"]))
    assert failed(run) == ["evidence"]


# ------------------------------------------------------------------------------------------------------ forgeries


def _lower(value: Any) -> None:
    value["gate"].update(mean_plcc_threshold=0.5, thresholds_sha256="0" * 64)


def _scale(model: onnx.ModelProto) -> None:
    for weights in model.graph.initializer:
        if weights.data_type == TensorProto.FLOAT and len(weights.dims) > 1:
            weights.raw_data = (-onnx.numpy_helper.to_array(weights)).tobytes()


def _outside(model: onnx.ModelProto) -> None:
    first = model.graph.initializer[0]
    first.ClearField("raw_data")
    first.data_location = TensorProto.EXTERNAL
    first.external_data.add(key="location", value="../../../../etc/hostname")


def _operator(model: onnx.ModelProto) -> None:
    (output,) = (node for node in model.graph.node if "score" in node.output)
    output.output[:] = ["before"]
    model.graph.node.append(helper.make_node("Sin", ["before"], ["score"]))


def _domain(model: onnx.ModelProto) -> None:
    model.opset_import.append(helper.make_opsetid("com.evil", 1))
    model.graph.node[0].domain = "com.evil"


def _huge(model: onnx.ModelProto) -> None:
    zeros = helper.make_tensor("zeros", TensorProto.INT64, [2], [1 << 20, 1 << 20])
    model.graph.initializer.append(zeros)
    model.graph.node.append(helper.make_node("ConstantOfShape", ["zeros"], ["huge"]))
    model.graph.node.append(helper.make_node("ReduceSum", ["huge"], ["sum"], keepdims=0))
    (output,) = (node for node in model.graph.node if "score" in node.output)
    output.output[:] = ["before"]
    model.graph.node.append(helper.make_node("Add", ["before", "sum"], ["score"]))


def remodel(change: Callable[[onnx.ModelProto], None]) -> Change:
    """Change the model of seed 0 and its hash in every document."""

    def forge(run: Path) -> None:
        (path,) = (run / layout.EXPORTS).glob("*_seed0.onnx")
        model = onnx.load_model(path, load_external_data=False)
        change(model)
        path.write_bytes(model.SerializeToString())
        digest = sha256_file(path)
        edit(path.with_suffix(".json"), lambda value: value.update(sha256=digest))
        edit(
            run / layout.REGISTRY,
            lambda value: [line.update(sha256=digest) for line in value["models"] if line["onnx"] == path.name],
        )

    return forge


def document(name: str, change: Callable[[Any], object]) -> Change:
    return lambda run: edit(run / name, change)


def text(name: str, content: str) -> Change:
    return lambda run: (run / name).write_text(content)


def predicted(change: Callable[[Predictions], Predictions]) -> Change:
    return lambda run: repredict(run, change)


def rebase(change: Callable[[Predictions], Predictions]) -> Change:
    """Change the predictions of a baseline and their hash."""

    def forge(run: Path) -> None:
        path = run / layout.baseline_predictions("linear")
        predictions.write(path, change(predictions.read(path)))
        digest = sha256_file(path)
        edit(run / layout.TRAINING, lambda value: value["baselines"]["linear"].update(predictions_sha256=digest))

    return forge


def _rolled(result: Predictions) -> Predictions:
    return replace(result, prediction=np.roll(result.prediction, 5))


def _twice(result: Predictions) -> Predictions:
    return replace(result, seed=np.zeros_like(result.seed))


def _wrong_folds(result: Predictions) -> Predictions:
    return replace(result, fold=np.roll(result.fold, len(result) // 8))


def _targets(result: Predictions) -> Predictions:
    return replace(result, target=result.prediction)


def _of_nan(result: Predictions) -> Predictions:
    return replace(result, prediction=np.where(np.arange(len(result)) == 7, np.float32(np.nan), result.prediction))


def _cell(run: Path) -> Path:
    return sorted((run / layout.CORPUS / "cells").rglob("*.parquet"))[3]


def _export(suffix: str) -> str:
    return f"{layout.EXPORTS}/fr_regressor_v2_ensemble_v1_{suffix}.json"


FORGERIES: dict[str, tuple[Change, str]] = {
    "thresholds-lowered": (document("PROMOTE.json", _lower), "gate"),
    "gate-figure": (document("PROMOTE.json", lambda value: value["gate"].update(mean_plcc=0.9999)), "gate"),
    "seed-figure": (document("PROMOTE.json", lambda v: v["gate"]["per_seed_plccs"].update({"0": 0.9999})), "gate"),
    "evidence": (document("PROMOTE.json", lambda v: v["evidence"]["ensemble_mean"].update(rmse=0.1)), "evidence"),
    "corpus-summary": (document("PROMOTE.json", lambda value: value["corpus"].update(rows=10**6)), "evidence"),
    "demo": (document("PROMOTE.json", lambda value: value.update(demo=True)), "evidence"),
    "seeds": (document("PROMOTE.json", lambda value: value.update(seeds=[0, 1, 3])), "evidence"),
    "two-verdicts": (lambda run: shutil.copy(run / "PROMOTE.json", run / "HOLD.json"), "verdict file"),
    "another-word": (document("PROMOTE.json", lambda value: value.update(verdict="HOLD")), "verdict file"),
    "report-figure": (document(layout.seed_report(1), lambda value: value.update(mean_plcc=0.9999)), "reports"),
    "report-fold": (document(layout.seed_report(1), lambda value: value["folds"][0].update(n_val=1)), "reports"),
    "report-losses-cut": (document(layout.seed_report(1), lambda value: value["training_loss"].pop()), "reports"),
    "report-loss-below-zero": (
        document(layout.seed_report(1), lambda value: value["training_loss"].append(-1.0)),
        "documents",
    ),
    "report-lacks-a-field": (document(layout.seed_report(1), lambda value: value.pop("folds")), "documents"),
    "json-nan": (text("PROMOTE.json", '{"schema_version": NaN}'), "documents"),
    "json-deep": (text("PROMOTE.json", '{"a":' * 100_000), "documents"),
    "json-types": (document("PROMOTE.json", lambda value: value.update(gate=[])), "documents"),
    "json-list": (text("PROMOTE.json", "[]"), "documents"),
    "predictions-shuffled": (predicted(_rolled), "reports"),
    "predictions-of-one-seed-twice": (predicted(_twice), "predictions"),
    "predictions-in-other-folds": (predicted(_wrong_folds), "predictions"),
    "predictions-nan": (predicted(_of_nan), "predictions"),
    "predictions-are-the-targets": (predicted(_targets), "targets"),
    "predictions-of-140": (predicted(lambda p: replace(p, prediction=p.prediction + np.float32(100))), "predictions"),
    "predictions-of-another-corpus": (predicted(lambda p: replace(p, corpus_sha256="0" * 64)), "predictions"),
    "predictions-without-their-hash": (
        lambda run: predictions.write(run / layout.PREDICTIONS, _rolled(predictions.read(run / layout.PREDICTIONS))),
        "predictions",
    ),
    "no-predictions": (lambda run: (run / layout.PREDICTIONS).unlink(), "predictions"),
    "predictions-no-parquet": (text(layout.PREDICTIONS, "PAR1" * 50), "predictions"),
    "cell-damaged": (lambda run: _cell(run).write_bytes(_cell(run).read_bytes()[:-200]), "cells"),
    "cell-gone": (lambda run: _cell(run).unlink(), "cells"),
    "cell-of-another-key": (document("corpus/shard.json", lambda v: v["cells"][0].update(key="0" * 64)), "cells"),
    "cell-path": (document("corpus/shard.json", lambda v: v["cells"][0].update(path="../../../etc/passwd")), "cells"),
    "recipe": (document(layout.TRAINING, lambda value: value.update(epochs=3)), "reports"),
    "unknown-architecture": (document(layout.TRAINING, lambda value: value.update(arch="svm")), "reports"),
    "expert-thresholds": (
        document("PROMOTE.json", lambda v: v["expert_gate"].update(thresholds_sha256="0" * 64)),
        "gate",
    ),
    "expert-figure": (document("PROMOTE.json", lambda v: v["expert_gate"]["checks"][0].update(value=1.0)), "gate"),
    "unknown-gate": (document("PROMOTE.json", lambda value: value.update(decided_by="lenient")), "documents"),
    "interval": (document("PROMOTE.json", lambda v: v["evidence"]["uncertainty"]["rmse"].update(high=0.1)), "evidence"),
    "source-left-out": (document("PROMOTE.json", lambda v: v["corpus"]["source_ids"].pop()), "evidence"),
    "no-baseline": (document(layout.TRAINING, lambda value: value["baselines"].pop("linear")), "baselines"),
    "baseline-hash": (
        document(layout.TRAINING, lambda v: v["baselines"]["linear"].update(predictions_sha256="0" * 64)),
        "baselines",
    ),
    "baseline-worse": (rebase(lambda p: replace(p, prediction=p.prediction / 2)), "evidence"),
    "baseline-of-other-rows": (rebase(lambda p: replace(p, target=p.target / 2)), "baselines"),
    "baseline-not-finite": (rebase(lambda p: replace(p, prediction=p.prediction + np.float32(np.nan))), "baselines"),
    "model-weights": (remodel(_scale), "model scores"),
    "model-data-outside": (remodel(_outside), "model files"),
    "model-operator": (remodel(_operator), "model files"),
    "model-domain": (remodel(_domain), "model files"),
    "model-of-a-terabyte": (remodel(_huge), "model scores"),
    "model-example": (
        document(f"{layout.EXPORTS}/{STEM}_seed1.json", lambda value: value["example"].update(score=12.0)),
        "model cards",
    ),
    "model-example-row": (
        document(f"{layout.EXPORTS}/{STEM}_seed1.json", lambda value: value["example"].update(teacher=12.0)),
        "model cards",
    ),
    "model-card": (lambda run: (run / layout.EXPORTS / f"{STEM}_seed1.md").write_text("# Safe"), "model cards"),
    "model-no-card": (lambda run: (run / layout.EXPORTS / f"{STEM}_seed1.md").unlink(), "model descriptions"),
    "model-half-width": (
        document(
            f"{layout.EXPORTS}/{STEM}_seed1.json",
            lambda value: value["half_widths"]["clip"]["0.95"].update(half_width=0.01),
        ),
        "model descriptions",
    ),
    "model-range": (
        document(
            f"{layout.EXPORTS}/{STEM}_seed1.json", lambda value: value["input_ranges"].update(motion2=[0.0, 99.0])
        ),
        "model descriptions",
    ),
    "model-no-companion": (
        lambda run: next((run / layout.EXPORTS).glob("*_features_*.onnx")).unlink(),
        "model descriptions",
    ),
    "model-no-onnx": (lambda run: next((run / layout.EXPORTS).glob("*.onnx")).write_bytes(b"x" * 999), "model files"),
    "model-hash": (document(layout.REGISTRY, lambda v: v["models"][0].update(sha256="0" * 64)), "model descriptions"),
    "model-scaler": (document(_export("seed0"), lambda v: v["feature_mean"].__setitem__(0, 9.0)), "model descriptions"),
    "model-gate": (document(_export("seed1"), lambda v: v.update(loso_mean_plcc=1.0)), "model descriptions"),
    "model-encoders": (
        document(_export("ensemble"), lambda v: v["trained_encoders"].append("hevc_qsv")),
        "model descriptions",
    ),
    "model-more": (
        lambda run: shutil.copy(run / layout.REGISTRY, run / layout.EXPORTS / "more.onnx"),
        "model descriptions",
    ),
}


@pytest.mark.parametrize(("forgery", "check"), FORGERIES.values(), ids=FORGERIES)
def test_each_forgery_fails_its_check(run: Path, forgery: Change, check: str) -> None:
    forgery(run)
    result = checked(run)
    assert not result[check].passed, result[check].found
    assert result[check].found


def test_an_error_of_a_file_that_several_checks_read_is_given_once(run: Path) -> None:
    document(layout.TRAINING, lambda value: value.update(arch="unknown"))(run)
    failed = [check.found for check in checked(run).values() if not check.passed]
    assert len(failed) > 3
    assert [found for found in failed if "'unknown'" in found] == failed[:1]


def test_a_sidecar_of_this_version_says_everything(run: Path) -> None:
    def cut(sidecar: dict[str, Any]) -> None:
        for name in ("schema_version", "half_widths", "resolutions"):
            del sidecar[name]

    document(f"{layout.EXPORTS}/{contract.ARCH}_{contract.ENSEMBLE}_seed0.json", cut)(run)
    assert "half_widths" in checked(run)["model descriptions"].found


def test_a_run_folder_may_have_any_name(finished: Path, tmp_path: Path, command: Command) -> None:
    folder = shutil.copytree(finished, tmp_path / "my run, née 3")
    assert command(["verify", str(folder)]) == exits.OK


# ------------------------------------------------------------------------------------------------------- archives


def unlisted(files: dict[str, bytes], _manifest: dict[str, Any]) -> None:
    files["more.json"] = b"{}"


def missing(files: dict[str, bytes], _manifest: dict[str, Any]) -> None:
    del files[layout.PREDICTIONS]


def wrong_size(_files: dict[str, bytes], manifest: dict[str, Any]) -> None:
    manifest["files"][3]["size"] += 1


def itself(_files: dict[str, bytes], manifest: dict[str, Any]) -> None:
    manifest["files"].append({"path": layout.MANIFEST, "size": 1, "sha256": "0" * 64})


def doubled(_files: dict[str, bytes], manifest: dict[str, Any]) -> None:
    manifest["files"].append(manifest["files"][0])


@pytest.mark.parametrize("change", [unlisted, missing, wrong_size, itself, doubled])
def test_a_false_manifest_is_refused(
    run: Path, tmp_path: Path, change: Callable[[dict[str, bytes], dict[str, Any]], None]
) -> None:
    files = files_of(run)
    manifest = manifest_of(files)
    change(files, manifest)
    result = verify(packed(tmp_path / "b.tar.gz", files, manifest), tmp_path / "a", Processes())
    assert [(check.name, check.passed) for check in result.checks] == [("archive", False)]


def test_a_truncated_archive_ends_with_3(run: Path, tmp_path: Path, command: Command) -> None:
    bundle = bundle_of(run, tmp_path / "b.tar.gz")
    bundle.write_bytes(bundle.read_bytes()[:-1000])
    assert command(["verify", str(bundle)]) == exits.INVALID
    assert command(["verify", str(tmp_path / "nothing.tar.gz")]) == exits.BAD_INPUT


def test_a_check_that_exceeds_its_limits_fails(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a real process with less memory than it needs: this process survives, and the bundle is not valid."""
    starved = "from kit.system.confine import confine; confine(1 << 26, 60); x = bytearray(1 << 30)"
    done = subprocess.run([sys.executable, "-c", starved], check=False, capture_output=True, text=True, cwd=KIT_ROOT)
    assert "MemoryError" in done.stderr
    monkeypatch.setattr("kit.verify.bundle._MODULE", "kit.no_such_module")
    result = verify(bundle_of(run, tmp_path / "b.tar.gz"), tmp_path / "a", Processes())
    assert [(check.name, check.passed) for check in result.checks] == [("archive", True), ("limits", False)]


# ------------------------------------------------------------------------------------------------ random changes


@pytest.fixture(scope="module")
def content(promoted: Path) -> dict[str, bytes]:
    return files_of(promoted)


def decision(folder: Path) -> object:
    """Return what a decision depends on: verdict, gate, corpus, evidence, predictions, rows, models."""
    received = ReceivedRun(folder)
    verdict = {name: received.verdict[name] for name in ("verdict", "seeds", "gate", "corpus", "evidence", "demo")}
    del verdict["evidence"]["calibration"]["spread"]["what"]  # an explanation, not compared
    parts = received.predictions
    rows = received.rows
    models = {path.name: path.read_bytes() for path in (folder / layout.EXPORTS).glob("*.onnx")}
    return (
        verdict,
        parts.target.tobytes(),
        parts.prediction.tobytes(),
        parts.fold.tobytes(),
        parts.cell.tobytes(),
        rows.features.tobytes(),
        rows.codec.tobytes(),
        rows.target.tobytes(),
        models,
    )


@given(data=st.data())
@settings(max_examples=25, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_random_change_is_detected_or_harmless(
    content: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Change a file and every hash of the manifest."""
    name = data.draw(st.sampled_from(sorted(content)))
    before = content[name]
    place = data.draw(st.integers(0, max(0, len(before) - 1)))
    piece = data.draw(st.binary(max_size=8))
    kind = data.draw(st.sampled_from(["replace", "insert", "cut"]))
    after = {
        "replace": before[:place] + piece + before[place + len(piece) :],
        "insert": before[:place] + piece + before[place:],
        "cut": before[:place] + before[place + 1 + len(piece) :],
    }[kind]
    folder = tmp_path_factory.mktemp("changed")
    files = content | {name: after}
    for path, value in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(value)
    write_json(folder / layout.MANIFEST, manifest_of(files))
    result = list(run_checks(ReceivedRun(folder)))
    if all(check.passed for check in result):
        (folder / name).write_bytes(before)
        honest = decision(folder)
        (folder / name).write_bytes(after)
        assert decision(folder) == honest
    shutil.rmtree(folder)


def test_only_numbers_may_differ_and_only_by_a_rounding_error() -> None:
    received = {"a": [1.0, {"b": "x"}], "c": None, "d": True}
    assert differences(received, {"a": [1.0 + 1e-12, {"b": "x"}], "c": None, "d": True}) == []
    assert differences(received, {"a": [1.001, {"b": "x"}], "c": None, "d": True}) == [
        "a[0]: 1.0, computed again 1.001"
    ]
    assert differences(received, {"a": [1.0, {"b": "y"}], "c": 0, "d": 1}) == [
        "a[1].b: 'x', computed again 'y'",
        "c: None, computed again 0",
        "d: True, computed again 1",
    ]
    assert differences({"a": 1}, {}) == ["a: 1, computed again None"]
    assert differences([1], [1, 2]) == [": [1], computed again [1, 2]"]
