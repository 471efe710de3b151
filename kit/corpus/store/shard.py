"""A shard: a folder of finished cells with a manifest, ``shard.json``, which is written last."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from kit import __version__
from kit.core import contract
from kit.core.canon import sha256_json
from kit.core.errors import BadInput, CheckFailed, Missing
from kit.core.values import Cell, CellId, Teacher
from kit.corpus.store import cellfile
from kit.system.fsio import json_bytes, read_json, write_bytes, write_json

MANIFEST = "shard.json"
GROUPS = "groups.json"
#: Shown in place of a name that imported rows do not give.
UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True)
class CellFacts:
    """What plan and manifest list of a cell; None if imported rows do not give a value.

    Attributes:
        path: of its file, relative to the shard.
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

    @property
    def source_id(self) -> str:
        """Identity of its source, or its label if that is unknown."""
        return self.src_sha256 or f"label:{self.source}"

    @property
    def id(self) -> CellId:
        return CellId(source=self.source, encoder=self.encoder, cq=self.cq)

    @property
    def facts(self) -> dict[str, Any]:
        """These facts without those that a subclass adds."""
        return {field.name: getattr(self, field.name) for field in fields(CellFacts)}


@dataclass(frozen=True, kw_only=True)
class CellEntry(CellFacts):
    """A finished cell in the manifest."""

    encoded_bytes: int | None
    content_sha256: str


@dataclass(frozen=True, kw_only=True)
class FailedCell:
    """A cell that could not be made, and why."""

    key: str
    source: str
    encoder: str
    cq: int
    reason: str
    command: str = ""
    stderr_tail: str = ""
    tries: int = 1

    @classmethod
    def of(cls, cell: Cell, reason: str, *, command: str = "", stderr_tail: str = "", tries: int = 1) -> FailedCell:
        """Return the failure of a planned cell."""
        return cls(
            key=cell.key,
            source=cell.source.label,
            encoder=cell.settings.encoder,
            cq=cell.settings.cq,
            reason=reason,
            command=command,
            stderr_tail=stderr_tail,
            tries=tries,
        )

    @property
    def id(self) -> CellId:
        return CellId(source=self.source, encoder=self.encoder, cq=self.cq)

    @property
    def short_reason(self) -> str:
        """The first line of the reason."""
        return self.reason.splitlines()[0]


@dataclass(frozen=True, kw_only=True)
class Box:
    """A machine that made cells of a shard; None and empty if imported rows do not give a value.

    Attributes:
        scorers: ``id``, ``version`` and ``golden`` answers of each scorer it used; empty for a worker of a cluster,
            whose answers were compared with those of the box that planned the cells.
        encoders: encoder name to its builds, sorted.
        cells, rows: finished ones, including those that another box made too.
    """

    box: str | None
    platform: str | None
    scorers: tuple[Mapping[str, Any], ...]
    encoders: Mapping[str, tuple[str, ...]]
    cells: int
    rows: int

    @property
    def name(self) -> str:
        return self.box or UNKNOWN


@dataclass(frozen=True, kw_only=True)
class Shard:
    """The manifest of a shard.

    Attributes:
        folder: the shard's folder; not part of the manifest.
        boxes: the boxes that made its cells, sorted by name and platform.
        teacher: None if imported rows do not name it.
        sources: label, sha256, group and geometry of each source; in a merged shard also the ``labels`` and ``groups``
            that the inputs gave it.
        allow_partial: failed cells are waived; the shard counts as complete without them.
        dropped: keys of cells that a merge left out because boxes disagreed about their numbers.
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
    def unwaived(self) -> tuple[FailedCell, ...]:
        """Failed cells that are not waived."""
        return () if self.allow_partial else self.failed

    @property
    def problems(self) -> list[str]:
        """One line for each failed cell that is not waived; any makes the evidence not valid."""
        return [f"cell {cell.id} failed: {cell.short_reason}" for cell in self.unwaived]

    @property
    def corpus_sha256(self) -> str:
        """SHA-256 of the sorted list of (key, content hash)."""
        return sha256_json(sorted([entry.key, entry.content_sha256] for entry in self.cells))

    @property
    def rows(self) -> int:
        return sum(entry.rows for entry in self.cells)

    @property
    def totals(self) -> str:
        """The size of the corpus and its hash, for people."""
        return (
            f"{len(self.cells)} cells, {self.rows} rows, {len(self.sources)} sources, {len(self.failed)} failed cells; "
            f"corpus.sha256 {self.corpus_sha256[:12]}"
        )

    @property
    def encoders(self) -> dict[str, tuple[str, ...]]:
        """Builds of each encoder on all boxes, sorted."""
        builds: dict[str, set[str]] = {}
        for box in self.boxes:
            for name, own in box.encoders.items():
                builds.setdefault(name, set()).update(own)
        return {name: tuple(sorted(builds[name])) for name in sorted(builds)}

    @property
    def groups(self) -> tuple[str, ...]:
        """Content groups that have at least one finished cell, sorted."""
        return tuple(sorted({entry.group for entry in self.cells}))


def path_of(cell: CellId, key: str) -> str:
    """Return the path of a cell's file, relative to its shard."""
    return f"cells/{cell}-{key[:12]}.parquet"


def cell_path(cell: Cell) -> str:
    """Return the path of a cell's file, relative to its shard."""
    return path_of(cell.id, cell.key)


def observed_path(folder: Path, relative: str) -> Path:
    """Return the path of the observations of a cell."""
    return (folder / relative).with_suffix(".observed.json")


def observations(shard: Shard, entry: CellEntry) -> list[Mapping[str, Any]]:
    """Return the observations of a cell, one for each time that a box made it.

    Raises:
        Missing, BadInput: not there, or not such a file.
    """
    path = observed_path(shard.folder, entry.path)
    value: Any = read_json(path, written_by="corpus")
    try:
        return [{**observation} for observation in value["observations"]]
    except (KeyError, TypeError) as error:
        raise BadInput(f"{path} was not written by this version: {error!r}", hint="Run `corpus` again.") from error


def write_cell(
    folder: Path, relative: str, rows: cellfile.CellRows, observations: Sequence[Mapping[str, object]]
) -> None:
    """Write a cell and its observations; the cell last, since its presence means that it is finished.

    Args:
        folder: the shard.
        relative: path of the cell's file in it.
    """
    data, observed = cell_files(rows, observations)
    write_bytes(observed_path(folder, relative), observed)
    write_bytes(folder / relative, data)


def cell_files(rows: cellfile.CellRows, observations: Sequence[Mapping[str, object]]) -> tuple[bytes, bytes]:
    """Return the bytes of a cell's file and of its observations."""
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


def facts_of(cell: Cell) -> dict[str, Any]:
    """Return what plan and manifest list of a cell of a run, by the names of :class:`CellFacts`."""
    return {
        "key": cell.key,
        "source": cell.source.label,
        "src_sha256": cell.source.sha256,
        "group": cell.source.group,
        "encoder": cell.settings.encoder,
        "preset": cell.settings.preset,
        "cq": cell.settings.cq,
        "rows": cell.source.geometry.frames,
        "path": cell_path(cell),
    }


def row_labels(facts: Mapping[str, Any], corpus: str) -> dict[str, Any]:
    """Return the labels of a cell's rows.

    Args:
        facts: by the names of :class:`CellFacts`.
        corpus: name of the corpus that the cell was made for.
    """
    same = {name: facts[name] for name in ("src_sha256", "group", "encoder", "preset")}
    return {"cell_key": facts["key"], "src": facts["source"], **same, "corpus": corpus}


def entry_for(cell: Cell, rows: cellfile.CellRows) -> CellEntry:
    """Return the manifest's entry of a finished cell."""
    return CellEntry(
        **{**facts_of(cell), "rows": len(rows.vmaf)},
        encoded_bytes=int(str(rows.facts["encoded_bytes"])),
        content_sha256=rows.content_sha256(),
    )


def groups_document(shard: Shard) -> dict[str, object]:
    """Return the content of ``groups.json``."""
    groups = {str(source["sha256"] or source["label"]): str(source["group"]) for source in shard.sources}
    return {"schema_version": contract.SCHEMA_VERSION, "groups": groups}


def write_manifest(shard: Shard) -> None:
    """Write ``groups.json`` and then ``shard.json``, cells sorted by key."""
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
        BadInput: not a manifest of this schema version, or its corpus hash differs from that of its cells.
    """
    return from_document(folder, read_document(folder))


def read_document(folder: Path) -> Any:
    """Read ``shard.json`` as JSON.

    Raises:
        Missing: no manifest.
        BadInput: not JSON, or of another schema version.
    """
    path = folder / MANIFEST
    value: Any = read_json(path, written_by="corpus")
    version = value.get("schema_version") if isinstance(value, dict) else None
    if version != contract.SCHEMA_VERSION:
        raise BadInput(
            f"{path}: schema version {version!r:.40}, expected {contract.SCHEMA_VERSION}", hint="Run `corpus` again."
        )
    return value


def from_document(folder: Path, value: Any) -> Shard:
    """Return the shard that a manifest describes.

    Raises:
        BadInput: not a manifest, or its corpus hash differs from that of its cells.
    """
    path = folder / MANIFEST
    try:
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
        listed, computed = value["corpus_sha256"], shard.corpus_sha256
    except (KeyError, TypeError, AttributeError) as error:
        raise BadInput(f"{path} is not a shard manifest: {error!r}", hint="Run `corpus` again.") from error
    if computed != listed:
        raise BadInput(
            f"{path}: corpus_sha256 is {listed!r:.80}, its cells give {computed}", hint="Run `corpus` again."
        )
    return shard


def _box(value: Any) -> Box:
    encoders = {name: tuple(builds) for name, builds in value["encoders"].items()}
    return Box(**{**value, "scorers": tuple(value["scorers"]), "encoders": encoders})


def by_key(entry: CellEntry) -> str:
    """Return the key by which a manifest sorts cells."""
    return entry.key


def read_rows(
    shard: Shard, *, order: Callable[[CellEntry], Any] = by_key
) -> Iterator[tuple[CellEntry, cellfile.CellRows]]:
    """Yield every finished cell with its rows, sorted by key or by ``order``.

    Raises:
        Missing: the file of a listed cell is missing.
        CheckFailed: a cell is damaged or differs from its entry in the manifest.
    """
    for entry in sorted(shard.cells, key=order):
        path = shard.folder / entry.path
        if not path.is_file():
            raise Missing(f"{path} is missing; {MANIFEST} lists it", hint="Run `corpus` again.")
        rows = cellfile.read(path)
        if rows.content_sha256() != entry.content_sha256 or rows.labels["cell_key"] != entry.key:
            raise CheckFailed(f"{entry.path} differs from its entry in {MANIFEST}", hint="Run `corpus` again.")
        yield entry, rows
