"""Everything that decides a member's weights except its seed and its rows. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kit.core import contract
from kit.core.inputs import DEFAULT_INPUTS, UNNAMED_INPUTS, Inputs, read_inputs

#: Names of heads on the features alone, after the widths of their hidden layers: ``mlp-32-16``.
_BY_WIDTHS = re.compile(r"mlp((?:-[1-9][0-9]{0,2}){1,4})")


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """A network of fully connected layers with one output.

    Attributes:
        hidden: widths of the hidden layers, empty for a linear head.
        activation: after each hidden layer: ``gelu`` (exact, with erf) or ``relu``.
        codec_aware: whether the codec block is an input, after the features.
        dropout: share of hidden units that is dropped in training.
    """

    name: str
    hidden: tuple[int, ...]
    activation: str
    codec_aware: bool
    dropout: float
    inputs: Inputs = DEFAULT_INPUTS

    @property
    def widths(self) -> tuple[int, ...]:
        """Widths of the layers from input to output."""
        return (self.inputs.width(codec_aware=self.codec_aware), *self.hidden, 1)

    def as_dict(self) -> dict[str, object]:
        """Return what documents say of it; its inputs are recorded beside it."""
        return {
            "name": self.name,
            "hidden": list(self.hidden),
            "activation": self.activation,
            "codec_aware": self.codec_aware,
            "dropout": self.dropout,
        }


def architecture(name: str = contract.ARCH, inputs: Inputs = DEFAULT_INPUTS) -> Architecture:
    """Return the architecture of a name in ``contract.ARCHS`` or ``contract.ABLATIONS``, or such as ``mlp-32-16``.

    Raises:
        KeyError: unknown name.
    """
    if match := _BY_WIDTHS.fullmatch(name):
        hidden, activation, codec_aware, dropout = tuple(map(int, match[1].split("-")[1:])), "relu", False, 0.0
    else:
        hidden, activation, codec_aware, dropout = (contract.ARCHS | contract.ABLATIONS)[name]
    return Architecture(
        name=name, hidden=hidden, activation=activation, codec_aware=codec_aware, dropout=dropout, inputs=inputs
    )


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a member is trained to the least mean squared error.

    With Adam: ``epochs`` passes over all rows in random order; the last batch of a pass may be smaller.

    Attributes:
        block_dropout: share of the training rows whose codec block is zero, drawn anew in each pass; 0 for none.
        solver: ``adam``, or ``least squares`` for a network without hidden layers, which then ignores the numbers.
        max_rows_per_source: most training rows of a source, see :func:`kit.training.folds.thinned`; None for no limit.
        name: of ``contract.RECIPES``; the other fields decide the weights.
    """

    epochs: int
    arch: str = contract.ARCH
    batch_size: int = contract.BATCH_SIZE
    lr: float = contract.LEARNING_RATE
    weight_decay: float = contract.WEIGHT_DECAY
    inputs: Inputs = DEFAULT_INPUTS
    max_rows_per_source: int | None = None
    block_dropout: float = 0.0
    solver: str = contract.ADAM
    name: str = field(default=contract.UNNAMED_RECIPE, compare=False)

    @property
    def architecture(self) -> Architecture:
        return architecture(self.arch, self.inputs)

    def steps_per_epoch(self, rows: int) -> int:
        """Return the number of batches of one pass."""
        return -(-rows // self.batch_size)

    def as_dict(self) -> dict[str, object]:
        """Return what documents and keys record.

        Inputs, limit, block dropout and solver are listed only where they are not those that a document without them
        means, so that keys of earlier trainings stay valid.
        """
        listed: dict[str, object] = {
            name: getattr(self, name) for name in ("epochs", "arch", "batch_size", "lr", "weight_decay")
        }
        if self.inputs != UNNAMED_INPUTS:
            listed["inputs"] = self.inputs.as_dict()
        if self.max_rows_per_source:
            listed["max_rows_per_source"] = self.max_rows_per_source
        if self.block_dropout:
            listed["block_dropout"] = self.block_dropout
        if self.solver != contract.ADAM:
            listed["solver"] = self.solver
        return listed


def solver_of(arch: str) -> str:
    """Return how an architecture is trained: without hidden layers the least squares are a closed form."""
    return contract.ADAM if architecture(arch).hidden else contract.LEAST_SQUARES


def named_recipe(
    name: str | None, *, epochs: int, arch: str, inputs: Inputs = DEFAULT_INPUTS, max_rows_per_source: int | None = None
) -> Recipe:
    """Return a recipe of ``contract.RECIPES``; None is that of a document without a recipe, which has Adam only.

    Raises:
        KeyError: unknown recipe or architecture.
    """
    known = name or contract.UNNAMED_RECIPE
    return Recipe(
        epochs=epochs,
        arch=arch,
        inputs=inputs,
        max_rows_per_source=max_rows_per_source,
        block_dropout=contract.RECIPES[known] if architecture(arch).codec_aware else 0.0,
        solver=solver_of(arch) if name else contract.ADAM,
        name=known,
    )


def read_recipe(document: Mapping[str, Any]) -> Recipe:
    """Return the recipe that :meth:`Recipe.as_dict` wrote.

    Raises:
        BadInput: as :func:`kit.core.inputs.read_inputs`.
    """
    return Recipe(**(dict(document) | {"inputs": read_inputs(document.get("inputs"))}))
