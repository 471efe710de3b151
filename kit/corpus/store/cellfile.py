"""One finished cell in one Parquet file: rows in the contract's schema, deterministic facts in the footer."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kit.core import contract
from kit.core.canon import canonical_json
from kit.core.errors import CheckFailed
from kit.system.fsio import write_bytes

if TYPE_CHECKING:
    import pyarrow as pa

_FACTS_KEY = b"vmaf_kit.facts"
_LABELS = ("cell_key", "src", "src_sha256", "group", "corpus", "encoder", "preset")
#: Labels that imported rows do not give.
_MAY_BE_NULL = ("src_sha256", "preset")


@cache
def row_schema() -> pa.Schema:
    """Return the schema of every row, checked on read and on write."""
    import pyarrow as pa

    fields = [pa.field(name, pa.string(), nullable=name in _MAY_BE_NULL) for name in _LABELS]
    fields += [pa.field(name, pa.int32(), nullable=False) for name in ("cq", "frame_index")]
    fields += [pa.field(name, pa.float64(), nullable=False) for name in (*contract.FEATURES, "vmaf")]
    return pa.schema(fields)


@cache
def _schema_as_read() -> pa.Schema:
    """Return the schema with dictionary-encoded labels."""
    import pyarrow as pa

    encoded = pa.dictionary(pa.int32(), pa.string())
    return pa.schema([field.with_type(encoded) if field.name in _LABELS else field for field in row_schema()])


@dataclass(frozen=True, kw_only=True)
class CellRows:
    """The rows of one cell and the facts that are the same for all of them.

    Attributes:
        labels: value of each text column (``cell_key, src, src_sha256, group, corpus, encoder, preset``); None for
            ``src_sha256`` and ``preset`` of an imported cell.
        cq: requested quality point.
        features: float64 [frames, 6]; vmaf: float64 [frames], VMAF points.
        facts: deterministic facts (geometry, argv, build, encoded bytes, teacher, counts), JSON values.
    """

    labels: Mapping[str, str | None]
    cq: int
    features: NDArray[np.float64]
    vmaf: NDArray[np.float64]
    facts: Mapping[str, object]

    def content_sha256(self) -> str:
        """Return the SHA-256 over the numeric columns, little endian, without labels and file layout."""
        digest = hashlib.sha256(np.int64(len(self.vmaf)).astype("<i8").tobytes())
        digest.update(np.ascontiguousarray(self.features, dtype="<f8").tobytes())
        digest.update(np.ascontiguousarray(self.vmaf, dtype="<f8").tobytes())
        return digest.hexdigest()


def as_table(cell: CellRows) -> pa.Table:
    """Return the rows as a table of the schema, without the facts."""
    import pyarrow as pa

    count = len(cell.vmaf)
    columns: dict[str, object] = {name: pa.repeat(pa.scalar(cell.labels[name], pa.string()), count) for name in _LABELS}
    columns["cq"] = np.full(count, cell.cq, dtype=np.int32)
    columns["frame_index"] = np.arange(count, dtype=np.int32)
    columns.update({name: cell.features[:, i] for i, name in enumerate(contract.FEATURES)})
    columns["vmaf"] = cell.vmaf
    return pa.table(columns, schema=row_schema())


def file_bytes(cell: CellRows) -> bytes:
    """Return the content of the cell's file; the same cell gives the same bytes."""
    import pyarrow.parquet as pq

    facts = {**cell.facts, "schema_version": contract.SCHEMA_VERSION}
    buffer = io.BytesIO()
    table = as_table(cell).replace_schema_metadata({_FACTS_KEY: canonical_json(facts)})
    # a dictionary of distinct numbers only adds size
    pq.write_table(table, buffer, compression="zstd", use_dictionary=[*_LABELS, "cq"])
    return buffer.getvalue()


def write(path: Path, cell: CellRows) -> None:
    """Write the cell's file."""
    write_bytes(path, file_bytes(cell))


def read_facts(path: Path) -> Mapping[str, object]:
    """Return the facts in the footer, including ``schema_version``, without reading rows.

    Raises:
        CheckFailed: not Parquet, or no facts.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        facts = json.loads(pq.read_metadata(pa.BufferReader(path.read_bytes())).metadata[_FACTS_KEY])
    except (pa.ArrowException, OSError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise CheckFailed(f"cell {path.name} cannot be read: {error}") from error
    if not isinstance(facts, dict):
        raise CheckFailed(f"cell {path.name}: the facts in its footer are not a JSON object")
    return facts


def read(path: Path) -> CellRows:
    """Read and check a cell; raises what :func:`parse` raises, also for a missing file."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CheckFailed(f"cell {path.name} cannot be read: {error}") from error
    return parse(data, path.name)


def parse(data: bytes, name: str, *, rows: int | None = None) -> CellRows:
    """Read and check the content of a cell's file.

    Args:
        name: of the cell in errors.
        rows: expected number, compared with the footer before a row is read; None for any number.

    Raises:
        CheckFailed: not Parquet, another schema, no row, another number of rows, rows of several cells, frames missing
            or out of order, a value that is not finite.
    """
    table, facts = _table(data, name, rows)
    if facts.get("schema_version") != contract.SCHEMA_VERSION:
        raise CheckFailed(
            f"cell {name} has schema version {facts.get('schema_version')}, expected {contract.SCHEMA_VERSION}"
        )
    count = table.num_rows
    uniform = {name: set(table.column(name).unique().to_pylist()) for name in (*_LABELS, "cq")}
    if count == 0 or any(len(values) != 1 for values in uniform.values()):
        raise CheckFailed(f"cell {name} has {count} rows of several cells, expected rows of one")
    if not np.array_equal(as_numbers(table.column("frame_index")), np.arange(count)):
        raise CheckFailed(f"cell {name}: frames are missing or out of order")
    numbers = np.column_stack([as_numbers(table.column(name)) for name in (*contract.FEATURES, "vmaf")])
    if not np.isfinite(numbers).all():
        raise CheckFailed(f"cell {name} has values that are not finite")
    return CellRows(
        labels={name: uniform[name].pop() for name in _LABELS},
        cq=uniform["cq"].pop(),
        features=np.ascontiguousarray(numbers[:, :-1]),
        vmaf=numbers[:, -1].copy(),
        facts={key: value for key, value in facts.items() if key != "schema_version"},
    )


def as_numbers(column: pa.ChunkedArray) -> NDArray[Any]:
    """Return a numeric column without nulls [n]. pyarrow's ``to_numpy`` imports pandas, which takes half a second."""
    return np.from_dlpack(column.combine_chunks())


def _table(data: bytes, name: str, rows: int | None) -> tuple[pa.Table, Mapping[str, Any]]:
    """Return the rows and the facts of a file of the schema."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        # dictionary-encoded: a long text in every row is one text in memory
        file = pq.ParquetFile(pa.BufferReader(data), read_dictionary=list(_LABELS))
        schema, count = file.schema_arrow, file.metadata.num_rows
        facts = json.loads((schema.metadata or {})[_FACTS_KEY])
        if not isinstance(facts, dict):
            raise CheckFailed(f"cell {name}: the facts in its footer are not a JSON object")
        if not schema.remove_metadata().equals(_schema_as_read()):
            raise CheckFailed(
                f"cell {name} has the columns {schema.names}, expected {row_schema().names} and their types"
            )
        if rows not in (None, count):
            raise CheckFailed(f"cell {name} has {count} rows, expected {rows}")
        return file.read(use_threads=False), facts
    except KeyError as error:
        missing = "no facts" if error.args == (_FACTS_KEY,) else f"no column {error}"
        raise CheckFailed(f"cell {name} cannot be read: it has {missing}") from error
    except (pa.ArrowException, OSError, ValueError, RecursionError) as error:
        raise CheckFailed(f"cell {name} cannot be read: {error}") from error
