"""Out-of-fold predictions: kept for every row and seed, so that the gate can be replayed without training."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from kit import contract
from kit.errors import BadInput, Missing
from kit.fsio import write_bytes

if TYPE_CHECKING:
    import pyarrow as pa

_VERSION_KEY, _CORPUS_KEY = b"vmaf_kit.schema_version", b"vmaf_kit.corpus_sha256"


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
    """Columns of equal length, sorted by seed, fold, cell key and frame.

    Attributes:
        corpus_sha256: the corpus they were trained on.
        seed, frame: int32 [n]; fold, cell: str [n]; target, prediction: float32 [n], VMAF points.
    """

    corpus_sha256: str
    seed: NDArray[np.int32]
    fold: NDArray[np.str_]
    cell: NDArray[np.str_]
    frame: NDArray[np.int32]
    target: NDArray[np.float32]
    prediction: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.seed)

    def members(self) -> Iterator[tuple[int, str, NDArray[np.bool_]]]:
        """(seed, fold, rows) of every member there is, in order."""
        pairs = sorted({(int(seed), str(fold)) for seed, fold in zip(self.seed, self.fold, strict=True)})
        for seed, fold in pairs:
            yield seed, fold, (self.seed == seed) & (self.fold == fold)


def from_columns(corpus_sha256: str, columns: Mapping[str, NDArray[np.generic]]) -> Predictions:
    """Sort unordered columns (named as in the schema) into a :class:`Predictions`."""
    order = np.lexsort([columns[name] for name in ("frame_index", "cell_key", "fold", "seed")])
    return Predictions(
        corpus_sha256=corpus_sha256,
        seed=columns["seed"][order].astype(np.int32),
        fold=columns["fold"][order].astype(np.str_),
        cell=columns["cell_key"][order].astype(np.str_),
        frame=columns["frame_index"][order].astype(np.int32),
        target=columns["target"][order].astype(np.float32),
        prediction=columns["prediction"][order].astype(np.float32),
    )


def write(path: Path, predictions: Predictions) -> None:
    """Write the table; the same predictions give the same bytes."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    metadata = {
        _VERSION_KEY: str(contract.SCHEMA_VERSION).encode(),
        _CORPUS_KEY: predictions.corpus_sha256.encode(),
    }
    columns = [predictions.seed, predictions.fold, predictions.cell, predictions.frame, predictions.target,
               predictions.prediction]  # fmt: skip
    schema = prediction_schema()
    arrays = [pa.array(column.tolist() if field.type == pa.string() else column, type=field.type)
              for column, field in zip(columns, schema, strict=True)]  # fmt: skip
    buffer = io.BytesIO()
    pq.write_table(pa.table(arrays, schema=schema.with_metadata(metadata)), buffer, compression="zstd")
    write_bytes(path, buffer.getvalue())


def read(path: Path) -> Predictions:
    """Read and check the schema.

    Raises:
        Missing: no such file.
        BadInput: not Parquet, other columns, or another schema version.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(io.BytesIO(path.read_bytes())).read()
    except FileNotFoundError:
        raise Missing(f"{path} is not there", hint="Run `train` first.") from None
    except (pa.ArrowException, OSError) as error:
        raise BadInput(f"{path} cannot be read: {error}", hint="Run `train` again.") from error
    metadata = table.schema.metadata or {}
    if not table.schema.remove_metadata().equals(prediction_schema()):
        raise BadInput(f"{path} has the columns {table.schema.names}, expected {prediction_schema().names}")
    if metadata.get(_VERSION_KEY) != str(contract.SCHEMA_VERSION).encode():
        raise BadInput(f"{path}: schema version {metadata.get(_VERSION_KEY)!r}, expected {contract.SCHEMA_VERSION}")
    columns = {name: table.column(name).to_numpy() for name in table.schema.names}
    return from_columns(metadata.get(_CORPUS_KEY, b"").decode("ascii", "replace"), columns)
