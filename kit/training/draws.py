"""Every random number of one member, from a counter-based stream of its own.

The stream is keyed by (seed, group id), so who is trained beside a member, in which order or process, changes
nothing. Philox: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


class Draws:
    """The numbers in the order training asks for them: weights, then per epoch an order, then masks."""

    def __init__(self, seed: int, group_id: str) -> None:
        digest = hashlib.sha256(f"{seed}:{group_id}".encode()).digest()
        self._generator = np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "little")))

    def uniform(self, shape: Sequence[int], bound: float) -> NDArray[np.float32]:
        """Float32 of ``shape``, uniform in [-bound, bound)."""
        unit = self._generator.random(tuple(shape), dtype=np.float32)
        return (unit * np.float32(2) - np.float32(1)) * np.float32(bound)

    def order(self, count: int) -> NDArray[np.int64]:
        """A permutation of 0 … count-1."""
        return self._generator.permutation(count)

    def mask(self, shape: Sequence[int], dropout: float) -> NDArray[np.float32]:
        """Inverted dropout: 0 with probability ``dropout``, else 1/(1-dropout)."""
        kept = self._generator.random(tuple(shape), dtype=np.float32) >= np.float32(dropout)
        return kept.astype(np.float32) / np.float32(1 - dropout)
