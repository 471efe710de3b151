"""The network in plain torch: [features ‖ codec block] → hidden layers → 1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import gelu, relu

from kit.core import contract
from kit.core.inputs import Inputs
from kit.training.draws import Draws
from kit.training.recipe import Architecture
from kit.training.standardiser import Standardiser

#: Array of a checkpoint with :attr:`Network.trained_slots`.
TRAINED_SLOTS = "trained_slots"


class Network(torch.nn.Module):
    """The network; dropout masks are passed in, so that a member's random numbers come from its own streams.

    Weights and biases start uniform in ±1/sqrt(fan_in), as torch.nn.Linear does; the output layer's bias starts
    at the mean target of the training rows.

    Attributes:
        trained_slots: float32 [slots of the codec block], 1 for an encoder that the training rows have, else 0. The
            block of any other encoder is zero in :meth:`scores`, as it is for a share of the training rows. None for a
            network without the block, or trained without such rows.
    """

    trained_slots: Tensor | None = None

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
        """Return scores in VMAF points [n].

        Args:
            inputs: [n, width], standardised features, and the codec block if the network takes it.
            kept: dropout masks [n, width], one per hidden layer; empty for evaluation.
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
    def unclipped(self, inputs: Tensor) -> NDArray[np.float32]:
        """Return scores of any size: float32 [n]; the spread over the members of an ensemble is that of these."""
        self.eval()
        scores: NDArray[np.float32] = self(self.as_known(inputs)).numpy()
        return scores

    def scores(self, inputs: Tensor) -> NDArray[np.float32]:
        """Return the scores of the exported graph: float32 [n], clipped to the teacher's range."""
        return self.unclipped(inputs).clip(*contract.SCORE_RANGE)

    def as_known(self, inputs: Tensor) -> Tensor:
        """Return the inputs [n, width] with the codec block of each untrained encoder set to zero."""
        if self.trained_slots is None:
            return inputs
        features, block = torch.split(inputs, [len(self.arch.inputs.features), len(self.trained_slots)], dim=1)
        known = (block * self.trained_slots).sum(dim=1, keepdim=True).clamp(0, 1)
        return torch.cat([features, block * known], dim=1)


def trained_slots(codec: NDArray[np.float32], train: NDArray[np.int32], inputs: Inputs) -> Tensor:
    """Return the encoders that training rows have, see :class:`Network`.

    Args:
        codec: [n, slots], codec blocks; train: indices of the training rows.
    """
    slots = torch.zeros(inputs.codec_width)
    for slot in range(len(inputs.encoder_vocab)):  # one at a time: there may be millions of rows
        slots[slot] = float(codec[train, slot].any())
    return slots


def restored(arch: Architecture, arrays: Mapping[str, NDArray[np.float32]]) -> tuple[Network, Standardiser]:
    """Return network and standardiser from the arrays of a checkpoint, see :mod:`kit.training.checkpoint`."""
    network = Network(arch, Draws(0, ""), 0.0)
    network.load_state_dict({name: torch.from_numpy(arrays[name]) for name in network.state_dict()})
    if TRAINED_SLOTS in arrays:
        network.trained_slots = torch.from_numpy(arrays[TRAINED_SLOTS])
    return network, Standardiser(mean=arrays["mean"], std=arrays["std"])
