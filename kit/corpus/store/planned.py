"""The plan of a shard, ``plan.json``: which cells are to be there, so that anyone can tell what is missing."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kit.core import contract
from kit.core.errors import BadInput
from kit.core.values import Cell, CellId
from kit.corpus.store.shard import CellEntry, cell_path
from kit.system.fsio import read_json, write_bytes

PLAN = "plan.json"


@dataclass(frozen=True, kw_only=True)
class PlannedCell:
    """A cell that is to be in a shard; ``path`` is relative to it.

    Attributes:
        rows: frames of its source.
        keyed: what its key is the hash of; empty where only a manifest tells of it.
    """

    key: str
    source: str
    src_sha256: str | None
    group: str
    encoder: str
    preset: str | None
    cq: int
    rows: int
    path: str
    keyed: Mapping[str, object]

    @property
    def id(self) -> CellId:
        return CellId(source=self.source, encoder=self.encoder, cq=self.cq)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What ``plan.json`` holds.

    Attributes:
        elsewhere: the cells are made on other boxes, with the encoders that those have.
    """

    cells: tuple[PlannedCell, ...]
    elsewhere: bool


def from_cell(cell: Cell) -> PlannedCell:
    """A cell of the run."""
    settings = cell.settings
    return PlannedCell(
        key=cell.key,
        source=cell.source.label,
        src_sha256=cell.source.sha256,
        group=cell.source.group,
        encoder=settings.encoder,
        preset=settings.preset,
        cq=settings.cq,
        rows=cell.source.geometry.frames,
        path=cell_path(cell),
        keyed=cell.keyed,
    )


def from_entry(entry: CellEntry) -> PlannedCell:
    """A cell that a manifest lists as finished."""
    values = asdict(entry)
    del values["encoded_bytes"], values["content_sha256"]
    return PlannedCell(**values, keyed={})


def write(folder: Path, cells: Iterable[Cell], *, elsewhere: bool = False) -> None:
    """Write ``plan.json``, one line a cell, in order of their keys.

    Args:
        elsewhere: they are made on other boxes.
    """
    planned = sorted(map(from_cell, cells), key=lambda cell: cell.key)
    lines = ",\n".join(json.dumps(vars(cell), sort_keys=True, allow_nan=False) for cell in planned)
    rest = f'"elsewhere": {json.dumps(elsewhere)},\n"schema_version": {contract.SCHEMA_VERSION}'
    text = f'{{"cells": [\n{lines}\n],\n{rest}}}\n'
    write_bytes(folder / PLAN, text.encode("ascii"))


def read(folder: Path) -> Plan:
    """Read ``plan.json``.

    Raises:
        Missing: there is none.
        BadInput: it is not a plan of this schema version.
    """
    path = folder / PLAN
    value: Any = read_json(path, written_by="corpus")
    try:
        if value["schema_version"] != contract.SCHEMA_VERSION:
            raise BadInput(f"{path}: schema version {value['schema_version']}, expected {contract.SCHEMA_VERSION}")
        return Plan(cells=tuple(PlannedCell(**cell) for cell in value["cells"]), elsewhere=bool(value["elsewhere"]))
    except (KeyError, TypeError) as error:
        raise BadInput(f"{path} is not a plan: {error!r}", hint="Run `corpus` again.") from error
