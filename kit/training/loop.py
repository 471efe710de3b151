"""The readable training loop: one member at a time, nothing clever. It is the oracle for any faster one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import mse_loss

from kit import contract
from kit.training.draws import Draws
from kit.training.folds import Fold
from kit.training.model import FrRegressor, Standardiser, fit_standardiser
from kit.training.table import Table


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What decides a member's weights besides its seed and its rows. Learning rate for Adam, loss is MSE."""

    epochs: int
    batch_size: int = contract.BATCH_SIZE
    lr: float = contract.LEARNING_RATE
    weight_decay: float = contract.WEIGHT_DECAY
    dropout: float = contract.DROPOUT


def inputs_for(table: Table, rows: NDArray[np.int64], standardiser: Standardiser) -> Tensor:
    """Network inputs of the given rows, float32 [n, 24]."""
    features = standardiser.apply(table.features[rows])
    return torch.from_numpy(np.concatenate([features, table.codec[rows]], axis=1))


def fit(network: FrRegressor, inputs: Tensor, target: Tensor, recipe: Recipe, draws: Draws) -> None:
    """Train in place for ``recipe.epochs`` passes over all rows; the last batch of a pass may be smaller."""
    optimizer = torch.optim.Adam(network.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay)
    network.train()
    for _ in range(recipe.epochs):
        order = torch.from_numpy(draws.order(len(target)))
        for batch in torch.split(order, recipe.batch_size):
            shape = (len(batch), contract.HIDDEN)
            masks = [torch.from_numpy(draws.mask(shape, recipe.dropout)) for _ in range(2)]
            optimizer.zero_grad()
            loss = mse_loss(network(inputs[batch], masks), target[batch])
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()


def predict(network: FrRegressor, inputs: Tensor) -> NDArray[np.float32]:
    """Scores as the exported graph gives them: float32 [n], clipped to the teacher's range."""
    network.eval()
    with torch.no_grad():
        scores: NDArray[np.float32] = network(inputs).clamp(*contract.SCORE_RANGE).numpy()
    return scores


def train_member(table: Table, fold: Fold, seed: int, recipe: Recipe) -> NDArray[np.float32]:
    """Train one network on a fold's training rows and predict the rows of the group it never saw.

    Returns:
        float32 [len(fold.held)], VMAF points; not finite where training diverged.
    """
    draws = Draws(seed, fold.group_id)
    standardiser = fit_standardiser(table.features[fold.train])
    target = torch.from_numpy(table.target[fold.train])
    network = FrRegressor(draws, float(target.mean(dtype=torch.float64)))
    fit(network, inputs_for(table, fold.train, standardiser), target, recipe, draws)
    return predict(network, inputs_for(table, fold.held, standardiser))


def train_all(
    table: Table,
    folds: tuple[Fold, ...],
    seeds: tuple[int, ...],
    recipe: Recipe,
    done: Callable[[int, Fold, NDArray[np.float32]], None],
) -> None:
    """Train every (seed, fold), seeds outermost, and hand over each member's predictions.

    One thread: the matrices are too small for more, and the result must not depend on the number of cores.
    """
    torch.set_num_threads(1)
    for seed in seeds:
        for fold in folds:
            done(seed, fold, train_member(table, fold, seed, recipe))
