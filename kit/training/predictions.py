"""Out-of-fold predictions: kept for every row and seed, so that the gate can be replayed without training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from kit.core import contract
from kit.core.errors import BadInput, Missing
from kit.corpus.store.cellfile import as_numbers
from kit.system.fsio import atomic_path
from kit.training.folds import Fold
from kit.training.table import Table

if TYPE_CHECKING:
    import pyarrow as pa

_VERSION_KEY, _CORPUS_KEY = b"vmaf_kit.schema_version", b"vmaf_kit.corpus_sha256"
#: Columns of labels, of which many rows share each.
_LABELS = ("fold", "cell_key")
#: Rows of a row group; written one at a time.
_ROW_GROUP = 1 << 20


@cache
def prediction_schema() -> pa.Schema:
    """``seed, fold, cell_key, frame_index, target, prediction``; scores float32."""
    import pyarrow as pa

    return pa.schema(
        [
            pa.field("seed", pa.int32(), nullable=False),
            pa.field("fold", pa.string(), nullable=False),
            pa.field("cell_key", pa.string(), nullable=False),
            pa.field("frame_index", pa.int32(), nullable=False),
            pa.field("target", pa.float32(), nullable=False),
            pa.field("prediction", pa.float32(), nullable=False),
        ]
    )


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """Columns of equal length, sorted by seed, fold, cell key and frame; each label is stored once.

    Attributes:
        corpus_sha256: the corpus that the members were trained on.
        folds: labels of the held-out groups, sorted; cells: cell keys, sorted.
        seed, frame: int32 [n]; fold, cell: int32 [n], indices into ``folds`` and ``cells``.
        target, prediction: float32 [n], VMAF points.
    """

    corpus_sha256: str
    folds: tuple[str, ...]
    cells: tuple[str, ...]
    seed: NDArray[np.int32]
    fold: NDArray[np.int32]
    cell: NDArray[np.int32]
    frame: NDArray[np.int32]
    target: NDArray[np.float32]
    prediction: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.seed)

    def members(self) -> Iterator[tuple[int, str, slice]]:
        """Yield (seed, fold, its rows) of every member in order."""
        for seed, rows in self.seeds():
            folds = self.fold[rows]
            for fold, begin, end in _runs(folds):
                yield seed, self.folds[fold], slice(rows.start + begin, rows.start + end)

    def part(self, rows: slice) -> Predictions:
        """Return some of the rows."""
        return replace(
            self,
            seed=self.seed[rows],
            fold=self.fold[rows],
            cell=self.cell[rows],
            frame=self.frame[rows],
            target=self.target[rows],
            prediction=self.prediction[rows],
        )

    def same_rows(self, other: Predictions) -> bool:
        """Return whether both have the same corpus, folds, rows and targets; predictions may differ."""
        labels = (self.corpus_sha256, self.folds, self.cells) == (other.corpus_sha256, other.folds, other.cells)
        names = ("seed", "fold", "cell", "frame", "target")
        return labels and all(np.array_equal(getattr(self, name), getattr(other, name)) for name in names)

    def seeds(self) -> Iterator[tuple[int, slice]]:
        """Yield (seed, its rows) of every seed in order."""
        for seed, begin, end in _runs(self.seed):
            yield seed, slice(begin, end)


def _runs(values: NDArray[np.int32]) -> Iterator[tuple[int, int, int]]:
    """Yield (value, begin, end) of every run of equal values."""
    ends = [*(np.flatnonzero(np.diff(values)) + 1).tolist(), len(values)] if len(values) else []
    for begin, end in pairwise([0, *ends]):
        yield int(values[begin]), begin, end


def from_codes(
    corpus_sha256: str, folds: tuple[str, ...], cells: tuple[str, ...], columns: Mapping[str, NDArray[np.generic]]
) -> Predictions:
    """Sort columns named as in the schema, whose ``fold`` and ``cell_key`` are indices into sorted labels."""
    order = np.lexsort([columns[name] for name in ("frame_index", "cell_key", "fold", "seed")])
    return Predictions(
        corpus_sha256=corpus_sha256,
        folds=folds,
        cells=cells,
        seed=columns["seed"][order].astype(np.int32),
        fold=columns["fold"][order].astype(np.int32),
        cell=columns["cell_key"][order].astype(np.int32),
        frame=columns["frame_index"][order].astype(np.int32),
        target=columns["target"][order].astype(np.float32),
        prediction=columns["prediction"][order].astype(np.float32),
    )


def from_members(
    corpus_sha256: str, rows: Table, members: Sequence[tuple[int, Fold, NDArray[np.float32]]]
) -> Predictions:
    """Join what members predict for the rows that they hold out.

    Args:
        rows: every row that may be held out.
        members: seed, fold, and float32 [len(fold.held)] in the order of ``fold.held``.
    """
    labels = tuple(sorted({fold.held_out for _, fold, _ in members}))
    held = np.concatenate([fold.held for _, fold, _ in members] or [np.empty(0, dtype=np.int64)])
    counts = [len(fold.held) for _, fold, _ in members]
    columns = {
        "seed": np.repeat(np.array([seed for seed, _, _ in members], dtype=np.int32), counts),
        "fold": np.repeat(np.array([labels.index(fold.held_out) for _, fold, _ in members], np.int32), counts),
        "cell_key": rows.cell[held],
        "frame_index": rows.frame[held],
        "target": rows.target[held],
        "prediction": np.concatenate([scores for *_, scores in members] or [np.empty(0, dtype=np.float32)]),
    }
    return from_codes(corpus_sha256, labels, tuple(entry.key for entry in rows.cells), columns)


def write(path: Path, predictions: Predictions) -> None:
    """Write the table; the same predictions give the same bytes."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    metadata = {
        _VERSION_KEY: str(contract.SCHEMA_VERSION).encode(),
        _CORPUS_KEY: predictions.corpus_sha256.encode(),
    }
    schema = prediction_schema().with_metadata(metadata)
    labels = {"fold": pa.array(predictions.folds, pa.string()), "cell_key": pa.array(predictions.cells, pa.string())}
    columns = dict(
        zip(
            schema.names,
            (
                predictions.seed,
                predictions.fold,
                predictions.cell,
                predictions.frame,
                predictions.target,
                predictions.prediction,
            ),
            strict=True,
        )
    )
    with atomic_path(path) as temporary, pq.ParquetWriter(temporary, schema, compression="zstd") as writer:
        for begin in range(0, len(predictions), _ROW_GROUP):
            part = {name: column[begin : begin + _ROW_GROUP] for name, column in columns.items()}
            arrays = [
                labels[name].take(pa.array(values)) if name in labels else pa.array(values)
                for name, values in part.items()
            ]
            writer.write_table(pa.table(arrays, schema=schema))


def read(path: Path) -> Predictions:
    """Read and check the schema.

    Raises:
        Missing: no such file.
        BadInput: not Parquet, other columns, or another schema version.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as opened:
            schema = opened.schema_arrow
        _check(path, schema)
        with pq.ParquetFile(path, read_dictionary=_LABELS) as opened:
            table = opened.read()
    except FileNotFoundError:
        raise Missing(f"{path} is missing", hint="Run `train` first.") from None
    except (pa.ArrowException, OSError) as error:
        raise BadInput(f"{path} cannot be read: {error}", hint="Run `train` again.") from error
    if holes := [name for name in schema.names if table.column(name).null_count]:
        raise BadInput(f"{path} has rows without {', '.join(holes)}", hint="Run `train` again.")
    columns = {name: as_numbers(table.column(name)) for name in schema.names if name not in _LABELS}
    labels = {}
    for name in _LABELS:
        labels[name], columns[name] = _codes(table.column(name))
    corpus_sha256 = (schema.metadata or {}).get(_CORPUS_KEY, b"").decode("ascii", "replace")
    return from_codes(corpus_sha256, labels["fold"], labels["cell_key"], columns)


def _check(path: Path, schema: pa.Schema) -> None:
    if not schema.remove_metadata().equals(prediction_schema()):
        raise BadInput(f"{path} has the columns {schema.names}, expected {prediction_schema().names}")
    version = (schema.metadata or {}).get(_VERSION_KEY)
    if version != str(contract.SCHEMA_VERSION).encode():
        raise BadInput(f"{path}: schema version {version!r}, expected {contract.SCHEMA_VERSION}")


def _codes(column: pa.ChunkedArray) -> tuple[tuple[str, ...], NDArray[np.int32]]:
    """Return the sorted labels of a dictionary column, and each row's index into them."""
    if not column.num_chunks:
        return (), np.empty(0, dtype=np.int32)
    chunks = column.unify_dictionaries().chunks
    labels, positions = np.unique(np.array(chunks[0].dictionary.to_pylist(), dtype=np.str_), return_inverse=True)
    codes = np.concatenate([np.from_dlpack(chunk.indices) for chunk in chunks])
    return tuple(labels.tolist()), positions.astype(np.int32)[codes]
