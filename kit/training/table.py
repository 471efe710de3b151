"""A shard's rows as arrays, in one fixed order."""

from __future__ import annotations

from collections.abc import Iterable, Set
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kit.corpus.store.cellfile import CellRows
from kit.corpus.store.shard import CellEntry, Shard, read_rows
from kit.training.codec_block import codec_block


@dataclass(frozen=True, kw_only=True)
class Rows:
    """What members are trained on.

    Attributes:
        features: float32 [n, 6] raw; codec: float32 [n, 18]; target: float32 [n], VMAF points.
    """

    features: NDArray[np.float32]
    codec: NDArray[np.float32]
    target: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.target)


@dataclass(frozen=True, kw_only=True)
class Table(Rows):
    """All rows of a corpus, cells in order of their keys, frames in order within a cell.

    Attributes:
        cells: the finished cells; ``cell`` [n] is the index of each row's cell.
        frame: int32 [n], frame index within the cell.
    """

    cells: tuple[CellEntry, ...]
    cell: NDArray[np.int32]
    frame: NDArray[np.int32]


def load(shard: Shard) -> Table:
    """Read every finished cell.

    Raises:
        Missing, CheckFailed: a cell is not there or damaged.
    """
    return gathered(read_rows(shard))


def gathered(cells: Iterable[tuple[CellEntry, CellRows]]) -> Table:
    """The rows of cells that come in order of their keys."""
    entries, parts = [], []
    for entry, rows in cells:
        block = np.array(codec_block(entry.encoder, entry.preset, entry.cq), dtype=np.float32)
        parts.append((rows.features.astype(np.float32), np.tile(block, (entry.rows, 1)), rows.vmaf.astype(np.float32)))
        entries.append(entry)
    counts = [entry.rows for entry in entries]
    empty = np.empty(0, dtype=np.int32)
    return Table(
        cells=tuple(entries),
        cell=np.repeat(np.arange(len(entries), dtype=np.int32), counts),
        frame=np.concatenate([np.arange(count, dtype=np.int32) for count in counts] or [empty]),
        features=np.concatenate([part[0] for part in parts] or [np.empty((0, 6), dtype=np.float32)]),
        codec=np.concatenate([part[1] for part in parts] or [np.empty((0, 18), dtype=np.float32)]),
        target=np.concatenate([part[2] for part in parts] or [np.empty(0, dtype=np.float32)]),
    )


def only(table: Table, keys: Set[str]) -> Table:
    """The rows of the cells with these keys."""
    kept = np.array([entry.key in keys for entry in table.cells], dtype=np.bool_)
    rows = kept[table.cell]
    return Table(
        cells=tuple(entry for entry in table.cells if entry.key in keys),
        cell=(np.cumsum(kept) - 1)[table.cell[rows]].astype(np.int32),
        frame=table.frame[rows],
        features=table.features[rows],
        codec=table.codec[rows],
        target=table.target[rows],
    )


def matrix(table: Rows, *, codec_aware: bool) -> NDArray[np.float32]:
    """Raw inputs and target side by side: float32 [n, 25], or [n, 7] without the codec block."""
    inputs = (table.features, table.codec) if codec_aware else (table.features,)
    return np.concatenate([*inputs, table.target[:, None]], axis=1)
