"""Forgeries that keep every document consistent: which check finds each, and what only training again finds."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from kit.core import contract, exits, layout
from kit.corpus.store.shard import read_manifest
from kit.models import card
from kit.steps import step_03_train, step_04_verdict
from kit.system.fsio import read_json, sha256_file, write_json
from kit.system.proc import Processes
from kit.system.ui import Ui
from kit.training import checkpoint, predictions
from kit.verify.bundle import UNPROVEN, verify
from kit.verify.check import Check
from kit.verify.checks import run_checks
from kit.verify.received_run import ReceivedRun
from kit.verify.retrain import Retraining, compared, retrain
from kit.video.scorers.formula import formula_of
from kit.video.scorers.teachers import CANONICAL
from kit.video.sources import demo
from tests.cli.builders import Command
from tests.corpus.builders import formula_rows, plan, shard_of
from tests.options.builders import run_in
from tests.verify.builders import TOP, bundle_of, edit, files_of, manifest_of

Scores = NDArray[np.float32]
#: Returns forged predictions from the honest ones and the targets.
Forge = Callable[[Scores, Scores], Scores]


@pytest.fixture
def run(promoted: Path, tmp_path: Path) -> Path:
    return shutil.copytree(promoted, tmp_path / "run")


def failed(run: Path, word: str | None = "PROMOTE") -> list[str]:
    write_json(run / layout.MANIFEST, manifest_of(files_of(run), word))
    return [check.name for check in run_checks(ReceivedRun(run)) if not check.passed]


def trained_again(run: Path, folder: Path, word: str = "PROMOTE") -> dict[str, Check]:
    write_json(run / layout.MANIFEST, manifest_of(files_of(run), word))
    options = Retraining(count=2, device="cpu", workers=2, folder=folder, ui=Ui())
    return {check.name: check for check in retrain(ReceivedRun(run), options, Processes())}


def forge_members(run: Path, arch: str, change: Forge) -> None:
    """Change what every member of an architecture predicts, and make all documents and models anew from that."""
    stored = predictions.read(run / layout.PREDICTIONS)
    targets = {fold: stored.target[rows] for _, fold, rows in stored.members()}
    honest = stored if arch == contract.ARCH else predictions.read(run / layout.baseline_predictions(arch))
    owners = {honest.prediction[rows].tobytes(): fold for _, fold, rows in honest.members()}
    forged = 0
    for path in (run / layout.CHECKPOINTS).glob("*.safetensors"):
        member = checkpoint.read(path)
        scores = member.arrays["predictions"]
        if member.recipe.arch == arch and scores.tobytes() in owners:
            arrays = {**member.arrays, "predictions": change(scores, targets[owners[scores.tobytes()]]).clip(0, 100)}
            checkpoint.write(path, replace(member, arrays=arrays))
            forged += 1
    assert forged
    config, session = run_in(run)
    trained = step_03_train.run(config, read_manifest(run / layout.CORPUS), session)
    assert step_04_verdict.run(config, trained, session).word == "PROMOTE"


def test_a_verdict_of_today_needs_the_recipe_of_its_training(run: Path) -> None:
    assert "recipe" not in failed(run)
    edit(run / layout.TRAINING, lambda value: value.pop("recipe"))
    assert "recipe" in failed(run)


def noisy(scores: Scores, target: Scores) -> Scores:
    """Return the targets with errors as large as the honest ones."""
    size = float(np.sqrt(np.mean((scores - target) ** 2)))
    return (target + np.random.default_rng(len(scores)).normal(0, size, len(target))).astype(np.float32)


def shrunk(scores: Scores, target: Scores) -> Scores:
    """Return predictions with a fifth of the errors."""
    return target + (scores - target) / 5


def of_the_teacher(_scores: Scores, target: Scores) -> Scores:
    """Return the teacher's formula of the features, which is the target."""
    return target.copy()


@pytest.mark.parametrize("change", [shrunk, of_the_teacher])
def test_predictions_better_than_the_models_are_found(run: Path, tmp_path: Path, change: Forge) -> None:
    forge_members(run, contract.ARCH, change)
    assert failed(run) == ["model scores"]
    again = trained_again(run, tmp_path / "members")
    assert [name for name, check in again.items() if not check.passed] == ["training"]


def test_forged_errors_of_an_honest_size_are_found_by_training_alone(run: Path, tmp_path: Path) -> None:
    forge_members(run, contract.ARCH, noisy)
    bundle = bundle_of(run, tmp_path / "b.tar.gz")
    result = verify(bundle, tmp_path / "a", Processes())
    assert result.valid
    assert UNPROVEN in result.labels
    options = Retraining(count=3, device="cpu", workers=2, folder=tmp_path / "members", ui=Ui())
    result = verify(bundle, tmp_path / "b", Processes(), retraining=options)
    assert [check.name for check in result.checks if not check.passed] == ["training"]
    assert UNPROVEN in result.labels


def test_a_worse_line_is_found_without_and_other_worse_baselines_with_training(run: Path, tmp_path: Path) -> None:
    forge_members(run, "mlp_small", lambda scores, _: scores + np.float32(4))
    assert failed(run) == []
    again = trained_again(run, tmp_path / "members")
    assert [name for name, check in again.items() if not check.passed] == ["training of baselines"]
    forge_members(run, "linear", lambda scores, _: scores + np.float32(0.1))
    assert failed(run) == ["baselines"]


def scale(model: onnx.ModelProto, by: float) -> None:
    """Multiply every output of a graph."""
    model.graph.initializer.append(numpy_helper.from_array(np.float32(by), "by"))
    names = {output.name for output in model.graph.output}
    for node in list(model.graph.node):
        for index, name in enumerate(node.output):
            if name in names:
                node.output[index] = f"{name}_before"
                model.graph.node.append(helper.make_node("Mul", [f"{name}_before", "by"], [name]))


def scale_models(run: Path, by: float) -> None:
    """Scale all models of a run, with their hashes in every document."""
    digests = {}
    for path in (run / layout.EXPORTS).glob("*.onnx"):
        model = onnx.load_model(path)
        scale(model, by)
        path.write_bytes(model.SerializeToString())
        digests[path.name] = sha256_file(path)
        edit(path.with_suffix(".json"), lambda value, name=path.name: _describe(value, digests[name], by))  # type: ignore[misc]
    edit(run / layout.REGISTRY, lambda value: [one.update(sha256=digests[one["onnx"]]) for one in value["models"]])
    for line in read_json(run / layout.REGISTRY)["models"]:
        document = read_json(run / layout.EXPORTS / f"{line['id']}.json")
        text = card.of_run(document, line, read_json(run / "PROMOTE.json"))
        (run / layout.EXPORTS / f"{line['id']}.md").write_text(text)


def _describe(sidecar: dict[str, Any], digest: str, by: float) -> None:
    sidecar["sha256"] = digest
    sidecar["example"].update({name: by * sidecar["example"][name] for name in sidecar["output_names"]})


@pytest.mark.parametrize("by", [0.3, 0.9])
def test_models_that_are_scaled_are_found(run: Path, by: float) -> None:
    scale_models(run, by)
    assert failed(run) == ["model scores"]


def test_a_model_that_is_hardly_scaled_is_found_by_training(run: Path, tmp_path: Path) -> None:
    scale_models(run, 0.99)
    assert failed(run) == []
    again = trained_again(run, tmp_path / "members")
    assert [name for name, check in again.items() if not check.passed] == ["training of models"]


def test_the_scores_of_a_clip_that_were_moved_are_found(tmp_path: Path) -> None:
    cells = plan(("Highway", "Park", "Sea"), cqs=(31, 43), teacher=CANONICAL)
    for shift, expected in ((0.0, []), (-6.0, ["scores"])):
        run = tmp_path / str(shift)
        own = {"Park": shift}
        rows = lambda cell, own=own: formula_rows(cell, own.get(cell.source.label, 0.0))  # noqa: E731
        shard_of(run / layout.CORPUS, cells, teacher=CANONICAL, rows=rows)
        assert failed(run, None) == expected


def test_demo_clips_under_another_label_are_found(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = str(read_manifest(run / layout.CORPUS).sources[0]["sha256"])
    monkeypatch.setattr(demo, "DEMO_IDENTITIES", {"Pebbles": source})
    assert failed(run) == ["demo"]


def test_too_many_epochs_are_refused(run: Path) -> None:
    edit(run / layout.TRAINING, lambda value: value.update(epochs=contract.MOST_EPOCHS + 1))
    assert failed(run) == ["recipe", "reports", "model descriptions"]


def test_a_limit_of_epochs_is_an_option(
    run: Path, tmp_path: Path, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = bundle_of(run, tmp_path / f"{TOP}.tar.gz")
    assert command(["verify", str(bundle), "--max-epochs", "399", "--json"]) == exits.INVALID
    wrong = [check["name"] for check in json.loads(capsys.readouterr().out)["checks"] if not check["passed"]]
    assert wrong == ["recipe"]
    assert command(["verify", str(bundle), "--max-epochs", "400"]) == exits.OK


def test_a_run_folder_is_checked_before_it_is_sent(
    run: Path, tmp_path: Path, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    options = {"epochs": "400", "seeds": "0,1,2", "device": "cpu", "box": "testbox"}
    given = {name: {"value": value, "origin": "command line"} for name, value in options.items()}
    write_json(run / layout.CONFIG, {"options": given})
    before = sorted((path, path.stat().st_mtime_ns) for path in run.rglob("*") if path.is_file())
    assert command(["verify", str(run), "--json"]) == exits.OK
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert (result["valid"], result["verdict"], result["box"]) == (True, "PROMOTE", "testbox")
    assert sorted((path, path.stat().st_mtime_ns) for path in run.rglob("*") if path.is_file()) == before
    scale_models(run, 0.3)
    assert command(["verify", str(run)]) == exits.INVALID
    assert command(["verify", str(tmp_path)]) == exits.BAD_INPUT


def test_the_difference_is_judged_by_the_error_of_the_member_trained_again() -> None:
    target = np.zeros(1000)
    again = np.random.default_rng(1).normal(0, 1, 1000)
    assert compared("m", again, again, target).share == 0
    assert compared("m", again * 0.95, again, target).share < 1
    assert compared("m", again * 0.8, again, target).share > 1
    assert compared("m", -again, again, target).share > 1
    assert compared("m", again * np.nan, again, target).share != compared("m", again, again, target).share


def test_the_formula_of_the_fixture_is_its_target(run: Path) -> None:
    received = ReceivedRun(run)
    formula = formula_of(received.shard.teacher)
    assert formula is not None
    assert np.abs(formula.scores(received.rows.features) - received.rows.target).max() < contract.FORMULA_TOLERANCE
