"""Folds, scaling, random numbers, the network and its loop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from kit import contract
from kit.codec_block import codec_block
from kit.corpus.shard import CellEntry
from kit.errors import InvalidEvidence
from kit.training.draws import Draws
from kit.training.folds import Fold, leave_one_group_out
from kit.training.loop import Recipe, train_all, train_member
from kit.training.model import FrRegressor, fit_standardiser
from kit.training.table import Table

QUICK = Recipe(epochs=3)
#: Label of each source's group.
GROUPS = {"Fuente1": "Fuente", "Fuente2": "Fuente", "Highway": "Highway", "Tango": "Tango", "Crowd": "Crowd"}


def make_table(frames: int = 20, groups: dict[str, str] | None = None) -> Table:
    """Rows whose target is a smooth function of features and quality point."""
    generator = np.random.default_rng(3)
    places = [(source, group, cq) for source, group in (groups or GROUPS).items() for cq in (19, 37)]
    entries = tuple(
        CellEntry(
            key=f"{number:02d}", source=source, src_sha256=source.rjust(64, "0"), group=group, encoder="libx264",
            preset="medium", cq=cq, rows=frames, encoded_bytes=1, content_sha256="", path="",
        )
        for number, (source, group, cq) in enumerate(places)
    )  # fmt: skip
    count = frames * len(entries)
    features = generator.uniform(0.3, 1.0, (count, 6)).astype(np.float32)
    features[:, 5] *= 10
    cell = np.repeat(np.arange(len(entries), dtype=np.int32), frames)
    blocks = np.array([codec_block(entry.encoder, entry.preset, entry.cq) for entry in entries], dtype=np.float32)
    codec = blocks[cell]
    target = 20 + 50 * features[:, 0] * features[:, 1] + 15 * features[:, 2] + 10 * codec[:, -1] - features[:, 5]
    return Table(
        cells=entries, cell=cell, frame=np.tile(np.arange(frames, dtype=np.int32), len(entries)),
        features=features, codec=codec, target=target.astype(np.float32),
    )  # fmt: skip


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


# --------------------------------------------------------------------------------------------------- folds


def test_folds_are_clean_and_together_everything() -> None:
    table = make_table()
    folds = leave_one_group_out(table)
    assert [fold.held_out for fold in folds] == ["Crowd", "Fuente", "Highway", "Tango"]
    groups = np.array([entry.group for entry in table.cells])[table.cell]
    for fold in folds:
        assert set(groups[fold.held]) == {fold.held_out}
        assert fold.held_out not in set(groups[fold.train])
        assert sorted([*fold.train, *fold.held]) == list(range(len(table)))
    assert sorted(np.concatenate([fold.held for fold in folds])) == list(range(len(table)))


def test_folds_are_the_same_twice() -> None:
    for first, second in zip(leave_one_group_out(make_table()), leave_one_group_out(make_table()), strict=True):
        assert (first.held_out, first.group_id) == (second.held_out, second.group_id)
        assert np.array_equal(first.train, second.train)
        assert np.array_equal(first.held, second.held)


def test_a_group_is_known_by_its_sources_and_not_by_its_label() -> None:
    ids = {fold.held_out: fold.group_id for fold in leave_one_group_out(make_table())}
    renamed = {source: {"Fuente": "El"}.get(group, group) for source, group in reversed(GROUPS.items())}
    again = {fold.held_out: fold.group_id for fold in leave_one_group_out(make_table(groups=renamed))}
    assert again == {"El": ids["Fuente"], **{label: ids[label] for label in ("Highway", "Tango", "Crowd")}}
    assert len(set(ids.values())) == 4
    apart = leave_one_group_out(make_table(groups=GROUPS | {"Fuente2": "Other"}))
    assert ids["Fuente"] not in {fold.group_id for fold in apart}


@pytest.mark.parametrize("sources", [(), ("Tango",), ("Fuente1", "Fuente2", "Tango")])
def test_fewer_than_three_groups_are_no_evidence(sources: tuple[str, ...]) -> None:
    table = make_table(groups={source: GROUPS[source] for source in sources} or None)
    if not sources:
        table = replace(table, cells=())
    with pytest.raises(InvalidEvidence, match="needs at least 3") as error:
        leave_one_group_out(table)
    assert f"has {len({GROUPS[source] for source in sources})} content groups" in error.value.problems[0]


def test_three_groups_are_enough() -> None:
    assert len(leave_one_group_out(make_table(groups={name: name for name in "abc"}))) == 3


# ------------------------------------------------------------------------------------------------- scaling


def test_the_standardiser_by_hand() -> None:
    features = np.array([[1, 2, 0, 0, 0, 5], [3, 2, 0, 0, 4, 5]], dtype=np.float32)
    found = fit_standardiser(features)
    assert found.mean.tolist() == [2, 2, 0, 0, 2, 5]
    assert found.std.tolist() == [1, 1, 1, 1, 2, 1]
    assert found.apply(features).tolist() == [[-1, 0, 0, 0, -1, 0], [1, 0, 0, 0, 1, 0]]


def test_a_constant_feature_is_only_shifted() -> None:
    features = make_table().features.copy()
    features[:, 3] = np.float32(0.1)
    found = fit_standardiser(features)
    assert found.std[3] == 1
    scaled = found.apply(features)
    assert scaled[:, 3].tolist() == [0.0] * len(features)
    others = scaled[:, [0, 1, 2, 4, 5]]
    assert np.abs(others.mean(axis=0, dtype=np.float64)).max() < 1e-5
    assert np.abs(others.std(axis=0, dtype=np.float64) - 1).max() < 1e-5


def test_a_corpus_with_a_constant_feature_still_trains() -> None:
    table = make_table()
    table.features[:, 3] = np.float32(0.1)
    assert np.isfinite(train_member(table, leave_one_group_out(table)[0], 0, QUICK)).all()


def test_held_out_rows_teach_nothing() -> None:
    table = make_table()
    fold = leave_one_group_out(table)[1]
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
    fold = leave_one_group_out(table)[1]
    target = table.target.copy()
    target[fold.train[0]] += 1
    changed = train_member(replace(table, target=target), fold, 0, QUICK)
    assert not np.array_equal(changed, train_member(table, fold, 0, QUICK))


# -------------------------------------------------------------------------------------------------- draws


def draw(seed: int, group_id: str) -> bytes:
    draws = Draws(seed, group_id)
    return draws.uniform((3, 4), 0.5).tobytes() + draws.order(50).tobytes() + draws.mask((8, 8), 0.5).tobytes()


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
    assert draws.order(6).tolist() == [1, 4, 0, 3, 2, 5]


def test_uniform_fills_its_range() -> None:
    values = Draws(0, "a").uniform((200, 100), 0.25)
    assert (values.min() >= -0.25, values.max() < 0.25) == (True, True)
    assert abs(float(values.mean(dtype=np.float64))) < 0.005
    assert float(values.std(dtype=np.float64)) == pytest.approx(0.25 / 3**0.5, rel=0.02)


def test_an_order_is_a_permutation() -> None:
    order = Draws(3, "a").order(1000)
    assert sorted(order.tolist()) == list(range(1000))
    assert order.tolist() != list(range(1000))


@pytest.mark.parametrize("dropout", [0.1, 0.5])
def test_the_dropout_mask_has_mean_one_and_drops_its_share(dropout: float) -> None:
    mask = Draws(5, "a").mask((1000, 64), dropout)
    assert set(mask.ravel().tolist()) == {0.0, float(np.float32(1) / np.float32(1 - dropout))}
    assert float((mask == 0).mean()) == pytest.approx(dropout, abs=0.01)
    assert float(mask.mean(dtype=np.float64)) == pytest.approx(1, abs=0.02)


def test_no_dropout_is_no_mask() -> None:
    assert np.array_equal(Draws(5, "a").mask((10, 10), 0.0), np.ones((10, 10), dtype=np.float32))


# ------------------------------------------------------------------------------------------------- network


def test_the_network_has_the_layers_of_the_design() -> None:
    network = FrRegressor(Draws(0, "a"), 60.0)
    assert [tuple(weight.shape) for weight in network.weights] == [(64, 24), (64, 64), (1, 64)]
    assert [tuple(bias.shape) for bias in network.biases] == [(64,), (64,), (1,)]
    for weight, fan_in in zip(network.weights, (24, 64, 64), strict=True):
        assert float(weight.detach().abs().max()) <= fan_in**-0.5


def test_the_output_bias_starts_at_the_training_mean() -> None:
    table = make_table()
    fold = leave_one_group_out(table)[0]
    assert FrRegressor(Draws(0, "a"), 61.5).biases[-1].tolist() == [61.5]
    untrained = train_member(table, fold, 0, Recipe(epochs=0))
    mean = float(table.target[fold.train].mean(dtype=np.float64))
    assert abs(float(untrained.mean()) - mean) < 2
    moved = train_member(replace(table, target=table.target - 30), fold, 0, Recipe(epochs=0))
    assert moved == pytest.approx(untrained - 30, abs=1e-4)


def test_the_forward_pass_is_the_one_of_the_design() -> None:
    network = FrRegressor(Draws(1, "a"), 40.0)
    inputs = torch.from_numpy(Draws(2, "a").uniform((7, 24), 3.0))
    masks = [torch.from_numpy(Draws(n, "m").mask((7, 64), 0.5)) for n in range(2)]

    def slow(use: list[torch.Tensor]) -> NDArray[np.float64]:
        hidden = inputs.double().numpy()
        for layer in range(2):
            z = hidden @ network.weights[layer].detach().double().numpy().T
            z = z + network.biases[layer].detach().double().numpy()
            erf = torch.erf(torch.from_numpy(z) / 2**0.5).numpy()
            hidden = z * (1 + erf) / 2 * (use[layer].double().numpy() if use else 1.0)
        last = hidden @ network.weights[2].detach().double().numpy().T + network.biases[2].detach().double().numpy()
        result: NDArray[np.float64] = last[:, 0]
        return result

    assert network(inputs).detach().numpy() == pytest.approx(slow([]), abs=1e-4)
    assert network(inputs, masks).detach().numpy() == pytest.approx(slow(masks), abs=1e-4)
    assert network(inputs, masks).shape == (7,)


# ---------------------------------------------------------------------------------------------------- loop

Results = dict[tuple[int, str], NDArray[np.float32]]


def collect(table: Table, seeds: tuple[int, ...], pick: Callable[[tuple[Fold, ...]], tuple[Fold, ...]]) -> Results:
    results: Results = {}

    def done(seed: int, fold: Fold, predictions: NDArray[np.float32]) -> None:
        results[(seed, fold.held_out)] = predictions

    train_all(table, pick(leave_one_group_out(table)), seeds, QUICK, done)
    return results


def test_a_member_does_not_depend_on_who_else_is_trained() -> None:
    table = make_table()
    everyone = collect(table, (0, 1), lambda folds: folds)
    assert len(everyone) == 8
    other_order = collect(table, (1, 0), lambda folds: folds[::-1])
    assert list(other_order) != list(everyone)
    alone = collect(table, (1,), lambda folds: folds[2:3])
    assert list(alone) == [(1, "Highway")]
    for found in (other_order, alone):
        for member, predictions in found.items():
            assert np.array_equal(predictions, everyone[member])
    assert not np.array_equal(everyone[(0, "Highway")], everyone[(1, "Highway")])


def test_a_member_is_drawn_for_its_group_and_not_for_the_groups_label() -> None:
    table = make_table()
    fold = leave_one_group_out(table)[0]
    known = train_member(table, fold, 0, QUICK)
    assert np.array_equal(train_member(table, replace(fold, held_out="other"), 0, QUICK), known)
    assert not np.array_equal(train_member(table, replace(fold, group_id="other"), 0, QUICK), known)


def test_two_runs_are_the_same_to_the_bit() -> None:
    first, second = (collect(make_table(), (4,), lambda folds: folds) for _ in range(2))
    assert {member: values.tobytes() for member, values in first.items()} == {
        member: values.tobytes() for member, values in second.items()
    }


def test_the_global_random_state_is_neither_used_nor_changed() -> None:
    table = make_table()
    fold = leave_one_group_out(table)[0]
    torch.manual_seed(1)
    first = train_member(table, fold, 0, QUICK)
    torch.manual_seed(2)
    before = torch.get_rng_state()
    assert np.array_equal(train_member(table, fold, 0, QUICK), first)
    assert torch.equal(torch.get_rng_state(), before)


def test_it_learns() -> None:
    table = make_table(frames=60)
    fold = leave_one_group_out(table)[1]
    truth = table.target[fold.held].astype(np.float64)
    untrained, trained = (train_member(table, fold, 0, Recipe(epochs=epochs)).astype(np.float64) for epochs in (0, 40))
    assert np.corrcoef(untrained, truth)[0, 1] < 0.9
    assert np.corrcoef(trained, truth)[0, 1] > 0.95
    assert np.sqrt(np.mean((trained - truth) ** 2)) < 0.5 * truth.std()


def test_predictions_are_one_float32_for_each_held_out_row() -> None:
    table = make_table()
    fold = leave_one_group_out(table)[1]
    found = train_member(table, fold, 0, QUICK)
    assert (found.shape, found.dtype) == ((len(fold.held),), np.float32)


@pytest.mark.parametrize(("shift", "limit"), [(1000.0, 100.0), (-1000.0, 0.0)])
def test_predictions_are_clipped_to_the_range_of_the_teacher(shift: float, limit: float) -> None:
    table = make_table()
    found = train_member(
        replace(table, target=table.target + np.float32(shift)), leave_one_group_out(table)[0], 0, QUICK
    )
    assert found.tolist() == [limit] * len(found)


def test_what_diverges_stays_visible() -> None:
    table = make_table()
    features = table.features.copy()
    fold = leave_one_group_out(table)[0]
    features[fold.train[0], 0] = np.nan
    assert np.isnan(train_member(replace(table, features=features), fold, 0, QUICK)).all()


def test_the_recipe_is_that_of_the_design() -> None:
    assert Recipe(epochs=contract.DEFAULT_EPOCHS) == Recipe(
        epochs=200, batch_size=32, lr=5e-4, weight_decay=1e-5, dropout=0.1
    )
    assert contract.DEFAULT_SEEDS == (0, 1, 2, 3, 4)
    assert contract.HIDDEN == 64
