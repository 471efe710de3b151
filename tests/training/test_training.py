"""Folds, scaling, random numbers, the network and its loop."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from kit.core import contract
from kit.core.errors import BadInput, InvalidEvidence
from kit.training.draws import Draws
from kit.training.folds import by_box, by_encoder, by_group, evenly_kept, thinned
from kit.training.loop import train_member
from kit.training.model import Network
from kit.training.recipe import Recipe, architecture, read_recipe
from kit.training.standardiser import fit_standardiser
from kit.training.table import Table, only
from tests.training.builders import GROUPS, make_table

QUICK = Recipe(epochs=3)
ARCH = architecture()


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


# --------------------------------------------------------------------------------------------------- folds


def test_folds_are_clean_and_together_everything() -> None:
    table = make_table()
    folds = by_group(table)
    assert [fold.held_out for fold in folds] == ["Crowd", "Fuente", "Highway", "Tango"]
    groups = np.array([entry.group for entry in table.cells])[table.cell]
    for fold in folds:
        assert set(groups[fold.held]) == {fold.held_out}
        assert fold.held_out not in set(groups[fold.train])
        assert sorted([*fold.train, *fold.held]) == list(range(len(table)))
    assert sorted(np.concatenate([fold.held for fold in folds])) == list(range(len(table)))


def test_folds_are_the_same_twice() -> None:
    for first, second in zip(by_group(make_table()), by_group(make_table()), strict=True):
        assert (first.held_out, first.group_id) == (second.held_out, second.group_id)
        assert np.array_equal(first.train, second.train)
        assert np.array_equal(first.held, second.held)


def test_the_id_of_a_group_depends_on_its_sources_only() -> None:
    ids = {fold.held_out: fold.group_id for fold in by_group(make_table())}
    renamed = {source: {"Fuente": "El"}.get(group, group) for source, group in reversed(GROUPS.items())}
    again = {fold.held_out: fold.group_id for fold in by_group(make_table(groups=renamed))}
    assert again == {"El": ids["Fuente"], **{label: ids[label] for label in ("Highway", "Tango", "Crowd")}}
    assert len(set(ids.values())) == 4
    apart = by_group(make_table(groups=GROUPS | {"Fuente2": "Other"}))
    assert ids["Fuente"] not in {fold.group_id for fold in apart}


@pytest.mark.parametrize("sources", [(), ("Tango",), ("Fuente1", "Fuente2", "Tango")])
def test_fewer_than_three_groups_are_no_evidence(sources: tuple[str, ...]) -> None:
    table = make_table(groups={source: GROUPS[source] for source in sources} or None)
    if not sources:
        table = replace(table, cells=())
    with pytest.raises(InvalidEvidence, match="at least 3") as error:
        by_group(table)
    assert f" {len({GROUPS[source] for source in sources})} content groups" in error.value.problems[0]


def test_three_groups_are_enough() -> None:
    assert len(by_group(make_table(groups={name: name for name in "abc"}))) == 3


def test_kfold_spreads_whole_groups_evenly_for_any_labels() -> None:
    groups = {f"s{number:02d}": f"g{number // 2:02d}" for number in range(20)}
    table = make_table(frames=3, groups=groups)
    folds = by_group(table, "kfold:4")
    assert [fold.held_out for fold in folds] == ["fold01", "fold02", "fold03", "fold04"]
    held = [{table.cells[index].group for index in table.cell[fold.held]} for fold in folds]
    assert sorted(group for part in held for group in part) == sorted(set(groups.values()))
    assert sorted(len(part) for part in held) == [2, 2, 3, 3]
    for fold in folds:
        assert sorted([*fold.train, *fold.held]) == list(range(len(table)))
    renamed = make_table(frames=3, groups={source: f"h{99 - int(group[1:])}" for source, group in groups.items()})
    again = by_group(renamed, "kfold:4")
    assert [fold.group_id for fold in again] == [fold.group_id for fold in folds]
    assert all(np.array_equal(one.held, two.held) for one, two in zip(folds, again, strict=True))


def test_kfold_with_as_many_folds_as_groups_holds_out_each_alone() -> None:
    ids = {fold.group_id for fold in by_group(make_table(), "kfold:4")}
    assert ids == {fold.group_id for fold in by_group(make_table(), "loso")}


def test_more_folds_than_groups_are_no_evidence() -> None:
    with pytest.raises(InvalidEvidence, match=r"kfold:5.* 4 "):
        by_group(make_table(), "kfold:5")


def two_encoders() -> Table:
    table = make_table()
    entries = tuple(replace(entry, encoder="libx265") if entry.cq == 37 else entry for entry in table.cells)
    return replace(table, cells=entries)


def test_an_encoder_is_held_out_whole() -> None:
    table = two_encoders()
    folds = by_encoder(table)
    assert [fold.held_out for fold in folds] == ["libx264", "libx265"]
    assert {table.cells[index].encoder for index in table.cell[folds[0].held]} == {"libx264"}
    assert {table.cells[index].encoder for index in table.cell[folds[0].train]} == {"libx265"}
    assert len({fold.group_id for fold in folds} | {fold.group_id for fold in by_group(table)}) == 6


def test_a_box_is_held_out_whole() -> None:
    table = make_table()
    boxes = ["attic" if entry.source < "G" else "cellar" for entry in table.cells]
    folds = by_box(table, boxes)
    assert [fold.held_out for fold in folds] == ["attic", "cellar"]
    for fold in folds:
        assert {boxes[index] for index in table.cell[fold.held]} == {fold.held_out}
        assert sorted([*fold.train, *fold.held]) == list(range(len(table)))


def test_a_single_encoder_or_box_cannot_be_held_out() -> None:
    with pytest.raises(BadInput, match=r"--holdout encoder.* 1 \(libx264\)"):
        by_encoder(make_table())
    with pytest.raises(BadInput, match=r"--holdout box.* 1 \(attic\)"):
        by_box(make_table(), ["attic"] * len(make_table().cells))


def test_a_table_of_some_cells_keeps_their_rows() -> None:
    table = make_table()
    keys = {entry.key for entry in table.cells[1::3]}
    part = only(table, keys)
    rows = np.isin([entry.key for entry in table.cells], sorted(keys))[table.cell]
    assert [entry.key for entry in part.cells] == sorted(keys)
    assert [part.cells[index].key for index in part.cell] == [table.cells[index].key for index in table.cell[rows]]
    for name in ("frame", "features", "codec", "target"):
        assert np.array_equal(getattr(part, name), getattr(table, name)[rows])


# ------------------------------------------------------------------------------------------------- scaling


def test_the_standardiser_by_hand() -> None:
    features = np.array([[1, 2, 0, 0, 0, 5], [3, 2, 0, 0, 4, 5]], dtype=np.float32)
    found = fit_standardiser(features, np.arange(len(features), dtype=np.int32))
    assert found.mean.tolist() == [2, 2, 0, 0, 2, 5]
    assert found.std.tolist() == [1, 1, 1, 1, 2, 1]
    assert found.apply(features).tolist() == [[-1, 0, 0, 0, -1, 0], [1, 0, 0, 0, 1, 0]]


def test_a_constant_feature_is_only_shifted() -> None:
    features = make_table().features.copy()
    features[:, 3] = np.float32(0.1)
    found = fit_standardiser(features, np.arange(len(features), dtype=np.int32))
    assert found.std[3] == 1
    scaled = found.apply(features)
    assert scaled[:, 3].tolist() == [0.0] * len(features)
    others = scaled[:, [0, 1, 2, 4, 5]]
    assert np.abs(others.mean(axis=0, dtype=np.float64)).max() < 1e-5
    assert np.abs(others.std(axis=0, dtype=np.float64) - 1).max() < 1e-5


def test_a_corpus_with_a_constant_feature_still_trains() -> None:
    table = make_table()
    table.features[:, 3] = np.float32(0.1)
    assert np.isfinite(train_member(table, by_group(table)[0], 0, QUICK)).all()


def test_held_out_rows_teach_nothing() -> None:
    table = make_table()
    fold = by_group(table)[1]
    before = train_member(table, fold, 0, QUICK)
    half = len(fold.held) // 2
    features, target, codec = table.features.copy(), table.target.copy(), table.codec.copy()
    features[fold.held[half:]] *= 100
    codec[fold.held[half:]] = 0
    target[fold.held] = 0
    changed = train_member(replace(table, features=features, target=target, codec=codec), fold, 0, QUICK)
    assert np.array_equal(changed[:half], before[:half])
    assert not np.array_equal(changed[half:], before[half:])


def test_training_rows_do_teach() -> None:
    table = make_table()
    fold = by_group(table)[1]
    target = table.target.copy()
    target[fold.train[0]] += 1
    changed = train_member(replace(table, target=target), fold, 0, QUICK)
    assert not np.array_equal(changed, train_member(table, fold, 0, QUICK))


# -------------------------------------------------------------------------------------------------- draws


def kept(draws: Draws, step: int, steps: int, *units: int, dropout: float = 0.1) -> list[NDArray[np.bool_]]:
    out = [np.empty((steps, count), dtype=np.bool_) for count in units]
    draws.kept(step, dropout, out)
    return out


def draw(seed: int, group_id: str) -> bytes:
    draws = Draws(seed, group_id)
    masks = kept(draws, 0, 1, 256, dropout=0.5)[0]
    return draws.uniform((3, 4), 0.5).tobytes() + draws.order(0, 50).tobytes() + masks.tobytes()


def test_draws_are_keyed_by_seed_and_group() -> None:
    assert draw(0, "a") == draw(0, "a")
    keys = [(0, "a"), (1, "a"), (0, "b"), (1, "b"), (11, "a"), (1, "1:a")]
    assert len({draw(*key) for key in keys}) == len(keys)


def test_draws_have_not_changed() -> None:
    # a change of these numbers changes every trained member, and so needs a new version of the recipe
    draws = Draws(0, "group")
    first = draws.uniform((2,), 0.5)
    assert first.dtype == np.float32
    assert first.tolist() == [-0.31553858518600464, 0.13006561994552612]
    assert draws.order(0, 6).tolist() == [4, 0, 1, 5, 2, 3]
    assert draws.order(7, 6).tolist() == [3, 1, 5, 4, 0, 2]
    assert np.flatnonzero(~kept(draws, 3, 1, 64)[0]).tolist() == [4, 8, 11, 15, 24, 36, 43, 44, 53, 60, 61, 63]


def test_uniform_fills_its_range() -> None:
    values = Draws(0, "a").uniform((200, 100), 0.25)
    assert (values.min() >= -0.25, values.max() < 0.25) == (True, True)
    assert abs(float(values.mean(dtype=np.float64))) < 0.005
    assert float(values.std(dtype=np.float64)) == pytest.approx(0.25 / 3**0.5, rel=0.02)


def test_an_order_is_a_permutation_of_its_own_epoch() -> None:
    orders = [Draws(3, "a").order(epoch, 1000).tolist() for epoch in range(3)]
    assert all(sorted(order) == list(range(1000)) for order in orders)
    assert all(order != list(range(1000)) for order in orders)
    assert len({tuple(order) for order in orders}) == 3


@pytest.mark.parametrize("dropout", [0.1, 0.5])
def test_dropout_drops_its_share_of_every_unit_and_every_row(dropout: float) -> None:
    batches, rows, width = 300, 32, 64
    dropped = ~np.stack(
        [layer.reshape(batches, rows, width) for layer in kept(Draws(5, "a"), 0, batches, 2048, 2048, dropout=dropout)]
    )
    assert dropped.mean() == pytest.approx(dropout, abs=0.001)
    for axes in ((1, 2), (1, 3)):
        spread = 4 * (dropout / (dropped.size / dropped.mean(axis=axes).size)) ** 0.5
        assert np.abs(dropped.mean(axis=axes) - dropout).max() < spread + 0.001
    assert abs(np.corrcoef(dropped[0].ravel(), dropped[1].ravel())[0, 1]) < 0.01


def test_without_dropout_everything_is_kept() -> None:
    assert kept(Draws(5, "a"), 0, 10, 100, dropout=0.0)[0].all()


def test_what_a_step_drops_does_not_depend_on_the_steps_before_it() -> None:
    whole = kept(Draws(5, "a"), 0, 12, 100, 36)
    draws = Draws(5, "a")
    for first, count in ((9, 3), (0, 4), (4, 1), (5, 4)):
        for layer, expected in zip(kept(draws, first, count, 100, 36), whole, strict=True):
            assert np.array_equal(layer, expected[first : first + count])


# ------------------------------------------------------------------------------------------------- network


def test_the_network_has_the_layers_of_the_design() -> None:
    network = Network(ARCH, Draws(0, "a"), 60.0)
    assert [tuple(weight.shape) for weight in network.weights] == [(64, 24), (64, 64), (1, 64)]
    assert [tuple(bias.shape) for bias in network.biases] == [(64,), (64,), (1,)]
    for weight, fan_in in zip(network.weights, (24, 64, 64), strict=True):
        assert float(weight.detach().abs().max()) <= fan_in**-0.5


def test_the_output_bias_starts_at_the_training_mean() -> None:
    table = make_table()
    fold = by_group(table)[0]
    assert Network(ARCH, Draws(0, "a"), 61.5).biases[-1].tolist() == [61.5]
    untrained = train_member(table, fold, 0, Recipe(epochs=0))
    mean = float(table.target[fold.train].mean(dtype=np.float64))
    assert abs(float(untrained.mean()) - mean) < 2
    moved = train_member(replace(table, target=table.target - 30), fold, 0, Recipe(epochs=0))
    assert moved == pytest.approx(untrained - 30, abs=1e-4)


def test_the_forward_pass_is_the_one_of_the_design() -> None:
    network = Network(ARCH, Draws(1, "a"), 40.0)
    inputs = torch.from_numpy(Draws(2, "a").uniform((7, 24), 3.0))
    masks = [torch.from_numpy(layer.reshape(7, 64)).float() for layer in kept(Draws(3, "m"), 0, 1, 448, 448)]

    def slow(use: list[torch.Tensor]) -> NDArray[np.float64]:
        hidden = inputs.double().numpy()
        for layer in range(2):
            z = hidden @ network.weights[layer].detach().double().numpy().T
            z = z + network.biases[layer].detach().double().numpy()
            erf = torch.erf(torch.from_numpy(z) / 2**0.5).numpy()
            hidden = z * (1 + erf) / 2 * (use[layer].double().numpy() / 0.9 if use else 1.0)
        last = hidden @ network.weights[2].detach().double().numpy().T + network.biases[2].detach().double().numpy()
        result: NDArray[np.float64] = last[:, 0]
        return result

    assert network(inputs).detach().numpy() == pytest.approx(slow([]), abs=1e-4)
    assert network(inputs, masks).detach().numpy() == pytest.approx(slow(masks), abs=1e-4)
    assert network(inputs, masks).shape == (7,)


# ---------------------------------------------------------------------------------------------------- loop


def test_a_member_is_drawn_for_its_group_and_not_for_the_groups_label() -> None:
    table = make_table()
    fold = by_group(table)[0]
    known = train_member(table, fold, 0, QUICK)
    assert np.array_equal(train_member(table, replace(fold, held_out="other"), 0, QUICK), known)
    assert not np.array_equal(train_member(table, replace(fold, group_id="other"), 0, QUICK), known)


def test_the_global_random_state_is_neither_used_nor_changed() -> None:
    table = make_table()
    fold = by_group(table)[0]
    torch.manual_seed(1)
    first = train_member(table, fold, 0, QUICK)
    torch.manual_seed(2)
    before = torch.get_rng_state()
    assert np.array_equal(train_member(table, fold, 0, QUICK), first)
    assert torch.equal(torch.get_rng_state(), before)


def test_it_learns() -> None:
    table = make_table(frames=60)
    fold = by_group(table)[1]
    truth = table.target[fold.held].astype(np.float64)
    untrained, trained = (train_member(table, fold, 0, Recipe(epochs=epochs)).astype(np.float64) for epochs in (0, 40))
    assert np.corrcoef(untrained, truth)[0, 1] < 0.9
    assert np.corrcoef(trained, truth)[0, 1] > 0.95
    assert np.sqrt(np.mean((trained - truth) ** 2)) < 0.5 * truth.std()


def test_predictions_are_one_float32_for_each_held_out_row() -> None:
    table = make_table()
    fold = by_group(table)[1]
    found = train_member(table, fold, 0, QUICK)
    assert (found.shape, found.dtype) == ((len(fold.held),), np.float32)


@pytest.mark.parametrize(("shift", "limit"), [(1000.0, 100.0), (-1000.0, 0.0)])
def test_predictions_are_clipped_to_the_range_of_the_teacher(shift: float, limit: float) -> None:
    table = make_table()
    found = train_member(replace(table, target=table.target + np.float32(shift)), by_group(table)[0], 0, QUICK)
    assert found.tolist() == [limit] * len(found)


def test_what_diverges_stays_visible() -> None:
    table = make_table()
    features = table.features.copy()
    fold = by_group(table)[0]
    features[fold.train[0], 0] = np.nan
    assert np.isnan(train_member(replace(table, features=features), fold, 0, QUICK)).all()


def test_the_recipe_is_that_of_the_design() -> None:
    assert Recipe(epochs=contract.DEFAULT_EPOCHS) == Recipe(
        epochs=200, arch="fr_regressor_v2", batch_size=32, lr=5e-4, weight_decay=1e-5
    )
    assert (ARCH.widths, ARCH.activation, ARCH.dropout) == ((24, 64, 64, 1), "gelu", 0.1)
    assert contract.DEFAULT_SEEDS == (0, 1, 2, 3, 4)


@pytest.mark.parametrize(("name", "parameters"), [("linear", 7), ("mlp_small", 257), ("mlp_medium", 2561)])
def test_a_tiny_head_sees_the_features_alone(name: str, parameters: int) -> None:
    table = make_table()
    fold = by_group(table)[1]
    network = Network(architecture(name), Draws(0, "a"), 50.0)
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters
    recipe = Recipe(epochs=2, arch=name)
    found = train_member(table, fold, 0, recipe)
    assert np.array_equal(train_member(replace(table, codec=table.codec + 1), fold, 0, recipe), found)
    assert not np.array_equal(train_member(replace(table, features=table.features**2), fold, 0, recipe), found)


# ------------------------------------------------------------------------------------------------ row limits


def test_a_limit_keeps_evenly_spaced_rows_of_every_cell() -> None:
    cells = [("long", 500), ("long", 500), ("short", 40), ("long", 500), ("long", 300)]
    kept = np.split(evenly_kept(cells, 90), np.cumsum([rows for _, rows in cells])[:-1])
    assert [int(part.sum()) for part in kept] == [25, 25, 40, 25, 15]
    assert all(np.diff(np.flatnonzero(part)).max() <= 20 for part in (kept[0], kept[1], kept[3], kept[4]))
    # frames differ from cell to cell, so that many frames are seen
    assert len(set(np.concatenate([np.flatnonzero(part) for part in (kept[0], kept[1], kept[3])]).tolist())) >= 70


@pytest.mark.parametrize("most", [1, 7, 39, 40, 41, 1_000])
def test_a_limit_is_met_exactly(most: int) -> None:
    table = make_table(frames=20)  # two cells of 20 rows a source
    for fold, limited in zip(by_group(table), thinned(table, by_group(table), most), strict=True):
        counts = Counter(table.cells[cell].source for cell in table.cell[limited.train].tolist())
        assert set(counts.values()) == {min(most, 40)}
        assert set(limited.train) <= set(fold.train)
        assert np.array_equal(limited.held, fold.held)
        assert limited.group_id == fold.group_id


def test_without_a_limit_nothing_changes() -> None:
    table = make_table()
    folds = by_group(table)
    assert all(one is two for one, two in zip(thinned(table, folds, None), folds, strict=True))
    assert "max_rows_per_source" not in QUICK.as_dict()
    limited = replace(QUICK, max_rows_per_source=9)
    assert read_recipe(limited.as_dict()) == limited
