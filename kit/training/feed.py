"""The batches of one member, step by step: row indices and dropout masks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kit.training.draws import Draws
from kit.training.recipe import Recipe


class Feed:
    """The batches of one member, in the order of the reference loop.

    Args:
        train: int32 [n], indices of its training rows.
        zeroed_from: with block dropout, the index of the first row's copy with a codec block of zeros.

    Attributes:
        steps: steps of the whole training.
        steps_per_epoch: steps of one pass over its rows.
    """

    def __init__(self, recipe: Recipe, draws: Draws, train: NDArray[np.int32], zeroed_from: int = 0) -> None:
        self._recipe, self._draws, self._train, self._zeroed_from = recipe, draws, train, zeroed_from
        self._dropout = recipe.architecture.dropout
        self.steps_per_epoch = recipe.steps_per_epoch(len(train))
        self.steps = recipe.epochs * self.steps_per_epoch
        self._epoch = -1
        self._batches = np.empty((0, recipe.batch_size), dtype=np.int32)

    def rows(self, first: int, count: int) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """Return the rows of consecutive steps, and the size of each batch.

        Returns:
            int32 [count, batch size], a smaller batch padded with rows of the same member, and int64 [count].
        """
        steps = np.arange(first, first + count)
        epochs, places = np.divmod(steps, self.steps_per_epoch)
        rows = np.empty((count, self._recipe.batch_size), dtype=np.int32)
        for epoch in np.unique(epochs):
            now = epochs == epoch
            rows[now] = self._batches_of(int(epoch))[places[now]]
        last = len(self._train) - (self.steps_per_epoch - 1) * self._recipe.batch_size
        return rows, np.where(places == self.steps_per_epoch - 1, last, self._recipe.batch_size)

    def _batches_of(self, epoch: int) -> NDArray[np.int32]:
        if epoch != self._epoch:
            rows, batches = len(self._train), np.empty(self.steps_per_epoch * self._recipe.batch_size, dtype=np.int32)
            np.take(self._train, self._draws.order(epoch, rows), out=batches[:rows])
            if self._recipe.block_dropout:
                zeroed = self._draws.zeroed_blocks(epoch, rows, self._recipe.block_dropout)
                batches[:rows][zeroed] += self._zeroed_from
            batches[rows:] = np.resize(batches[:rows], len(batches) - rows)
            self._batches, self._epoch = batches.reshape(self.steps_per_epoch, -1), epoch
        return self._batches

    def kept(self, first: int, out: Sequence[NDArray[np.bool_]]) -> None:
        """Draw the dropout masks of the steps from ``first`` on into ``out``, see :meth:`Draws.kept`."""
        self._draws.kept(first, self._dropout, out)
