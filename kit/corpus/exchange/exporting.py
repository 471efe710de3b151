"""Export a shard as one table: the predecessor's JSONL, Parquet, or CSV. The same shard gives the same bytes."""

from __future__ import annotations

import csv
import gzip
import io
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

from kit.core.errors import BadInput
from kit.corpus.exchange import jsonl
from kit.corpus.store import cellfile
from kit.corpus.store import shard as shards
from kit.corpus.store.cellfile import CellRows
from kit.corpus.store.planned import shard_folder
from kit.corpus.store.shard import CellEntry, Shard
from kit.system.fsio import atomic_path

#: Rows of a Parquet row group, and about the number held in memory.
_ROW_GROUP = 100_000


def export(folder: Path, target: Path, form: str) -> Shard:
    """Write every row of a shard, cells sorted by source, encoder, quality point and key.

    Args:
        form: ``jsonl``, ``parquet`` or ``csv``; JSONL and CSV are gzipped if the name ends with ``.gz``.

    Raises:
        BadInput: the target exists, or the format cannot represent this shard.
        Missing, CheckFailed: no shard, or a damaged cell.
    """
    if target.exists():
        raise BadInput(f"{target} exists", hint="Give another name with --out, or remove it.")
    shard = shards.read_manifest(shard_folder(folder))
    _WRITERS[form](shard, target)
    return shard


def _cells(shard: Shard) -> Iterator[tuple[CellEntry, CellRows]]:
    return shards.read_rows(shard, order=lambda entry: (entry.id, entry.key))


@contextmanager
def _text(target: Path) -> Iterator[IO[str]]:
    """Open a text file that appears when it is complete; gzipped without name and time if it ends with ``.gz``."""
    with atomic_path(target) as temporary, temporary.open("wb") as raw:
        gzipped = gzip.GzipFile(filename="", fileobj=raw, mode="wb", mtime=0) if target.suffix == ".gz" else None
        with io.TextIOWrapper(gzipped or raw, encoding="utf-8", newline="") as text:
            yield text


def _write_jsonl(shard: Shard, target: Path) -> None:
    counts = Counter(entry.id for entry in shard.cells)
    if repeated := sorted(cell for cell, count in counts.items() if count > 1):
        raise BadInput(
            f"several cells have the same source, encoder and cq, which JSONL cannot represent: "
            f"{', '.join(map(str, repeated[:5]))}",
            hint="Use --format parquet or csv.",
        )
    with _text(target) as out:
        for entry, rows in _cells(shard):
            encode = {
                "src": entry.source,
                "encoder": entry.encoder,
                "cq": entry.cq,
                "enc_bytes": entry.encoded_bytes,
                "enc_time_ms": _enc_time_ms(shard, entry),
            }
            numbers = np.column_stack([rows.features, rows.vmaf]).tolist()
            out.writelines(jsonl.line(encode, frame, values) for frame, values in enumerate(numbers))


def _enc_time_ms(shard: Shard, entry: CellEntry) -> float | None:
    """Return the milliseconds of the encode alone, known for imported rows only: the kit encodes and scores at once."""
    times = {observation.get("enc_time_ms") for observation in shards.observations(shard, entry)} - {None}
    return times.pop() if len(times) == 1 else None


def _write_parquet(shard: Shard, target: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    facts = {"vmaf_kit.corpus_sha256": shard.corpus_sha256}
    schema = cellfile.row_schema().with_metadata(facts)
    with atomic_path(target) as temporary, pq.ParquetWriter(temporary, schema, compression="zstd") as writer:
        tables: list[Any] = []
        for _, rows in _cells(shard):
            tables.append(cellfile.as_table(rows).replace_schema_metadata(facts))
            if sum(table.num_rows for table in tables) >= _ROW_GROUP:
                writer.write_table(pa.concat_tables(tables))
                tables.clear()
        if tables:
            writer.write_table(pa.concat_tables(tables))


def _write_csv(shard: Shard, target: Path) -> None:
    """Write CSV with numbers that read back exactly; an empty field is null."""
    with _text(target) as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(cellfile.row_schema().names)
        for _, rows in _cells(shard):
            writer.writerows(zip(*cellfile.as_table(rows).to_pydict().values(), strict=True))


_WRITERS: dict[str, Callable[[Shard, Path], None]] = {
    "jsonl": _write_jsonl,
    "parquet": _write_parquet,
    "csv": _write_csv,
}
