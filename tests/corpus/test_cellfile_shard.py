"""Files of cells and manifests of shards: they read back, and damaged ones are refused."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kit.core.errors import BadInput, CheckFailed, Missing
from kit.core.values import Cell, EncodeSettings, Geometry, Source, SourceFile, Teacher
from kit.corpus.store import cellfile
from kit.corpus.store.cellfile import CellRows
from kit.corpus.store.shard import (
    Box,
    CellEntry,
    FailedCell,
    Shard,
    cell_path,
    entry_for,
    observed_path,
    read_manifest,
    read_rows,
    write_manifest,
)
from tests.platforms.builders import ready

FRAMES = 5
COLUMNS = [
    "cell_key",
    "src",
    "src_sha256",
    "group",
    "corpus",
    "encoder",
    "preset",
    "cq",
    "frame_index",
    "adm2",
    "vif_scale0",
    "vif_scale1",
    "vif_scale2",
    "vif_scale3",
    "motion2",
    "vmaf",
]


def make_rows(key: str = "k" * 64, *, offset: float = 0.0, frames: int = FRAMES) -> CellRows:
    numbers = np.random.default_rng(7).uniform(0, 1, (frames, 6)) + offset
    rows = CellRows(
        labels={
            "cell_key": key,
            "src": "Highway",
            "src_sha256": "a" * 64,
            "group": "Road",
            "corpus": "local",
            "encoder": "libx264",
            "preset": "medium",
        },
        cq=31,
        features=numbers,
        vmaf=numbers[:, 0] * 90,
        facts={"encoded_bytes": 1234, "encoder_build": "x264 - core 165", "argv": ["-i", "<ref>", "<out>"]},
    )
    return replace(rows, facts={**rows.facts, "content_sha256": rows.content_sha256()})


def make_cell(key: str = "k" * 64) -> Cell:
    geometry = Geometry(width=64, height=64, pix_fmt="yuv420p", range="tv", fps=Fraction(25), frames=FRAMES)
    file = SourceFile(path=Path("Highway.yuv"), kind="yuv", label="Highway", geometry=geometry)
    return Cell(
        key=key,
        keyed={},
        source=Source(file=file, sha256="a" * 64, group="Road"),
        settings=EncodeSettings(
            encoder="libx264",
            preset="medium",
            cq=5,
            argv=("-c:v", "libx264"),
            encode_pix_fmt="yuv420p",
            score_pix_fmt="yuv420p",
        ),
        encoder=ready(build="x264 - core 165"),
        teacher=Teacher(id="vmaf_v0.6.1"),
    )


def same(first: CellRows, second: CellRows) -> bool:
    return (
        (first.labels, first.cq, first.facts) == (second.labels, second.cq, second.facts)
        and np.array_equal(first.features, second.features)
        and np.array_equal(first.vmaf, second.vmaf)
    )


def test_the_columns_are_those_of_the_design() -> None:
    assert cellfile.row_schema().names == COLUMNS


def test_a_written_cell_reads_back(tmp_path: Path) -> None:
    cellfile.write(tmp_path / "c.parquet", make_rows())
    rows = cellfile.read(tmp_path / "c.parquet")
    assert same(rows, make_rows())
    assert (rows.features.dtype, rows.features.shape) == (np.float64, (FRAMES, 6))


def test_other_programs_read_the_rows_and_the_facts(tmp_path: Path) -> None:
    cellfile.write(tmp_path / "c.parquet", make_rows())
    table = pq.read_table(tmp_path / "c.parquet")
    assert table.column_names == COLUMNS
    assert table.column("frame_index").to_pylist() == list(range(FRAMES))
    assert table.column("motion2").to_pylist() == make_rows().features[:, 5].tolist()
    assert json.loads(table.schema.metadata[b"vmaf_kit.facts"]) == {"schema_version": 1, **make_rows().facts}


def test_the_same_cell_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.parquet", "b.parquet"):
        cellfile.write(tmp_path / name, make_rows())
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.parquet", "b.parquet"]


def test_the_content_hash_is_over_numbers_only() -> None:
    rows = make_rows()
    known = rows.content_sha256()
    relabelled = replace(rows, labels=dict(rows.labels) | {"src": "Other", "group": "Other"}, facts={}, cq=1)
    assert relabelled.content_sha256() == known
    assert replace(rows, features=np.asfortranarray(rows.features)).content_sha256() == known
    features, vmaf = rows.features.copy(), rows.vmaf.copy()
    features[3, 2] = np.nextafter(features[3, 2], 1)
    vmaf[4] = np.nextafter(vmaf[4], 0)
    others = {replace(rows, features=features).content_sha256(), replace(rows, vmaf=vmaf).content_sha256()}
    assert len(others - {known}) == 2


@pytest.mark.parametrize("column", [(2, 1), (0, 5)])
def test_nan_and_infinity_are_refused(tmp_path: Path, column: tuple[int, int]) -> None:
    for bad in (np.nan, np.inf):
        rows = make_rows()
        rows.features[column] = bad
        cellfile.write(tmp_path / "c.parquet", rows)
        with pytest.raises(CheckFailed, match="not finite"):
            cellfile.read(tmp_path / "c.parquet")
    rows = make_rows()
    rows.vmaf[1] = np.nan
    cellfile.write(tmp_path / "c.parquet", rows)
    with pytest.raises(CheckFailed, match="not finite"):
        cellfile.read(tmp_path / "c.parquet")


def rewritten(data: bytes, change: Callable[[pa.Table], pa.Table]) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(change(pq.read_table(io.BytesIO(data))), buffer)
    return buffer.getvalue()


def with_facts(text: bytes | None) -> Callable[[pa.Table], pa.Table]:
    return lambda table: table.replace_schema_metadata({b"vmaf_kit.facts": text} if text is not None else {})


def with_column(name: str, values: list[object]) -> Callable[[pa.Table], pa.Table]:
    def change(table: pa.Table) -> pa.Table:
        field = table.schema.field(name)
        return table.set_column(table.column_names.index(name), field, pa.array(values, type=field.type))

    return change


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda table: table.drop_columns(["motion2"]), "motion2"),
        (lambda table: table.append_column("extra", table.column("cq")), "columns"),
        (lambda table: table.select(list(reversed(COLUMNS))), "columns"),
        (
            lambda table: pa.table(
                dict(zip(["key", *COLUMNS[1:]], table.columns, strict=True)), metadata=table.schema.metadata
            ),
            "cell_key",
        ),
        (
            lambda table: table.cast(
                pa.schema(
                    [field.with_type(pa.float32()) if field.name == "vmaf" else field for field in table.schema],
                    metadata=table.schema.metadata,
                )
            ),
            "columns",
        ),
        (lambda table: table.slice(0, 0), "0 rows"),
        (lambda table: table.slice(1), "out of order"),
        (lambda table: table.take([0, 2, 1, 3, 4]), "out of order"),
        (lambda table: pa.concat_tables([table, table]), "out of order"),
        (with_column("cell_key", ["k" * 64] * 4 + ["l" * 64]), "several cells"),
        (with_column("cq", [31, 31, 31, 31, 32]), "several cells"),
        (with_facts(None), "no facts"),
        (with_facts(b"{"), "c.parquet"),
        (with_facts(b"\xff"), "c.parquet"),
        (with_facts(b"[]"), "c.parquet"),
        (with_facts(b"{}"), "None, expected 1"),
        (with_facts(b'{"schema_version": 2}'), "2, expected 1"),
    ],
    ids=[
        "lacking",
        "extra",
        "order",
        "renamed",
        "type",
        "empty",
        "first-missing",
        "swapped",
        "twice",
        "two-keys",
        "two-cqs",
        "no-facts",
        "half-facts",
        "no-text",
        "list",
        "no-version",
        "other-version",
    ],
)
def test_a_file_of_another_schema_is_refused(
    tmp_path: Path, change: Callable[[pa.Table], pa.Table], named: str
) -> None:
    path = tmp_path / "c.parquet"
    cellfile.write(path, make_rows())
    path.write_bytes(rewritten(path.read_bytes(), change))
    with pytest.raises(CheckFailed) as error:
        cellfile.read(path)
    assert named in error.value.message
    assert error.value.exit_code == 3


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.parquet"
    cellfile.write(path, make_rows())
    data = path.read_bytes()
    for end in {*range(0, len(data), 97), 4, 8, len(data) - 1, len(data) - 8}:
        path.write_bytes(data[:end])
        with pytest.raises(CheckFailed):
            cellfile.read(path)


def test_paths(tmp_path: Path) -> None:
    relative = cell_path(make_cell("0123456789abcdef" * 4))
    assert relative == "cells/Highway/libx264/cq05-0123456789ab.parquet"
    assert observed_path(tmp_path, relative) == (tmp_path / "cells/Highway/libx264/cq05-0123456789ab.observed.json")


# ------------------------------------------------------------------------------------------------ manifest


def make_shard(folder: Path) -> Shard:
    """Write a shard of two finished cells and a failed one."""
    entries = []
    for key, offset in (("k" * 64, 0.0), ("b" * 64, 0.1)):
        cell, rows = make_cell(key), make_rows(key, offset=offset)
        cellfile.write(folder / cell_path(cell), rows)
        entries.append(entry_for(cell, rows))
    failed = FailedCell(
        key="f" * 64,
        source="Highway",
        encoder="libx265",
        cq=9,
        reason="exit status 1\nmore",
        command="ffmpeg -i <ref>",
        stderr_tail="[error] no",
    )
    box = Box(
        box="box-1",
        platform="linux-x86_64-vulkan",
        encoders={"libx264": ("x264 - core 165",)},
        cells=2,
        rows=10,
        scorers=({"id": "cpu/golden-1", "version": "3", "golden": {"flat": 97.428}},),
    )
    source: dict[str, object] = {"label": "Highway", "sha256": "a" * 64, "group": "Road", "geometry": {"fps": "25/1"}}
    shard = Shard(
        folder=folder,
        boxes=(box,),
        demo=False,
        teacher=Teacher(id="vmaf_v0.6.1"),
        sources=(source,),
        cells=tuple(entries),
        failed=(failed,),
        dropped=("d" * 64,),
    )
    write_manifest(shard)
    return shard


def edit(folder: Path, change: Callable[[Any], object]) -> None:
    path = folder / "shard.json"
    value = json.loads(path.read_text())
    changed = change(value)
    path.write_text(json.dumps(value if changed is None else changed))


def test_a_manifest_reads_back(tmp_path: Path) -> None:
    shard = make_shard(tmp_path)
    read = read_manifest(tmp_path)
    assert read == replace(shard, cells=tuple(sorted(shard.cells, key=lambda entry: entry.key)))
    assert read.corpus_sha256 == shard.corpus_sha256
    assert (read.rows, read.groups) == (2 * FRAMES, ("Road",))
    assert read.problems == ["cell Highway/libx265/cq09 failed: exit status 1"]


def test_the_groups_have_a_file_of_their_own(tmp_path: Path) -> None:
    make_shard(tmp_path)
    assert json.loads((tmp_path / "groups.json").read_text()) == {"schema_version": 1, "groups": {"a" * 64: "Road"}}


def test_the_same_shard_gives_the_same_manifest(tmp_path: Path) -> None:
    first, second = make_shard(tmp_path / "a"), make_shard(tmp_path / "b")
    write_manifest(replace(second, cells=tuple(reversed(second.cells))))
    for name in ("shard.json", "groups.json"):
        assert (first.folder / name).read_bytes() == (second.folder / name).read_bytes()


def test_the_corpus_hash_is_over_sorted_keys_and_contents(tmp_path: Path) -> None:
    shard = make_shard(tmp_path)
    assert replace(shard, cells=tuple(reversed(shard.cells)), boxes=(), demo=True).corpus_sha256 == shard.corpus_sha256
    relabelled = [replace(entry, source="X", group="Y", path="Z") for entry in shard.cells]
    assert replace(shard, cells=tuple(relabelled)).corpus_sha256 == shard.corpus_sha256
    for changed in (replace(shard.cells[0], key="0" * 64), replace(shard.cells[0], content_sha256="0" * 64)):
        assert replace(shard, cells=(changed, shard.cells[1])).corpus_sha256 != shard.corpus_sha256
    assert replace(shard, cells=shard.cells[:1]).corpus_sha256 != shard.corpus_sha256


def drop(name: str) -> Callable[[Any], None]:
    return lambda value: value.pop(name) and None


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda value: value.update(corpus_sha256="0" * 64), "corpus_sha256"),
        (lambda value: value["cells"].pop() and None, "corpus_sha256"),
        (lambda value: value["cells"][0].update(content_sha256="0" * 64), "corpus_sha256"),
        (lambda value: value.update(schema_version=2), "2, expected 1"),
        (lambda value: value["cells"][0].pop("rows") and None, "shard.json"),
        (lambda value: value["cells"][0].update(more=1), "shard.json"),
        (lambda value: value.update(cells=None), "shard.json"),
        (lambda value: value.update(boxes=["b"]), "shard.json"),
        (lambda value: value["boxes"][0].update(encoders=[]), "shard.json"),
        (lambda value: value.update(teacher="vmaf_v0.6.1"), "shard.json"),
        (lambda _: [], "shard.json"),
        *[
            (drop(name), "shard.json")
            for name in (
                "schema_version",
                "boxes",
                "demo",
                "teacher",
                "sources",
                "cells",
                "failed",
                "dropped",
                "corpus_sha256",
            )
        ],
    ],
)
def test_an_invalid_manifest_is_refused(tmp_path: Path, change: Callable[[Any], object], named: str) -> None:
    make_shard(tmp_path)
    edit(tmp_path, change)
    with pytest.raises(BadInput) as error:
        read_manifest(tmp_path)
    assert named in error.value.message


@pytest.mark.parametrize("end", [0, 1, 100, -2])
def test_a_truncated_manifest_is_refused(tmp_path: Path, end: int) -> None:
    make_shard(tmp_path)
    path = tmp_path / "shard.json"
    path.write_bytes(path.read_bytes()[:end])
    with pytest.raises(BadInput, match=r"shard\.json"):
        read_manifest(tmp_path)


def test_a_missing_manifest_names_the_command_that_writes_it(tmp_path: Path) -> None:
    with pytest.raises(Missing) as error:
        read_manifest(tmp_path)
    assert "`corpus`" in error.value.hint


def test_rows_are_sorted_by_key(tmp_path: Path) -> None:
    shard = make_shard(tmp_path)
    read = list(read_rows(shard))
    assert [entry.key[0] for entry, _ in read] == ["b", "k"]
    assert same(read[1][1], make_rows())


def test_a_listed_cell_without_a_file_is_missing(tmp_path: Path) -> None:
    shard = make_shard(tmp_path)
    (tmp_path / shard.cells[0].path).unlink()
    with pytest.raises(Missing, match=shard.cells[0].path):
        list(read_rows(shard))


def _exchange(shard: Shard) -> None:
    first, second = (shard.folder / entry.path for entry in shard.cells)
    data = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(data)


def _alter(shard: Shard) -> None:
    entry: CellEntry = shard.cells[0]
    cellfile.write(shard.folder / entry.path, make_rows(entry.key, offset=0.001))


def _rename(shard: Shard) -> None:
    cellfile.write(shard.folder / shard.cells[0].path, make_rows("0" * 64))


@pytest.mark.parametrize("damage", [_exchange, _alter, _rename])
def test_a_cell_that_differs_from_its_entry_is_refused(tmp_path: Path, damage: Callable[[Shard], None]) -> None:
    shard = make_shard(tmp_path)
    damage(shard)
    with pytest.raises(CheckFailed, match="differs"):
        list(read_rows(shard))
