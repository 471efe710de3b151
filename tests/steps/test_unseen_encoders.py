"""Each encoder held out with a set of content groups: what is trained, predicted, judged and packed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kit.core import contract, layout
from kit.core.values import Cell
from kit.corpus.store.shard import Shard, read_manifest
from kit.steps import step_03_train, step_04_verdict, step_05_bundle
from kit.system.fsio import read_json, sha256_file, write_json
from kit.training import folds, predictions, table
from kit.verify.checks import run_checks
from kit.verify.received_run import ReceivedRun
from tests.corpus.builders import plan, shard_of
from tests.options.builders import run_in
from tests.verify.builders import edit

ENCODERS = ("libx264", "libx265", "libsvtav1")
SOURCES = ("Crowd", "Highway", "Park", "Sea", "Tango")


def trained_run(
    folder: Path,
    encoders: tuple[str, ...] = ENCODERS,
    *,
    further: Sequence[Cell] = (),
    sources: tuple[str, ...] = SOURCES,
    **options: object,
) -> Path:
    """Make a run folder with a training of a few epochs and its verdict; ``further`` are cells beside all others."""
    write_json(folder / layout.PREREQS, {"box": "testbox"})
    shard_of(folder / layout.CORPUS, [*plan(sources, encoders, (19, 37), frames=6), *further])
    config, session = run_in(folder, **({"epochs": 2} | options))
    trained = step_03_train.run(config, read_manifest(folder / layout.CORPUS), session)
    step_04_verdict.run(config, trained, session)
    return folder


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained_run(tmp_path_factory.mktemp("unseen") / "run")


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    return shutil.copytree(finished, tmp_path / "run")


def corpus_of(run: Path) -> Shard:
    return read_manifest(run / layout.CORPUS)


def verdict_of(run: Path) -> Any:
    (path,) = (run / layout.verdict_file(word) for word in layout.verdicts_in(run))
    return read_json(path)


def failed(run: Path) -> list[str]:
    """Return the checks that a run folder fails as a bundle."""
    word = layout.verdicts_in(run)[0]
    manifest = {"schema_version": 1, "kit_version": "0", "box": "testbox", "verdict": word, "demo": False, "files": []}
    write_json(run / layout.MANIFEST, manifest | {"created_at_utc": "2026-01-01T00:00:00Z"})
    return [check.name for check in run_checks(ReceivedRun(run)) if not check.passed]


def test_no_member_was_trained_on_the_encoder_or_the_content_that_it_predicts(finished: Path) -> None:
    shard = corpus_of(finished)
    rows, sets = table.load(shard), folds.unseen_sets(shard.cells)
    assert len(set(sets.values())) == contract.UNSEEN_SETS
    encoder = np.array([entry.encoder for entry in rows.cells])[rows.cell]
    group = np.array([sets[entry.group] for entry in rows.cells])[rows.cell]
    ids = set()
    for name in ENCODERS:
        others = table.only(rows, {entry.key for entry in rows.cells if entry.encoder != name})
        for fold in folds.without_encoder(others, name, sets):
            labels = np.array([sets[entry.group] for entry in others.cells])[others.cell]
            assert name not in {entry.encoder for entry in others.cells}
            assert fold.held_out not in set(labels[fold.train])
            assert len(fold.train) == np.count_nonzero((encoder != name) & (group != fold.held_out))
            ids.add(fold.group_id)
    assert len(ids) == len(ENCODERS) * contract.UNSEEN_SETS


def test_every_row_is_predicted_by_two_seeds_with_and_without_the_block(finished: Path) -> None:
    shard = corpus_of(finished)
    sets = folds.unseen_sets(shard.cells)
    summary: Any = json.loads((finished / layout.TRAINING).read_text())
    assert set(summary["unseen"]) == {contract.ARCH, contract.WITHOUT_BLOCK}
    for arch, entry in summary["unseen"].items():
        path = finished / layout.unseen_predictions(arch)
        assert entry == {"predictions_sha256": sha256_file(path), "problems": []}
        scores = predictions.read(path)
        assert [seed for seed, _ in scores.seeds()] == [0, 1]
        assert len(scores) == 2 * shard.rows
        fold_of = {scores.cells[cell]: scores.folds[fold] for cell, fold in zip(scores.cell, scores.fold, strict=True)}
        for cell in shard.cells:
            assert fold_of[cell.key] == folds.unseen_label(cell.encoder, sets[cell.group])


def test_the_evidence_has_the_largest_error_of_an_unseen_encoder(finished: Path) -> None:
    block = verdict_of(finished)["evidence"]["codec_block"]
    assert set(block["unseen"]) == set(ENCODERS)
    assert block["unseen_rmse"] == max(figures["rmse_with"] for figures in block["unseen"].values())
    assert (block["groups"], block["smallest_effect"]) == (len(SOURCES), 0.05)
    assert failed(finished) == []


def test_the_bundle_has_the_predictions(run: Path) -> None:
    config, session = run_in(run, epochs=2)
    assert step_03_train.load(config, session).unseen is not None
    config = replace(config, corpus=run)
    names = step_05_bundle.contents(config, layout.verdicts_in(run)[0], (0, 1, 2))
    assert {layout.unseen_predictions(arch) for arch in (contract.ARCH, contract.WITHOUT_BLOCK)} <= set(names)


def test_a_run_of_an_earlier_version_of_the_kit_is_bundled(run: Path) -> None:
    edit(run / layout.TRAINING, lambda value: (value.pop("unseen"), value.pop("recipe")))
    config, _ = run_in(run, epochs=2, corpus=run)
    names = step_05_bundle.contents(config, layout.verdicts_in(run)[0], (0, 1, 2))
    assert layout.PREDICTIONS in names
    assert layout.unseen_predictions(contract.ARCH) not in names


def test_changed_predictions_for_unseen_encoders_are_found(run: Path) -> None:
    path = run / layout.unseen_predictions(contract.ARCH)
    scores = predictions.read(path)
    predictions.write(path, replace(scores, prediction=scores.target))
    assert {"baselines", "evidence"} <= set(failed(run))
    summary = json.loads((run / layout.TRAINING).read_text())
    summary["unseen"][contract.ARCH]["predictions_sha256"] = sha256_file(path)
    write_json(run / layout.TRAINING, summary)
    # the file is the one of training.json now, and the figures still do not follow from it
    assert "evidence" in failed(run)
    assert "baselines" not in failed(run)
    write_json(run / layout.TRAINING, summary | {"unseen": {}})
    assert "baselines" in failed(run)


def test_of_one_encoder_nothing_can_be_said(tmp_path: Path) -> None:
    run = trained_run(tmp_path / "run", ("libx264",))
    block = verdict_of(run)["evidence"]["codec_block"]
    assert (block["unseen"], block["unseen_rmse"]) == ({}, None)
    assert "libx264" in block["conclusion"]
    assert not list((run / layout.LOSO).glob("unseen_*"))
    assert failed(run) == []


def test_an_encoder_of_one_content_group_leaves_nothing_to_train_on_for_the_others(tmp_path: Path) -> None:
    alone = plan(("Park",), ("libx265",), (19, 37), frames=6)
    run = trained_run(tmp_path / "run", ("libx264",), sources=("Park", "Sea", "Tango"), further=alone)
    assert folds.unseen_encoders(corpus_of(run).cells) == ("libx265",)
    block = verdict_of(run)["evidence"]["codec_block"]
    assert set(block["unseen"]) == {"libx265"}
    assert block["unseen"]["libx265"]["difference"]["low"] is None
    assert len(predictions.read(run / layout.unseen_predictions(contract.ARCH))) == 2 * 2 * 6
    assert failed(run) == []
    # as it is read again
    assert ReceivedRun(run).judged.evidence["codec_block"] == block


def test_a_network_without_the_block_is_not_compared(tmp_path: Path) -> None:
    run = trained_run(tmp_path / "run", arch="mlp_small")
    assert verdict_of(run)["evidence"]["codec_block"] is None
    assert failed(run) == []
