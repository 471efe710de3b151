"""Tiny heads: options, held-out rows, fits and their files, interrupted fits, exports."""

from __future__ import annotations

import hashlib
import re
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
from kit.heads.config import COMBINED, FIT, FitConfig, head, resolve
from kit.heads.fit import read_head
from kit.heads.loso import folds_of
from kit.heads.params import scaled
from kit.heads.split import split_rows
from kit.models import export_check, runtime
from kit.models.sidecar import sidecar_problems
from kit.options.session import KIT_ROOT
from kit.options.table import Texts, load_yaml, read_file
from kit.training import checkpoint
from kit.training.checkpoint import Checkpoint
from kit.training.member_store import MemberStore
from kit.training.model import Network, restored
from kit.training.recipe import Recipe, architecture
from kit.training.run_members import refuse_diverged
from tests.cli.builders import Ask, Command, in_process, load
from tests.features.builders import BOTH, FILM, SCENES, TABLE, made, rows
from tests.heads.builders import untrained
from tests.training.builders import write_old_head


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("features") / "f.parquet"
    table.write(path, FILM, facts={})
    return path


def fit_argv(features: Path, out: Path) -> list[str]:
    """A short fit, long enough to be killed."""
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
    """The folder of an undisturbed fit."""
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


def test_an_option_replaces_every_held_out_option_of_the_file() -> None:
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


def test_options_without_effect_on_least_squares_are_refused_unless_a_file_lists_them() -> None:
    with pytest.raises(BadInput, match=r"--epochs, --lr"):
        resolve({"arch": "linear", "lr": "0.1", "epochs": "9"}, {})
    assert resolve({"arch": "linear"}, read_yaml("lr: 0.1"))[0].arch == "linear"
    assert resolve({"arch": "linear", "epochs": "0"}, {})[0].epochs == 0


def test_an_architecture_is_named_after_its_widths_and_old_members_keep_their_names() -> None:
    assert architecture(head("mlp-32-16")).widths == (6, 32, 16, 1)
    assert scaled("mlp_small", 32) == "mlp-32-16"
    store = MemberStore(folder=Path(), recipe=Recipe(epochs=3, arch="mlp_small"), corpus_sha256="0", device="cpu")
    assert store.identity(0, "g")["recipe"] == {
        "epochs": 3,
        "arch": "mlp_small",
        "batch_size": 32,
        "lr": 5e-4,
        "weight_decay": 1e-5,
        "architecture": {
            "name": "mlp_small",
            "hidden": [16, 8],
            "activation": "relu",
            "codec_aware": False,
            "dropout": 0.0,
        },
    }


# -------------------------------------------------------------------------------------------- what is held out


def held_sources(whole: FeatureTable, **options: Any) -> tuple[set[str], set[str]]:
    """Return the used sources, and the held-out ones; a content group is never split."""
    used, held = split_rows(whole, FitConfig(**options))
    kept, out = set(used.sources[~held].tolist()), set(used.sources[held].tolist())
    assert not kept & out
    assert not set(used.groups[~held]) & set(used.groups[held])
    return kept | out, out


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
        split_rows(FILM.only(FILM.groups == "ElFuente"), FitConfig(val_fraction=0.5))


def test_a_group_is_the_same_content_in_every_corpus() -> None:
    shared = made(rows("npd", 3), rows("konvid-1k", 3))
    used_sources, out = held_sources(shared, combined="netflix-source", val_source=("npd/s0",))
    assert len(used_sources) == 6
    assert out == {"npd/s0", "konvid-1k/s0"}
    assert [fold.held_out for fold in folds_of(shared, "source")] == ["s0", "s1", "s2"]
    with pytest.raises(BadInput, match="konvid-1k/s0, npd/s0"):
        split_rows(shared, FitConfig(val_source=("s0",)))


@pytest.mark.parametrize("mode", COMBINED)
def test_a_mode_selects_used_and_held_out_corpora(mode: str) -> None:
    used, validated = COMBINED[mode]
    used_sources, out = held_sources(BOTH, combined=mode, val_fraction=0.2)
    assert {name.split("/")[0] for name in used_sources} == set(used)
    assert {name.split("/")[0] for name in out} == set(validated)
    assert not {name for name in out if "konvid" in name} or len({name for name in out if "konvid" in name}) == 6


def test_an_invalid_selection_is_refused() -> None:
    for options, value in (
        ({"val_source": ("nobody",)}, "nobody"),
        ({"val_source": ("s0", "s1", "s2", "s3")}, "s0, s1, s2, s3"),
        ({"combined": "both"}, "konvid-1k"),
    ):
        with pytest.raises(BadInput, match=value):
            split_rows(TABLE, FitConfig(**options))  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="konvid-1k/k0"):
        split_rows(BOTH, FitConfig(combined="netflix-source", val_source=("konvid-1k/k0",)))
    with pytest.raises(BadInput, match="one content group"):
        split_rows(made(rows("npd", 1)), FitConfig(val_fraction=0.5))


def test_the_first_clips_of_each_corpus_are_used() -> None:
    used, _ = split_rows(BOTH, FitConfig(max_pairs=3))
    names = [name for name, _ in used.clips()]
    every = [name for name, _ in BOTH.clips()]
    assert names == [name for name in every if "konvid" in name][:3] + [name for name in every if "npd" in name][:3]


# ------------------------------------------------------------------------------------------------------ fit


@pytest.mark.essential
def test_a_fit_writes_weights_history_and_options(
    features: Path, whole: Path, tmp_path: Path, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    history, fitted = load(whole / "history.json"), read_head(whole / "checkpoint.safetensors")
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
    # the figures are those of the written head, on its held-out rows
    network, scale = restored(architecture(fitted.recipe.arch), fitted.arrays)
    held = FILM.only(FILM.groups == "ElFuente").rows()
    import torch

    scores = network.scores(torch.from_numpy(scale.apply(held.features))).astype(np.float64)
    off = float(np.sqrt(np.mean((scores - held.target) ** 2)))
    assert off == pytest.approx(history["validation"]["rmse"], abs=1e-4)
    assert np.allclose(scale.mean, FILM.only(FILM.groups != "ElFuente").rows().features.mean(axis=0), atol=1e-5)
    # the same options, from any origin, train nothing and give the same bytes; other options or another table do not
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
    assert "ElFuente (npd/ElFuente1, npd/ElFuente2)" in " ".join(capsys.readouterr().err.split())
    assert (whole / "checkpoint.safetensors").read_bytes() == before
    assert command([*argv, "--lr", "0.1"]) == exits.BAD_INPUT
    other = tmp_path / "other.parquet"
    table.write(other, made(rows("npd", 5).replace({"source": {"s4": "ElFuente2"}})), facts={})
    assert command([str(other) if part == str(features) else part for part in argv]) == exits.BAD_INPUT
    assert (whole / "checkpoint.safetensors").read_bytes() == before


def test_initial_weights_need_no_table(features: Path, tmp_path: Path, command: Command) -> None:
    out = tmp_path / "initial"
    assert command(["fit", "--epochs", "0", "--seed", "3", "--out", str(out)]) == exits.OK
    fitted = read_head(out / "checkpoint.safetensors")
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


def test_a_killed_fit_continues_to_the_same_bytes(
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
    written = [(out / "checkpoint.safetensors").read_bytes() for out in (tmp_path / "killed", whole)]
    assert written[0] == written[1]


@pytest.mark.parametrize("array", ["training_loss", "predictions", "weights.0"])
def test_a_training_that_diverged_is_refused(array: str) -> None:
    fine = {"training_loss": np.ones(2, dtype=np.float32), "predictions": np.empty(0, dtype=np.float32)}
    recipe = FitConfig(lr=3).recipe
    member = Checkpoint(kind=checkpoint.MEMBER, recipe=recipe, arrays=fine, facts={})
    refuse_diverged([recipe], [{(0, ""): member}])
    diverged = replace(member, arrays=fine | {array: np.array([1, np.nan], dtype=np.float32)})
    with pytest.raises(InvalidEvidence, match=r"mlp_small, lr 3, seed 0, .*npd/s1"):
        refuse_diverged([recipe], [{(0, ""): member, (0, "npd/s1"): diverged}])


# --------------------------------------------------------------------------------------------------- export


@pytest.fixture(params=["linear", "mlp_small", "mlp_medium", "mlp-12"])
def fitted(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return untrained(tmp_path / "fit" / "checkpoint.safetensors", request.param)


@pytest.mark.essential
def test_an_export_is_the_fitted_head(fitted: Path, features: Path, tmp_path: Path, command: Command) -> None:
    model = tmp_path / "made" / "tiny.v1.onnx"
    argv = ["export", "--checkpoint", str(fitted), "--out", str(model)]
    assert command(argv) == exits.OK
    assert load(model.with_suffix(".json"))["round_trip"]["on"] == "generated rows"
    data = model.read_bytes()
    assert command([*argv, "--features", str(features)]) == exits.OK
    assert model.read_bytes() == data
    round_trip = load(model.with_suffix(".json"))["round_trip"]
    assert (round_trip["on"], round_trip["rows"]) == ("rows of a table", len(FILM))
    graph = onnx.load_model_from_string(data)
    ops = [node.op_type for node in graph.graph.node]
    layers = len(architecture(read_head(fitted).recipe.arch).hidden)
    assert ops == ["Sub", "Div", *["Gemm", "Relu"] * layers, "Gemm", "Squeeze", "Clip"]
    assert (graph.ir_version, graph.opset_import[0].version) == (8, 17)
    assert [end.name for end in graph.graph.output] == ["vmaf"]
    sidecar = load(model.with_suffix(".json"))
    assert sidecar_problems(sidecar) == []
    assert sidecar["round_trip"]["largest"] <= contract.EXPORT_TOLERANCE
    assert sidecar["sha256"] == hashlib.sha256(data).hexdigest()
    assert sidecar["corpus"]["sha256"] == TABLE.sha256
    assert sorted(path.name for path in model.parent.iterdir()) == ["tiny.v1.json", "tiny.v1.onnx"]
    found = runtime.compute(runtime.open_session(data), TABLE.rows().features, TABLE.rows().codec)["vmaf"]
    assert found.shape == (len(TABLE),)


def test_eval_uses_the_held_out_rows_of_the_fit(features: Path, whole: Path, tmp_path: Path, ask: Ask) -> None:
    model = tmp_path / "m.onnx"
    sidecar, _ = ask("export", "--checkpoint", whole / "checkpoint.safetensors", "--out", model, "--json")
    assert (sidecar["corpus"]["rows"], sidecar["corpus"]["rows_held_out"]) == (240, 120)
    assert re.findall(r"\d+", sidecar["notes"]) == ["120", "2", "120", "2"]
    found, _ = ask("eval", "--model", model, "--features", features, "--split", "held-out", "--json")
    assert set(found["features"]["sources"]) == SCENES
    assert found["features"]["features_sha256"] == FILM.only(np.isin(FILM.sources, sorted(SCENES))).sha256
    assert (found["n_samples"], found["rows_fitted_on"]) == (120, 0)
    assert found["rmse"] == pytest.approx(load(whole / "history.json")["validation"]["rmse"], abs=1e-3)
    assert ask("eval", "--model", model, "--features", features, "--json")[0]["rows_fitted_on"] == 120


def test_a_model_that_differs_from_the_network_is_not_written(
    fitted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Command
) -> None:
    def off(self: Network, inputs: Any) -> Any:
        return self(inputs).detach().numpy() + np.float32(0.01)

    monkeypatch.setattr(export_check.Network, "unclipped", off)
    argv = ["export", "--checkpoint", str(fitted), "--out", str(tmp_path / "made" / "m.onnx")]
    assert command(argv) == ExportFailed.exit_code
    assert list((tmp_path / "made").iterdir()) == []


@pytest.mark.parametrize("content", [None, b"", b"not safetensors at all"])
def test_a_file_that_is_not_a_checkpoint_is_refused(content: bytes | None, tmp_path: Path, command: Command) -> None:
    path = tmp_path / "c.safetensors"
    if content is not None:
        path.write_bytes(content)
    assert command(["export", "--checkpoint", str(path), "--out", str(tmp_path / "m.onnx")]) == exits.BAD_INPUT
    assert command(["export", "--checkpoint", str(path), "--out", str(tmp_path / "m.txt")]) == exits.BAD_INPUT


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """A head of one layer, to be damaged."""
    return read_head(untrained(tmp_path_factory.mktemp("small") / "checkpoint.safetensors", "linear"))


@pytest.mark.parametrize(
    ("arrays", "values"),
    [
        (
            {"weights.0": np.zeros((1, 5), np.float32)},
            r"weights.0 .*\[1, 5\].*\[1, 6\]",
        ),
        ({"mean": np.zeros(5, np.float32)}, "mean .*float32"),
        ({"std": np.ones((6, 1), np.float32)}, "std .*float32"),
        ({"weights.0": np.zeros((1, 6))}, "weights.0 .*float64"),
        ({"biases.0": np.zeros(1, np.int64)}, "biases.0 .*int64"),
        ({"weights.0": np.full((1, 6), np.nan, np.float32)}, "weights.0 .*not finite"),
        ({"mean": np.full(6, np.inf, np.float32)}, "mean .*not finite"),
        ({"std": np.zeros(6, np.float32)}, "std .*0"),
        ({"biases.0": None}, "biases.0 "),
        ({"weights.1": np.zeros((1, 1), np.float32)}, "weights.1 .*linear"),
    ],
)
def test_a_head_with_invalid_tensors_is_refused(
    arrays: dict[str, Any], values: str, small: Checkpoint, tmp_path: Path
) -> None:
    kept = {name: array for name, array in (dict(small.arrays) | arrays).items() if array is not None}
    checkpoint.write(tmp_path / "c.safetensors", replace(small, arrays=kept))
    with pytest.raises(BadInput, match=values):
        read_head(tmp_path / "c.safetensors")


@pytest.mark.parametrize(
    ("facts", "field"),
    [
        ({"teacher": 6.1}, "facts.teacher.*6.1"),
        ({"seed": None}, "facts.seed"),
        ({"held_out": None}, "facts.held_out"),
        ({"features_sha256": None}, "facts.clips"),
        ({"config_sha256": "0"}, "facts.config_sha256"),
    ],
)
def test_the_facts_of_a_head_are_checked(
    facts: dict[str, object], field: str, small: Checkpoint, tmp_path: Path
) -> None:
    path = tmp_path / "c.safetensors"
    checkpoint.write(path, replace(small, facts=dict(small.facts) | facts))
    with pytest.raises(BadInput, match=field):
        read_head(path)
    name = next(iter(facts))
    checkpoint.write(path, replace(small, facts={key: value for key, value in small.facts.items() if key != name}))
    with pytest.raises(BadInput, match=name):
        read_head(path)


@pytest.mark.parametrize(
    ("arch", "value"),
    [("mlp_small", "biases.1"), ("mlp", "'mlp'"), (contract.ARCH, contract.ARCH)],
)
def test_an_architecture_fits_the_weights(arch: str, value: str, small: Checkpoint, tmp_path: Path) -> None:
    checkpoint.write(tmp_path / "c.safetensors", replace(small, recipe=replace(small.recipe, arch=arch)))
    with pytest.raises(BadInput, match=value):
        read_head(tmp_path / "c.safetensors")


def test_a_head_of_the_older_layout_is_read(small: Checkpoint, tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    write_old_head(path, small)
    old = read_head(path)
    assert (old.kind, old.recipe, dict(old.facts)) == (small.kind, small.recipe, dict(small.facts))
    assert {name: array.tobytes() for name, array in old.arrays.items()} == {
        name: array.tobytes() for name, array in small.arrays.items()
    }
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(BadInput):
        read_head(path)


def test_a_member_is_not_read_as_a_head(small: Checkpoint, tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    facts = {"identity": {}, "step": 1, "seconds": 0.0}
    checkpoint.write(path, replace(small, kind=checkpoint.MEMBER, facts=facts))
    with pytest.raises(BadInput, match="member"):
        read_head(path)


def test_damage_anywhere_in_a_checkpoint_is_detected(whole: Path, tmp_path: Path, command: Command) -> None:
    data = (whole / "checkpoint.safetensors").read_bytes()
    header = int.from_bytes(data[:8], "little")
    path = tmp_path / "c.safetensors"
    facts = data.index(b'\\"rows\\":240'), data.index(b'\\"sha256\\":') + 16
    for offset in (*facts, 8 + header, len(data) - 1, *range(8 + header, len(data), 97)):
        path.write_bytes(data[:offset] + bytes([data[offset] ^ 1]) + data[offset + 1 :])
        with pytest.raises(BadInput):
            read_head(path)
    assert command(["export", "--checkpoint", str(path), "--out", str(tmp_path / "m.onnx")]) == exits.BAD_INPUT
    assert not (tmp_path / "m.onnx").exists()


def test_the_hint_for_a_damaged_checkpoint_of_a_fit(tmp_path: Path, ask: Ask) -> None:
    argv = ("fit", "--epochs", "0", "--out", tmp_path)
    ask(*argv)
    path = tmp_path / "checkpoint.safetensors"
    data = path.read_bytes()
    path.write_bytes(data[:-5])
    assert "Delete the file" in ask(*argv, code=exits.BAD_INPUT)[1]
    path.unlink()
    ask(*argv)
    assert path.read_bytes() == data


@pytest.mark.parametrize(
    ("name", "content"),
    [("config.yaml", "lr: 1\nname: x\n"), ("config.yaml", "- 1\n"), ("history.json", "{}"), ("history.json", "\0")],
)
def test_a_fit_overwrites_only_files_of_a_fit(name: str, content: str, tmp_path: Path, ask: Ask) -> None:
    (tmp_path / name).write_text(content)
    err = ask("fit", "--epochs", "0", "--out", tmp_path, code=exits.BAD_INPUT)[1]
    assert str(tmp_path / name) in err
    assert {path.name for path in tmp_path.iterdir()} == {name, ".lock"}
    assert (tmp_path / name).read_text() == content
