"""Models of a run: after PROMOTE only, fitted on every row, checked, described, in the bundle."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from kit.core import contract, exits, layout
from kit.core.errors import BadInput, ExportFailed, Missing
from kit.core.inputs import DEFAULT_INPUTS
from kit.corpus.store.shard import read_manifest
from kit.models import graph, runtime, sidecar
from kit.models.export import example_of, typical_row, write_model, write_sidecar
from kit.models.model_file import open_model
from kit.models.shown import Shown, ranges_of
from kit.models.sidecar import Accuracy, TrainedEnsemble, sidecar_problems
from kit.options.provenance import commit_of
from kit.options.session import KIT_ROOT
from kit.steps import exports, step_03_train, step_04_verdict, step_05_bundle
from kit.steps.model_facts import companion_reason, expected_ids
from kit.system import validation
from kit.system.fsio import sha256_file
from kit.system.proc import Processes
from kit.training import checkpoint, table, worker
from kit.training.folds import by_group, everything
from kit.training.members import Ensemble, train
from kit.training.model import Network, restored
from kit.training.recipe import Recipe
from kit.verdict.judge import Training
from tests.cli.builders import Command
from tests.models.builders import SECOND_VERSION, STEM
from tests.options.builders import run_in
from tests.steps.builders import run_folder
from tests.training.builders import OTHER_INPUTS, make_table

TABLE = make_table(frames=120)
COMPANION = f"{contract.FEATURES_ONLY}_{contract.ENSEMBLE}_ensemble"


# ------------------------------------------------------------------------------------------ the full fit


def whole_fit(folder: Path, seeds: tuple[int, ...] = (0, 1)) -> Ensemble:
    return Ensemble(
        rows=TABLE,
        members=[(seed, everything(TABLE)) for seed in seeds],
        recipe=Recipe(epochs=4),
        corpus_sha256="0" * 64,
        device="cpu",
        workers=2,
        folder=folder,
    )


def in_this_process(made: Ensemble, folder: Path, report: Callable[[int], None] = lambda _epochs: None) -> None:
    folder.mkdir(parents=True)
    made.prepare(folder)
    worker.work(folder, report)


def weights(made: Ensemble) -> dict[str, bytes]:
    return {
        f"{seed} {name}": array.tobytes()
        for (seed, _), member in made.finished().items()
        for name, array in member.arrays.items()
    }


def test_a_full_fit_trains_on_every_row_and_holds_out_none() -> None:
    whole = everything(TABLE)
    assert whole.train.tolist() == list(range(len(TABLE)))
    assert len(whole.held) == 0
    alone = make_table(groups={"Fuente1": "Fuente"})
    others = {fold.group_id for fold in by_group(TABLE)}
    assert everything(alone).group_id not in others
    # the group of a fold that holds out all of a corpus is not the full fit of that corpus
    held_out = next(fold for fold in by_group(make_table(groups={name: name for name in "abc"})))
    assert everything(make_table(groups={held_out.held_out: "x"})).group_id != held_out.group_id


def test_a_full_fit_that_was_killed_ends_with_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    in_this_process(whole_fit(tmp_path / "whole"), tmp_path / "job")
    expected = weights(whole_fit(tmp_path / "whole"))
    assert {name.split()[1] for name in expected} >= {"weights.0", "biases.2", "mean", "std", "predictions"}

    class Killed(Exception):
        pass

    def killed(_epochs: int) -> None:
        raise Killed

    members = tmp_path / "members"
    with monkeypatch.context() as patched:
        for name, value in (("BLOCK", 13), ("CHECKPOINT_EVERY", 0.0), ("REPORT_EVERY", 0.0)):
            patched.setattr(worker, name, value)
        with pytest.raises(Killed):
            in_this_process(whole_fit(members), tmp_path / "killed", killed)
    assert list(members.glob("*.part.safetensors"))
    train([whole_fit(members)], Processes(), lambda _epochs: None)
    assert weights(whole_fit(members)) == expected
    assert not list(members.glob("*.part.safetensors"))


# ------------------------------------------------------------------------------------------ other inputs


def test_inputs_of_no_table_are_trained_exported_and_scored(tmp_path: Path) -> None:
    """Four features and three encoders: every width follows from the value that is passed in."""
    rows, recipe = make_table(frames=60, inputs=OTHER_INPUTS), Recipe(epochs=3, inputs=OTHER_INPUTS)
    whole = everything(rows)
    ensemble = Ensemble(
        rows=rows,
        members=[(0, whole), (1, whole)],
        recipe=recipe,
        corpus_sha256="0" * 64,
        device="cpu",
        workers=1,
        folder=tmp_path,
    )
    train([ensemble], Processes(), lambda _epochs: None)
    stored = [checkpoint.read(ensemble.store.path(seed, whole.group_id)) for seed in (0, 1)]
    assert {member.recipe.inputs for member in stored} == {OTHER_INPUTS}
    fitted = [restored(member.recipe.architecture, member.arrays) for member in stored]
    assert [weight.shape for weight in fitted[0][0].weights] == [(64, 9), (64, 64), (1, 64)]
    verdict: dict[str, Any] = {
        "corpus": {
            "sha256": "0" * 64,
            "teacher": None,
            "sources": 5,
            "groups": 4,
            "cells": 10,
            "rows": len(rows),
            "encoders": {"libx264": 10},
            "boxes": ["a"],
        },
        "gate": {
            "passed": True,
            "mean_plcc": 0.9,
            "plcc_spread": 0.0,
            "per_seed_plccs": {"0": 0.9, "1": 0.9},
            "thresholds_sha256": "0" * 64,
        },
        "demo": False,
    }
    accuracy = Accuracy(
        of="x",
        mean_plcc=0.9,
        rmse=1.0,
        bias=0.0,
        worst_source={"name": "x", "rmse": 2.0, "bias": 1.0},
        half_widths=None,
    )
    trained = TrainedEnsemble(
        verdict=verdict,
        recipe=recipe,
        scale=fitted[0][1],
        device="cpu",
        seeds=(0, 1),
        shown=Shown(
            corpora=("x",),
            ranges=ranges_of(rows.features, rows.codec, rows.inputs, codec_aware=True),
            resolutions=("640x360",),
            manifest_sha256="0" * 64,
        ),
        accuracy={0: accuracy, None: accuracy},
    )
    run_provenance = dict.fromkeys(
        ("entrypoint", "argv", "args", "inputs", "outputs", "versions", "kit_version", "utc")
    ) | {"schema": "ai-run-provenance-v1"}
    for seed, networks in ((0, fitted[:1]), (None, fitted)):
        path = tmp_path / f"{sidecar.model_id(recipe.arch, seed)}.onnx"
        exported = write_model(path, [network for network, _ in networks], trained.scale, rows)
        assert exported.checked.largest <= contract.EXPORT_TOLERANCE
        example = example_of(exported, rows, typical_row(rows))
        document = write_sidecar(exported, trained.describe(seed, exported.checked, example), run_provenance)
        assert document["input_ranges"].keys() == {*OTHER_INPUTS.features, "preset_norm", "crf_norm"}
        assert (document["feature_set"], document["feature_order"]) == ("four", list(OTHER_INPUTS.features))
        assert (document["encoder_vocab_version"], document["codec_block_dim"]) == (99, 5)
        model = open_model(path)
        assert model.inputs == OTHER_INPUTS
        scores, spread = model.scores(rows.features, rows.codec)
        assert len(scores) == len(rows)
        assert (spread is None) == (seed is not None)
    path.with_suffix(".json").unlink()
    with pytest.raises(BadInput):  # without a sidecar only widths of the contract are known
        open_model(path)


def test_a_sidecar_of_an_earlier_kit_is_read(promoted: Path, tmp_path: Path) -> None:
    for suffix in (".onnx", ".json"):
        shutil.copy(promoted / layout.EXPORTS / f"{STEM}_seed0{suffix}", tmp_path)
    path = tmp_path / f"{STEM}_seed0.json"
    document = load(path)
    for name in (*SECOND_VERSION, "schema_version"):
        del document[name]
    path.write_text(json.dumps(document))
    assert open_model(path.with_suffix(".onnx")).inputs == DEFAULT_INPUTS


# ------------------------------------------------------------------------------------------ a whole run


def load(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text()))


@pytest.fixture
def run(promoted: Path, tmp_path: Path) -> Path:
    return shutil.copytree(promoted, tmp_path / "run")


def judged(folder: Path, **options: object) -> tuple[Any, Training, Any]:
    """Options, training and session of a folder that has been trained."""
    config, session = run_in(folder, **options)
    return config, step_03_train.load(config, session), session


def bundled(folder: Path, **options: object) -> Path:
    config, session = run_in(folder, **options)
    return step_05_bundle.run(config, step_04_verdict.load(config, session), session).path


@pytest.mark.essential
def test_promote_exports_each_seed_and_the_ensemble_in_one_file(promoted: Path) -> None:
    folder = promoted / layout.EXPORTS
    ids = [f"{STEM}_seed0", f"{STEM}_seed1", f"{STEM}_seed2", f"{STEM}_ensemble", COMPANION]
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        ["registry.json", *(f"{name}{suffix}" for name in ids for suffix in (".onnx", ".json", ".md"))]
    )
    registry = load(folder / "registry.json")
    assert set(registry) == {"schema_version", "models"}
    assert [model["id"] for model in registry["models"]] == ids
    for model in registry["models"]:
        assert set(model) == {"id", "kind", "onnx", "sha256", "opset", "description", "notes", "smoke", "license"}
        assert model["sha256"] == sha256_file(folder / model["onnx"])
        assert not model["smoke"]
    assert validation.problems("registry", registry) == []


def test_the_sidecar_has_the_fields_of_the_contract(promoted: Path) -> None:
    verdict, shard = load(promoted / "PROMOTE.json"), load(promoted / "corpus" / "shard.json")
    for seed in (0, 1, 2, None):
        name = f"{STEM}_ensemble" if seed is None else f"{STEM}_seed{seed}"
        document = load(promoted / layout.EXPORTS / f"{name}.json")
        assert set(document) == {
            "schema_version",
            "id",
            "name",
            "ensemble_id",
            "seed",
            "kind",
            "codec_aware",
            "codec_block_layout",
            "codec_block_dim",
            "encoder_vocab",
            "encoder_vocab_version",
            "feature_order",
            "feature_mean",
            "feature_std",
            "onnx_has_scaler",
            *SECOND_VERSION,
            "input_names",
            "input_name",
            "output_names",
            "output_name",
            "expected_output_range",
            "onnx",
            "opset",
            "onnx_opset",
            "sha256",
            "corpus",
            "training_recipe",
            "train_config_hash",
            "train_commit",
            "license",
            "gate",
            "loso_mean_plcc",
            "trained_encoders",
            "untrained_encoders",
            "notes",
            "run_provenance",
        }
        assert sidecar_problems(document) == []
        assert (document["id"], document["seed"], document["ensemble_id"]) == (name, seed, STEM)
        assert document["sha256"] == sha256_file(promoted / layout.EXPORTS / document["onnx"])
        assert document["corpus"] == verdict["corpus"] | {"demo": False}
        assert document["corpus"]["sha256"] == shard["corpus_sha256"]
        assert document["gate"] == verdict["gate"]
        assert len(document["codec_block_layout"]) == document["codec_block_dim"] == DEFAULT_INPUTS.codec_width
        assert document["trained_encoders"] == ["libx264"]
        assert document["untrained_encoders"] == list(contract.ENCODER_VOCAB[1:])
        assert document["output_names"] == (["score", "score_std"] if seed is None else ["score"])
        assert document["training_recipe"]["seeds"] == ([0, 1, 2] if seed is None else [seed])
        plccs = verdict["gate"]["per_seed_plccs"]
        assert document["loso_mean_plcc"] == (verdict["gate"]["mean_plcc"] if seed is None else plccs[str(seed)])
        assert document["train_commit"] == commit_of(KIT_ROOT, Processes())
        assert document["dataset"] == "local"
        assert document["parent_dataset_manifest"]["sha256"] == sha256_file(promoted / "corpus" / "shard.json")
        errors = verdict["evidence"]["ensemble_mean"] if seed is None else verdict["evidence"]["per_seed"][str(seed)]
        assert document["accuracy"]["rmse"] == pytest.approx(errors["rmse"])
        if seed is None:
            assert document["half_widths"] == verdict["evidence"]["half_widths"]
        assert document["half_widths"]["clip"]["0.95"]["half_width"] > 0
        assert document["companion_of"] is None
        assert document["resolutions"] == ["64x64"]
        assert str(promoted) not in json.dumps(document)


def test_the_sidecar_has_the_range_of_every_input_and_an_example(promoted: Path) -> None:
    rows = table.load(read_manifest(promoted / layout.CORPUS))
    model = open_model(promoted / layout.EXPORTS / f"{STEM}_ensemble.onnx")
    assert model.sidecar is not None
    ranges, example = model.sidecar["input_ranges"], model.sidecar["example"]
    for index, name in enumerate(contract.FEATURES):
        assert ranges[name] == [rows.features[:, index].min(), rows.features[:, index].max()]
    assert ranges["crf_norm"] == pytest.approx([19 / 63, 43 / 63])
    assert len(ranges) == len(contract.FEATURES) + 2
    score, spread = model.scores(
        *(np.array([example[name]], dtype=np.float32) for name in model.sidecar["input_names"])
    )
    assert spread is not None
    assert [example["score"], example["score_std"]] == pytest.approx([score[0], spread[0]], abs=1e-4)
    assert example["teacher"] == pytest.approx(np.median(rows.target), abs=1)


@pytest.mark.essential
def test_the_models_have_learned_what_the_corpus_shows(promoted: Path) -> None:
    rows = table.load(read_manifest(promoted / layout.CORPUS))
    session = runtime.open_session((promoted / layout.EXPORTS / f"{STEM}_ensemble.onnx").read_bytes())
    found = runtime.compute(session, rows.features, rows.codec)
    assert np.corrcoef(found["score"], rows.target)[0, 1] > 0.99
    assert 0 < found["score_std"].mean() < 3


def test_the_verdict_again_gives_the_same_models(run: Path) -> None:
    before = {path.name: path.read_bytes() for path in (run / layout.EXPORTS).glob("*.onnx")}
    (run / layout.EXPORTS / "left.over").write_text("x")
    shutil.rmtree(run / layout.CHECKPOINTS)
    config, trained, session = judged(run)
    step_04_verdict.run(config, trained, session)
    assert {path.name: path.read_bytes() for path in (run / layout.EXPORTS).glob("*.onnx")} == before
    assert not (run / layout.EXPORTS / "left.over").exists()


def test_the_bundle_holds_the_models_of_a_promote(run: Path) -> None:
    with tarfile.open(bundled(run)) as tar:
        names = {member.name.split("/", 1)[1] for member in tar}
    assert {f"exports/{path.name}" for path in (run / layout.EXPORTS).iterdir()} <= names


@pytest.mark.parametrize(
    ("damage", "name"),
    [
        (shutil.rmtree, "registry.json"),
        (lambda folder: (folder / f"{STEM}_seed1.onnx").unlink(), "seed1.onnx"),
        (lambda folder: (folder / f"{STEM}_seed1.onnx").write_bytes(b"other"), "seed1.onnx"),
        (lambda folder: (folder / f"{STEM}_seed0.json").unlink(), "seed0.json"),
        (lambda folder: (folder / f"{STEM}_seed0.md").unlink(), "seed0.md"),
        (lambda folder: edit(folder / f"{STEM}_seed0.json", ("corpus", "sha256"), "0" * 64), "seed0.json"),
        (lambda folder: edit(folder / f"{STEM}_seed0.json", ("sha256",), "0" * 64), "seed0.json"),
        (lambda folder: edit(folder / "registry.json", ("models", 0, "license"), ""), "registry.json"),
        (lambda folder: edit(folder / "registry.json", ("models", 0, "id"), "another"), "registry.json"),
    ],
)
def test_the_bundle_refuses_models_that_do_not_fit(damage: Callable[[Path], None], name: str, run: Path) -> None:
    damage(run / layout.EXPORTS)
    with pytest.raises(Missing, match=name):
        bundled(run)


def edit(path: Path, place: tuple[str | int, ...], value: object) -> None:
    document = json.loads(path.read_text())
    inner = document
    for step in place[:-1]:
        inner = inner[step]
    inner[place[-1]] = value
    path.write_text(json.dumps(document))


def test_hold_and_invalid_leave_no_models(run: Path) -> None:
    config, trained, session = judged(run)
    assert trained.predictions is not None
    noise = np.random.default_rng(0).uniform(0, 100, len(trained.predictions)).astype(np.float32)
    held = replace(trained, predictions=replace(trained.predictions, prediction=noise))
    assert (run / layout.EXPORTS).is_dir()
    assert step_04_verdict.run(config, held, session).word == "HOLD"
    assert not (run / layout.EXPORTS).exists()
    invalid = replace(trained, predictions=None, problems=("a cell failed",))
    assert step_04_verdict.run(config, invalid, session).word == "INVALID"
    assert not (run / layout.EXPORTS).exists()


def test_a_failed_check_fails_the_run_and_leaves_no_models(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(network: Network, scale: Any, output: str) -> bytes:
        with torch.no_grad():
            network.biases[-1].add_(1.0)
        data = export_single(network, scale, output)
        with torch.no_grad():
            network.biases[-1].sub_(1.0)
        return data

    export_single = graph.single
    monkeypatch.setattr(graph, "single", wrong)
    config, trained, session = judged(run)
    with pytest.raises(ExportFailed, match="1 VMAF points"):
        step_04_verdict.run(config, trained, session)
    assert layout.verdicts_in(run) == ["PROMOTE"]
    assert not (run / layout.EXPORTS).exists()
    assert not list(run.glob(".tmp-*"))
    with pytest.raises(Missing, match=r"registry\.json"):
        bundled(run)


def test_one_seed_has_no_ensemble_in_one_file(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, trained, _ = judged(run)
    config, session = run_in(run, seeds=(1,))
    verdict = load(run / "PROMOTE.json")
    shutil.rmtree(run / layout.EXPORTS)
    exports.make(config, replace(trained, seeds=(1,)), verdict, session)
    assert f"{STEM}_seed1.onnx" in [path.name for path in (run / layout.EXPORTS).glob("*.onnx")]
    assert f"{STEM}_ensemble.onnx" not in [path.name for path in (run / layout.EXPORTS).glob("*.onnx")]
    assert "ensemble" in capsys.readouterr().err
    assert f"exports/{STEM}_seed1.md" in exports.listed(config, (1,), verdict["corpus"]["sha256"])


def test_a_model_without_the_codec_block_has_no_vocabulary(tmp_path: Path) -> None:
    seeds = (0, 1, 2)
    config, session = run_folder(tmp_path / "run", arch="mlp_small", seeds=seeds, epochs=2)
    trained = step_03_train.run(config, read_manifest(config.out_dir / layout.CORPUS), session)
    verdict = step_04_verdict.run(config, trained, session)
    promoted_verdict = {
        **verdict.document,
        "gate": {
            **verdict.document["gate"],
            "passed": True,
            "mean_plcc": 0.96,
            "plcc_spread": 0.0,
            "per_seed_plccs": {str(seed): 0.96 for seed in seeds},
        },
        "demo": True,
    }
    exports.make(config, trained, promoted_verdict, session)
    document = load(config.out_dir / layout.EXPORTS / f"mlp_small_{contract.ENSEMBLE}_ensemble.json")
    assert document["input_names"] == ["features"]
    assert [document[name] for name in ("codec_aware", "codec_block_layout", "codec_block_dim", "encoder_vocab")] == [
        False,
        None,
        None,
        None,
    ]
    assert document["corpus"]["demo"] is True
    assert "demo clips" in document["notes"]
    card = (config.out_dir / layout.EXPORTS / f"mlp_small_{contract.ENSEMBLE}_ensemble.md").read_text()
    assert "No model for measurements" in card
    assert "codec_onehot" not in card
    registry = load(config.out_dir / layout.REGISTRY)
    assert all(model["smoke"] for model in registry["models"])


# ------------------------------------------------------------------------------------------ schemas and options


@pytest.mark.parametrize(
    ("schema", "place", "value"),
    [
        ("registry", ("models", 0, "description"), "x" * 257),
        ("registry", ("models", 0, "notes"), "x" * 513),
        ("registry", ("models", 0, "extra"), 1),
        ("registry", ("extra",), 1),
        ("registry", ("schema_version",), 2),
        ("registry", ("models", 0, "sha256"), "abc"),
        ("registry", ("models", 0, "onnx"), "../elsewhere.onnx"),
        ("sidecar", ("extra",), 1),
        ("sidecar", ("feature_std", 2), 0.0),
        ("sidecar", ("feature_order",), ["adm2"]),
        ("sidecar", ("feature_mean",), [0.5]),
        ("sidecar", ("encoder_vocab",), ["libx264"]),
        ("sidecar", ("codec_block_dim",), 23),
        ("sidecar", ("kind",), "xr"),
        ("sidecar", ("onnx_has_scaler",), False),
        ("sidecar", ("gate", "passed"), False),
        ("sidecar", ("notes",), "x" * 513),
        ("sidecar", ("corpus", "demo"), None),
    ],
)
def test_a_schema_refuses(schema: str, place: tuple[str | int, ...], value: object, promoted: Path) -> None:
    name = "registry.json" if schema == "registry" else f"{STEM}_seed0.json"
    document = load(promoted / layout.EXPORTS / name)
    check = sidecar_problems if schema == "sidecar" else partial(validation.problems, schema)
    assert check(document) == []
    inner: Any = document
    for step in place[:-1]:
        inner = inner[step]
    inner[place[-1]] = value
    assert len(check(document)) == 1


def test_a_schema_requires_every_field(promoted: Path) -> None:
    for schema, name in (("registry", "registry.json"), ("sidecar", f"{STEM}_seed0.json")):
        document = load(promoted / layout.EXPORTS / name)
        for key in document:
            lacking = {other: value for other, value in document.items() if other != key}
            if schema == "registry" or key != "schema_version":  # a sidecar without it is of version 1
                (problem,) = validation.problems(schema, lacking)
                assert problem.startswith(f"$: '{key}' is a ")


def test_a_document_that_breaks_its_schema_is_not_written(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contract, "MODEL_LICENSE", "")
    config, trained, session = judged(run)
    with pytest.raises(ExportFailed, match=r"\$.license"):
        step_04_verdict.run(config, trained, session)
    assert not (run / layout.EXPORTS).exists()


@pytest.mark.parametrize("step", ["run", "verdict"])
def test_force_is_refused_politely(step: str, command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    assert command([step, "--force"]) == exits.BAD_INPUT
    assert "PROMOTE" in capsys.readouterr().err


def test_the_models_are_under_the_license_of_the_kit() -> None:
    project: Mapping[str, Any] = tomllib.loads((KIT_ROOT / "pyproject.toml").read_text())["project"]
    assert project["license"] == contract.MODEL_LICENSE


# ------------------------------------------------------------------------------------------ a companion


def test_a_model_on_the_features_alone_is_exported_beside_the_ensemble(promoted: Path) -> None:
    """Score and quality point of these rows are given by the features: without the block nothing is lost."""
    evidence = load(promoted / "PROMOTE.json")["evidence"]
    document = load(promoted / layout.EXPORTS / f"{COMPANION}.json")
    assert sidecar_problems(document) == []
    assert document["companion_of"] == STEM
    assert (document["codec_aware"], document["input_names"]) == (False, ["features"])
    assert set(document["input_ranges"]) == set(contract.FEATURES)
    assert document["accuracy"]["rmse"] == pytest.approx(evidence["baselines"]["no_codec_block"]["rmse"], rel=0.2)
    assert document["half_widths"] != evidence["half_widths"]
    assert document["training_recipe"]["seeds"] == [0, 1, 2]
    model = open_model(promoted / layout.EXPORTS / f"{COMPANION}.onnx")
    assert model.ensemble
    assert not model.codec_aware


def verdict_of(
    low: float | None = None,
    high: float | None = None,
    *,
    rmse: float | None = 0.9,
    unseen: float = 0.0,
    version: int = 2,
) -> Any:
    """A verdict with RMSE 0.8 of the ensemble.

    Args:
        low, high: interval of that minus ``rmse``, the RMSE without the block.
        unseen: what the block adds to the RMSE of a held-out encoder, at least, VMAF points.
    """
    without: dict[str, Any] = {"rmse": rmse, "difference": None, "mean_plcc": 0.99}
    if rmse is not None:
        without["difference"] = {"rmse": {"value": 0.8 - rmse, "low": low, "high": high}}
    return {
        "schema_version": version,
        "evidence": {
            "baselines": {"no_codec_block": without},
            "codec_block": {
                "unseen": {"libx265": {"difference": {"value": unseen + 0.04, "low": unseen, "high": unseen + 0.08}}},
                "smallest_effect": 0.05,
            },
        },
    }


@pytest.mark.parametrize(
    ("verdict", "exported"),
    [
        (verdict_of(-0.3, 0.1), True),  # not shown to be worse
        (verdict_of(-0.3, -0.1), False),  # the block helps
        (verdict_of(0.1, 0.3, rmse=0.6), True),
        (verdict_of(-0.3, -0.1, unseen=0.02), True),  # but does harm for an encoder not in training
        (verdict_of(-0.3, -0.1, unseen=-0.02), False),
        (verdict_of(-0.3, 0.1, version=1), False),
        (verdict_of(rmse=None), False),
        (verdict_of(rmse=0.9), False),  # no interval: the figures themselves
        (verdict_of(rmse=0.7), True),
    ],
)
def test_a_companion_is_exported_where_it_is_not_worse(verdict: Any, exported: bool) -> None:
    assert (companion_reason(verdict) is not None) == exported
    assert len(expected_ids(contract.ARCH, (0, 1, 2), verdict)) == 4 + exported


# ------------------------------------------------------------------------------------------ cards


@pytest.mark.essential
@pytest.mark.parametrize("name", [f"{STEM}_ensemble", f"{STEM}_seed1", COMPANION])
def test_the_example_of_a_card_prints_what_the_card_says(name: str, run: Path, tmp_path: Path) -> None:
    """In a folder with the model alone, and without the kit."""
    card = (run / layout.EXPORTS / f"{name}.md").read_text()
    (example,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    alone = tmp_path / "alone"
    alone.mkdir()
    shutil.copy(run / layout.EXPORTS / f"{name}.onnx", alone)
    argv = [sys.executable, "-I", "-c", example]
    done = subprocess.run(argv, cwd=alone, capture_output=True, text=True, check=True, timeout=60)
    printed = [float(line) for line in done.stdout.splitlines()]
    stated = [float(number) for number in re.findall(r"^print\(.*\)  # (.*)$", example, re.MULTILINE)]
    assert len(printed) == (2 if name.endswith("ensemble") else 1)
    assert printed == pytest.approx(stated, abs=2e-3)
    document = load(run / layout.EXPORTS / f"{name}.json")
    assert printed[0] == pytest.approx(document["example"]["score"], abs=2e-3)


def test_a_card_has_what_a_reader_of_the_log_needs(promoted: Path) -> None:
    card = (promoted / layout.EXPORTS / f"{STEM}_ensemble.md").read_text()
    for name in contract.FEATURES:
        assert f"`integer_{name}`" in card
    assert "| 0 | `encoder_onehot[libx264]` | 1 for libx264, else 0 | yes |" in card
    assert "| 1 | `encoder_onehot[libaom-av1]` | 1 for libaom-av1, else 0 | no |" in card
    assert "`preset_norm` = ordinal / 9" in card
    assert "`crf_norm` = cq / 63" in card
    assert "(cq 19 to 43)" in card
    assert "Unknown encoder:" in card
    assert "No model for measurements" not in card
    half_width = load(promoted / layout.EXPORTS / f"{STEM}_ensemble.json")["half_widths"]["clip"]["0.95"]["half_width"]
    assert re.search(rf"95 % \| ± [0-9.]+ \| ± {half_width:.2f} \|", card)
    companion = (promoted / layout.EXPORTS / f"{COMPANION}.md").read_text()
    assert f"`{STEM}`, the ensemble that passed the gate" in companion
    assert "codec_onehot" not in companion
