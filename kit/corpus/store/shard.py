"""A shard: a folder of finished cells with a manifest, ``shard.json``, that is written last."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kit import __version__
from kit.core import contract
from kit.core.canon import sha256_json
from kit.core.errors import BadInput, CheckFailed, Missing
from kit.core.values import Cell, CellId, Teacher
from kit.corpus.store import cellfile
from kit.system.fsio import read_json, write_json

MANIFEST = "shard.json"
GROUPS = "groups.json"


@dataclass(frozen=True, kw_only=True)
class CellEntry:
    """A finished cell as the manifest lists it; ``path`` is relative to the shard, None what an import did not tell."""

    key: str
    source: str
    src_sha256: str | None
    group: str
    encoder: str
    preset: str | None
    cq: int
    rows: int
    encoded_bytes: int | None
    content_sha256: str
    path: str

    @property
    def source_id(self) -> str:
        """What tells its source from others: its identity, or its label where that is not known."""
        return self.src_sha256 or f"label:{self.source}"

    @property
    def id(self) -> CellId:
        return CellId(source=self.source, encoder=self.encoder, cq=self.cq)


@dataclass(frozen=True, kw_only=True)
class FailedCell:
    """A cell that could not be made, and why; ``tries`` counts how often it was tried."""

    key: str
    source: str
    encoder: str
    cq: int
    reason: str
    command: str
    stderr_tail: str
    tries: int = 1

    @property
    def id(self) -> CellId:
        return CellId(source=self.source, encoder=self.encoder, cq=self.cq)


@dataclass(frozen=True, kw_only=True)
class Box:
    """A machine that has made cells of a shard, and which; None and empty for what an import did not tell.

    Attributes:
        scorers: ``id``, ``version`` and ``golden`` answers of each scorer it has scored with; empty for a worker of a
            cluster, whose answers were held against those of the box that asked it.
        encoders: encoder name to its builds, sorted.
        cells, rows: finished ones, also those that another box has made too.
    """

    box: str | None
    platform: str | None
    scorers: tuple[Mapping[str, Any], ...]
    encoders: Mapping[str, tuple[str, ...]]
    cells: int
    rows: int

    @property
    def name(self) -> str:
        return self.box or "not told"


@dataclass(frozen=True, kw_only=True)
class Shard:
    """The manifest of a shard. The teacher is None where an import did not tell it.

    Attributes:
        folder: where the shard lies; not part of the manifest.
        boxes: who has made its cells, sorted by name and platform.
        sources: label, sha256, group and geometry of each source; of a merged shard also the ``labels`` and ``groups``
            that its inputs gave it.
        allow_partial: failed cells are waived; without them the shard counts as whole.
        dropped: keys of cells that a merge has left out because boxes disagreed about their numbers.
    """

    folder: Path
    boxes: tuple[Box, ...]
    demo: bool
    teacher: Teacher | None
    sources: tuple[Mapping[str, object], ...]
    cells: tuple[CellEntry, ...]
    failed: tuple[FailedCell, ...]
    allow_partial: bool = False
    dropped: tuple[str, ...] = ()
    feature_set: str = contract.FEATURE_SET

    @property
    def lacking(self) -> tuple[FailedCell, ...]:
        """Failed cells that are not waived."""
        return () if self.allow_partial else self.failed

    @property
    def corpus_sha256(self) -> str:
        """Hash of the sorted (key, content hash) list."""
        return sha256_json(sorted([entry.key, entry.content_sha256] for entry in self.cells))

    @property
    def rows(self) -> int:
        return sum(entry.rows for entry in self.cells)

    @property
    def encoders(self) -> dict[str, tuple[str, ...]]:
        """Every encoder with its builds on all boxes, sorted."""
        builds: dict[str, set[str]] = {}
        for box in self.boxes:
            for name, own in box.encoders.items():
                builds.setdefault(name, set()).update(own)
        return {name: tuple(sorted(builds[name])) for name in sorted(builds)}

    @property
    def groups(self) -> tuple[str, ...]:
        """Content groups that have at least one finished cell, sorted."""
        return tuple(sorted({entry.group for entry in self.cells}))


def place(cell: CellId, key: str) -> str:
    """Return the path of a cell's file relative to its shard."""
    return f"cells/{cell}-{key[:12]}.parquet"


def cell_path(cell: Cell) -> str:
    """Place of a cell's file in its shard."""
    return place(cell.id, cell.key)


def observed_path(folder: Path, relative: str) -> Path:
    """Place of what was observed while the cell was made."""
    return (folder / relative).with_suffix(".observed.json")


def observations(shard: Shard, entry: CellEntry) -> list[Mapping[str, Any]]:
    """What was observed each time that the cell was made.

    Raises:
        Missing, BadInput: it is not there or something else.
    """
    path = observed_path(shard.folder, entry.path)
    value: Any = read_json(path, written_by="corpus")
    try:
        return [{**observation} for observation in value["observations"]]
    except (KeyError, TypeError) as error:
        raise BadInput(f"{path} was not written by this version: {error!r}", hint="Run `corpus` again.") from error


def entry_for(cell: Cell, rows: cellfile.CellRows) -> CellEntry:
    """The manifest's line for a finished cell."""
    return CellEntry(
        key=cell.key,
        source=cell.source.label,
        src_sha256=cell.source.sha256,
        group=cell.source.group,
        encoder=cell.settings.encoder,
        preset=cell.settings.preset,
        cq=cell.settings.cq,
        rows=len(rows.vmaf),
        encoded_bytes=int(str(rows.facts["encoded_bytes"])),
        content_sha256=rows.content_sha256(),
        path=cell_path(cell),
    )


def groups_document(shard: Shard) -> dict[str, object]:
    """The content of ``groups.json``."""
    groups = {str(source["sha256"] or source["label"]): str(source["group"]) for source in shard.sources}
    return {"schema_version": contract.SCHEMA_VERSION, "groups": groups}


def write_manifest(shard: Shard) -> None:
    """Write ``groups.json`` and then ``shard.json``; cells in order of their keys."""
    write_json(shard.folder / GROUPS, groups_document(shard))
    value = {
        "schema_version": contract.SCHEMA_VERSION,
        "kit_version": __version__,
        "boxes": [asdict(box) for box in shard.boxes],
        "demo": shard.demo,
        "feature_set": shard.feature_set,
        "teacher": shard.teacher and shard.teacher.described,
        "sources": list(shard.sources),
        "cells": [asdict(entry) for entry in sorted(shard.cells, key=by_key)],
        "allow_partial": shard.allow_partial,
        "failed": [asdict(entry) for entry in sorted(shard.failed, key=lambda entry: entry.key)],
        "dropped": sorted(shard.dropped),
        "corpus_sha256": shard.corpus_sha256,
    }
    write_json(shard.folder / MANIFEST, value)


def read_manifest(folder: Path) -> Shard:
    """Read ``shard.json``.

    Raises:
        Missing: no manifest.
        BadInput: not a manifest of this schema version, or its corpus hash does not fit its cells.
    """
    path = folder / MANIFEST
    value: Any = read_json(path, written_by="corpus")
    try:
        if value["schema_version"] != contract.SCHEMA_VERSION:
            raise BadInput(f"{path}: schema version {value['schema_version']}, expected {contract.SCHEMA_VERSION}")
        shard = Shard(
            folder=folder,
            boxes=tuple(map(_box, value["boxes"])),
            demo=value["demo"],
            teacher=value["teacher"] and Teacher(**value["teacher"]),
            sources=tuple(value["sources"]),
            cells=tuple(CellEntry(**entry) for entry in value["cells"]),
            failed=tuple(FailedCell(**entry) for entry in value["failed"]),
            allow_partial=value["allow_partial"],
            dropped=tuple(value["dropped"]),
            feature_set=value["feature_set"],
        )
        if shard.corpus_sha256 != value["corpus_sha256"]:
            raise BadInput(f"{path}: corpus_sha256 does not fit the cells it lists", hint="Run `corpus` again.")
    except (KeyError, TypeError, AttributeError) as error:
        raise BadInput(f"{path} is not a shard manifest: {error!r}", hint="Run `corpus` again.") from error
    return shard


def _box(value: Any) -> Box:
    encoders = {name: tuple(builds) for name, builds in value["encoders"].items()}
    return Box(**{**value, "scorers": tuple(value["scorers"]), "encoders": encoders})


def by_key(entry: CellEntry) -> str:
    """The order in which a manifest lists cells."""
    return entry.key


def read_rows(
    shard: Shard, *, order: Callable[[CellEntry], Any] = by_key
) -> Iterator[tuple[CellEntry, cellfile.CellRows]]:
    """Every finished cell with its rows, in order of keys or another one.

    Raises:
        Missing: a listed cell is not there.
        CheckFailed: a cell is damaged or differs from its line in the manifest.
    """
    for entry in sorted(shard.cells, key=order):
        path = shard.folder / entry.path
        if not path.is_file():
            raise Missing(f"{path} is listed in {MANIFEST} and not there", hint="Run `corpus` again.")
        rows = cellfile.read(path)
        if rows.content_sha256() != entry.content_sha256 or rows.labels["cell_key"] != entry.key:
            raise CheckFailed(f"{entry.path} differs from its line in {MANIFEST}", hint="Run `corpus` again.")
        yield entry, rows


def failures_table(failed: Sequence[FailedCell]) -> list[tuple[str, str]]:
    """(cell, first line of the reason) of each failed cell."""
    return [(str(cell.id), cell.reason.splitlines()[0]) for cell in failed]
