"""Options: where each value comes from, what is refused, and how options are remembered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from fractions import Fraction
from pathlib import Path

import pytest

from kit.core import contract
from kit.core.errors import BadInput, Several
from kit.core.geometry import RawFormat
from kit.options import table
from kit.options.resolve import RunConfig, as_texts, complete
from kit.options.run_table import RUN
from kit.options.table import Texts, load_toml, read_file

#: One good text for every option that has one.
GOOD = {
    "ref_dir": "/clips",
    "corpus": "/merged",
    "dataset": "npd",
    "data_root": "/data",
    "out_dir": "/runs/one",
    "encoders": "libx264,hevc_nvenc",
    "teacher": "vmaf_v1.0.16_3d0h",
    "cqs": "31,19",
    "seeds": "4,1",
    "epochs": "7",
    "arch": "mlp_small",
    "folds": "kfold:5",
    "holdout": "encoder,box",
    "max_rows_per_source": "900",
    "recipe": "contract",
    "device": "cpu",
    "baseline": "/models/shipped.onnx",
    "gate": "expert",
    "box": "attic.2",
    "ffmpeg": "/usr/bin/ffmpeg",
    "vmaf_bin": "/usr/bin/vmaf",
    "scorer_backend": "cuda",
    "geometry": "640x360@29.97:yuv420p10le",
    "anchor": "false",
    "shard_only": "true",
    "gpu": "1",
    "render_node": "/dev/dri/renderD129",
    "cuda_visible": "1,0",
    "allow_partial": "true",
    "stall_timeout": "7.5",
    "disk_wait": "0",
    "scheduler": "tls://10.0.0.1:8786",
    "tls_ca": "/tls/ca.pem",
    "tls_cert": "/tls/box.pem",
    "tls_key": "/tls/box.key",
    "worker_wait": "5",
    "sign": "/keys/lead",
}


def resolve(
    command_line: Texts | None = None,
    environ: Mapping[str, str] | None = None,
    file: Texts | None = None,
    remembered: Texts | None = None,
) -> RunConfig:
    values, origins = table.resolve(
        RUN, command_line=command_line or {}, environ=environ, file=file, remembered=remembered
    )
    return complete(values, origins, out_dir=Path("/runs/new"), box="box-1", box_origin="a coin")


def config_file(text: str) -> Texts:
    return read_file(text, "kit.toml", RUN, load_toml)


def refusal(name: str, text: str) -> BadInput:
    with pytest.raises(BadInput) as error:
        table.resolve(RUN, command_line={name: text})
    return error.value


def test_precedence_and_origins() -> None:
    places = {
        "command_line": {"seeds": "1"},
        "file": {"seeds": "2", "cqs": "20"},
        "remembered": {"seeds": "3", "cqs": "30", "epochs": "9"},
    }
    config = resolve(**places)
    assert (config.seeds, config.cqs, config.epochs) == ((1,), (20,), 9)
    assert {name: config.origins[name] for name in ("seeds", "cqs", "epochs", "teacher", "box")} == {
        "seeds": "command line",
        "cqs": "config file",
        "epochs": "run folder",
        "teacher": "default",
        "box": "a coin",
    }


@pytest.mark.parametrize(
    ("places", "value", "origin"),
    [
        (("command_line", "environ", "file", "remembered"), "/command_line", "command line"),
        (("environ", "file", "remembered"), "/environ", "environment FFMPEG_BIN"),
        (("file", "remembered"), "/file", "config file"),
        (("remembered",), "/remembered", "run folder"),
        ((), None, "default"),
    ],
)
def test_the_option_with_a_variable_follows_the_whole_order(
    places: tuple[str, ...], value: str | None, origin: str
) -> None:
    config = resolve(**{place: {"FFMPEG_BIN" if place == "environ" else "ffmpeg": f"/{place}"} for place in places})
    assert config.ffmpeg == (None if value is None else Path(value))
    assert config.origins["ffmpeg"] == origin


def test_empty_and_unknown_variables_are_ignored() -> None:
    config = resolve(environ={"FFMPEG_BIN": "", "SEEDS": "9", "LIBVMAF_BIN": ""})
    assert (config.ffmpeg, config.seeds) == (None, contract.DEFAULT_SEEDS)


def test_every_option_has_an_origin() -> None:
    given = {option.name for option in RUN}
    assert given == {field.name for field in fields(RunConfig)} - {"origins"}
    assert set(resolve().origins) == given
    assert set(GOOD) == given
    assert set(resolve(command_line=GOOD).origins.values()) == {"command line"}


def test_defaults() -> None:
    config = resolve(command_line={"ref_dir": "/clips"})
    assert config == RunConfig(
        ref_dir=Path("/clips"),
        dataset="auto",
        data_root=Path.home() / ".cache/vmaf-train",
        out_dir=Path("/runs/new"),
        encoders=None,
        teacher="vmaf_v0.6.1",
        cqs=(19, 25, 31, 37),
        seeds=(0, 1, 2, 3, 4),
        epochs=200,
        arch="fr_regressor_v2",
        recipe="contract-2",
        folds="loso",
        holdout=(),
        max_rows_per_source=None,
        device="auto",
        box="box-1",
        ffmpeg=None,
        vmaf_bin=None,
        scorer_backend="cpu",
        geometry=None,
        gpu=None,
        render_node=None,
        cuda_visible="",
        corpus=None,
        baseline=None,
        gate="default",
        anchor=True,
        shard_only=False,
        allow_partial=False,
        stall_timeout=120.0,
        disk_wait=60.0,
        worker_wait=60.0,
        scheduler=None,
        tls_ca=None,
        tls_cert=None,
        tls_key=None,
        sign=None,
        origins=config.origins,
    )


def test_demo_clips_have_their_own_number_of_epochs() -> None:
    demo = resolve()
    assert (demo.demo, demo.epochs, demo.origins["epochs"]) == (True, 60, "default for demo clips")
    own = resolve(command_line={"ref_dir": "/clips"})
    assert (own.demo, own.epochs, own.origins["epochs"]) == (False, 200, "default")
    given = resolve(command_line={"epochs": "5"})
    assert (given.epochs, given.origins["epochs"]) == (5, "command line")


def test_values() -> None:
    config = resolve(command_line=GOOD)
    assert config.cqs == (19, 31)
    assert config.seeds == (4, 1)
    assert config.encoders == ("libx264", "hevc_nvenc")
    assert config.geometry == RawFormat(width=640, height=360, pix_fmt="yuv420p10le", fps=Fraction(30000, 1001))
    assert (config.anchor, config.shard_only) == (False, True)
    assert (config.gpu, config.render_node) == (1, "renderD129")


@pytest.mark.parametrize(
    ("text", "expected"), [("1,2", (1, 2)), (" 1 2 ", (1, 2)), ("1, 2,", (1, 2)), ("2147483647", (2147483647,))]
)
def test_lists_of_numbers(text: str, expected: tuple[int, ...]) -> None:
    assert resolve(command_line={"seeds": text}).seeds == expected


def test_paths_are_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    config = resolve(command_line={"ref_dir": "clips", "out_dir": "~/runs", "ffmpeg": "~/ffmpeg"})
    assert config.ref_dir == tmp_path / "clips"
    assert config.ffmpeg == tmp_path / "home" / "ffmpeg"
    assert config.out_dir == tmp_path / "home" / "runs"


@pytest.mark.parametrize(
    ("name", "text", "values"),
    [
        ("dataset", "netflix", ("netflix",)),
        ("data_root", "", ()),
        ("encoders", "", ()),
        ("encoders", "libx264,x264", ("x264",)),
        ("encoders", "libx264 libx264", ("libx264",)),
        ("cqs", "", ()),
        ("cqs", "52", ("52", "0 to 51")),
        ("cqs", "-1,31,52", ("-1, 52", "0 to 51")),
        ("cqs", "31.5", ("31.5",)),
        ("cqs", "31,31", ("31",)),
        ("cqs", "031,31", ("31",)),
        ("seeds", "", ()),
        ("seeds", " , ", ()),
        ("seeds", "0,1,0", ("0,1,0",)),
        ("seeds", "-1", ("-1",)),
        ("seeds", "2147483648", ("2147483648",)),
        ("seeds", "one", ("one",)),
        pytest.param("seeds", "9" * 5000, (), id="seeds-5000-digits"),
        ("epochs", "0", ("'0'", "1 or more")),
        ("epochs", "-3", ("'-3'",)),
        ("arch", "mlp_huge", ("mlp_huge",)),
        ("device", "tpu", ("tpu",)),
        ("epochs", "1e3", ("1e3",)),
        ("epochs", "", ("''",)),
        ("epochs", "1000000000", ("1000000000",)),
        ("teacher", "", ("''",)),
        ("teacher", "a:b", ("a:b",)),
        ("teacher", "path=x'", ("path=x",)),
        ("box", "", ("''",)),
        ("box", "../up", ("../up",)),
        ("box", "a" * 41, ("40",)),
        ("box", "a\n", ()),
        ("geometry", "640x360", ("640x360", "WxH@FPS")),
        ("vmaf_bin", "", ()),
        ("scorer_backend", "gpu", ("gpu",)),
        ("anchor", "maybe", ("maybe",)),
        ("shard_only", "1", ("'1'",)),
    ],
)
def test_bad_values_name_the_option_and_the_text(name: str, text: str, values: tuple[str, ...]) -> None:
    error = refusal(name, text)
    assert type(error) is BadInput
    assert error.exit_code == 2
    assert error.message.startswith(f"--{name.replace('_', '-')}: ")
    assert len(error.message) < 200
    for value in values:
        assert value in error.message


@pytest.mark.parametrize(
    ("name", "text", "hint"),
    [
        ("encoders", "x264", "libx264, libaom-av1"),
        ("encoders", "", "Leave it out"),
        ("seeds", "", "0 or more"),
        ("cqs", "", "0 to 51"),
        ("geometry", "x", "1920x1080@25"),
        ("vmaf_bin", "", "leave the option out"),
    ],
)
def test_bad_values_hint_at_good_ones(name: str, text: str, hint: str) -> None:
    assert hint in refusal(name, text).hint


@pytest.mark.parametrize(
    ("place", "origin"),
    [("file", "(from the config file)"), ("remembered", "(from the run folder)"), ("command_line", "")],
)
def test_a_bad_value_is_reported_with_its_origin(place: str, origin: str) -> None:
    with pytest.raises(BadInput) as error:
        resolve(**{place: {"cqs": "99"}})
    assert "99" in error.value.message
    assert error.value.message.endswith(origin)
    assert ("(from the" in error.value.message) == bool(origin)


def test_a_bad_variable_is_reported_with_its_name() -> None:
    with pytest.raises(BadInput, match=r"--vmaf-bin: .*\(from the environment LIBVMAF_BIN\)"):
        resolve(environ={"LIBVMAF_BIN": " "})


def test_several_problems_are_reported_together() -> None:
    with pytest.raises(Several) as error:
        resolve(command_line={"cqs": "52", "seeds": ""}, file={"epochs": "0"})
    messages = [problem.message for problem in error.value.problems]
    assert [message.split(":")[0] for message in messages] == ["--cqs", "--seeds", "--epochs"]
    assert [message.endswith("(from the config file)") for message in messages] == [False, False, True]
    assert all(problem.message in error.value.message for problem in error.value.problems)
    assert all(problem.hint in error.value.message for problem in error.value.problems)


@pytest.mark.parametrize(
    ("text", "teacher"),
    [
        ("vmaf_v0.6.1", "vmaf_v0.6.1"),
        ("/models/a b.json", Path("/models/a b.json")),
        ("mine.json", Path.cwd() / "mine.json"),
        ("models/mine", Path.cwd() / "models/mine"),
    ],
)
def test_a_teacher_is_a_name_or_a_path(text: str, teacher: str | Path) -> None:
    assert resolve(command_line={"teacher": text}).teacher == teacher


@pytest.mark.parametrize("given", [{}, GOOD, {"geometry": "32x32@25"}, {"teacher": "mine.json"}])
def test_remembered_texts_read_back_the_same(given: dict[str, str]) -> None:
    config = resolve(command_line=given)
    texts = as_texts(config)
    values, _ = table.resolve(RUN, command_line=texts)
    again = complete(values, config.origins, out_dir=config.out_dir, box="other", box_origin="x")
    # which GPUs CUDA may see is the environment's to say, each time; where cells are made is the command's
    here = dict.fromkeys(("scheduler", "tls_ca", "tls_cert", "tls_key", "sign"))
    assert again == replace(config, cuda_visible="", worker_wait=RUN["worker_wait"].default, **here)
    assert "out_dir" not in texts


def test_a_config_file() -> None:
    text = """
    ref-dir = "/clips"
    seeds = [0, 1]
    cqs = "19 25"
    encoders = ["libx264"]
    epochs = 10
    shard_only = true
    anchor = false
    """
    config = resolve(file=config_file(text))
    assert config.ref_dir == Path("/clips")
    assert (config.seeds, config.cqs, config.encoders, config.epochs) == ((0, 1), (19, 25), ("libx264",), 10)
    assert (config.shard_only, config.anchor) == (True, False)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("seeds = ", ()),
        ("seeds = 1\nseeds = 2", ()),
        ("[run]\nseeds = 1", ("run",)),
        ("seed = 1\nepoch = 2", ("seed", "epoch")),
        ("as_json = true", ("as_json",)),
        ("ref_dir = 'a'\nref-dir = 'b'", ("ref_dir",)),
        ("ref_dir = {a = 1}", ("ref_dir",)),
    ],
)
def test_config_files_that_cannot_be_used(text: str, names: tuple[str, ...]) -> None:
    with pytest.raises(BadInput) as error:
        config_file(text)
    for name in ("kit.toml", *names):
        assert name in error.value.message


def test_a_list_is_not_one_value() -> None:
    with pytest.raises(BadInput, match=r"--epochs: .* \(from the config file\)"):
        resolve(file=config_file("epochs = [3]"))


def test_an_empty_list_in_a_file_is_no_default() -> None:
    with pytest.raises(BadInput, match="--seeds"):
        resolve(file=config_file("seeds = []"))


@pytest.mark.parametrize("name", ["ref_dir", "out_dir", "ffmpeg"])
def test_an_empty_path_is_not_the_current_folder(name: str) -> None:
    assert f"--{name.replace('_', '-')}" in refusal(name, "").message


def test_a_data_set_without_a_folder_is_below_the_data_root() -> None:
    usual = resolve(command_line={"dataset": "bvi-dvc"})
    assert usual.ref_dir == Path.home() / ".cache/vmaf-train/datasets/bvi-dvc"
    assert (usual.origins["ref_dir"], usual.demo, usual.epochs) == ("--dataset bvi-dvc", False, 200)
    moved = resolve(command_line={"dataset": "npd"}, environ={"VMAF_DATA_ROOT": "/data"})
    assert moved.ref_dir == Path("/data/datasets/npd")
    assert moved.origins["data_root"] == "environment VMAF_DATA_ROOT"
    both = resolve(command_line={"dataset": "npd", "ref_dir": "/clips"}, environ={"VMAF_DATA_ROOT": "/data"})
    assert (both.ref_dir, both.dataset) == (Path("/clips"), "npd")
    assert resolve(environ={"VMAF_DATA_ROOT": "/data"}).demo


def test_a_folder_that_follows_from_a_name_is_not_remembered() -> None:
    texts = as_texts(resolve(command_line={"dataset": "npd"}, environ={"VMAF_DATA_ROOT": "/data"}))
    assert "ref_dir" not in texts
    assert resolve(remembered=texts).ref_dir == Path("/data/datasets/npd")
    assert resolve(command_line={"dataset": "bvi-dvc"}, remembered=texts).ref_dir == Path("/data/datasets/bvi-dvc")


def test_the_data_set_dir_needs_a_folder() -> None:
    with pytest.raises(BadInput, match="--dataset"):
        resolve(command_line={"dataset": "dir"})
