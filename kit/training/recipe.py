"""What decides a member's weights besides its seed and its rows. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from kit.core import contract

#: Names of further heads on the six features alone, after the widths of their hidden layers: ``mlp-32-16``.
_BY_WIDTHS = re.compile(r"mlp((?:-[1-9][0-9]{0,2}){1,4})")


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """A network of fully connected layers with one output.

    Attributes:
        hidden: widths of the hidden layers, none for a linear head.
        activation: after each hidden layer: ``gelu`` (exact, with erf) or ``relu``.
        codec_aware: inputs are the six features and the codec block, else the features alone.
        dropout: share of hidden units that is dropped in training.
    """

    name: str
    hidden: tuple[int, ...]
    activation: str
    codec_aware: bool
    dropout: float

    @property
    def inputs(self) -> int:
        """Number of inputs."""
        return len(contract.FEATURES) + (contract.CODEC_DIM if self.codec_aware else 0)

    @property
    def widths(self) -> tuple[int, ...]:
        """Widths of the layers from input to output."""
        return (self.inputs, *self.hidden, 1)


def architecture(name: str = contract.ARCH) -> Architecture:
    """The architecture of a name in ``contract.ARCHS`` or ``contract.ABLATIONS``, or of one such as ``mlp-32-16``.

    Raises:
        KeyError: there is no such one.
    """
    if found := _BY_WIDTHS.fullmatch(name):
        widths = tuple(map(int, found[1].split("-")[1:]))
        return Architecture(name=name, hidden=widths, activation="relu", codec_aware=False, dropout=0.0)
    hidden, activation, codec_aware, dropout = (contract.ARCHS | contract.ABLATIONS)[name]
    return Architecture(name=name, hidden=hidden, activation=activation, codec_aware=codec_aware, dropout=dropout)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a member is trained: Adam on the mean squared error, ``epochs`` passes over all rows in random order.

    The last batch of a pass may be smaller.
    """

    epochs: int
    arch: str = contract.ARCH
    batch_size: int = contract.BATCH_SIZE
    lr: float = contract.LEARNING_RATE
    weight_decay: float = contract.WEIGHT_DECAY

    def steps_per_epoch(self, rows: int) -> int:
        """Number of batches of one pass."""
        return -(-rows // self.batch_size)
