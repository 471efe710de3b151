"""Options: where each value comes from, what is refused, and how options are remembered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

from kit.core import contract
from kit.core.errors import BadInput, Several
from kit.core.geometry import RawFormat
from kit.options.resolve import WORKER_WAIT, Resolved, RunConfig, as_texts, complete, gather, parse, read_config_file
from kit.options.values import OPTIONS

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
    command_line: Mapping[str, str] | None = None,
    environ: Mapping[str, str] | None = None,
    file: Mapping[str, str] | None = None,
    remembered: Mapping[str, str] | None = None,
) -> RunConfig:
    found = gather(command_line=command_line or {}, environ=environ or {}, file=file or {}, remembered=remembered or {})
    return complete(parse(found), found.origins, out_dir=Path("/runs/new"), box="box-1", box_origin="a coin")


def refusal(name: str, text: str) -> BadInput:
    with pytest.raises(BadInput) as error:
        parse(Resolved(texts={name: text}, origins={name: "command line"}))
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


def test_an_empty_variable_is_not_set_and_others_are_not_looked_at() -> None:
    config = resolve(environ={"FFMPEG_BIN": "", "SEEDS": "9", "LIBVMAF_BIN": ""})
    assert (config.ffmpeg, config.seeds) == (None, contract.DEFAULT_SEEDS)


def test_every_option_has_an_origin() -> None:
    given = {option.name for option in OPTIONS}
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
        folds="loso",
        holdout=(),
        device="auto",
        box="box-1",
        ffmpeg=None,
        geometry=None,
        anchor=True,
        shard_only=False,
        allow_partial=False,
        stall_timeout=120.0,
        disk_wait=60.0,
        origins=config.origins,
    )


def test_demo_clips_have_their_own_number_of_epochs() -> None:
    demo = resolve()
    assert (demo.demo, demo.epochs, demo.origins["epochs"]) == (True, 60, "default for demo clips")
    own = resolve(command_line={"ref_dir": "/clips"})
    assert (own.demo, own.epochs, own.origins["epochs"]) == (False, 200, "default")
    asked = resolve(command_line={"epochs": "5"})
    assert (asked.epochs, asked.origins["epochs"]) == (5, "command line")


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
    ("name", "text", "told"),
    [
        ("dataset", "netflix", "--dataset: unknown 'netflix'"),
        ("data_root", "", "--data-root is empty"),
        ("encoders", "", "--encoders is empty"),
        ("encoders", "libx264,x264", "--encoders: unknown x264"),
        ("encoders", "libx264 libx264", "--encoders: a name is given twice"),
        ("cqs", "", "--cqs is empty"),
        ("cqs", "52", "52 not a whole number from 0 to 51"),
        ("cqs", "-1,31,52", "-1, 52 not a whole number from 0 to 51"),
        ("cqs", "31.5", "31.5 not a whole number"),
        ("cqs", "31,31", "a number is given twice"),
        ("cqs", "031,31", "a number is given twice"),
        ("seeds", "", "--seeds is empty"),
        ("seeds", " , ", "--seeds is empty"),
        ("seeds", "0,1,0", "a number is given twice"),
        ("seeds", "-1", "-1 not a whole number from 0 to 2147483647"),
        ("seeds", "2147483648", "2147483648 not a whole number"),
        ("seeds", "one", "one not a whole number"),
        pytest.param("seeds", "9" * 5000, "not a whole number", id="seeds-5000-digits"),
        ("epochs", "0", "--epochs: '0' is not a whole number above 0"),
        ("epochs", "-3", "--epochs: '-3'"),
        ("arch", "mlp_huge", "--arch: unknown 'mlp_huge'"),
        ("device", "tpu", "--device: unknown 'tpu'"),
        ("epochs", "1e3", "--epochs: '1e3'"),
        ("epochs", "", "--epochs: ''"),
        ("epochs", "1000000000", "--epochs"),
        ("teacher", "", "--teacher: ''"),
        ("teacher", "a:b", "--teacher: 'a:b'"),
        ("teacher", "path=x'", "--teacher"),
        ("box", "", "--box: ''"),
        ("box", "../up", "--box: '../up'"),
        ("box", "a" * 41, "--box"),
        ("box", "a\n", "--box"),
        ("geometry", "640x360", "geometry '640x360' is not WxH@FPS"),
        ("vmaf_bin", "", "--vmaf-bin is empty"),
        ("scorer_backend", "gpu", "--scorer-backend: unknown 'gpu'"),
        ("anchor", "maybe", "--anchor"),
        ("shard_only", "1", "--shard-only"),
    ],
)
def test_bad_values_name_the_option_and_the_text(name: str, text: str, told: str) -> None:
    error = refusal(name, text)
    assert type(error) is BadInput
    assert error.exit_code == 2
    assert told in error.message


@pytest.mark.parametrize(
    ("name", "text", "hint"),
    [
        ("encoders", "x264", "libx264, libaom-av1"),
        ("encoders", "", "Leave it out"),
        ("seeds", "", "from 0 to 2147483647"),
        ("cqs", "", "from 0 to 51"),
        ("geometry", "x", "1920x1080@25"),
        ("vmaf_bin", "", "leave the option out"),
    ],
)
def test_bad_values_hint_at_good_ones(name: str, text: str, hint: str) -> None:
    assert hint in refusal(name, text).hint


@pytest.mark.parametrize(
    ("place", "words"),
    [("file", "(from the config file)"), ("remembered", "(from the run folder)"), ("command_line", "")],
)
def test_a_bad_value_is_told_with_its_origin(place: str, words: str) -> None:
    with pytest.raises(BadInput) as error:
        resolve(**{place: {"cqs": "99"}})
    assert error.value.message.endswith(words or "from 0 to 51")


def test_a_bad_variable_is_told_with_its_name() -> None:
    with pytest.raises(BadInput, match=r"--vmaf-bin is empty.*\(from the environment LIBVMAF_BIN\)"):
        resolve(environ={"LIBVMAF_BIN": " "})


def test_several_problems_are_told_together() -> None:
    with pytest.raises(Several) as error:
        resolve(command_line={"cqs": "52", "seeds": ""}, file={"epochs": "0"})
    assert [problem.message for problem in error.value.problems] == [
        "--cqs: 52 not a whole number from 0 to 51",
        "--seeds is empty",
        "--epochs: '0' is not a whole number above 0 (from the config file)",
    ]
    assert "(3)" in error.value.message
    assert "Give at least one number from 0 to" in error.value.message


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
def test_what_is_remembered_reads_back_the_same(given: dict[str, str]) -> None:
    config = resolve(command_line=given)
    texts = as_texts(config)
    again = complete(
        parse(Resolved(texts=texts, origins={})), config.origins, out_dir=config.out_dir, box="other", box_origin="x"
    )
    # which GPUs CUDA may see is the environment's to say, each time; where cells are made is the command's
    here = dict.fromkeys(("scheduler", "tls_ca", "tls_cert", "tls_key", "sign"))
    assert again == replace(config, cuda_visible="", worker_wait=WORKER_WAIT, **here)
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
    config = resolve(file=read_config_file(text, "kit.toml"))
    assert config.ref_dir == Path("/clips")
    assert (config.seeds, config.cqs, config.encoders, config.epochs) == ((0, 1), (19, 25), ("libx264",), 10)
    assert (config.shard_only, config.anchor) == (True, False)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("seeds = ", "kit.toml is not valid TOML"),
        ("seeds = 1\nseeds = 2", "kit.toml is not valid TOML"),
        ("[run]\nseeds = 1", "kit.toml: 'run' is no option"),
        ("seed = 1", "kit.toml: 'seed' is no option"),
        ("ref_dir = 'a'\nref-dir = 'b'", "kit.toml"),
        ("ref_dir = {a = 1}", "kit.toml"),
    ],
)
def test_config_files_that_cannot_be_used(text: str, told: str) -> None:
    with pytest.raises(BadInput) as error:
        read_config_file(text, "kit.toml")
    assert told in error.value.message


def test_an_empty_list_in_a_file_is_no_default() -> None:
    with pytest.raises(BadInput, match="--seeds is empty"):
        resolve(file=read_config_file("seeds = []", "kit.toml"))


@pytest.mark.parametrize("name", ["ref_dir", "out_dir", "ffmpeg"])
def test_an_empty_path_is_not_the_current_folder(name: str) -> None:
    assert f"--{name.replace('_', '-')}" in refusal(name, "").message


def test_a_data_set_named_alone_is_looked_for_below_the_data_root() -> None:
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


def test_any_folder_needs_a_folder() -> None:
    with pytest.raises(BadInput, match="--dataset dir says nothing without a folder"):
        resolve(command_line={"dataset": "dir"})
