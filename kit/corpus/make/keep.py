"""Keeping a finished cell: its file, and beside it what was observed and what the file is."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from kit.core import contract
from kit.corpus.store import cellfile
from kit.corpus.store.shard import observed_path
from kit.system.fsio import json_bytes, write_bytes


def keep(folder: Path, relative: str, rows: cellfile.CellRows, observations: Sequence[Mapping[str, object]]) -> None:
    """Write a cell and what was observed; the cell last, since its presence means that it is finished.

    Args:
        folder: the shard; ``relative``: place of the cell's file in it.
    """
    data, observed = contents(rows, observations)
    write_bytes(observed_path(folder, relative), observed)
    write_bytes(folder / relative, data)


def contents(rows: cellfile.CellRows, observations: Sequence[Mapping[str, object]]) -> tuple[bytes, bytes]:
    """The bytes of a cell's file and of the one beside it."""
    data = cellfile.file_bytes(rows)
    observed = {
        "schema_version": contract.SCHEMA_VERSION,
        "cell_key": rows.labels["cell_key"],
        "file": {
            "sha256": hashlib.sha256(data).hexdigest(),
            "rows": len(rows.vmaf),
            "encoded_bytes": rows.facts["encoded_bytes"],
            "content_sha256": rows.facts["content_sha256"],
        },
        "observations": list(observations),
    }
    return data, json_bytes(observed)
