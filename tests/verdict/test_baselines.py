"""Baselines in steps, bundles and options; and the gate that decides."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from kit.core import contract, exits, layout
from kit.core.errors import BadInput
from kit.core.values import Geometry
from kit.corpus.store.shard import read_manifest
from kit.models.model_file import baseline_model
from kit.options.resolve import complete
from kit.prereqs.estimate import TRAINING_START, estimate
from kit.steps import step_03_train, step_04_verdict, step_05_bundle
from kit.steps.results import Verdict
from kit.system.fsio import sha256_file, write_json
from kit.training import predictions
from kit.verdict.baselines import of_seeds
from kit.verify.checks import run_checks
from kit.verify.received_run import ReceivedRun
from tests.cli.builders import Command
from tests.options.builders import run_in
from tests.platforms.builders import ready

MODEL = "fr_regressor_v2_ensemble_v1_ensemble"


@pytest.fixture
def run(promoted: Path, tmp_path: Path) -> Path:
    return shutil.copytree(promoted, tmp_path / "run")


@pytest.fixture
def shipped(promoted: Path, tmp_path: Path) -> Path:
    """A model with its sidecar, fitted on this corpus."""
    folder = tmp_path / "shipped"
    folder.mkdir()
    for suffix in (".onnx", ".json"):
        shutil.copy(promoted / layout.EXPORTS / f"{MODEL}{suffix}", folder)
    return folder / f"{MODEL}.onnx"


def judged(run: Path, **options: object) -> Verdict:
    """Run steps 3 and 4; the members are trained already."""
    config, session = run_in(run, **options)
    trained = step_03_train.run(config, read_manifest(run / layout.CORPUS), session)
    return step_04_verdict.run(config, trained, session)


def failed(run: Path, word: str) -> list[str]:
    """Return the checks that a run folder would fail as a bundle."""
    write_json(
        run / layout.MANIFEST,
        {
            "schema_version": 1,
            "kit_version": "0",
            "box": "testbox",
            "verdict": word,
            "demo": False,
            "created_at_utc": "2026-01-01T00:00:00Z",
            "files": [],
        },
    )
    return [check.name for check in run_checks(ReceivedRun(run)) if not check.passed]


def test_each_baseline_is_trained_in_the_same_folds(promoted: Path) -> None:
    own = predictions.read(promoted / layout.PREDICTIONS)
    entries: Any = json.loads((promoted / layout.TRAINING).read_text())["baselines"]
    assert set(entries) == set(contract.BASELINES)
    for name in contract.BASELINES:
        result = predictions.read(promoted / layout.baseline_predictions(name))
        rows = of_seeds(own, {0, 1, 2} if name == "mlp_small" else {0, 1} if name == contract.WITHOUT_BLOCK else {0})
        assert result.same_rows(rows)
        assert not np.array_equal(result.prediction, rows.prediction)
        digest = sha256_file(promoted / layout.baseline_predictions(name))
        assert (entries[name]["predictions_sha256"], entries[name]["problems"]) == (digest, [])
        assert (entries[name]["convergence"] is None) == (name == "linear")


def test_other_architectures_have_no_baselines(run: Path) -> None:
    verdict = judged(run, arch="linear", epochs=2)
    assert verdict.document["evidence"]["baselines"].keys() <= {contract.TEACHER_FORMULA}
    assert verdict.document["evidence"]["codec_block"] is None
    assert "linear_ratio_max" in verdict.document["expert_gate"]["failing"]
    assert not list((run / layout.LOSO).glob("baseline_*"))
    assert failed(run, verdict.word) == []


def test_a_model_that_was_fitted_on_this_corpus_is_marked_as_leaked(run: Path, shipped: Path) -> None:
    verdict = judged(run, baseline=shipped)
    result = verdict.document["evidence"]["baselines"][contract.SHIPPED]
    assert result["leaked"] is True
    assert "this corpus" in result["leaked_reason"]
    assert result["mean_plcc"] > 0.99
    assert result["model"]["file"] == shipped.name
    assert failed(run, "PROMOTE") == []
    config, session = run_in(run, baseline=shipped)
    config = replace(config, corpus=run)
    assert layout.baseline_predictions(contract.SHIPPED) in step_05_bundle.contents(config, "PROMOTE", (0, 1, 2))
    again = step_03_train.load(config, session)
    assert again.baselines[contract.SHIPPED].model == result["model"]


def test_a_model_without_a_sidecar_may_be_leaked(run: Path, shipped: Path) -> None:
    shipped.with_suffix(".json").unlink()
    result = judged(run, baseline=shipped).document["evidence"]["baselines"][contract.SHIPPED]
    assert (result["leaked"], result["model"]["corpus_sha256"]) == (None, None)
    assert "no sidecar" in result["leaked_reason"]


def test_a_model_that_lists_none_of_the_sources_is_no_leak(run: Path, shipped: Path) -> None:
    sidecar = json.loads(shipped.with_suffix(".json").read_text())
    assert len(sidecar["corpus"]["source_ids"]) == 4
    sidecar["corpus"] |= {"sha256": "1" * 64, "source_ids": ["2" * 64]}
    shipped.with_suffix(".json").write_text(json.dumps(sidecar))
    assert judged(run, baseline=shipped).document["evidence"]["baselines"][contract.SHIPPED]["leaked"] is False


def test_a_file_that_is_no_model_is_refused_first(
    run: Path, tmp_path: Path, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "bad.onnx"
    bad.write_bytes(b"no model")
    before = sorted((run / layout.LOSO).iterdir())
    write_json(run / layout.CONFIG, {"options": {}})
    assert command(["train", "--out-dir", str(run), "--baseline", str(bad)]) == exits.BAD_INPUT
    message = " ".join(capsys.readouterr().err.split())
    assert "--baseline" in message
    assert bad.name in message
    assert sorted((run / layout.LOSO).iterdir()) == before
    assert (run / "PROMOTE.json").is_file()


def test_a_model_that_breaks_the_format_is_refused(shipped: Path, tmp_path: Path) -> None:
    import onnx

    assert baseline_model(shipped).ensemble
    model = onnx.load_model(shipped)
    model.ir_version = 9
    path = tmp_path / "other.onnx"
    onnx.save_model(model, path)
    with pytest.raises(BadInput, match=r"other\.onnx.* 9.* 8"):
        baseline_model(path)
    with pytest.raises(BadInput, match=r"nothing\.onnx"):
        baseline_model(tmp_path / "nothing.onnx")


def test_the_requested_gate_decides(run: Path) -> None:
    """Shift all scores by five points: the expert gate fails, PLCC does not change."""
    path = run / layout.PREDICTIONS
    result = predictions.read(path)
    predictions.write(path, replace(result, prediction=np.clip(result.prediction + np.float32(5), 0, 100)))
    training = json.loads((run / layout.TRAINING).read_text())
    write_json(run / layout.TRAINING, training | {"predictions_sha256": sha256_file(path)})
    words = {}
    for gate in ("expert", "default"):
        config, session = run_in(run, gate=gate)
        verdict = step_04_verdict.run(config, step_03_train.load(config, session), session)
        words[gate] = verdict.word
        assert verdict.document["decided_by"] == gate
        assert verdict.document["gate"]["passed"]
        assert {"ensemble_rmse_max", "source_rmse_max"} <= set(verdict.document["expert_gate"]["failing"])
        assert "gate" not in failed(run, verdict.word)
        assert "evidence" not in failed(run, verdict.word)
    assert words == {"expert": "HOLD", "default": "PROMOTE"}


def test_a_bundle_cannot_choose_the_laxer_gate(run: Path) -> None:
    test_the_requested_gate_decides(run)
    config, session = run_in(run, gate="expert")
    step_04_verdict.run(config, step_03_train.load(config, session), session)
    verdict = json.loads((run / "HOLD.json").read_text())
    write_json(run / "HOLD.json", verdict | {"decided_by": "default"})
    assert "gate" in failed(run, "HOLD")


def test_the_plan_counts_the_baselines() -> None:
    shape = Geometry(width=64, height=64, pix_fmt="yuv420p", range="tv", fps=Fraction(25), frames=3200)
    files = [SimpleNamespace(content_group=name, geometry=shape) for name in "abcde"]
    result: Any = SimpleNamespace(
        files=files, points=[("libx264", 31)], encoders=[ready()], facts=SimpleNamespace(cores=2)
    )
    plans = {
        arch: estimate(complete({"arch": arch}, {}, out_dir=Path("x"), box="b", box_origin=""), result)
        for arch in ("fr_regressor_v2", "mlp_medium")
    }
    assert plans["fr_regressor_v2"].members == 5 * (5 + 5 + 2 + 1)
    assert plans["mlp_medium"].members == 25
    times = [plans[arch].training_seconds - TRAINING_START for arch in ("fr_regressor_v2", "mlp_medium")]
    assert times[0] == pytest.approx((5 + 0.35 * 5 + 2) / 5 * times[1])
