"""Builders of cells, rows and shards."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from kit.core import contract
from kit.core.canon import sha256_json
from kit.core.values import Cell, EncodeSettings, Geometry, Source, SourceFile, Teacher
from kit.corpus.exchange.importing import import_rows
from kit.corpus.make.produce import footer_facts, geometry_facts
from kit.corpus.plan import plan_cells
from kit.corpus.store.cellfile import CellRows
from kit.corpus.store.shard import (
    Box,
    CellEntry,
    FailedCell,
    Shard,
    cell_path,
    entry_for,
    facts_of,
    row_labels,
    write_cell,
    write_manifest,
)
from kit.platforms.registry import settings_for
from kit.system.archive import ArchiveFile, write_tar_gz
from kit.video.scorers.formula import formula_of
from kit.video.scorers.golden import EXPECTED
from kit.video.scorers.teachers import CANONICAL
from tests.platforms.builders import ready

#: The teacher of made rows, whose scores follow from no features: the kit has no formula of it.
MADE = Teacher(id="vmaf_made")


def planned(name: str, frames: int = 10, family: str = "software") -> Cell:
    """Return a cell that is never made; its key is its label."""
    geometry = Geometry(width=64, height=64, pix_fmt="yuv420p", range="tv", fps=Fraction(25), frames=frames)
    file = SourceFile(path=Path(f"/{name}.yuv"), kind="yuv", label=name, geometry=geometry)
    settings = EncodeSettings(
        encoder="libx264", preset="medium", cq=31, argv=(), encode_pix_fmt="yuv420p", score_pix_fmt="yuv420p"
    )
    source = Source(file=file, sha256=name, group=name)
    return Cell(key=name, keyed={}, source=source, settings=settings, encoder=ready(family=family), teacher=CANONICAL)


def plan(
    sources: Sequence[str] = ("Highway", "Park"),
    encoders: Sequence[str] = ("libx264",),
    cqs: Sequence[int] = (25, 37),
    *,
    build: str = "x264 - core 164",
    frames: int = 5,
    content: str = "",
    **facts: Any,
) -> tuple[Cell, ...]:
    """Return cells of clips without files; ``content`` changes the content of the clips."""
    geometry = Geometry(width=64, height=64, pix_fmt="yuv420p", range="tv", fps=Fraction(25), frames=frames)
    clips = [
        Source(
            file=SourceFile(path=Path(label), kind="yuv", label=label, geometry=geometry),
            sha256=sha256_json(label + content),
            group=label,
        )
        for label in sources
    ]
    encoding = [ready(name, build=build) for name in encoders]
    defaults = {
        "architecture": "x86_64",
        "teacher": MADE,
        "scorer_id": "cpu/golden-1",
        "settings_for": settings_for,
    }
    points = [(name, cq) for name in encoders for cq in cqs]
    return plan_cells(clips, points, encoders=encoding, **(defaults | facts))


def rows_of(cell: Cell) -> CellRows:
    """Return rows of a cell: better scores and more bytes at finer quality points, which one of the features shows."""
    frames, cq = cell.source.geometry.frames, cell.settings.cq
    noise = np.random.default_rng(int(cell.key[:8], 16)).uniform(0, 1, (frames, 6))
    noise[:, 1] = (0.1 * noise[:, 1] + 63 - cq) / 64
    rows = CellRows(
        labels=row_labels(facts_of(cell), "local"), cq=cq, features=noise, vmaf=99.0 - cq + noise[:, 0], facts={}
    )
    facts = {"encoded_bytes": 10_000 - 100 * cq, "content_sha256": rows.content_sha256()}
    return replace(rows, facts={**footer_facts(cell), **facts})


def formula_rows(cell: Cell, shift: float = 0.0) -> CellRows:
    """Return rows whose scores are those of the default teacher's formula, plus some VMAF points."""
    made = rows_of(cell)
    fine = 1 - cell.settings.cq / 100
    low, high = np.array([fine, *(fine - 0.3 + 0.08 * scale for scale in range(4)), 2.0]), np.array([0.05] * 5 + [8.0])
    features = low + high * made.features
    formula = formula_of(CANONICAL)
    assert formula is not None
    rows = replace(made, features=features, vmaf=np.clip(formula.scores(features) + shift, 0, 100))
    return replace(rows, facts={**rows.facts, "content_sha256": rows.content_sha256()})


def altered(cell: Cell, by: float) -> CellRows:
    """Return rows of a cell whose scores are off by some VMAF points."""
    rows = replace(rows_of(cell), vmaf=rows_of(cell).vmaf + by)
    return replace(rows, facts={**rows.facts, "content_sha256": rows.content_sha256()})


def write_all(
    folder: Path, cells: Sequence[Cell], box: str = "b", rows: Callable[[Cell], CellRows] = rows_of
) -> list[CellEntry]:
    """Write cells and return their manifest entries."""
    for cell in cells:
        write_cell(folder, cell_path(cell), rows(cell), [{"box": box, "platform": "p", "seconds": 1.0}])
    return [entry_for(cell, rows(cell)) for cell in cells]


def box_of(cells: Sequence[Cell], box: str = "b", golden: float = 0.0) -> Box:
    """Return the box that made the cells; its golden answers are off by ``golden``."""
    scorer_id = str(cells[0].keyed["scorer_id"]) if cells else "cpu/golden-1"
    answers = {pair: means[-1] + golden for pair, means in EXPECTED.items()}
    return Box(
        box=box,
        platform="p",
        scorers=({"id": scorer_id, "version": "3", "golden": answers},),
        encoders={cell.encoder.name: (cell.encoder.build,) for cell in cells},
        cells=len(cells),
        rows=sum(cell.source.geometry.frames for cell in cells),
    )


def shard_of(
    folder: Path,
    cells: Sequence[Cell],
    failed: Sequence[FailedCell] = (),
    *,
    box: str = "b",
    golden: float = 0.0,
    teacher: Teacher = MADE,
    rows: Callable[[Cell], CellRows] = rows_of,
) -> Shard:
    """Write cells and their manifest."""
    sources = {
        cell.source.label: {
            "label": cell.source.label,
            "sha256": cell.source.sha256,
            "group": cell.source.group,
            "geometry": geometry_facts(cell.source.geometry),
        }
        for cell in cells
    }
    shard = Shard(
        folder=folder,
        boxes=(box_of(cells, box, golden),),
        demo=False,
        teacher=teacher,
        sources=tuple(sources.values()),
        cells=tuple(write_all(folder, cells, box, rows)),
        failed=tuple(failed),
    )
    write_manifest(shard)
    return shard


Rows = list[dict[str, Any]]


def scored(features: dict[str, float]) -> dict[str, float]:
    """Return features with the score of the default teacher's formula."""
    formula = formula_of(CANONICAL)
    assert formula is not None
    (score,) = formula.scores(np.array([[features[name] for name in contract.FEATURES]])).tolist()
    return {"vmaf": score, **features}


def rows(sources: tuple[str, ...] = ("Highway", "Park", "Sea"), frames: int = 3) -> Rows:
    """Return lines in the order a box writes them, with numbers of many digits."""
    noise: Iterator[float] = iter(np.random.default_rng(3).uniform(0.5, 1, 10_000).tolist())
    return [
        {
            "src": src,
            "encoder": encoder,
            "cq": cq,
            "enc_bytes": 1000 - cq,
            "enc_time_ms": 1.5,
            "frame_index": frame,
            **scored({name: next(noise) for name in contract.FEATURES}),
        }
        for src in sources
        for encoder in ("libx264", "hevc_new")
        for cq in (19, 37)
        for frame in range(frames)
    ]


def write(path: Path, lines: Rows) -> Path:
    data = "".join(json.dumps(line) + "\n" for line in lines).encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def imported(tmp_path: Path, lines: Rows, groups: Path | None = None) -> Path:
    import_rows(write(tmp_path / "rows.jsonl", lines), tmp_path / "shard", groups_file=groups)
    return tmp_path / "shard"


def bundle_of(path: Path, contents: Mapping[str, bytes], manifest: Any = None, top: str = "results") -> Path:
    """Write a bundle of files in one folder, with a manifest that lists them, or with the given one."""
    described = [
        {"path": name, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in contents.items()
    ]
    document = json.dumps({"files": described} if manifest is None else manifest).encode()
    members = [
        ArchiveFile(name=f"{top}/{name}", data=data) for name, data in {"manifest.json": document, **contents}.items()
    ]
    write_tar_gz(path, members, mtime=0)
    return path
