"""The rows of a corpus as arrays, in a fixed order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from kit.core import contract
from kit.core.inputs import DEFAULT_INPUTS, Inputs
from kit.corpus.store.cellfile import CellRows
from kit.corpus.store.shard import CellEntry, Shard, read_rows
from kit.training.codec_block import codec_block

#: Rows of a part of :func:`with_zeroed_copies`: there may be millions.
_PART = 1 << 16


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Training rows.

    Attributes:
        inputs: names of the columns of ``features`` and ``codec``.
        features: float32 [n, features] raw; codec: float32 [n, slots]; target: float32 [n], VMAF points.
    """

    features: NDArray[np.float32]
    codec: NDArray[np.float32]
    target: NDArray[np.float32]
    inputs: Inputs = DEFAULT_INPUTS

    def __len__(self) -> int:
        return len(self.target)


@dataclass(frozen=True, kw_only=True)
class Table(Rows):
    """All rows of a corpus, cells in order of their keys, frames in order within a cell.

    Attributes:
        cells: the finished cells; ``cell`` [n] is the index of each row's cell.
        frame: int32 [n], frame index within the cell.
        corpora: names of the data sets that the cells were made for, sorted.
    """

    cells: tuple[CellEntry, ...]
    cell: NDArray[np.int32]
    frame: NDArray[np.int32]
    corpora: tuple[str, ...] = ()


def load(shard: Shard, inputs: Inputs = DEFAULT_INPUTS) -> Table:
    """Read every finished cell.

    Raises:
        Missing, CheckFailed: a cell is missing or damaged.
        BadInput: the corpus lacks a feature.
    """
    return gathered(read_rows(shard), inputs)


def gathered(cells: Iterable[tuple[CellEntry, CellRows]], inputs: Inputs = DEFAULT_INPUTS) -> Table:
    """Return the rows of cells, which come in order of their keys."""
    entries, corpora = [], set()
    features = [np.empty((0, len(inputs.features)), dtype=np.float32)]
    target = [np.empty(0, dtype=np.float32)]
    columns = inputs.columns_of(contract.FEATURES)
    for entry, rows in cells:
        entries.append(entry)
        corpora.add(str(rows.labels["corpus"]))
        features.append(rows.features.take(columns, axis=1).astype(np.float32))
        target.append(rows.vmaf.astype(np.float32))
    counts = [entry.rows for entry in entries]
    cell = np.repeat(np.arange(len(entries), dtype=np.int32), counts)
    return Table(
        inputs=inputs,
        cells=tuple(entries),
        cell=cell,
        frame=np.concatenate([np.empty(0, dtype=np.int32), *(np.arange(count, dtype=np.int32) for count in counts)]),
        features=np.concatenate(features),
        codec=_blocks(entries, inputs)[cell],
        target=np.concatenate(target),
        corpora=tuple(sorted(corpora)),
    )


def _blocks(cells: Iterable[CellEntry], inputs: Inputs) -> NDArray[np.float32]:
    """Return the codec block of each cell, float32 [cells, slots]."""
    blocks = [codec_block(cell.encoder, cell.preset, cell.cq, inputs.encoder_vocab) for cell in cells]
    return np.array(blocks, dtype=np.float32).reshape(-1, inputs.codec_width)


def with_inputs(table: Table, inputs: Inputs) -> Table:
    """Return the same rows with the columns of other inputs.

    Raises:
        BadInput: the table lacks a feature.
    """
    columns = inputs.columns_of(table.inputs.features)
    codec = _blocks(table.cells, inputs)[table.cell]
    return replace(table, inputs=inputs, features=table.features.take(columns, axis=1), codec=codec)


def only(table: Table, keys: Set[str]) -> Table:
    """Return the rows of the cells with these keys."""
    kept = np.array([entry.key in keys for entry in table.cells], dtype=np.bool_)
    rows = kept[table.cell]
    return replace(
        table,
        cells=tuple(entry for entry in table.cells if entry.key in keys),
        cell=(np.cumsum(kept) - 1)[table.cell[rows]].astype(np.int32),
        frame=table.frame[rows],
        features=table.features[rows],
        codec=table.codec[rows],
        target=table.target[rows],
    )


def with_zeroed_copies(rows: NDArray[np.float32], inputs: Inputs) -> Iterator[NDArray[np.float32]]:
    """Yield the rows of :func:`matrix` [n, width + 1], then a copy of each with a codec block of zeros, in parts.

    The block of an encoder outside the vocabulary is zero in both.
    """
    first = len(inputs.features)
    encoders, block = slice(first, first + len(inputs.encoder_vocab)), slice(first, first + inputs.codec_width)
    for zeroed in (False, True):
        for begin in range(0, len(rows), _PART):
            part = rows[begin : begin + _PART].copy()
            part[:, block] *= 0 if zeroed else part[:, encoders].any(axis=1, keepdims=True)
            yield part


def matrix(table: Rows, *, codec_aware: bool) -> NDArray[np.float32]:
    """Return raw inputs and target side by side: float32 [n, width + 1]."""
    inputs = (table.features, table.codec) if codec_aware else (table.features,)
    return np.concatenate([*inputs, table.target[:, None]], axis=1)
