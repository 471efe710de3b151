"""Trained members on disk, so that a training that was ended goes on with what is missing and ends with the same bits.

One file a member, safetensors, complete or not at all. Its name carries a hash of everything that its numbers depend
on; the same stands inside in words. ``<name>.part.safetensors`` is a member that is still in training.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from kit import __version__
from kit.core.canon import canonical_json, sha256_json
from kit.core.errors import BadInput
from kit.system.fsio import write_bytes
from kit.training.recipe import Recipe, architecture

Array = NDArray[np.float32] | NDArray[np.float64]
#: Version of what a file holds.
_FORM = 2
_AGAIN = "Delete this file and start the same command again: it trains that member once more, and no other."


@cache
def _versions() -> dict[str, str]:
    """What the numbers of a member depend on beside the kit; looked up once, for it takes milliseconds."""
    return {name: version(name) for name in ("torch", "numpy")}


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """What a file holds.

    Attributes:
        arrays: of a finished member ``weights.N`` [out, in], ``biases.N`` [out], ``mean`` and ``std`` [6],
            ``predictions`` [held-out rows] and ``training_loss`` [epochs], mean over the steps of an epoch, all
            float32; of one in training its rows of the stack's parameters and moments, and ``losses`` [epochs],
            float64 sums over the steps made so far.
        step: how many steps it has been trained.
        seconds: its share of the time that its stacks took.
    """

    arrays: Mapping[str, NDArray[Any]]
    step: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Checkpoints:
    """The members of one corpus, recipe and device in a folder."""

    folder: Path
    recipe: Recipe
    corpus_sha256: str
    device: str

    def path(self, seed: int, group_id: str, *, finished: bool = True) -> Path:
        """Where a member lies."""
        digest = sha256_json(self._identity(seed, group_id))
        return self.folder / f"seed{seed}-{digest[:16]}{'' if finished else '.part'}.safetensors"

    def _identity(self, seed: int, group_id: str) -> dict[str, object]:
        return {
            "recipe": asdict(self.recipe) | {"architecture": asdict(architecture(self.recipe.arch))},
            "corpus_sha256": self.corpus_sha256,
            "seed": seed,
            "group_id": group_id,
            "device": self.device,
            "kit": __version__,
            **_versions(),
            "form": _FORM,
        }

    def write(self, seed: int, group_id: str, checkpoint: Checkpoint, *, finished: bool) -> None:
        """Write a member; a finished one replaces the one in training."""
        metadata = {
            "identity": canonical_json(self._identity(seed, group_id)).decode(),
            "step": str(checkpoint.step),
            "seconds": repr(checkpoint.seconds),
        }
        arrays = {name: np.ascontiguousarray(array) for name, array in checkpoint.arrays.items()}
        write_bytes(self.path(seed, group_id, finished=finished), save(arrays, metadata=metadata))
        if finished:
            self.path(seed, group_id, finished=False).unlink(missing_ok=True)

    def read(self, seed: int, group_id: str, *, finished: bool = True) -> Checkpoint | None:
        """A member, or None if there is none.

        Raises:
            BadInput: the file is damaged or another member's.
        """
        path = self.path(seed, group_id, finished=finished)
        if not path.is_file():
            return None
        try:
            with safe_open(str(path), framework="numpy") as opened:
                metadata = opened.metadata() or {}
                arrays = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - no mapping
            if metadata["identity"] != canonical_json(self._identity(seed, group_id)).decode():
                raise BadInput(f"{path} is another member's", hint=_AGAIN)
            return Checkpoint(arrays=arrays, step=int(metadata["step"]), seconds=float(metadata["seconds"]))
        except (SafetensorError, KeyError, ValueError) as error:
            raise BadInput(f"{path} is damaged: {error}", hint=_AGAIN) from error
