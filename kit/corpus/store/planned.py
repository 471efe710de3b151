"""The plan of a shard, ``plan.json``: the cells that it will have, so that missing ones can be listed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kit.core import contract, layout
from kit.core.errors import BadInput, Missing
from kit.core.values import Cell
from kit.corpus.store.shard import MANIFEST, CellEntry, CellFacts, facts_of
from kit.system.fsio import read_json, write_bytes

PLAN = "plan.json"


@dataclass(frozen=True, kw_only=True)
class PlannedCell(CellFacts):
    """A cell that a shard will have; its rows are the frames of its source.

    Attributes:
        keyed: the facts that its key is the hash of; empty if only a manifest lists the cell.
    """

    keyed: Mapping[str, object]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The content of ``plan.json``.

    Attributes:
        elsewhere: the workers of a cluster make the cells, with their own encoders.
    """

    cells: tuple[PlannedCell, ...]
    elsewhere: bool


def from_cell(cell: Cell) -> PlannedCell:
    """Return a cell of a run as the plan lists it."""
    return PlannedCell(**facts_of(cell), keyed=cell.keyed)


def from_entry(entry: CellEntry) -> PlannedCell:
    """Return a finished cell of a manifest as a plan would list it."""
    return PlannedCell(**entry.facts, keyed={})


def write(folder: Path, cells: Iterable[Cell], *, elsewhere: bool = False) -> None:
    """Write ``plan.json``, one line per cell, sorted by key.

    Args:
        elsewhere: the workers of a cluster make the cells.
    """
    planned = sorted(map(from_cell, cells), key=lambda cell: cell.key)
    lines = ",\n".join(json.dumps(vars(cell), sort_keys=True, allow_nan=False) for cell in planned)
    rest = f'"elsewhere": {json.dumps(elsewhere)},\n"schema_version": {contract.SCHEMA_VERSION}'
    text = f'{{"cells": [\n{lines}\n],\n{rest}}}\n'
    write_bytes(folder / PLAN, text.encode("ascii"))


def read(folder: Path) -> Plan:
    """Read ``plan.json``.

    Raises:
        Missing: no plan.
        BadInput: not a plan of this schema version.
    """
    path = folder / PLAN
    value: Any = read_json(path, written_by="corpus")
    try:
        if value["schema_version"] != contract.SCHEMA_VERSION:
            raise BadInput(f"{path}: schema version {value['schema_version']}, expected {contract.SCHEMA_VERSION}")
        return Plan(cells=tuple(PlannedCell(**cell) for cell in value["cells"]), elsewhere=bool(value["elsewhere"]))
    except (KeyError, TypeError) as error:
        raise BadInput(f"{path} is not a plan: {error!r}", hint="Run `corpus` again.") from error


def shard_folder(folder: Path) -> Path:
    """Return the shard in a run folder, or the folder itself if it is a shard.

    Raises:
        Missing: no manifest and no plan in either.
    """
    for candidate in (folder, folder / layout.CORPUS):
        if any((candidate / name).is_file() for name in (MANIFEST, PLAN)):
            return candidate
    raise Missing(
        f"{folder} is neither a run folder with a corpus nor a shard: no {MANIFEST} and no {PLAN}",
        hint="Give the folder of a run or of a shard; `corpus` makes one.",
    )
