"""The reference loop: trains one member at a time in plain torch. The stacked trainer is tested against it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import mse_loss

from kit.training.draws import Draws
from kit.training.folds import Fold
from kit.training.model import Network, trained_slots
from kit.training.recipe import Recipe
from kit.training.standardiser import Standardiser, fit_standardiser
from kit.training.table import Rows, Table


def inputs_for(table: Rows, rows: NDArray[np.int32], standardiser: Standardiser, *, codec_aware: bool) -> Tensor:
    """Return the network inputs of the given rows, float32 [n, width]."""
    features = standardiser.apply(table.features[rows])
    return torch.from_numpy(np.concatenate([features, table.codec[rows]], axis=1) if codec_aware else features)


def fit(
    network: Network,
    inputs: Tensor,
    target: Tensor,
    recipe: Recipe,
    draws: Draws,
    *,
    on_loss: Callable[[Tensor], None] = lambda _loss: None,
) -> None:
    """Train in place for ``recipe.epochs`` passes over all rows.

    Args:
        on_loss: called with the loss of each step.
    """
    optimizer = torch.optim.Adam(network.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay)
    network.train()
    step = 0
    for epoch in range(recipe.epochs):
        order = torch.from_numpy(draws.order(epoch, len(target)))
        shown = zeroed_in(inputs, recipe, draws, epoch, order)
        for batch in torch.split(order, recipe.batch_size):
            kept = [layer[: len(batch)] for layer in kept_in(network, recipe, draws, step)]
            optimizer.zero_grad()
            loss = mse_loss(network(shown[batch], kept), target[batch])
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            on_loss(loss.detach())
            step += 1


def zeroed_in(inputs: Tensor, recipe: Recipe, draws: Draws, epoch: int, order: Tensor) -> Tensor:
    """Return the inputs [n, width] of an epoch: the codec block is zero for a share of the rows."""
    if not recipe.block_dropout:
        return inputs
    shown = inputs.clone()
    zeroed = torch.from_numpy(draws.zeroed_blocks(epoch, len(order), recipe.block_dropout))
    shown[order[zeroed], len(recipe.inputs.features) :] = 0
    return shown


def kept_in(network: Network, recipe: Recipe, draws: Draws, step: int) -> list[Tensor]:
    """Return the dropout masks of a step: [batch size, width] of 0 and 1 per hidden layer; empty without dropout."""
    if not network.arch.dropout:
        return []
    kept = [np.empty((1, recipe.batch_size * width), dtype=np.bool_) for width in network.arch.hidden]
    draws.kept(step, network.arch.dropout, kept)
    return [torch.from_numpy(layer).view(recipe.batch_size, -1).to(network.weights[0].dtype) for layer in kept]


def train_member(table: Table, fold: Fold, seed: int, recipe: Recipe) -> NDArray[np.float32]:
    """Train one network on a fold's training rows and predict its held-out rows.

    Returns:
        float32 [len(fold.held)], VMAF points; not finite if training diverged.
    """
    arch = recipe.architecture
    draws = Draws(seed, fold.group_id)
    standardiser = fit_standardiser(table.features, fold.train)
    target = torch.from_numpy(table.target[fold.train])
    network = Network(arch, draws, float(target.mean(dtype=torch.float64)))
    inputs = inputs_for(table, fold.train, standardiser, codec_aware=arch.codec_aware)
    if recipe.block_dropout:
        network.trained_slots = trained_slots(table.codec, fold.train, recipe.inputs)
        inputs = network.as_known(inputs)
    fit(network, inputs, target, recipe, draws)
    return network.scores(inputs_for(table, fold.held, standardiser, codec_aware=arch.codec_aware))
