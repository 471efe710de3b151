"""Tiny heads: what is held out, what a fit leaves, what goes on, what is exported."""

from __future__ import annotations

import hashlib
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from kit.core import contract, exits
from kit.core.errors import BadInput, ExportFailed, InvalidEvidence, Several
from kit.features import table
from kit.features.table import FeatureTable
from kit.heads import checkpoint
from kit.heads.config import COMBINED, FIT, FitConfig, head, resolve
from kit.heads.fitting import Fits, refuse_diverged
from kit.heads.loso import folds_of
from kit.heads.params import scaled
from kit.heads.split import divided
from kit.models import export_check, runtime
from kit.options.session import KIT_ROOT
from kit.options.table import Texts, load_yaml, read_file
from kit.system import validation
from kit.training.checkpoints import Checkpoint, Checkpoints
from kit.training.model import Network, restored
from kit.training.recipe import Recipe, architecture
from tests.cli.builders import Ask, Command, in_process, load
from tests.features.builders import BOTH, FILM, SCENES, TABLE, made, rows
from tests.heads.builders import untrained


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("features") / "f.parquet"
    table.write(path, FILM, facts={})
    return path


def fit_argv(features: Path, out: Path) -> list[str]:
    """A fit that is over quickly; where it is killed there is time for that."""
    return [
        "fit",
        "--features",
        str(features),
        "--epochs",
        "40",
        "--lr",
        "5e-3",
        "--batch-size",
        "4",
        "--val-source",
        "ElFuente2",
        "--out",
        str(out),
    ]


@pytest.fixture(scope="module")
def whole(features: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a fit that nothing has disturbed."""
    out = tmp_path_factory.mktemp("whole") / "fit"
    with in_process() as main:
        assert main(fit_argv(features, out)) == exits.OK
    return out


# ------------------------------------------------------------------------------------------------- options


def read_yaml(text: str) -> Texts:
    return read_file(text, "f.yaml", FIT, load_yaml)


def test_the_command_line_beats_the_file_beats_the_default() -> None:
    file = read_yaml("lr: 1e-2\nbatch-size: 64\nval_source: [a, b]\n")
    config, origins = resolve({"lr": "0.1", "arch": None, "val_source": ()}, file)
    assert (config.lr, config.batch_size, config.val_source, config.arch) == (0.1, 64, ("a", "b"), "mlp_small")
    assert [origins[name] for name in ("lr", "batch_size", "epochs")] == ["command line", "config file", "default"]


def test_what_is_held_out_is_said_in_one_place() -> None:
    config, origins = resolve({"val_fraction": "0.2"}, {"val_source": ("s1",), "lr": "0.1"})
    assert (config.val_source, config.val_fraction, origins["val_source"]) == ((), 0.2, "default")
    config, _ = resolve({"val_source": ("s1",)}, {"val_fraction": "0.1", "combined": "both"})
    assert (config.val_source, config.val_fraction, config.combined) == (("s1",), None, "both")


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("lr: 0.1\nlearning_rate: 1\nwidth: 2\n", ("learning_rate", "width")),
        ("features: f.parquet\nout: o\n", ("features", "out")),
        ("- lr\n", ("list",)),
        ("lr: [\n", ()),
        ("", ()),
        ("lr: {a: 1}\n", ("lr",)),
        ("batch-size: 1\nbatch_size: 2\n", ("batch_size",)),
    ],
)
def test_a_file_of_options_is_read_strictly(text: str, names: tuple[str, ...]) -> None:
    with pytest.raises(BadInput) as error:
        read_yaml(text)
    for name in ("f.yaml", *names):
        assert name in error.value.message


@pytest.mark.parametrize(
    "text",
    [
        "lr: 0",
        "lr: .nan",
        "lr: true",
        "lr: [0.1]",
        "epochs: 1.5",
        "epochs: -1",
        "epochs: true",
        "batch_size: 0",
        "val_fraction: 1",
        "seed: 2147483648",
        "max_pairs: 0",
        "device: tpu",
        "combined: all",
        "arch: [mlp_small]",
        "arch: 3",
        "arch: fr_regressor_v2",
        "arch: no_codec_block",
        "arch: mlp-0",
        "arch: mlp-9999",
        "val_source: a\nval_fraction: 0.5",
        "max_pairs: 3\nepochs: 0",
    ],
)
def test_values_that_cannot_be_used_are_refused_by_name(text: str) -> None:
    with pytest.raises(BadInput, match="--" + text.split(":", maxsplit=1)[0].replace("_", "-")):
        resolve({}, read_yaml(text))


def test_all_bad_values_of_a_fit_are_reported_together() -> None:
    with pytest.raises(Several) as error:
        resolve({"lr": "0"}, read_yaml("epochs: -1\nlr: 3\n"))
    assert [problem.message.split(":")[0] for problem in error.value.problems] == ["--epochs", "--lr"]


def test_an_architecture_is_named_after_its_widths_and_old_members_keep_their_names() -> None:
    assert architecture(head("mlp-32-16")).widths == (6, 32, 16, 1)
    assert scaled("mlp_small", 32) == "mlp-32-16"
    store = Checkpoints(folder=Path(), recipe=Recipe(epochs=3, arch="mlp_small"), corpus_sha256="0", device="cpu")
    identity = store._identity(0, "g")["recipe"]
    assert identity == {
        "epochs": 3,
        "arch": "mlp_small",
        "batch_size": 32,
        "lr": 5e-4,
        "weight_decay": 1e-5,
        "architecture": {
            "name": "mlp_small",
            "hidden": (16, 8),
            "activation": "relu",
            "codec_aware": False,
            "dropout": 0.0,
        },
    }


# -------------------------------------------------------------------------------------------- what is held out


def held_sources(whole: FeatureTable, **options: Any) -> tuple[set[str], set[str]]:
    """The sources that are used at all, and those held out; a content group is on one side as a whole."""
    used, held = divided(whole, FitConfig(**options))
    there, out = set(used.sources[~held].tolist()), set(used.sources[held].tolist())
    assert not there & out
    assert not set(used.groups[~held]) & set(used.groups[held])
    return there | out, out


def test_whole_sources_are_held_out() -> None:
    assert held_sources(TABLE, val_source=("s1", "npd/s3"))[1] == {"npd/s1", "npd/s3"}
    assert held_sources(TABLE)[1] == set()
    drawn = [held_sources(TABLE, val_fraction=0.5, seed=seed)[1] for seed in range(8)]
    assert {len(out) for out in drawn} == {2}
    assert len(set(map(frozenset, drawn))) > 1
    assert len(held_sources(TABLE, val_fraction=0.99)[1]) == 3
    assert len(held_sources(TABLE, val_fraction=0.01)[1]) == 1


def test_the_scenes_of_a_film_are_held_out_together() -> None:
    assert held_sources(FILM, val_source=("ElFuente1",))[1] == SCENES
    assert held_sources(FILM, val_source=("npd/ElFuente2", "s0"))[1] == SCENES | {"npd/s0"}
    drawn = [held_sources(FILM, val_fraction=0.5, seed=seed)[1] for seed in range(12)]
    assert {len(out & SCENES) for out in drawn} == {0, 2}
    with pytest.raises(BadInput, match="one content group"):
        divided(FILM.only(FILM.groups == "ElFuente"), FitConfig(val_fraction=0.5))


def test_a_group_is_the_same_content_in_every_corpus() -> None:
    shared = made(rows("npd", 3), rows("konvid-1k", 3))
    there, out = held_sources(shared, combined="netflix-source", val_source=("npd/s0",))
    assert len(there) == 6
    assert out == {"npd/s0", "konvid-1k/s0"}
    assert [fold.held_out for fold in folds_of(shared, "source")] == ["s0", "s1", "s2"]
    with pytest.raises(BadInput, match="several: konvid-1k/s0, npd/s0"):
        divided(shared, FitConfig(val_source=("s0",)))


@pytest.mark.parametrize("mode", COMBINED)
def test_a_mode_says_what_is_used_and_what_is_held_out(mode: str) -> None:
    used, validated = COMBINED[mode]
    there, out = held_sources(BOTH, combined=mode, val_fraction=0.2)
    assert {name.split("/")[0] for name in there} == set(used)
    assert {name.split("/")[0] for name in out} == set(validated)
    assert not {name for name in out if "konvid" in name} or len({name for name in out if "konvid" in name}) == 6


def test_what_cannot_be_held_out_is_told() -> None:
    for options, said in (
        ({"val_source": ("nobody",)}, "no such source"),
        ({"val_source": ("s0", "s1", "s2", "s3")}, "all content groups"),
        ({"combined": "both"}, "of konvid-1k there is nothing"),
    ):
        with pytest.raises(BadInput, match=said):
            divided(TABLE, FitConfig(**options))  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="no such source"):
        divided(BOTH, FitConfig(combined="netflix-source", val_source=("konvid-1k/k0",)))
    with pytest.raises(BadInput, match="one content group"):
        divided(made(rows("npd", 1)), FitConfig(val_fraction=0.5))


def test_the_first_clips_of_each_corpus_are_used() -> None:
    used, _ = divided(BOTH, FitConfig(max_pairs=3))
    names = [name for name, _ in used.clips()]
    every = [name for name, _ in BOTH.clips()]
    assert names == [name for name in every if "konvid" in name][:3] + [name for name in every if "npd" in name][:3]


# ------------------------------------------------------------------------------------------------------ fit


def test_a_fit_leaves_weights_history_and_options(
    features: Path, whole: Path, tmp_path: Path, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    history, fitted = load(whole / "history.json"), checkpoint.read(whole / "checkpoint.safetensors")
    assert len(history["training_loss"]) == 40
    assert history["training_loss"][-1] < 0.2 * history["training_loss"][0]
    assert history["held_out"] == {"ElFuente": sorted(SCENES)}
    assert history["features"]["held_out"] == fitted.facts["held_out"] == sorted(SCENES)
    assert (history["rows_trained"], history["rows_held_out"]) == (120, 120)
    assert history["validation"]["n"] == 120
    assert history["validation"]["per_source"].keys() == SCENES
    assert history["run_provenance"]["schema"] == "ai-run-provenance-v1"
    assert history["run_provenance"]["args"] == {
        "arch": "mlp_small",
        "val_source": "ElFuente2",
        "epochs": "40",
        "batch_size": "4",
        "lr": "0.005",
        "seed": "0",
        "device": "auto",
    }
    assert str(whole) not in (whole / "history.json").read_text()
    digest = hashlib.sha256((whole / "config.yaml").read_bytes()).hexdigest()
    assert digest == history["config_sha256"] == fitted.facts["config_sha256"]
    assert resolve({}, read_yaml((whole / "config.yaml").read_text()))[0].as_dict() == history["config"]
    # the figures are those of the head that was left, on rows that it never saw
    network, scale = restored(architecture(fitted.recipe.arch), fitted.arrays)
    held = FILM.only(FILM.groups == "ElFuente").rows()
    import torch

    scores = network.scores(torch.from_numpy(scale.apply(held.features))).astype(np.float64)
    off = float(np.sqrt(np.mean((scores - held.target) ** 2)))
    assert off == pytest.approx(history["validation"]["rmse"], abs=1e-4)
    assert np.allclose(scale.mean, FILM.only(FILM.groups != "ElFuente").rows().features.mean(axis=0), atol=1e-5)
    # once more trains nothing and leaves the same bytes, wherever the options stand; others, or another table, do not
    before = (whole / "checkpoint.safetensors").read_bytes()
    config = tmp_path / "c.yaml"
    config.write_text("epochs: 40\nlr: 5e-3\narch: linear\n")
    argv = [
        "fit",
        "--features",
        str(features),
        "--config",
        str(config),
        "--arch",
        "mlp_small",
        "--batch-size",
        "4",
        "--val-source",
        "ElFuente2",
        "--out",
        str(whole),
    ]
    assert command(argv) == exits.OK
    assert "the same content: ElFuente (npd/ElFuente1, npd/ElFuente2)" in " ".join(capsys.readouterr().err.split())
    assert (whole / "checkpoint.safetensors").read_bytes() == before
    assert command([*argv, "--lr", "0.1"]) == exits.BAD_INPUT
    other = tmp_path / "other.parquet"
    table.write(other, made(rows("npd", 5).replace({"source": {"s4": "ElFuente2"}})), facts={})
    assert command([str(other) if part == str(features) else part for part in argv]) == exits.BAD_INPUT
    assert (whole / "checkpoint.safetensors").read_bytes() == before


def test_initial_weights_need_no_table(features: Path, tmp_path: Path, command: Command) -> None:
    out = tmp_path / "initial"
    assert command(["fit", "--epochs", "0", "--seed", "3", "--out", str(out)]) == exits.OK
    fitted = checkpoint.read(out / "checkpoint.safetensors")
    assert fitted.facts["features_sha256"] is None
    assert fitted.arrays["biases.2"].tolist() == [50.0]
    assert load(out / "history.json")["validation"] is None
    (tmp_path / "ended").mkdir()  # by a kill, or by a training that diverged
    (tmp_path / "ended" / "config.yaml").write_text("lr: 9.0\n")
    assert command(["fit", "--epochs", "0", "--out", str(tmp_path / "ended")]) == exits.OK
    assert command(["fit", "--epochs", "0", "--features", str(features), "--out", str(out)]) == exits.BAD_INPUT
    assert command(["fit", "--epochs", "1", "--out", str(out)]) == exits.BAD_INPUT
    assert (
        command(["export", "--checkpoint", str(out / "checkpoint.safetensors"), "--out", str(out / "m.onnx")])
        == exits.OK
    )
    assert load(out / "m.json")["corpus"]["sha256"] is None


def test_a_fit_that_was_killed_goes_on_to_the_same_bytes(
    features: Path, whole: Path, tmp_path: Path, home: dict[str, str], command: Command
) -> None:
    argv = fit_argv(features, tmp_path / "killed")
    program = "import sys; from kit.cli.main import main; sys.exit(main(sys.argv[1:]))"
    process = subprocess.Popen(
        [sys.executable, "-c", program, *argv], cwd=KIT_ROOT, env=home, stderr=subprocess.DEVNULL
    )
    folder, deadline = tmp_path / "killed" / "members", time.monotonic() + 60
    while not list(folder.glob(".tmp-*/taken-0")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert list(folder.glob(".tmp-*"))
    assert not (tmp_path / "killed" / "checkpoint.safetensors").exists()
    assert command(argv) == exits.OK
    assert not list(folder.glob(".tmp-*"))
    left = [(out / "checkpoint.safetensors").read_bytes() for out in (tmp_path / "killed", whole)]
    assert left[0] == left[1]


@pytest.mark.parametrize("array", ["training_loss", "predictions", "weights.0"])
def test_a_training_that_diverged_is_refused(array: str, tmp_path: Path) -> None:
    fine = {"training_loss": np.ones(2, dtype=np.float32), "predictions": np.empty(0, dtype=np.float32)}
    asked = Fits(table=TABLE, folds=(), seeds=(0,), recipes=(FitConfig(lr=3).recipe,), device="cpu", folder=tmp_path)
    member = Checkpoint(arrays=fine, step=1, seconds=1)
    refuse_diverged(asked, [{(0, ""): member}])
    strange = replace(member, arrays=fine | {array: np.array([1, np.nan], dtype=np.float32)})
    with pytest.raises(InvalidEvidence, match="mlp_small, lr 3, seed 0, held out npd/s1: not finite"):
        refuse_diverged(asked, [{(0, ""): member, (0, "npd/s1"): strange}])


# --------------------------------------------------------------------------------------------------- export


@pytest.fixture(params=["linear", "mlp_small", "mlp_medium", "mlp-12"])
def fitted(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return untrained(tmp_path / "fit" / "checkpoint.safetensors", request.param)


def test_an_export_is_the_fitted_head(fitted: Path, features: Path, tmp_path: Path, command: Command) -> None:
    model = tmp_path / "made" / "tiny.v1.onnx"
    argv = ["export", "--checkpoint", str(fitted), "--out", str(model)]
    assert command(argv) == exits.OK
    assert load(model.with_suffix(".json"))["round_trip"]["on"] == "generated rows"
    data = model.read_bytes()
    assert command([*argv, "--features", str(features)]) == exits.OK
    assert model.read_bytes() == data
    tripped = load(model.with_suffix(".json"))["round_trip"]
    assert (tripped["on"], tripped["rows"]) == ("rows of a table", len(FILM))
    graph = onnx.load_model_from_string(data)
    ops = [node.op_type for node in graph.graph.node]
    layers = len(architecture(checkpoint.read(fitted).recipe.arch).hidden)
    assert ops == ["Sub", "Div", *["Gemm", "Relu"] * layers, "Gemm", "Squeeze", "Clip"]
    assert (graph.ir_version, graph.opset_import[0].version) == (8, 17)
    assert [end.name for end in graph.graph.output] == ["vmaf"]
    told = load(model.with_suffix(".json"))
    assert validation.problems("tiny_sidecar", told) == []
    assert told["round_trip"]["largest"] <= contract.EXPORT_TOLERANCE
    assert told["sha256"] == hashlib.sha256(data).hexdigest()
    assert told["corpus"]["sha256"] == TABLE.sha256
    assert sorted(path.name for path in model.parent.iterdir()) == ["tiny.v1.json", "tiny.v1.onnx"]
    found = runtime.compute(runtime.open_session(data), TABLE.rows().features, TABLE.rows().codec)["vmaf"]
    assert found.shape == (len(TABLE),)


def test_what_a_fit_held_out_is_what_eval_finds_held_out(features: Path, whole: Path, tmp_path: Path, ask: Ask) -> None:
    model = tmp_path / "m.onnx"
    told, _ = ask("export", "--checkpoint", whole / "checkpoint.safetensors", "--out", model, "--json")
    assert (told["corpus"]["rows"], told["corpus"]["rows_held_out"]) == (240, 120)
    assert told["notes"] == "Fitted to 120 rows of 2 sources; 120 rows of 2 more were held out."
    found, _ = ask("eval", "--model", model, "--features", features, "--split", "held-out", "--json")
    assert set(found["features"]["sources"]) == SCENES
    assert found["features"]["features_sha256"] == FILM.only(np.isin(FILM.sources, sorted(SCENES))).sha256
    assert (found["n_samples"], found["rows_fitted_on"]) == (120, 0)
    assert found["rmse"] == pytest.approx(load(whole / "history.json")["validation"]["rmse"], abs=1e-3)
    assert ask("eval", "--model", model, "--features", features, "--json")[0]["rows_fitted_on"] == 120


def test_a_model_that_does_not_do_what_the_network_does_does_not_appear(
    fitted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Command
) -> None:
    def off(self: Network, inputs: Any) -> Any:
        return self(inputs).detach().clamp(*contract.SCORE_RANGE).numpy() + np.float32(0.01)

    monkeypatch.setattr(export_check.Network, "scores", off)
    argv = ["export", "--checkpoint", str(fitted), "--out", str(tmp_path / "made" / "m.onnx")]
    assert command(argv) == ExportFailed.exit_code
    assert list((tmp_path / "made").iterdir()) == []


@pytest.mark.parametrize("content", [None, b"", b"not safetensors at all"])
def test_what_is_no_checkpoint_is_refused(content: bytes | None, tmp_path: Path, command: Command) -> None:
    path = tmp_path / "c.safetensors"
    if content is not None:
        path.write_bytes(content)
    assert command(["export", "--checkpoint", str(path), "--out", str(tmp_path / "m.onnx")]) == exits.BAD_INPUT
    assert command(["export", "--checkpoint", str(path), "--out", str(tmp_path / "m.txt")]) == exits.BAD_INPUT


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> checkpoint.Fitted:
    """A head of one layer, to be damaged."""
    return checkpoint.read(untrained(tmp_path_factory.mktemp("small") / "checkpoint.safetensors", "linear"))


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        (
            {"weights.0": np.zeros((1, 5), np.float32)},
            r"weights.0 is float32 \[1, 5\], in linear it is float32 \[1, 6\]",
        ),
        ({"mean": np.zeros(5, np.float32)}, "mean is float32"),
        ({"std": np.ones((6, 1), np.float32)}, "std is float32"),
        ({"weights.0": np.zeros((1, 6))}, "weights.0 is float64"),
        ({"biases.0": np.zeros(1, np.int64)}, "biases.0 is int64"),
        ({"weights.0": np.full((1, 6), np.nan, np.float32)}, "weights.0 holds a value that is not finite"),
        ({"mean": np.full(6, np.inf, np.float32)}, "mean holds a value that is not finite"),
        ({"std": np.zeros(6, np.float32)}, "std holds a value that is not above 0"),
        ({"biases.0": None}, "biases.0 is lacking"),
        ({"weights.1": np.zeros((1, 1), np.float32)}, "weights.1 is no part of linear"),
    ],
)
def test_a_head_that_cannot_be_is_refused(
    arrays: dict[str, Any], said: str, small: checkpoint.Fitted, tmp_path: Path
) -> None:
    kept = {name: array for name, array in (dict(small.arrays) | arrays).items() if array is not None}
    checkpoint.write(tmp_path / "c.safetensors", replace(small, arrays=kept))
    with pytest.raises(BadInput, match=said):
        checkpoint.read(tmp_path / "c.safetensors")


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"teacher": 6.1}, r"facts.teacher: 6.1"),
        ({"seed": None}, "facts.seed: None"),
        ({"held_out": None}, "facts.held_out: None is not of type 'array'"),
        ({"features_sha256": None}, "facts.clips: 8 is not of type 'null'"),
        ({"config_sha256": "0"}, "facts.config_sha256"),
    ],
)
def test_what_a_head_is_told_with_is_checked(
    facts: dict[str, object], said: str, small: checkpoint.Fitted, tmp_path: Path
) -> None:
    path = tmp_path / "c.safetensors"
    checkpoint.write(path, replace(small, facts=dict(small.facts) | facts))
    with pytest.raises(BadInput, match=said):
        checkpoint.read(path)
    name = next(iter(facts))
    checkpoint.write(path, replace(small, facts={key: told for key, told in small.facts.items() if key != name}))
    with pytest.raises(BadInput, match=f"'{name}' is a required property"):
        checkpoint.read(path)


@pytest.mark.parametrize(
    ("arch", "said"),
    [("mlp_small", "biases.1 is lacking"), ("mlp", "'mlp'"), (contract.ARCH, contract.ARCH)],
)
def test_an_architecture_fits_the_weights(arch: str, said: str, small: checkpoint.Fitted, tmp_path: Path) -> None:
    checkpoint.write(tmp_path / "c.safetensors", replace(small, recipe=replace(small.recipe, arch=arch)))
    with pytest.raises(BadInput, match=said):
        checkpoint.read(tmp_path / "c.safetensors")


def test_damage_of_a_checkpoint_shows_wherever_it_is(whole: Path, tmp_path: Path, command: Command) -> None:
    data = (whole / "checkpoint.safetensors").read_bytes()
    header = int.from_bytes(data[:8], "little")
    path = tmp_path / "c.safetensors"
    told = data.index(b'\\"rows\\":240'), data.index(b'\\"sha256\\":') + 16
    for place in (*told, 8 + header, len(data) - 1, *range(8 + header, len(data), 97)):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        with pytest.raises(BadInput):
            checkpoint.read(path)
    assert command(["export", "--checkpoint", str(path), "--out", str(tmp_path / "m.onnx")]) == exits.BAD_INPUT
    assert not (tmp_path / "m.onnx").exists()


def test_a_fit_tells_what_to_do_about_its_own_checkpoint(tmp_path: Path, ask: Ask) -> None:
    argv = ("fit", "--epochs", "0", "--out", tmp_path)
    ask(*argv)
    path = tmp_path / "checkpoint.safetensors"
    data = path.read_bytes()
    path.write_bytes(data[:-5])
    assert "Delete it and start the same command" in ask(*argv, code=exits.BAD_INPUT)[1]
    path.unlink()
    ask(*argv)
    assert path.read_bytes() == data


@pytest.mark.parametrize(
    ("name", "content"),
    [("config.yaml", "lr: 1\nname: x\n"), ("config.yaml", "- 1\n"), ("history.json", "{}"), ("history.json", "\0")],
)
def test_a_fit_takes_the_place_of_nothing_but_a_fit(name: str, content: str, tmp_path: Path, ask: Ask) -> None:
    (tmp_path / name).write_text(content)
    said = ask("fit", "--epochs", "0", "--out", tmp_path, code=exits.BAD_INPUT)[1]
    assert str(tmp_path / name) in said
    assert {path.name for path in tmp_path.iterdir()} == {name, ".lock"}
    assert (tmp_path / name).read_text() == content
