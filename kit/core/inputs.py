"""What a network takes: features by name and order, and the encoders that the codec block has a slot for. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kit.core import contract
from kit.core.errors import BadInput


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """The inputs of a network; every width follows from them.

    Attributes:
        features: columns of the feature set, in the order of every matrix and model input.
        encoder_vocab: encoders of that version of the vocabulary; the index is the slot in the codec block.
    """

    feature_set: str
    features: tuple[str, ...]
    encoder_vocab_version: int
    encoder_vocab: tuple[str, ...]

    @property
    def codec_block_layout(self) -> tuple[str, ...]:
        """The slots of the codec block, named as in sidecars."""
        return (*(f"encoder_onehot[{name}]" for name in self.encoder_vocab), "preset_norm", "crf_norm")

    @property
    def codec_width(self) -> int:
        return len(self.codec_block_layout)

    def width(self, *, codec_aware: bool) -> int:
        """Return the number of inputs of a network, with or without the codec block."""
        return len(self.features) + (self.codec_width if codec_aware else 0)

    @property
    def ranges(self) -> tuple[tuple[float, float], ...]:
        """Lowest and highest value of each feature."""
        return tuple(contract.FEATURE_RANGES.get(name, contract.OTHER_FEATURE_RANGE) for name in self.features)

    def columns_of(self, available: Sequence[str]) -> list[int]:
        """Return the index of each feature among available columns.

        Raises:
            BadInput: a feature is missing.
        """
        if missing := [name for name in self.features if name not in available]:
            raise BadInput(
                f"feature set {self.feature_set} needs {', '.join(missing)}; available: {', '.join(available)}",
                hint="Measure the features again, or choose a model of another feature set.",
            )
        return [available.index(name) for name in self.features]

    def as_dict(self) -> dict[str, object]:
        """Return what a checkpoint records, see :func:`read_inputs`."""
        return {
            "feature_set": self.feature_set,
            "features": list(self.features),
            "encoder_vocab_version": self.encoder_vocab_version,
            "encoder_vocab": list(self.encoder_vocab),
        }


def known_inputs(
    feature_set: str = contract.FEATURE_SET, encoder_vocab_version: int = contract.ENCODER_VOCAB_VERSION
) -> Inputs:
    """Return the inputs of a feature set and a vocabulary version of the contract.

    Raises:
        BadInput: this version of the kit does not know one of them.
    """
    try:
        return Inputs(
            feature_set=feature_set,
            features=contract.FEATURE_COLUMNS[feature_set],
            encoder_vocab_version=encoder_vocab_version,
            encoder_vocab=contract.ENCODER_VOCABS[encoder_vocab_version],
        )
    except KeyError as error:
        raise BadInput(
            f"unknown feature set or encoder vocabulary: {feature_set}, version {encoder_vocab_version}",
            hint="Use the version of the kit that wrote it, or a newer one.",
        ) from error


#: What is trained unless something else is passed in.
DEFAULT_INPUTS = known_inputs()
#: What a document without inputs means: it was written before they were recorded.
UNNAMED_INPUTS = known_inputs("canonical-6", 3)


def read_inputs(document: Mapping[str, Any] | None) -> Inputs:
    """Return the inputs that :meth:`Inputs.as_dict` wrote; :data:`UNNAMED_INPUTS` for None.

    Raises:
        BadInput: a feature set or vocabulary version of the contract is listed with other names.
    """
    if document is None:
        return UNNAMED_INPUTS
    inputs = Inputs(
        feature_set=document["feature_set"],
        features=tuple(document["features"]),
        encoder_vocab_version=document["encoder_vocab_version"],
        encoder_vocab=tuple(document["encoder_vocab"]),
    )
    for what, listed, expected in (
        (inputs.feature_set, inputs.features, contract.FEATURE_COLUMNS.get(inputs.feature_set)),
        (
            f"encoder vocabulary {inputs.encoder_vocab_version}",
            inputs.encoder_vocab,
            contract.ENCODER_VOCABS.get(inputs.encoder_vocab_version),
        ),
    ):
        if expected and expected != listed:
            raise BadInput(f"{what} is listed as {', '.join(listed)}; expected {', '.join(expected)}")
    return inputs
