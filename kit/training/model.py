"""The network ``fr_regressor_v2``: [6 features ‖ 18 codec] → 64 → 64 → 1, GELU, dropout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import gelu

from kit import contract
from kit.training.draws import Draws

#: Widths of the layers from input to output.
WIDTHS = (len(contract.FEATURES) + contract.CODEC_DIM, contract.HIDDEN, contract.HIDDEN, 1)


@dataclass(frozen=True, kw_only=True)
class Standardiser:
    """Mean and standard deviation of the six features over the training rows; float32 [6] each."""

    mean: NDArray[np.float32]
    std: NDArray[np.float32]

    def apply(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """(features - mean) / std, float32 [n, 6]."""
        return (features - self.mean) / self.std


def fit_standardiser(features: NDArray[np.float32]) -> Standardiser:
    """Fit on training rows only. A feature that never varies is left at its distance from the mean (std 1)."""
    mean = features.mean(axis=0, dtype=np.float64)
    std = features.std(axis=0, dtype=np.float64)
    return Standardiser(mean=mean.astype(np.float32), std=np.where(std > 0, std, 1.0).astype(np.float32))


class FrRegressor(torch.nn.Module):
    """The network with its dropout masks passed in, so that a member's numbers are its own.

    Weights and biases start uniform in ±1/sqrt(fan_in), as torch.nn.Linear does; the output layer's bias starts
    at the mean target of the training rows.
    """

    def __init__(self, draws: Draws, mean_target: float) -> None:
        super().__init__()
        weights, biases = [], []
        for fan_in, fan_out in pairwise(WIDTHS):
            bound = fan_in**-0.5
            weights.append(torch.nn.Parameter(torch.from_numpy(draws.uniform((fan_out, fan_in), bound))))
            biases.append(torch.nn.Parameter(torch.from_numpy(draws.uniform((fan_out,), bound))))
        with torch.no_grad():
            biases[-1].fill_(mean_target)
        self.weights = torch.nn.ParameterList(weights)
        self.biases = torch.nn.ParameterList(biases)

    def forward(self, inputs: Tensor, masks: Sequence[Tensor] = ()) -> Tensor:
        """Scores in VMAF points, float32 [n].

        Args:
            inputs: float32 [n, 24], standardised features and codec block.
            masks: one [n, 64] mask for each hidden layer, or none for evaluation.
        """
        hidden = inputs
        for layer in range(len(self.weights) - 1):
            hidden = gelu(hidden @ self.weights[layer].T + self.biases[layer])
            if masks:
                hidden = hidden * masks[layer]
        scores: Tensor = hidden @ self.weights[-1].T + self.biases[-1]
        return scores.squeeze(1)
