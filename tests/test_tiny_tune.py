"""Parameters of tiny heads that are chosen by Optuna: whatever is killed, full or shared, no trial is lost."""

from __future__ import annotations

import importlib.util
import sys
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from support import Command
from tiny import FILM, load

from kit import exits
from kit.errors import BadInput
from kit.proc import Processes
from kit.session import KIT_ROOT
from kit.tiny import table
from kit.tiny.config import FitConfig
from kit.tiny.params import parse, recipe_with
from kit.training import members, worker

needs_optuna = pytest.mark.skipif(importlib.util.find_spec("optuna") is None, reason="Optuna is not installed")


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("features") / "f.parquet"
    table.write(path, FILM, facts={})
    return path


def test_parameters_become_recipes() -> None:
    recipe = FitConfig(arch="mlp_medium", epochs=5).recipe
    assert recipe_with(recipe, {"hidden": 16, "lr": 0.5}) == replace(recipe, arch="mlp-16-8", lr=0.5)
    assert parse("hidden=choice:16,32").choices == (16, 32)
    found = parse("lr=float:1e-4:1e-2:log")
    assert (found.low, found.high, found.log) == (1e-4, 1e-2, True)
    assert parse("epochs=int:2:9").whole


@pytest.mark.parametrize(
    "text",
    [
        "", "depth=choice:1", "lr", "lr=choice:", "lr=float:1", "lr=float:1:0", "lr=float:0.1:0.2:linear", "lr=int:1:2",
        "hidden=float:1:2", "hidden=choice:1.5", "hidden=choice:0", "hidden=choice:8,8", "hidden=int:1:9999",
        "lr=float:a:b",
        "weight_decay=float:0:1:log", "lr=float:nan:1",
    ],
)  # fmt: skip
def test_what_is_no_parameter_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match="--param"):
        parse(text)


def tune(features: Path, out: Path, *further: str) -> list[str]:
    return ["tune", "--features", str(features), "--param", "hidden=choice:4,8", "--param", "lr=float:1e-3:1e-1:log",
            "--epochs", "3", "--batch-size", "32", "--out", str(out), *further]  # fmt: skip


@pytest.fixture
def work_here(monkeypatch: pytest.MonkeyPatch) -> None:
    def here(folders: Sequence[Path], _workers: int, _processes: Processes, advance: Callable[[int], None]) -> None:
        """Do the workers' work here: their processes are of no concern to a study."""
        for folder in folders:
            worker.work(folder, advance)

    monkeypatch.setattr(members, "_work", here)


@needs_optuna
@pytest.mark.usefixtures("work_here")
def test_trials_are_trained_together_and_a_study_goes_on(features: Path, tmp_path: Path, command: Command) -> None:
    assert command(tune(features, tmp_path, "--trials", "2")) == exits.OK
    first = load(tmp_path / "tune.json")
    assert command(tune(features, tmp_path, "--trials", "6")) == exits.OK
    found = load(tmp_path / "tune.json")
    assert found["trials"][:2] == first["trials"]
    assert len(found["trials"]) == 6
    assert len({trial["params"]["lr"] for trial in found["trials"]}) == 6
    assert found["best"]["figures"]["rmse"] == min(trial["figures"]["rmse"] for trial in found["trials"])
    assert {trial["recipe"]["arch"] for trial in found["trials"]} <= {"mlp-4-2", "mlp-8-4"}
    assert command(tune(features, tmp_path, "--trials", "4")) == exits.OK
    assert load(tmp_path / "tune.json")["trials"] == found["trials"]


@needs_optuna
@pytest.mark.usefixtures("work_here")
def test_trials_in_a_database_elsewhere_do_not_tell_its_address(
    features: Path, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "of Jane" / "s.db"
    place.parent.mkdir()
    argv = tune(features, tmp_path / "out", "--trials", "1", "--storage", f"sqlite:///{place}")
    monkeypatch.setattr(sys, "argv", ["kit", *argv])
    assert command(argv) == exits.OK
    assert place.stat().st_size > 0
    assert load(tmp_path / "out" / "tune.json")["run_provenance"]["argv"][-1] == "<storage>"
    assert "Jane" not in (tmp_path / "out" / "tune.json").read_text()
    for address in ("nonsense", f"sqlite:///{tmp_path}/nowhere/s.db", "postgresql://bob:secret@localhost/x"):
        assert command(tune(features, tmp_path / "out", "--trials", "1", "--storage", address)) == exits.BAD_INPUT


def test_without_optuna_it_says_what_to_install(
    features: Path,
    tmp_path: Path,
    command: Command,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)  # importing it says that there is none
    assert command(tune(features, tmp_path, "--trials", "1")) == exits.BAD_INPUT
    assert not list(tmp_path.iterdir())
    extra = tomllib.loads((KIT_ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["tune"]
    assert f"-m pip install {extra[0]}" in " ".join(capsys.readouterr().err.split())


def test_tune_refuses_what_has_no_effect(
    features: Path, tmp_path: Path, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    for further in (("--lr", "0.1"), ("--param", "lr=choice:1"), ("--arch", "linear")):
        assert command(tune(features, tmp_path, "--trials", "1", *further)) == exits.BAD_INPUT
    assert "no effect beside --param lr" in capsys.readouterr().err
