"""The network as it is read: [6 features ‖ 18 codec] → 64 → 64 → 1, GELU, dropout, or one of the tiny heads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import gelu, relu

from kit import contract
from kit.training.draws import Draws
from kit.training.recipe import Architecture


@dataclass(frozen=True, kw_only=True)
class Standardiser:
    """Mean and standard deviation of the six features over the training rows; float32 [6] each."""

    mean: NDArray[np.float32]
    std: NDArray[np.float32]

    def apply(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """(features - mean) / std, float32 [n, 6]."""
        return (features - self.mean) / self.std


def fit_standardiser(features: NDArray[np.float32], rows: NDArray[np.int32]) -> Standardiser:
    """Fit on training rows only. A feature that never varies is left at its distance from the mean (std 1).

    Args:
        features: [n, 6 or more], the features first.
        rows: which of them to fit on.
    """
    mean, std = np.ones((2, len(contract.FEATURES)), dtype=np.float32)
    for index in range(len(mean)):
        column = features[rows, index].astype(np.float64)  # one at a time: there may be millions of rows
        mean[index] = column.mean()
        std[index] = column.std() or 1.0
    return Standardiser(mean=mean, std=std)


class Network(torch.nn.Module):
    """The network with what dropout keeps passed in, so that a member's numbers are its own.

    Weights and biases start uniform in ±1/sqrt(fan_in), as torch.nn.Linear does; the output layer's bias starts
    at the mean target of the training rows.
    """

    def __init__(self, arch: Architecture, draws: Draws, mean_target: float) -> None:
        super().__init__()
        self.arch = arch
        weights, biases = [], []
        for fan_in, fan_out in pairwise(arch.widths):
            bound = fan_in**-0.5
            weights.append(torch.nn.Parameter(torch.from_numpy(draws.uniform((fan_out, fan_in), bound))))
            biases.append(torch.nn.Parameter(torch.from_numpy(draws.uniform((fan_out,), bound))))
        with torch.no_grad():
            biases[-1].fill_(mean_target)
        self.weights = torch.nn.ParameterList(weights)
        self.biases = torch.nn.ParameterList(biases)

    def forward(self, inputs: Tensor, kept: Sequence[Tensor] = ()) -> Tensor:
        """Scores in VMAF points [n].

        Args:
            inputs: [n, 24] or [n, 6], standardised features, and the codec block if the network takes it.
            kept: for each hidden layer what dropout keeps [n, width], or nothing for evaluation.
        """
        hidden = inputs
        for layer in range(len(self.arch.hidden)):
            before = hidden @ self.weights[layer].T + self.biases[layer]
            hidden = gelu(before) if self.arch.activation == "gelu" else relu(before)
            if kept:
                hidden = hidden * kept[layer] / (1 - self.arch.dropout)
        scores: Tensor = hidden @ self.weights[-1].T + self.biases[-1]
        return scores.squeeze(1)

    @torch.no_grad()
    def scores(self, inputs: Tensor) -> NDArray[np.float32]:
        """Scores as the exported graph gives them: float32 [n], clipped to the teacher's range."""
        self.eval()
        clipped: NDArray[np.float32] = self(inputs).clamp(*contract.SCORE_RANGE).numpy()
        return clipped


def restored(arch: Architecture, arrays: Mapping[str, NDArray[np.float32]]) -> tuple[Network, Standardiser]:
    """A finished member from the arrays of its checkpoint, see :class:`kit.training.checkpoints.Checkpoint`."""
    network = Network(arch, Draws(0, ""), 0.0)
    network.load_state_dict({name: torch.from_numpy(arrays[name]) for name in network.state_dict()})
    return network, Standardiser(mean=arrays["mean"], std=arrays["std"])
