"""One finished cell in one Parquet file: rows in the contract's schema, deterministic facts in the footer."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from kit import contract
from kit.canon import canonical_json
from kit.errors import Wanting
from kit.fsio import write_bytes

if TYPE_CHECKING:
    import pyarrow as pa

_FACTS_KEY = b"vmaf_kit.facts"
_LABELS = ("cell_key", "src", "src_sha256", "group", "corpus", "encoder", "preset")


@cache
def row_schema() -> pa.Schema:
    """The schema of every row, checked on read and on write."""
    import pyarrow as pa

    fields = [pa.field(name, pa.string(), nullable=False) for name in _LABELS]
    fields += [pa.field(name, pa.int32(), nullable=False) for name in ("cq", "frame_index")]
    fields += [pa.field(name, pa.float64(), nullable=False) for name in (*contract.FEATURES, "vmaf")]
    return pa.schema(fields)


@dataclass(frozen=True, kw_only=True)
class CellRows:
    """The rows of one cell and the facts that hold for all of them.

    Attributes:
        labels: value of each text column (``cell_key, src, src_sha256, group, corpus, encoder, preset``).
        cq: requested quality point.
        features: float64 [frames, 6]; vmaf: float64 [frames], VMAF points.
        facts: deterministic facts (geometry, argv, build, encoded bytes, teacher, counts), JSON values.
    """

    labels: Mapping[str, str]
    cq: int
    features: NDArray[np.float64]
    vmaf: NDArray[np.float64]
    facts: Mapping[str, object]

    def content_sha256(self) -> str:
        """SHA-256 over the numeric columns, little endian; labels and file layout are in no comparison."""
        digest = hashlib.sha256(np.int64(len(self.vmaf)).astype("<i8").tobytes())
        digest.update(np.ascontiguousarray(self.features, dtype="<f8").tobytes())
        digest.update(np.ascontiguousarray(self.vmaf, dtype="<f8").tobytes())
        return digest.hexdigest()


def write(path: Path, cell: CellRows) -> None:
    """Write the cell; the same cell gives the same bytes."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    count = len(cell.vmaf)
    columns: dict[str, object] = {name: [cell.labels[name]] * count for name in _LABELS}
    columns["cq"] = np.full(count, cell.cq, dtype=np.int32)
    columns["frame_index"] = np.arange(count, dtype=np.int32)
    columns.update({name: cell.features[:, i] for i, name in enumerate(contract.FEATURES)})
    columns["vmaf"] = cell.vmaf
    facts = {"schema_version": contract.SCHEMA_VERSION, **cell.facts}
    schema = row_schema().with_metadata({_FACTS_KEY: canonical_json(facts)})
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns, schema=schema), buffer, compression="zstd")
    write_bytes(path, buffer.getvalue())


def read(path: Path) -> CellRows:
    """Read and check a cell.

    Raises:
        Wanting: not Parquet, another schema, no row, rows of several cells, frames missing or out of order, a
            value that is not finite.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(io.BytesIO(path.read_bytes())).read()
        facts = json.loads((table.schema.metadata or {})[_FACTS_KEY])
    except (pa.ArrowException, OSError, KeyError, ValueError, RecursionError) as error:
        raise Wanting(f"cell {path.name} cannot be read: {error}") from error
    if not isinstance(facts, dict):
        raise Wanting(f"cell {path.name}: the facts in its footer are no JSON object")
    if not table.schema.remove_metadata().equals(row_schema()):
        raise Wanting(f"cell {path.name} has other columns than the schema: {table.schema.names}")
    if facts.get("schema_version") != contract.SCHEMA_VERSION:
        raise Wanting(
            f"cell {path.name} has schema version {facts.get('schema_version')}, expected {contract.SCHEMA_VERSION}"
        )
    count = table.num_rows
    uniform = {name: set(table.column(name).to_pylist()) for name in (*_LABELS, "cq")}
    if count == 0 or any(len(values) != 1 for values in uniform.values()):
        raise Wanting(f"cell {path.name} holds {count} rows of several cells")
    if not np.array_equal(table.column("frame_index").to_numpy(), np.arange(count)):
        raise Wanting(f"cell {path.name}: frames are missing or out of order")
    numbers = np.column_stack([table.column(name).to_numpy() for name in (*contract.FEATURES, "vmaf")])
    if not np.isfinite(numbers).all():
        raise Wanting(f"cell {path.name} holds values that are not finite")
    return CellRows(
        labels={name: uniform[name].pop() for name in _LABELS}, cq=uniform["cq"].pop(),
        features=np.ascontiguousarray(numbers[:, :-1]), vmaf=numbers[:, -1].copy(),
        facts={key: value for key, value in facts.items() if key != "schema_version"},
    )  # fmt: skip
