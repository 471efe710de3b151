"""The least squares of a linear network: against numpy, on degenerate rows, and as members of an ensemble."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from kit.core import contract
from kit.system.proc import Processes
from kit.training.closed_form import fit_member
from kit.training.folds import by_group, everything
from kit.training.loop import inputs_for
from kit.training.members import Ensemble, train
from kit.training.model import restored
from kit.training.recipe import Recipe, architecture
from kit.training.table import Table
from tests.training.builders import make_table

RECIPE = Recipe(epochs=5, arch="linear", solver=contract.LEAST_SQUARES)
TABLE = make_table()
FOLDS = by_group(TABLE)


def by_numpy(table: Table, train: NDArray[np.int32], held: NDArray[np.int32]) -> NDArray[np.float64]:
    """Predict with the line that numpy fits to the raw features."""
    columns = np.column_stack([table.features.astype(float), np.ones(len(table))])
    weights = np.linalg.lstsq(columns[train], table.target[train].astype(float), rcond=None)[0]
    scores: NDArray[np.float64] = np.clip(columns[held] @ weights, *contract.SCORE_RANGE)
    return scores


@pytest.mark.essential
def test_members_of_every_seed_are_the_line_that_numpy_fits(tmp_path: Path) -> None:
    ensemble = Ensemble(
        rows=TABLE,
        corpus_sha256="0" * 64,
        members=[(seed, fold) for seed in (0, 7) for fold in FOLDS],
        recipe=RECIPE,
        device="cpu",
        folder=tmp_path,
    )
    epochs: list[int] = []
    (members,) = train([ensemble], Processes(), epochs.append)
    assert sum(epochs) == RECIPE.epochs * len(members)
    for fold in FOLDS:
        arrays = members[0, fold.held_out].arrays
        assert arrays["predictions"] == pytest.approx(by_numpy(TABLE, fold.train, fold.held), abs=1e-3)
        assert np.array_equal(arrays["predictions"], members[7, fold.held_out].arrays["predictions"])
        off = by_numpy(TABLE, fold.train, fold.train) - TABLE.target[fold.train]
        assert arrays["training_loss"] == pytest.approx([np.mean(off**2)], rel=1e-4)
    network, _ = restored(architecture("linear"), members[0, FOLDS[0].held_out].arrays)
    assert sum(parameter.numel() for parameter in network.parameters()) == 7


def test_it_repeats_bit_by_bit_and_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    fold = FOLDS[0]
    first, again = (fit_member(TABLE, fold, RECIPE)[0] for _ in range(2))
    monkeypatch.setattr("kit.training.closed_form._PART", 7)
    parts = fit_member(TABLE, fold, RECIPE)[0]
    for one, two, three in zip(first.parameters(), again.parameters(), parts.parameters(), strict=True):
        assert np.array_equal(one.detach(), two.detach())
        assert three.detach().numpy() == pytest.approx(one.detach().numpy(), rel=1e-5, abs=1e-6)


def test_constant_and_doubled_features_do_no_harm() -> None:
    features = TABLE.features.copy()
    features[:, 3], features[:, 4] = 0.7, features[:, 0]
    table = replace(TABLE, features=features)
    fold = FOLDS[1]
    network, scale, error = fit_member(table, fold, RECIPE)
    assert np.isfinite(error)
    assert float(network.weights[0].detach().abs().max()) < 100
    kept = replace(TABLE, features=features[:, [0, 1, 2, 5]])
    expected = by_numpy(kept, fold.train, fold.held)
    scores = network.scores(inputs_for(table, fold.held, scale, codec_aware=False))
    assert scores == pytest.approx(expected, abs=1e-3)


def test_a_single_row_gives_its_score() -> None:
    fold = replace(everything(TABLE), train=np.array([3], dtype=np.int32))
    network, _, error = fit_member(TABLE, fold, RECIPE)
    assert error == pytest.approx(0, abs=1e-9)
    assert float(network.biases[0].detach()[0]) == pytest.approx(float(TABLE.target[3]), abs=1e-4)
