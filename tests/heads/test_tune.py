"""Parameters of tiny heads chosen by Optuna: no trial is lost by a kill, a full disk or a shared study."""

from __future__ import annotations

import importlib.util
import math
import shutil
import signal
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kit.core import exits
from kit.core.errors import BadInput
from kit.features import table
from kit.heads.config import SEARCH, FitConfig
from kit.heads.params import parse, recipe_with
from kit.heads.study import Study, StudySettings, load_optuna, trial_facts
from kit.options.session import KIT_ROOT
from kit.system import validation
from kit.system.proc import Processes
from kit.training import members, worker
from kit.training.member_store import MemberStore
from kit.training.recipe import Recipe
from tests.cli.builders import KIT, Command, load
from tests.features.builders import FILM

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
    for text in ("hidden=choice:16,32", "lr=choice:0.5", "epochs=int:2:9", "lr=float:0.0001:0.01:log"):
        assert str(parse(text)) == text
    assert parse("epochs=int:2:9").whole


@pytest.mark.parametrize(
    "text",
    [
        "",
        "depth=choice:1",
        "lr",
        "lr=choice:",
        "lr=float:1",
        "lr=float:1:0",
        "lr=float:0.1:0.2:linear",
        "lr=int:1:2",
        "hidden=float:1:2",
        "hidden=choice:1.5",
        "hidden=choice:0",
        "hidden=choice:8,8",
        "hidden=int:1:9999",
        "lr=float:a:b",
        "weight_decay=float:0:1:log",
        "lr=float:nan:1",
    ],
)
def test_an_invalid_parameter_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match="--param: "):
        SEARCH["params"].read((text,))


def tune(features: Path, out: Path, *further: str) -> list[str]:
    return [
        "tune",
        "--features",
        str(features),
        "--param",
        "hidden=choice:4,8",
        "--param",
        "lr=float:1e-3:1e-1:log",
        "--epochs",
        "3",
        "--batch-size",
        "32",
        "--out",
        str(out),
        *further,
    ]


@pytest.fixture
def work_here(monkeypatch: pytest.MonkeyPatch) -> None:
    def here(folders: Sequence[Path], _workers: int, _processes: Processes, advance: Callable[[int], None]) -> None:
        """Train in this process: a study does not depend on worker processes."""
        for folder in folders:
            worker.work(folder, advance)

    monkeypatch.setattr(members, "_run_workers", here)


@needs_optuna
@pytest.mark.usefixtures("work_here")
def test_trials_are_trained_together_and_a_study_continues(features: Path, tmp_path: Path, command: Command) -> None:
    assert command(tune(features, tmp_path, "--trials", "2")) == exits.OK
    first = load(tmp_path / "tune.json")
    assert command(tune(features, tmp_path, "--trials", "6")) == exits.OK
    found = load(tmp_path / "tune.json")
    assert validation.problems("tune", found) == []
    assert found["trials"][:2] == first["trials"]
    assert len(found["trials"]) == 6
    assert len({trial["params"]["lr"] for trial in found["trials"]}) == 6
    assert found["best"]["figures"]["rmse"] == min(trial["figures"]["rmse"] for trial in found["trials"])
    assert {trial["recipe"]["arch"] for trial in found["trials"]} <= {"mlp-4-2", "mlp-8-4"}
    assert command(tune(features, tmp_path, "--trials", "4")) == exits.OK
    assert load(tmp_path / "tune.json")["trials"] == found["trials"]


@needs_optuna
@pytest.mark.usefixtures("work_here")
def test_the_address_of_a_database_is_not_recorded(
    features: Path, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = tmp_path / "of Jane" / "s.db"
    database.parent.mkdir()
    argv = tune(features, tmp_path / "out", "--trials", "1", "--storage", f"sqlite:///{database}")
    monkeypatch.setattr(sys, "argv", ["kit", *argv])
    assert command(argv) == exits.OK
    assert database.stat().st_size > 0
    document = load(tmp_path / "out" / "tune.json")
    assert document["run_provenance"]["argv"][-1] == "<storage>"
    assert document["run_provenance"]["args"] == {
        "arch": "mlp_small",
        "param": "hidden=choice:4,8 lr=float:0.001:0.1:log",
        "trials": "1",
        "folds": "source",
        "seed": "0",
        "epochs": "3",
        "batch_size": "32",
        "storage": "<storage>",
        "device": "auto",
    }
    assert document["recipe"] == Recipe(epochs=3, arch="mlp_small", batch_size=32, lr=1e-3).as_dict()
    assert "Jane" not in (tmp_path / "out" / "tune.json").read_text()
    for address in ("nonsense", f"sqlite:///{tmp_path}/nowhere/s.db", "postgresql://bob:secret@localhost/x"):
        assert command(tune(features, tmp_path / "out", "--trials", "1", "--storage", address)) == exits.BAD_INPUT


def figures_of(trial: Any) -> dict[str, float | None] | None:
    """Return the result of a trial without training; some diverge."""
    lr, hidden = trial.params["lr"], trial.params["hidden"]
    return None if lr > 0.03 else {"plcc": None, "srocc": None, "rmse": abs(math.log(lr) + 4) + hidden / 10}


def opened(folder: Path, out: str = "out", database: str = "s.db") -> Study:
    """Open a study as a process does when it starts."""
    (folder / out).mkdir(exist_ok=True)
    params = (parse("hidden=choice:4,8"), parse("lr=float:1e-3:1e-1:log"))
    settings = StudySettings(recipe=FitConfig().recipe, params=params, seed=3, folds="source", features_sha256="0" * 64)
    return Study(load_optuna(), f"sqlite:///{folder / database}", settings, folder / out)


@needs_optuna
def test_trials_are_the_same_after_any_kill_of_a_study(tmp_path: Path) -> None:
    whole = opened(tmp_path, "whole", "whole.db")
    while trials := whole.upcoming(22):
        for trial in trials:
            whole.finish(trial.number, figures_of(trial))
    # every start draws some trials and finishes fewer; what was drawn is kept
    starts = (
        (1, 0),
        (3, 0),
        (3, 2),
        (8, 0),
        (19, 5),
        (19, 3),
        (9, 0),
        (12, 1),
        (19, 2),
        (16, 9),
        (17, 1),
        (19, 1),
        (9, 0),
    )
    for total, count in starts:
        study = opened(tmp_path)
        for trial in study.upcoming(total)[:count]:
            study.finish(trial.number, figures_of(trial))
    study = opened(tmp_path)
    while trials := study.upcoming(22):
        for trial in trials:
            study.finish(trial.number, figures_of(trial))
    found = [trial_facts(trial) for trial in study.ended()]
    assert found == [trial_facts(trial) for trial in whole.ended()]
    assert [trial["number"] for trial in found] == list(range(22))
    assert len({trial["params"]["lr"] for trial in found}) == 22
    assert any(trial["figures"] is None for trial in found)
    assert [trial_facts(trial)["number"] for trial in study.upcoming(24)] == [22, 23]


@needs_optuna
def test_folders_that_share_a_study_train_only_their_own_trials(tmp_path: Path) -> None:
    first, second = opened(tmp_path, "first"), opened(tmp_path, "second")
    mine = first.upcoming(3)
    assert second.others() == (0, 3)
    others = second.upcoming(5)
    assert [trial.number for trial in others] == [3, 4, 5, 6, 7]
    assert len({trial.params["lr"] for trial in (*mine, *others)}) == 8
    for trial in mine:
        first.finish(trial.number, {"rmse": 1.0})
    assert first.upcoming(3) == []
    assert [trial.number for trial in first.ended()] == [0, 1, 2]
    assert second.others() == (3, 0)
    # two folders with the same earlier trials draw different ones
    shutil.copy(tmp_path / "s.db", tmp_path / "t.db")
    drawn = [opened(tmp_path, out, f"{out}.db").upcoming(1)[0] for out in "st"]
    assert drawn[0].number == drawn[1].number
    assert drawn[0].params != drawn[1].params
    # a trial that was declared failed by hand does not count
    optuna = load_optuna()
    optuna.load_study(study_name=second.name, storage=f"sqlite:///{tmp_path / 's.db'}").tell(
        3, state=optuna.trial.TrialState.FAIL
    )
    assert [trial.number for trial in opened(tmp_path, "second").upcoming(5)] == [4, 5, 6, 7, 9]


@needs_optuna
def test_several_processes_create_a_database_at_once(tmp_path: Path) -> None:
    load_optuna()
    barrier = threading.Barrier(4)

    def start(out: str) -> int:
        barrier.wait()
        return len(opened(tmp_path, out).upcoming(2))

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(start, "abcd")) == [2] * 4


def finished(out: Path) -> dict[str, int]:
    """Return the finished members with the time of writing."""
    return {path.name: path.stat().st_mtime_ns for path in (out / "members").glob("seed*[!t].safetensors")}


def started(argv: Sequence[str]) -> subprocess.Popen[str]:
    return subprocess.Popen([*KIT, *argv], cwd=KIT_ROOT, stderr=subprocess.PIPE, text=True)


def wait_for(test: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not test():
        assert time.monotonic() < deadline, "timeout"
        time.sleep(0.005)


@needs_optuna
@pytest.mark.usefixtures("work_here")
def test_trials_are_resumed_after_a_kill(features: Path, tmp_path: Path, command: Command) -> None:
    def argv(out: str) -> list[str]:
        return [*tune(features, tmp_path / out, "--trials", "8", "--device", "cpu"), "--epochs", "30"]

    with started(argv("killed")) as process:
        wait_for(lambda: len(finished(tmp_path / "killed")) >= 6)
        process.kill()
        process.communicate()
    before = finished(tmp_path / "killed")
    assert 6 <= len(before) < 24
    assert command(argv("killed")) == command(argv("whole")) == exits.OK
    found, expected = load(tmp_path / "killed" / "tune.json"), load(tmp_path / "whole" / "tune.json")
    assert found["trials"] == expected["trials"]
    assert found["best"] == expected["best"]
    after = finished(tmp_path / "killed")
    assert before.items() <= after.items()
    assert after.keys() == finished(tmp_path / "whole").keys()


@needs_optuna
def test_trials_of_a_running_process_are_not_touched(
    features: Path, tmp_path: Path, command: Command, capsys: pytest.CaptureFixture[str], work_here: None
) -> None:
    storage = ("--trials", "4", "--storage", f"sqlite:///{tmp_path / 's.db'}")
    with started(tune(features, tmp_path / "first", *storage)) as first:
        wait_for(lambda: finished(tmp_path / "first"))
        first.send_signal(signal.SIGSTOP)
        code, err = command(tune(features, tmp_path / "second", *storage)), capsys.readouterr().err
        first.send_signal(signal.SIGCONT)
        first_err = first.communicate()[1]
    assert code == exits.OK, err
    assert "4 trials of another --out" in " ".join(err.split())
    assert first.returncode == exits.OK, first_err
    numbers = [trial["number"] for out in ("first", "second") for trial in load(tmp_path / out / "tune.json")["trials"]]
    assert numbers == [0, 1, 2, 3, 4, 5, 6, 7]
    assert [load(tmp_path / out / "tune.json")["others"] for out in ("first", "second")] == [4, 0]


@needs_optuna
@pytest.mark.usefixtures("work_here")
def test_trials_that_diverge_are_never_the_best(
    features: Path, tmp_path: Path, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = FitConfig(epochs=3, batch_size=32).recipe
    for out, rates in (("some", (1.0,)), ("all", (1.0, 2.0))):
        for lr in rates:  # an infinite loss in all folds but the last
            store = MemberStore(
                folder=tmp_path / out / "members",
                recipe=replace(recipe, lr=lr),
                corpus_sha256=FILM.sha256,
                device="cpu",
            )
            for fold, loss in zip(FILM.folds(FILM.groups), (math.inf, math.inf, 1.0), strict=True):
                arrays = {"training_loss": np.full(3, loss), "predictions": np.full(len(fold.held), 50.0)}
                store.write(0, fold.group_id, arrays, step=1, seconds=0.0, finished=True)

    def argv(out: str, rates: str) -> list[str]:
        return [
            "tune",
            "--features",
            str(features),
            "--param",
            f"lr=choice:{rates}",
            "--epochs",
            "3",
            "--batch-size",
            "32",
            "--trials",
            "8",
            "--device",
            "cpu",
            "--out",
            str(tmp_path / out),
        ]

    assert command(argv("some", "0.001,1")) == exits.OK
    found = load(tmp_path / "some" / "tune.json")
    assert len(found["trials"]) == 8
    assert {trial["params"]["lr"] for trial in found["trials"] if trial["figures"] is None} == {1}
    assert {trial["params"]["lr"] for trial in found["trials"] if trial["figures"] is not None} == {0.001}
    assert found["best"]["params"] == {"lr": 0.001}
    assert command(argv("all", "1,2")) == exits.INVALID
    assert "8 trials" in capsys.readouterr().err


@needs_optuna
def test_trials_on_a_full_disk(features: Path, tmp_path: Path, mounting: Sequence[str]) -> None:
    out = tmp_path / "disk"
    out.mkdir()
    script = f"mount -t tmpfs -o size=64k none '{out}' && exec \"$@\""
    argv = [*mounting, "sh", "-c", script, "-", *KIT, *tune(features, out, "--trials", "2")]
    done = subprocess.run(argv, cwd=KIT_ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == exits.DISK_FULL, done.stderr
    assert "study" in done.stderr
    assert "Traceback" not in done.stderr


def test_without_optuna_the_hint_names_what_to_install(
    features: Path,
    tmp_path: Path,
    command: Command,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)  # the import fails
    assert command(tune(features, tmp_path, "--trials", "1")) == exits.BAD_INPUT
    assert not list(tmp_path.iterdir())
    extra = tomllib.loads((KIT_ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["tune"]
    assert f"-m pip install {extra[0]}" in " ".join(capsys.readouterr().err.split())


def test_tune_refuses_options_without_effect(
    features: Path, tmp_path: Path, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    for further in (("--lr", "0.1"), ("--param", "lr=choice:1"), ("--arch", "linear")):
        assert command(tune(features, tmp_path, "--trials", "1", *further)) == exits.BAD_INPUT
    assert "--param lr" in capsys.readouterr().err
    linear = ["tune", "--features", str(features), "--arch", "linear", "--param", "lr=float:1e-4:1e-2:log"]
    assert command([*linear, "--trials", "1", "--out", str(tmp_path / "tuned")]) == exits.BAD_INPUT
    assert "least squares" in capsys.readouterr().err
