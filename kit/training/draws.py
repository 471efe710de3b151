"""Every random number of one member, from its own counter-based streams.

The key depends only on (seed, group id), so the other members of a stack, the order and the process change nothing.
Weights, orders, masks and zeroed codec blocks have one stream each, and the position in a stream follows from the epoch
or the step: any step can be drawn without those before it, in portions of any size.
Philox: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

#: Streams of one key: the highest word of the counter.
_WEIGHTS, _ORDERS, _MASKS, _BLOCKS = range(4)
#: Bytes of one tick of the counter: four words of 64 bits.
_TICK = 32
_GOLDEN = (5**0.5 - 1) / 2


class Draws:
    """The random numbers of one member."""

    def __init__(self, seed: int, group_id: str) -> None:
        digest = hashlib.sha256(f"{seed}:{group_id}".encode()).digest()
        self._key = np.frombuffer(digest[:16], dtype="<u8").astype(np.uint64)
        self._weights = np.random.Generator(self._stream(_WEIGHTS))
        self._masks, self._next_step = self._stream(_MASKS), 0

    def _stream(self, purpose: int, *, tick: int = 0, epoch: int = 0) -> np.random.Philox:
        return np.random.Philox(key=self._key, counter=np.array([tick, epoch, 0, purpose], dtype=np.uint64))

    def uniform(self, shape: Sequence[int], bound: float) -> NDArray[np.float32]:
        """Return float32 of ``shape``, uniform in [-bound, bound); each call continues the stream."""
        unit = self._weights.random(tuple(shape), dtype=np.float32)
        return (unit * np.float32(2) - np.float32(1)) * np.float32(bound)

    def order(self, epoch: int, count: int) -> NDArray[np.int64]:
        """Return the order of the rows in an epoch, a permutation of 0 … count-1."""
        return np.random.Generator(self._stream(_ORDERS, epoch=epoch)).permutation(count)

    def zeroed_blocks(self, epoch: int, count: int, share: float) -> NDArray[np.bool_]:
        """Return whose codec block is zero in an epoch: bool [count], for the rows in the order of that epoch."""
        unit = np.random.Generator(self._stream(_BLOCKS, epoch=epoch)).random(count, dtype=np.float32)
        zeroed: NDArray[np.bool_] = unit < np.float32(share)
        return zeroed

    def kept(self, step: int, dropout: float, out: Sequence[NDArray[np.bool_]]) -> None:
        """Draw the dropout masks of consecutive steps, counted from the start of training.

        One random byte per unit is compared with a threshold. 0.1 is not a multiple of 1/256: three in five units
        are dropped with 26/256 and two in five with 25/256, evenly spread, so that their mean is 0.1.

        Args:
            out: for each hidden layer [steps, batch size x width], written: which units are kept.
        """
        steps, ends = len(out[0]), np.cumsum([layer.shape[1] for layer in out])
        ticks = -(-int(ends[-1]) // _TICK)
        if self._next_step != step:
            self._masks = self._stream(_MASKS, tick=step * ticks)
        self._next_step = step + steps
        drawn = self._masks.random_raw(steps * ticks * 4).astype("<u8", copy=False).view(np.uint8).reshape(steps, -1)
        thresholds = _thresholds(int(ends[-1]), dropout)
        for layer, end in zip(out, ends, strict=True):
            part = slice(end - layer.shape[1], end)
            np.greater_equal(drawn[:, part], thresholds[part], out=layer)


@cache
def _thresholds(units: int, dropout: float) -> NDArray[np.uint8]:
    """Return the limit below which a byte drops its unit: 256 times ``dropout``, rounded so that the mean is right."""
    spread = np.arange(1, units + 1) * _GOLDEN % 1
    thresholds: NDArray[np.uint8] = np.floor(256 * dropout + spread).astype(np.uint8)
    return thresholds
