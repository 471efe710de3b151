"""Reading a training back: the same values, and an error for other options or changed files."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kit.core import contract, exits, layout
from kit.core.errors import BadInput, Missing
from kit.corpus.store.shard import read_manifest
from kit.steps import loso_folder
from tests.corpus.builders import plan, shard_of
from tests.options.builders import run_in
from tests.steps.builders import write_training
from tests.verify.builders import edit

EPOCHS = 3


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with a training; copy it before changing it."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    shard_of(folder / layout.CORPUS, plan([f"Clip{number}" for number in range(4)], frames=12))
    config, session = run_in(folder, epochs=EPOCHS)
    write_training(config, session, read_manifest(folder / layout.CORPUS), noise=12.0)
    return folder


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    return shutil.copytree(trained, tmp_path / "run")


def test_a_training_is_read_as_it_was_written(trained: Path) -> None:
    config, _ = run_in(trained, epochs=EPOCHS)
    training = loso_folder.load(config)
    assert (training.seeds, training.folds, training.problems) == ((0, 1, 2), "loso", ())
    assert training.baselines.keys() == set(contract.BASELINES)
    assert training.predictions is not None
    assert training.rows is not None
    assert len(training.predictions) == 3 * len(training.rows)
    # the order of the seeds does not matter
    assert loso_folder.load(replace(config, seeds=(1, 2, 0))).seeds == (0, 1, 2)


@pytest.mark.parametrize(
    ("options", "values"),
    [
        ({"seeds": (0, 7)}, ("seeds", "0,1,2", "0,7")),
        ({"epochs": 9}, ("epochs", "3", "9")),
        ({"folds": "kfold:3"}, ("folds", "loso", "kfold:3")),
        ({"holdout": ("encoder",)}, ("holdout", "none", "encoder")),
        ({"max_rows_per_source": 9}, ("max_rows_per_source", "none", "9")),
        ({"recipe": "contract"}, ("recipe", "contract-2", "contract")),
    ],
    ids=lambda value: next(iter(value)),
)
def test_other_options_are_refused(trained: Path, options: dict[str, object], values: tuple[str, ...]) -> None:
    config, _ = run_in(trained, **({"epochs": EPOCHS} | options))
    with pytest.raises(BadInput) as error:
        loso_folder.load(config)
    assert error.value.exit_code == exits.BAD_INPUT
    assert all(value in error.value.message for value in values)
    assert "--" + values[0].replace("_", "-") in error.value.hint


def _other_predictions(run: Path) -> None:
    (run / layout.PREDICTIONS).write_bytes(b"other")


def _no_baseline(run: Path) -> None:
    (run / layout.baseline_predictions("linear")).unlink()


def _other_corpus(run: Path) -> None:
    edit(run / layout.TRAINING, lambda value: value.update(corpus_sha256="0" * 64))


def _older_format(run: Path) -> None:
    edit(run / layout.TRAINING, lambda value: value.pop("baselines"))


def _earlier_kit(run: Path) -> None:
    edit(run / layout.TRAINING, lambda value: (value.pop("recipe"), value.pop("unseen")))


@pytest.mark.parametrize(
    ("change", "value"),
    [
        (_earlier_kit, "earlier version"),
        (_other_predictions, "predictions.parquet"),
        (_no_baseline, "baseline_linear.parquet"),
        (_other_corpus, "000000000000"),
        (_older_format, "baselines"),
    ],
    ids=["earlier kit", "predictions", "baseline", "corpus", "format"],
)
def test_changed_files_are_refused(run: Path, change: Callable[[Path], Any], value: str) -> None:
    change(run)
    config, _ = run_in(run, epochs=EPOCHS)
    with pytest.raises(BadInput) as error:
        loso_folder.load(config)
    assert value in error.value.message
    assert "train" in error.value.hint


def test_a_run_without_a_training_has_nothing_to_load(run: Path) -> None:
    loso_folder.clear(run)
    assert not list((run / layout.LOSO).glob("*.json"))
    config, _ = run_in(run, epochs=EPOCHS)
    with pytest.raises(Missing):
        loso_folder.load(config)


def test_a_training_with_problems_has_no_predictions(run: Path) -> None:
    edit(run / layout.TRAINING, lambda value: value.update(problems=["seed 0: the training loss is not finite"]))
    config, _ = run_in(run, epochs=EPOCHS)
    training = loso_folder.load(config)
    assert training.problems == tuple(json.loads((run / layout.TRAINING).read_text())["problems"])
    assert (training.predictions, training.rows, training.baselines) == (None, None, {})
