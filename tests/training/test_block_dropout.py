"""Codec blocks that are zero for a share of the training rows, and encoders that were not in training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from kit.core import contract
from kit.system.proc import Processes
from kit.training import checkpoint, loop, stacked
from kit.training.codec_block import codec_block
from kit.training.draws import Draws
from kit.training.feed import Feed
from kit.training.folds import by_encoder, by_group, everything
from kit.training.job import open_rows
from kit.training.members import Ensemble, train
from kit.training.model import Network, restored, trained_slots
from kit.training.recipe import Recipe, architecture, named_recipe, read_recipe
from kit.training.standardiser import fit_standardiser
from kit.training.table import Table, matrix, with_zeroed_copies
from tests.training.builders import make_table

SHARE = 0.5
RECIPE = Recipe(epochs=6, block_dropout=SHARE)


def table_of_encoders(names: tuple[str, ...] = ("libx264", "libx265", "xeve")) -> Table:
    """Rows of encoders in turn, cell by cell; ``xeve`` has no slot in the vocabulary."""
    table = make_table()
    cells = tuple(replace(cell, encoder=names[number % len(names)]) for number, cell in enumerate(table.cells))
    blocks = [codec_block(cell.encoder, cell.preset, cell.cq, table.inputs.encoder_vocab) for cell in cells]
    return replace(table, cells=cells, codec=np.array(blocks, dtype=np.float32)[table.cell])


TABLE = table_of_encoders()
FOLDS = by_group(TABLE)


@pytest.fixture(autouse=True)
def _as_in_a_worker() -> None:
    stacked.prepare_cpu()


# ----------------------------------------------------------------------------------------------------- the draws


def test_the_share_of_zeroed_blocks_is_drawn_anew_in_each_epoch_from_a_stream_of_its_own() -> None:
    draws, again = Draws(3, "a"), Draws(3, "a")
    first, second = (draws.zeroed_blocks(epoch, 20_000, 0.3) for epoch in (0, 1))
    assert first.mean() == pytest.approx(0.3, abs=0.01)
    assert np.mean(first == second) == pytest.approx(0.3**2 + 0.7**2, abs=0.02)
    # neither the order of calls nor other streams matter
    again.order(0, 10)
    assert np.array_equal(again.zeroed_blocks(1, 20_000, 0.3), second)
    assert not np.array_equal(Draws(4, "a").zeroed_blocks(0, 20_000, 0.3), first)
    assert np.array_equal(draws.order(5, 50), Draws(3, "a").order(5, 50))


def test_the_batches_are_those_of_the_recipe_without_it_except_for_the_blocks() -> None:
    fold, plain = FOLDS[0], replace(RECIPE, block_dropout=0.0)
    rows, sizes = Feed(RECIPE, Draws(1, "a"), fold.train, len(TABLE)).rows(0, 9)
    expected, expected_sizes = Feed(plain, Draws(1, "a"), fold.train).rows(0, 9)
    assert np.array_equal(rows % len(TABLE), expected)
    assert np.array_equal(sizes, expected_sizes)
    assert np.mean(rows >= len(TABLE)) == pytest.approx(SHARE, abs=0.15)


def test_the_copies_have_no_block_and_unknown_encoders_have_none_either() -> None:
    plain = matrix(TABLE, codec_aware=True)
    both = np.concatenate([*with_zeroed_copies(plain, TABLE.inputs)])
    features, width = len(TABLE.inputs.features), TABLE.inputs.codec_width
    assert both.shape == (2 * len(TABLE), plain.shape[1])
    assert not both[len(TABLE) :, features : features + width].any()
    known = np.array([cell.encoder != "xeve" for cell in TABLE.cells])[TABLE.cell]
    assert np.array_equal(both[: len(TABLE)][known], plain[known])
    assert not both[: len(TABLE)][~known][:, features : features + width].any()
    for half in (both[: len(TABLE)], both[len(TABLE) :]):
        assert np.array_equal(half[:, :features], plain[:, :features])
        assert np.array_equal(half[:, -1], plain[:, -1])


# ------------------------------------------------------------------------------------ against the reference loop


@pytest.mark.essential
def test_weights_are_those_of_the_reference_loop() -> None:
    recipe = replace(RECIPE, epochs=13)
    for seed, fold in ((0, FOLDS[0]), (1, FOLDS[2])):
        network, reference = (
            Network(recipe.architecture, Draws(seed, fold.group_id), 50.0).to(torch.float64) for _ in range(2)
        )
        scale = fit_standardiser(TABLE.features, fold.train)
        rows = torch.from_numpy(
            np.concatenate([*with_zeroed_copies(matrix(TABLE, codec_aware=True), TABLE.inputs)])
        ).double()
        parameters = stacked.zeros(recipe.architecture, 1, rows)
        stacked.put(parameters, 0, network)
        feed = Feed(recipe, Draws(seed, fold.group_id), fold.train, len(TABLE))
        stacked.Trainer(stacked.Stack(recipe, parameters), [feed], [scale], rows).advance(0, feed.steps)
        stacked.take(parameters, 0, network)
        reference.trained_slots = trained_slots(TABLE.codec, fold.train, TABLE.inputs).to(torch.float64)
        mean, std = torch.from_numpy(scale.mean), torch.from_numpy(scale.std)
        features = (torch.from_numpy(TABLE.features[fold.train]).double() - mean) / std
        inputs = reference.as_known(torch.cat([features, torch.from_numpy(TABLE.codec[fold.train]).double()], dim=1))
        target = torch.from_numpy(TABLE.target[fold.train]).double()
        loop.fit(reference, inputs, target, recipe, Draws(seed, fold.group_id))
        for one, other in zip(network.parameters(), reference.parameters(), strict=True):
            assert float((one - other).detach().abs().max()) < 1e-9


def trained(folder: Path, table: Table, recipe: Recipe, *, by: str = "group", workers: int = 1) -> Ensemble:
    folds = {"group": by_group, "encoder": by_encoder}[by](table) if by != "all" else (everything(table),)
    ensemble = Ensemble(
        rows=table,
        corpus_sha256="0" * 64,
        members=[(seed, fold) for seed in (0, 1) for fold in folds],
        recipe=recipe,
        device="cpu",
        folder=folder,
        workers=workers,
    )
    train([ensemble], Processes(), lambda _: None)
    return ensemble


@pytest.mark.essential
def test_workers_predict_as_the_reference_loop_also_for_encoders_that_were_not_in_training(tmp_path: Path) -> None:
    members = trained(tmp_path, TABLE, RECIPE, by="encoder", workers=2).finished()
    for fold in by_encoder(TABLE):
        arrays = members[1, fold.held_out].arrays
        assert arrays["predictions"] == pytest.approx(loop.train_member(TABLE, fold, 1, RECIPE), abs=1e-3)
        slot = {"libx264": 0, "libx265": 2, "xeve": None}[fold.held_out]
        expected = {0, 2} - {slot}
        assert set(np.flatnonzero(arrays["trained_slots"]).tolist()) == expected
        # the held-out encoder's block is zero, so its predictions do not depend on it
        network, scale = restored(RECIPE.architecture, arrays)
        blank = replace(TABLE, codec=np.zeros_like(TABLE.codec))
        shown = loop.inputs_for(blank, fold.held, scale, codec_aware=True)
        assert network.scores(shown) == pytest.approx(arrays["predictions"], abs=1e-5)


def test_a_known_encoder_keeps_its_block(tmp_path: Path) -> None:
    ensemble = trained(tmp_path, TABLE, RECIPE, by="all")
    network, scale = restored(RECIPE.architecture, ensemble.finished()[0, ""].arrays)
    fold = everything(TABLE)
    inputs = loop.inputs_for(TABLE, fold.train, scale, codec_aware=True)
    known = np.array([cell.encoder != "xeve" for cell in TABLE.cells])[TABLE.cell]
    assert torch.equal(network.as_known(inputs)[known], inputs[known])
    assert not network.as_known(inputs)[~known][:, 6:].any()
    with_block, without = network.scores(inputs), network.scores(torch.cat([inputs[:, :6], 0 * inputs[:, 6:]], dim=1))
    assert np.abs(with_block - without)[known].max() > 0.01


def test_the_rows_that_workers_share_have_copies_only_with_block_dropout(tmp_path: Path) -> None:
    for recipe, times in ((RECIPE, 2), (Recipe(epochs=1), 1), (Recipe(epochs=1, arch="mlp_small"), 1)):
        folder = tmp_path / f"{recipe.arch}{times}"
        folder.mkdir()
        ensemble = Ensemble(
            rows=TABLE, corpus_sha256="0" * 64, members=[(0, FOLDS[0])], recipe=recipe, device="cpu", folder=folder
        )
        ensemble.prepare(folder)
        assert len(open_rows(folder)[0]) == times * len(TABLE)


# ------------------------------------------------------------------------------------------------- named recipes


def test_the_fields_of_the_contract_recipe_are_those_of_earlier_kits() -> None:
    """Another field would change the names of earlier members."""
    recipe = named_recipe("contract", epochs=200, arch=contract.ARCH)
    assert recipe == Recipe(epochs=200)
    listed = recipe.as_dict()
    listed.pop("inputs", None)
    assert listed == {"epochs": 200, "arch": contract.ARCH, "batch_size": 32, "lr": 5e-4, "weight_decay": 1e-5}


def test_only_networks_with_the_block_differ_between_the_recipes() -> None:
    for arch in (*contract.ARCHS, contract.WITHOUT_BLOCK):
        one, two = (named_recipe(name, epochs=9, arch=arch) for name in ("contract", "contract-2"))
        assert (one == two) == (not architecture(arch).codec_aware)
        assert read_recipe(two.as_dict()) == two
    assert next(iter(contract.RECIPES)) == "contract-2"
    assert named_recipe(None, epochs=9, arch="linear").solver == contract.ADAM
    assert named_recipe("contract", epochs=9, arch="linear").solver == contract.LEAST_SQUARES


def test_a_member_keeps_its_trained_encoders_in_its_file(tmp_path: Path) -> None:
    ensemble = trained(tmp_path, TABLE, RECIPE, by="all")
    member = checkpoint.read(ensemble.store.path(0, everything(TABLE).group_id))
    assert member.recipe.block_dropout == SHARE
    assert "trained_slots" in member.arrays
