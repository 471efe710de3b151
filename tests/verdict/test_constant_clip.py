"""A clip whose scores never change: no correlation, but errors, in every document of a run."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kit.core import layout
from kit.core.values import Cell
from kit.corpus.store.cellfile import CellRows
from kit.steps import step_04_verdict
from kit.system import validation
from kit.verdict.seed_report import holdout_report
from kit.verify.received_run import ReceivedRun
from tests.corpus.builders import rows_of
from tests.options.builders import run_in
from tests.steps.builders import judged_run

SEEDS = (0, 1, 2)


def constant(cell: Cell) -> CellRows:
    """Give the clip "Clip0" a score of 100 in every frame."""
    rows = rows_of(cell)
    if cell.source.label != "Clip0":
        return rows
    rows = replace(rows, vmaf=np.full_like(rows.vmaf, 100))
    return replace(rows, facts={**rows.facts, "content_sha256": rows.content_sha256()})


def judged(folder: Path, sources: int) -> tuple[Path, dict[str, Any]]:
    run = judged_run(folder, sources=sources, encoders=("libx264",), noise=6.0, rows=constant)
    (word,) = layout.verdicts_in(run)
    return run, json.loads((run / layout.verdict_file(word)).read_text())


def test_one_of_ten_is_left_out_and_named_and_its_errors_count(tmp_path: Path) -> None:
    run, verdict = judged(tmp_path / "run", 10)
    gate, evidence = verdict["gate"], verdict["evidence"]
    assert verdict["verdict"] == "HOLD"  # noise of six points
    assert list(gate["left_out_folds"]) == ["Clip0"]
    assert "the target is constant (100)" in gate["left_out_folds"]["Clip0"]
    assert 0.5 < gate["mean_plcc"] < 0.95
    assert evidence["uncertainty"]["left_out"] == ["Clip0"]
    assert (evidence["per_source"]["Clip0"]["plcc"], evidence["errors"]["frame"]["per_source"]["Clip0"]["plcc"]) == (
        None,
        None,
    )
    assert 1 < evidence["per_source"]["Clip0"]["rmse"] < 6
    assert any(reason.startswith("Clip0 has no correlation") for reason in verdict["ship_reasons"])
    assert validation.problems("verdict", verdict) == []
    report = json.loads((run / layout.seed_report(0)).read_text())
    fold = next(fold for fold in report["folds"] if fold["held_out"] == "Clip0")
    assert (fold["plcc"], fold["srocc"], fold["krocc"]) == (None, None, None)
    assert "constant" in fold["undefined"]
    assert report["mean_plcc"] == gate["per_seed_plccs"]["0"]
    assert validation.problems("seed_report", report) == []
    # the verdict is current, as its predictions give it
    config, session = run_in(run, epochs=3)
    assert step_04_verdict.load(config, session).document["gate"] == gate


def test_one_of_four_is_too_many(tmp_path: Path) -> None:
    _, verdict = judged(tmp_path / "run", 4)
    assert verdict["verdict"] == "INVALID"
    problems = verdict["evidence"]["problems"]
    assert problems[0].startswith("1 of 4 folds")
    assert [line.split(":")[0] for line in problems[1:]] == ["held out Clip0"]


def test_a_holdout_without_a_correlation_has_null_and_no_error(tmp_path: Path) -> None:
    run, _ = judged(tmp_path / "run", 10)
    received = ReceivedRun(run)
    own = received.predictions
    folds = [fold for fold in received.folds if fold.held_out == "Clip0"]
    rows = np.flatnonzero(own.fold == own.folds.index("Clip0"))
    part = replace(
        own, **{name: getattr(own, name)[rows] for name in ("seed", "fold", "cell", "frame", "target", "prediction")}
    )
    report: Any = holdout_report("encoder", "0" * 64, folds=folds, predictions=part)
    assert report["mean_plcc"] == {str(seed): None for seed in SEEDS}
    assert report["folds"][0]["plcc"] is None
    assert report["folds"][0]["rmse"] == pytest.approx(3.5, abs=2.5)
    problems = validation.problems("holdout", {**report, "run_provenance": {}})
    assert [line for line in problems if "run_provenance" not in line] == []
