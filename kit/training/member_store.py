"""A folder of members, so that an interrupted training continues and ends with the same bits.

One file per member, complete or absent. Its name carries a hash of everything that its numbers depend on, which is also
inside as JSON. ``<name>.part.safetensors`` is a member in training.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kit import __version__
from kit.core.canon import sha256_json
from kit.core.errors import BadInput
from kit.training import checkpoint
from kit.training.checkpoint import Checkpoint
from kit.training.recipe import Recipe

Array = NDArray[np.float32] | NDArray[np.float64]
#: Version of the arrays of a member; part of its identity.
_FORM = 2
_HINT = "Delete this file and start the same command again: it trains only this member again."


@cache
def _versions() -> dict[str, str]:
    """Return the versions that a member's numbers depend on, besides the kit's; the lookup takes milliseconds."""
    return {name: version(name) for name in ("torch", "numpy")}


@dataclass(frozen=True, kw_only=True)
class MemberStore:
    """The members of one corpus, recipe and device in a folder."""

    folder: Path
    recipe: Recipe
    corpus_sha256: str
    device: str

    def identity(self, seed: int, group_id: str) -> dict[str, object]:
        """Return everything that decides a member's numbers, JSON."""
        return {
            "recipe": self.recipe.as_dict() | {"architecture": self.recipe.architecture.as_dict()},
            "corpus_sha256": self.corpus_sha256,
            "seed": seed,
            "group_id": group_id,
            "device": self.device,
            "kit": __version__,
            **_versions(),
            "form": _FORM,
        }

    def path(self, seed: int, group_id: str, *, finished: bool = True) -> Path:
        """Return the file of a member."""
        digest = sha256_json(self.identity(seed, group_id))
        return self.folder / f"seed{seed}-{digest[:16]}{'' if finished else '.part'}.safetensors"

    def write(
        self, seed: int, group_id: str, arrays: Mapping[str, Array], *, step: int, seconds: float, finished: bool
    ) -> None:
        """Write a member; a finished one replaces its partial file."""
        facts = {"identity": self.identity(seed, group_id), "step": step, "seconds": seconds}
        kind = checkpoint.MEMBER if finished else checkpoint.PARTIAL
        checkpoint.write(
            self.path(seed, group_id, finished=finished),
            Checkpoint(kind=kind, recipe=self.recipe, arrays=arrays, facts=facts),
        )
        if finished:
            self.path(seed, group_id, finished=False).unlink(missing_ok=True)

    def read(self, seed: int, group_id: str, *, finished: bool = True) -> Checkpoint | None:
        """Return a member, or None without a file.

        Raises:
            BadInput: the file is damaged or contains another member.
        """
        path = self.path(seed, group_id, finished=finished)
        if not path.is_file():
            return None
        member = checkpoint.read(path, hint=_HINT)
        if member.facts.get("identity") != self.identity(seed, group_id):
            raise BadInput(f"{path} contains another member", hint=_HINT)
        return member
