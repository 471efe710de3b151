"""Models leave the kit after PROMOTE alone: fitted on every row, checked, described, in the bundle."""

from __future__ import annotations

import json
import shutil
import tarfile
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from kit.core import contract, exits, layout
from kit.core.errors import ExportFailed, Missing
from kit.corpus.store.shard import read_manifest
from kit.models import export, runtime
from kit.options.session import KIT_ROOT
from kit.steps import exports, step_03_train, step_04_verdict, step_05_bundle
from kit.system import validation
from kit.system.fsio import sha256_file
from kit.system.proc import Processes
from kit.training import worker
from kit.training.folds import by_group, everything
from kit.training.members import Ensemble
from kit.training.model import Network
from kit.training.recipe import Recipe
from kit.verdict.judge import Training
from tests.cli.builders import Command
from tests.models.builders import STEM
from tests.options.builders import run_in
from tests.steps.builders import run_folder
from tests.training.builders import make_table

TABLE = make_table(frames=120)


# ------------------------------------------------------------------------------------------ the full fit


def whole_fit(folder: Path, seeds: tuple[int, ...] = (0, 1)) -> Ensemble:
    return Ensemble(
        table=TABLE,
        folds=(everything(TABLE),),
        seeds=seeds,
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
        for (seed, _), found in made.finished().items()
        for name, array in found.arrays.items()
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
    told: list[int] = []
    whole_fit(members).run(Processes(), told.append)
    assert weights(whole_fit(members)) == expected
    assert not list(members.glob("*.part.safetensors"))


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


def test_promote_leaves_a_model_for_each_seed_and_the_ensemble_in_one(promoted: Path) -> None:
    folder = promoted / layout.EXPORTS
    ids = [f"{STEM}_seed0", f"{STEM}_seed1", f"{STEM}_ensemble"]
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        ["registry.json", *(f"{name}.onnx" for name in ids), *(f"{name}.json" for name in ids)]
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
    for seed in (0, 1, None):
        name = f"{STEM}_ensemble" if seed is None else f"{STEM}_seed{seed}"
        told = load(promoted / layout.EXPORTS / f"{name}.json")
        assert set(told) == {
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
        assert validation.problems("sidecar", told) == []
        assert (told["id"], told["seed"], told["ensemble_id"]) == (name, seed, STEM)
        assert told["sha256"] == sha256_file(promoted / layout.EXPORTS / told["onnx"])
        assert told["corpus"] == verdict["corpus"] | {"demo": False}
        assert told["corpus"]["sha256"] == shard["corpus_sha256"]
        assert told["gate"] == verdict["gate"]
        assert len(told["codec_block_layout"]) == told["codec_block_dim"] == 18
        assert told["trained_encoders"] == ["libx264"]
        assert told["untrained_encoders"] == list(contract.ENCODER_VOCAB[1:])
        assert told["output_names"] == (["score", "score_std"] if seed is None else ["score"])
        assert told["training_recipe"]["seeds"] == ([0, 1] if seed is None else [seed])
        plccs = verdict["gate"]["per_seed_plccs"]
        assert told["loso_mean_plcc"] == (verdict["gate"]["mean_plcc"] if seed is None else plccs[str(seed)])
        assert str(promoted) not in json.dumps(told)


def test_the_models_have_learned_what_the_corpus_shows(promoted: Path) -> None:
    from kit.training import table

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
    ("damage", "told"),
    [
        (shutil.rmtree, "registry.json"),
        (lambda folder: (folder / f"{STEM}_seed1.onnx").unlink(), "is not the model"),
        (lambda folder: (folder / f"{STEM}_seed1.onnx").write_bytes(b"other"), "is not the model"),
        (lambda folder: (folder / f"{STEM}_seed0.json").unlink(), f"{STEM}_seed0.json"),
        (lambda folder: edit(folder / f"{STEM}_seed0.json", ("corpus", "sha256"), "0" * 64), "and this corpus"),
        (lambda folder: edit(folder / f"{STEM}_seed0.json", ("sha256",), "0" * 64), "does not describe"),
        (lambda folder: edit(folder / "registry.json", ("models", 0, "license"), ""), "does not list"),
        (lambda folder: edit(folder / "registry.json", ("models", 0, "id"), "another"), "does not list"),
    ],
)
def test_the_bundle_refuses_models_that_do_not_fit(damage: Callable[[Path], None], told: str, run: Path) -> None:
    damage(run / layout.EXPORTS)
    with pytest.raises(Missing, match=told):
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
    def wrong(network: Network, scale: Any) -> bytes:
        with torch.no_grad():
            network.biases[-1].add_(1.0)
        data = export_single(network, scale)
        with torch.no_grad():
            network.biases[-1].sub_(1.0)
        return data

    export_single = export.single
    monkeypatch.setattr(export, "single", wrong)
    config, trained, session = judged(run)
    with pytest.raises(ExportFailed, match="differ by up to 1 VMAF points"):
        step_04_verdict.run(config, trained, session)
    assert layout.verdicts_in(run) == ["PROMOTE"]
    assert not (run / layout.EXPORTS).exists()
    assert not list(run.glob(".tmp-*"))
    with pytest.raises(Missing, match=r"registry\.json"):
        bundled(run)


def test_one_seed_has_no_ensemble_in_one_file(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config, session = run_in(run, seeds=(1,))
    verdict = load(run / "PROMOTE.json")
    layout.withdraw_verdict(run)
    exports.make(config, read_manifest(run / layout.CORPUS), verdict, session)
    assert [path.name for path in (run / layout.EXPORTS).glob("*.onnx")] == [f"{STEM}_seed1.onnx"]
    assert "One seed has no spread" in capsys.readouterr().err
    assert len(exports.listed(config, (1,), verdict["corpus"]["sha256"])) == 3


def test_a_tiny_head_says_nothing_of_encoders_it_does_not_see(tmp_path: Path) -> None:
    config, session = run_folder(tmp_path / "run", arch="mlp_small", seeds=(0, 1), epochs=2)
    shard = read_manifest(config.out_dir / layout.CORPUS)
    verdict = step_04_verdict.run(
        config,
        Training(
            shard=shard,
            seeds=(0, 1),
            folds="loso",
            holdout=(),
            predictions=None,
            problems=("x",),
            baselines={},
            rows=None,
        ),
        session,
    )
    document = {
        **verdict.document,
        "gate": {
            **verdict.document["gate"],
            "passed": True,
            "mean_plcc": 0.96,
            "plcc_spread": 0.0,
            "per_seed_plccs": {"0": 0.96, "1": 0.96},
        },
        "demo": True,
    }
    exports.make(config, shard, document, session)
    told = load(config.out_dir / layout.EXPORTS / f"mlp_small_{contract.ENSEMBLE}_ensemble.json")
    assert told["input_names"] == ["features"]
    assert [told[name] for name in ("codec_aware", "codec_block_layout", "codec_block_dim", "encoder_vocab")] == [
        False,
        None,
        None,
        None,
    ]
    # made of demo clips, and said so
    assert told["corpus"]["demo"] is True
    assert "demo clips" in told["notes"]
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
        ("sidecar", ("onnx_has_scaler",), False),
        ("sidecar", ("gate", "passed"), False),
        ("sidecar", ("notes",), "x" * 513),
        ("sidecar", ("corpus", "demo"), None),
    ],
)
def test_a_schema_refuses(schema: str, place: tuple[str | int, ...], value: object, promoted: Path) -> None:
    name = "registry.json" if schema == "registry" else f"{STEM}_seed0.json"
    document = load(promoted / layout.EXPORTS / name)
    assert validation.problems(schema, document) == []
    inner: Any = document
    for step in place[:-1]:
        inner = inner[step]
    inner[place[-1]] = value
    assert len(validation.problems(schema, document)) == 1


def test_a_schema_misses_what_is_required(promoted: Path) -> None:
    for schema, name in (("registry", "registry.json"), ("sidecar", f"{STEM}_seed0.json")):
        document = load(promoted / layout.EXPORTS / name)
        for key in document:
            lacking = {other: value for other, value in document.items() if other != key}
            assert validation.problems(schema, lacking) == [f"$: '{key}' is a required property"]


def test_a_document_that_breaks_its_schema_is_not_written(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contract, "MODEL_LICENSE", "")
    config, trained, session = judged(run)
    with pytest.raises(ExportFailed, match=r"\$.license"):
        step_04_verdict.run(config, trained, session)
    assert not (run / layout.EXPORTS).exists()


@pytest.mark.parametrize("step", ["run", "verdict"])
def test_force_is_refused_politely(step: str, command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    assert command([step, "--force"]) == exits.BAD_INPUT
    said = capsys.readouterr().err
    assert "models leave the kit after PROMOTE" in said
    assert "HOLD.json" in said


def test_the_models_are_under_the_license_of_the_kit() -> None:
    project: Mapping[str, Any] = tomllib.loads((KIT_ROOT / "pyproject.toml").read_text())["project"]
    assert project["license"] == contract.MODEL_LICENSE
