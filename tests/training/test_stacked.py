"""The stacked trainer against the reference loop, and its members against each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from kit.core import contract
from kit.training import loop, stacked
from kit.training.draws import Draws
from kit.training.feed import Feed
from kit.training.folds import Fold, by_group
from kit.training.model import Network
from kit.training.recipe import Recipe, architecture
from kit.training.standardiser import fit_standardiser
from kit.training.table import Table, matrix
from tests.training.builders import make_table

ARCHS = tuple(contract.ARCHS)
#: 200 rows in folds of 120 and 160 training rows: batches that are not full, and members that end before others.
TABLE = make_table()
FOLDS = by_group(TABLE)
MEMBERS = [(seed, fold) for seed in (0, 1) for fold in FOLDS]


@pytest.fixture(autouse=True)
def _as_in_a_worker() -> None:
    stacked.prepare_cpu()


def network_of(seed: int, fold: Fold, recipe: Recipe, table: Table) -> Network:
    mean = float(table.target[fold.train].mean(dtype=np.float64))
    return Network(architecture(recipe.arch), Draws(seed, fold.group_id), mean)


@dataclass(frozen=True, kw_only=True)
class Trained:
    networks: dict[tuple[int, str], Network]
    losses: dict[tuple[int, str], list[float]]

    def bits(self, seed: int, fold: Fold) -> bytes:
        return b"".join(p.detach().numpy().tobytes() for p in self.networks[seed, fold.held_out].parameters())


def train(
    members: Sequence[tuple[int, Fold]],
    recipe: Recipe,
    *,
    table: Table = TABLE,
    most: int = 16,
    dtype: torch.dtype = torch.float32,
    device: str = "cpu",
) -> Trained:
    """Train members as one stack."""
    arch = architecture(recipe.arch)
    feeds = [Feed(recipe, Draws(seed, fold.group_id), fold.train) for seed, fold in members]
    order = sorted(range(len(members)), key=lambda index: -feeds[index].steps)
    rows = torch.from_numpy(matrix(table, codec_aware=arch.codec_aware)).to(device, dtype)
    parameters = stacked.zeros(arch, len(members), rows)
    for position, index in enumerate(order):
        stacked.put(parameters, position, network_of(*members[index], recipe, table))
    scales = [fit_standardiser(table.features, members[index][1].train) for index in order]
    trainer = stacked.Trainer(stacked.Stack(recipe, parameters), [feeds[index] for index in order], scales, rows)
    losses: list[Tensor] = []
    step = 0
    while (reached := trainer.advance(step, most, losses.extend)) != step:
        step = reached
    result = Trained(networks={}, losses={})
    for position, index in enumerate(order):
        seed, fold = members[index]
        network = network_of(seed, fold, recipe, table).to(dtype)
        stacked.take(parameters, position, network)
        result.networks[seed, fold.held_out] = network
        result.losses[seed, fold.held_out] = [float(loss[position]) for loss in losses if position < len(loss)]
    return result


def train_by_reference(seed: int, fold: Fold, recipe: Recipe, dtype: torch.dtype) -> tuple[Network, list[float]]:
    """Train a member with the loop."""
    arch = architecture(recipe.arch)
    scale = fit_standardiser(TABLE.features, fold.train)
    features = torch.from_numpy(TABLE.features[fold.train]).to(dtype)
    inputs = (features - torch.from_numpy(scale.mean)) / torch.from_numpy(scale.std)
    if arch.codec_aware:
        inputs = torch.cat([inputs, torch.from_numpy(TABLE.codec[fold.train]).to(dtype)], dim=1)
    network = network_of(seed, fold, recipe, TABLE).to(dtype)
    losses: list[float] = []
    target = torch.from_numpy(TABLE.target[fold.train]).to(dtype)
    loop.fit(
        network, inputs, target, recipe, Draws(seed, fold.group_id), on_loss=lambda loss: losses.append(float(loss))
    )
    return network, losses


def difference(one: Network, other: Network) -> float:
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    return max(float((a.detach().cpu() - b.detach().cpu()).abs().max()) for a, b in pairs)


def scores(network: Network, fold: Fold) -> NDArray[np.float64]:
    scale = fit_standardiser(TABLE.features, fold.train)
    inputs = loop.inputs_for(TABLE, fold.held, scale, codec_aware=network.arch.codec_aware)
    return network.scores(inputs).astype(np.float64)


# ------------------------------------------------------------------------------------- against the reference loop


@pytest.mark.essential
@pytest.mark.parametrize("arch", ARCHS)
def test_weights_and_losses_are_those_of_the_reference_loop(arch: str) -> None:
    recipe = Recipe(epochs=13, arch=arch)
    trained = train(MEMBERS, recipe, dtype=torch.float64)
    lengths = set()
    for seed, fold in MEMBERS:
        network, losses = train_by_reference(seed, fold, recipe, torch.float64)
        assert trained.losses[seed, fold.held_out] == pytest.approx(losses, abs=1e-9)
        assert difference(trained.networks[seed, fold.held_out], network) < 1e-9
        lengths.add(len(losses))
    assert lengths == {52, 65}


def test_the_agreement_would_show_an_error() -> None:
    recipe = Recipe(epochs=13)
    trained = train(MEMBERS[:1], replace(recipe, weight_decay=0.0), dtype=torch.float64)
    network, _ = train_by_reference(*MEMBERS[0], recipe, torch.float64)
    assert difference(trained.networks[0, FOLDS[0].held_out], network) > 1e-7


def devices() -> list[object]:
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    return [
        pytest.param(name, marks=() if yes else pytest.mark.skip(f"torch has no {name} device"))
        for name, yes in available.items()
    ]


@pytest.mark.essential
@pytest.mark.parametrize("device", devices())
def test_in_float32_both_predict_the_same_within_tolerance(device: str) -> None:
    recipe = Recipe(epochs=40)
    trained = train(MEMBERS, recipe, device=device)
    for seed, fold in MEMBERS[:4]:
        truth = TABLE.target[fold.held]
        reference, _ = train_by_reference(seed, fold, recipe, torch.float32)
        plcc, expected = (
            np.corrcoef(scores(network.cpu(), fold), truth)[0, 1]
            for network in (trained.networks[seed, fold.held_out], reference)
        )
        assert plcc == pytest.approx(expected, abs=1e-3)
        assert plcc > 0.8


# ---------------------------------------------------------------------------------------- a member and the others


@pytest.mark.parametrize(
    ("arch", "batch_size"), [*((arch, 32) for arch in ARCHS), ("fr_regressor_v2", 33), ("mlp_small", 256)]
)
def test_a_member_has_the_same_bits_in_every_stack(arch: str, batch_size: int) -> None:
    recipe = Recipe(epochs=5, arch=arch, batch_size=batch_size)
    everyone = train(MEMBERS, recipe)
    for members, most in ((MEMBERS[3:4], 16), (MEMBERS[1:2], 1), (MEMBERS[2:5], 7), (MEMBERS[::-1], 16)):
        trained = train(members, recipe, most=most)
        assert [trained.bits(*member) == everyone.bits(*member) for member in members] == [True] * len(members)
    assert len({everyone.bits(*member) for member in MEMBERS}) == len(MEMBERS)


def test_a_large_stack_changes_no_bit() -> None:
    recipe = Recipe(epochs=2)
    many = [(seed, fold) for seed in range(30) for fold in FOLDS]
    everyone, few = train(many, recipe), train(many[::40], recipe)
    assert [few.bits(*member) == everyone.bits(*member) for member in many[::40]] == [True] * 3


def test_a_member_that_diverges_does_not_change_others() -> None:
    recipe = Recipe(epochs=3)
    target = TABLE.target.copy()
    target[FOLDS[0].held] = np.nan
    trained, sound = train(MEMBERS, recipe, table=replace(TABLE, target=target)), train(MEMBERS, recipe)
    for seed, fold in MEMBERS:
        if fold is FOLDS[0]:
            assert trained.bits(seed, fold) == sound.bits(seed, fold)
        else:
            assert np.isnan(trained.losses[seed, fold.held_out][-1])
