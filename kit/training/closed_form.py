"""The least squares of a network without hidden layers: the closed form that batches of Adam only approach."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from kit.training.draws import Draws
from kit.training.folds import Fold
from kit.training.loop import inputs_for
from kit.training.member_store import MemberStore
from kit.training.model import Network
from kit.training.recipe import Recipe
from kit.training.standardiser import Standardiser, fit_standardiser
from kit.training.table import Rows

#: Rows of one part of the sums.
_PART = 1 << 16
#: Singular values of the normal equations below this share of the largest count as zero: a constant or doubled feature
#: gets the smallest weights that fit.
_RANK = 1e-12


def least_squares(
    inputs: Callable[[NDArray[np.int32]], NDArray[np.float64]], target: NDArray[np.float32], train: NDArray[np.int32]
) -> tuple[NDArray[np.float64], float]:
    """Return the weights with the bias last, float64 [width + 1], and their mean squared error.

    The normal equations in double precision; einsum adds in a fixed order on one thread, so the result repeats.

    Args:
        inputs: returns the standardised inputs of rows, [rows, width].
        target: float32 [n]; train: indices of the training rows.
    """
    width = inputs(train[:1]).shape[1]
    products = np.zeros((width + 2, width + 2))
    centre = float(target[train].mean(dtype=np.float64)) if len(train) else 0.0
    for begin in range(0, len(train), _PART):
        rows = train[begin : begin + _PART]
        columns = [inputs(rows), np.ones((len(rows), 1)), target[rows].astype(np.float64)[:, None] - centre]
        part = np.concatenate(columns, axis=1)
        products += np.einsum("ni,nj->ij", part, part, optimize=False)
    weights = np.linalg.lstsq(products[:-1, :-1], products[:-1, -1], rcond=_RANK)[0]
    whole = np.append(weights, -1.0)
    error = float(whole @ products @ whole) / max(1, len(train))
    weights[-1] += centre
    return weights, max(0.0, error)


def fit_member(rows: Rows, fold: Fold, recipe: Recipe) -> tuple[Network, Standardiser, float]:
    """Return the network of least squares on a fold's training rows, its scale, and its mean squared error."""
    arch, scale = recipe.architecture, fit_standardiser(rows.features, fold.train)

    def inputs(chosen: NDArray[np.int32]) -> NDArray[np.float64]:
        shown = inputs_for(rows, chosen, scale, codec_aware=arch.codec_aware).numpy()
        return shown.astype(np.float64)

    weights, error = least_squares(inputs, rows.target, fold.train)
    network = Network(arch, Draws(0, fold.group_id), 0.0)
    with torch.no_grad():
        network.weights[0].copy_(torch.from_numpy(weights[None, :-1]))
        network.biases[0].copy_(torch.from_numpy(weights[-1:]))
    return network, scale, error


def train_missing(
    rows: Rows, missing: Sequence[tuple[int, Fold]], recipe: Recipe, store: MemberStore, advance: Callable[[int], None]
) -> None:
    """Fit each fold once and write it for each seed, which changes nothing.

    Args:
        missing: seed and fold of each member.
        advance: called with the number of further epochs of members, as in a training with Adam.
    """
    arrays: dict[str, Mapping[str, NDArray[np.float32]]] = {}
    for seed, fold in missing:
        began = time.monotonic()
        if fold.group_id not in arrays:
            arrays[fold.group_id] = _arrays(rows, fold, recipe)
        seconds = round(time.monotonic() - began, 3)
        store.write(seed, fold.group_id, arrays[fold.group_id], step=0, seconds=seconds, finished=True)
        advance(recipe.epochs)


def _arrays(rows: Rows, fold: Fold, recipe: Recipe) -> dict[str, NDArray[np.float32]]:
    """Return the arrays of a finished member."""
    network, scale, error = fit_member(rows, fold, recipe)
    parts = [np.empty(0, dtype=np.float32)]
    for begin in range(0, len(fold.held), _PART):
        held = fold.held[begin : begin + _PART]
        parts.append(network.scores(inputs_for(rows, held, scale, codec_aware=recipe.architecture.codec_aware)))
    return {name: value.numpy() for name, value in network.state_dict().items()} | {
        "mean": scale.mean,
        "std": scale.std,
        "predictions": np.concatenate(parts),
        "training_loss": np.array([error], dtype=np.float32),
    }
