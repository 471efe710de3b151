"""Imported rows become a shard with null for unknown values; exported again they are unchanged."""

from __future__ import annotations

import gzip
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from kit.core import contract
from kit.core.errors import BadInput, KitError, Several
from kit.corpus.exchange import jsonl
from kit.corpus.exchange.exporting import export
from kit.corpus.exchange.importing import import_rows
from kit.corpus.inspect.status import status
from kit.corpus.store.cellfile import read_facts, row_schema
from kit.corpus.store.shard import observed_path, read_manifest, read_rows
from kit.training import folds, table
from tests.cli.builders import Kit
from tests.corpus.builders import Rows, imported, plan, rows, scored, shard_of, write


def test_unknown_values_are_null(tmp_path: Path) -> None:
    shard = read_manifest(imported(tmp_path, rows()))
    assert shard.teacher is None
    (box,) = shard.boxes
    assert (box.box, box.platform, box.scorers, box.cells, box.rows) == (None, None, (), 12, 36)
    assert shard.encoders == box.encoders == {"hevc_new": (), "libx264": ()}
    assert shard.sources[0] == {"label": "Highway", "sha256": None, "group": "Highway", "geometry": None}
    assert (len(shard.cells), shard.rows) == (12, 36)
    entry = next(entry for entry in shard.cells if (entry.source, entry.encoder, entry.cq) == ("Sea", "libx264", 37))
    assert (entry.src_sha256, entry.preset, entry.encoded_bytes) == (None, None, 963)
    facts = read_facts(shard.folder / entry.path)
    unknown = ("argv", "encoder_build", "architecture", "teacher", "scorer_id", "geometry", "src_sha256", "preset")
    assert [facts[name] for name in unknown] == [None] * len(unknown)
    assert facts["origin"] == "imported"
    (observation,) = json.loads(observed_path(shard.folder, entry.path).read_text())["observations"]
    assert observation.pop("enc_time_ms") == 1.5
    assert set(observation.values()) == {None}
    found = pq.read_table(shard.folder / entry.path)
    assert found.column("src_sha256").null_count == found.column("preset").null_count == 3
    assert status(shard.folder).complete


def test_an_imported_shard_can_be_trained_on(tmp_path: Path) -> None:
    loaded = table.load(read_manifest(imported(tmp_path, rows())))
    assert len(loaded) == 36
    parts = folds.by_group(loaded)
    assert [part.held_out for part in parts] == ["Highway", "Park", "Sea"]
    # without an identity the label distinguishes the groups, else all would get the same random numbers
    assert len({part.group_id for part in parts}) == 3
    unknown = loaded.codec[[loaded.cells[cell].encoder == "hevc_new" for cell in loaded.cell]]
    assert not unknown[:, : len(contract.ENCODER_VOCAB)].any()
    assert set(loaded.codec[:, -2].tolist()) == {np.float32(5 / 9)}


def test_a_run_continues_from_an_imported_shard_to_a_verdict(run_copy: Path, tmp_path: Path, kit_here: Kit) -> None:
    shutil.rmtree(run_copy / "corpus")
    import_rows(write(tmp_path / "rows.jsonl", rows()), run_copy / "corpus", groups_file=None)
    done = kit_here("train", "--out-dir", str(run_copy), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "names no teacher; vmaf_v0.6.1" in done.stderr
    done = kit_here("verdict", "--out-dir", str(run_copy), "--json", cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    corpus = json.loads(done.stdout)["corpus"]
    assert (corpus["sources"], corpus["cells"], corpus["teacher"]) == (3, 12, None)
    (box,) = corpus["boxes"]
    assert (box["box"], box["platform"], box["cells"], box["rows"]) == (None, None, 12, 36)
    assert kit_here("bundle", "--out-dir", str(run_copy), cwd=tmp_path).returncode == 0


def test_the_key_depends_on_the_rows_only(tmp_path: Path) -> None:
    def keys(name: str, lines: Rows) -> set[str]:
        (tmp_path / name).mkdir()
        return {entry.key for entry in read_manifest(imported(tmp_path / name, lines)).cells}

    before = keys("a", rows())
    assert keys("b", list(reversed(rows()))) == before
    assert keys("c", [row | {"enc_time_ms": 9.0} for row in rows()]) == before
    for name, change in {
        "d": scored(dict.fromkeys(contract.FEATURES, 0.9)),
        "e": {"enc_bytes": 7},
        "f": {"src": "Else"},
    }.items():
        first = [
            row | change if (row["src"], row["encoder"], row["cq"]) == ("Sea", "libx264", 19) else row for row in rows()
        ]
        assert len(keys(name, first) - before) == 1


@pytest.mark.parametrize("name", ["out.jsonl", "out.jsonl.gz"])
def test_a_round_trip_gives_the_same_lines(name: str, tmp_path: Path) -> None:
    lines = rows()
    shard = imported(tmp_path, lines)
    out = tmp_path / name
    export(shard, out, "jsonl")
    text = gzip.decompress(out.read_bytes()).decode() if name.endswith(".gz") else out.read_text()
    exported = [json.loads(line) for line in text.splitlines()]
    assert all(tuple(line) == jsonl.FIELDS for line in exported)
    assert exported == sorted(lines, key=lambda row: (row["src"], row["encoder"], row["cq"], row["frame_index"]))
    again = import_rows(out, tmp_path / "again", groups_file=None).shard
    assert again.corpus_sha256 == read_manifest(shard).corpus_sha256
    second = tmp_path / f"second-{name}"
    export(tmp_path / "again", second, "jsonl")
    assert second.read_bytes() == out.read_bytes()


def test_a_made_shard_is_exported_in_every_format(tmp_path: Path) -> None:
    shard = shard_of(tmp_path / "corpus", plan())
    expected = sorted(
        (entry.source, entry.cq, value) for entry, cell in read_rows(shard) for value in cell.vmaf.tolist()
    )
    for form in ("jsonl", "parquet", "csv"):
        export(tmp_path, tmp_path / f"a.{form}", form)
        export(tmp_path / "corpus", tmp_path / f"b.{form}", form)
        assert (tmp_path / f"a.{form}").read_bytes() == (tmp_path / f"b.{form}").read_bytes()
    found = pq.read_table(tmp_path / "a.parquet")
    assert found.schema.remove_metadata().equals(row_schema())
    assert sorted((row["src"], row["cq"], row["vmaf"]) for row in found.to_pylist()) == expected
    header, *csv_lines = [line.split(",") for line in (tmp_path / "a.csv").read_text().splitlines()]
    assert header == row_schema().names
    assert sorted((line[1], int(line[7]), float(line[-1])) for line in csv_lines) == expected
    lines = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert sorted((line["src"], line["cq"], line["vmaf"]) for line in lines) == expected
    # the kit encodes and scores at once, so the time of the encode alone is unknown
    assert {line["enc_time_ms"] for line in lines} == {None}


def test_an_export_replaces_no_file_and_leaves_none_after_an_error(tmp_path: Path) -> None:
    folder = imported(tmp_path, rows())
    out = tmp_path / "rows.jsonl"
    before = out.read_bytes()
    with pytest.raises(BadInput, match=r"rows\.jsonl"):
        export(folder, out, "csv")
    assert out.read_bytes() == before
    shard = read_manifest(folder)
    (folder / shard.cells[5].path).write_bytes(b"PAR1")
    for form in ("jsonl", "parquet", "csv"):
        with pytest.raises(KitError, match=Path(shard.cells[5].path).name):
            export(folder, tmp_path / f"out.{form}", form)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["rows.jsonl", "shard"]


def test_cells_that_jsonl_cannot_represent_are_refused(tmp_path: Path) -> None:
    shard_of(tmp_path, [*plan(["A"], cqs=[25]), *plan(["A"], cqs=[25], build="b")])
    with pytest.raises(BadInput, match="A/libx264/cq25"):
        export(tmp_path, tmp_path / "a.jsonl", "jsonl")
    export(tmp_path, tmp_path / "a.csv", "csv")
    assert len((tmp_path / "a.csv").read_text().splitlines()) == 11


def test_groups_come_from_known_data_sets_or_a_file(tmp_path: Path) -> None:
    labels = (
        "ElFuente1",
        "ElFuente2_30fps",
        "ABookcaseBVITexture_3840x2176_120fps_10bit_420",
        "DBookcaseBVITexture_480x272_120fps_10bit_420",
        "Mine",
    )
    done = import_rows(write(tmp_path / "a.jsonl", rows(labels)), tmp_path / "a", groups_file=None)
    assert done.shard.groups == ("BookcaseBVITexture", "ElFuente", "Mine")
    assert "content group ElFuente: ElFuente1, ElFuente2_30fps" in done.notes
    assert any("vocabulary" in note and note.endswith("hevc_new") for note in done.notes)
    own = tmp_path / "groups.json"
    own.write_text(json.dumps({"schema_version": 1, "groups": {"Mine": "ElFuente"}}))
    done = import_rows(tmp_path / "a.jsonl", tmp_path / "b", groups_file=own)
    assert done.shard.groups == ("BookcaseBVITexture", "ElFuente")
    written = json.loads((tmp_path / "b" / "groups.json").read_text())["groups"]
    assert (written["Mine"], written["ElFuente1"]) == ("ElFuente", "ElFuente")
    own.write_text(json.dumps({"schema_version": 1, "groups": {"Nobody": "X"}}))
    with pytest.raises(BadInput, match="Nobody"):
        import_rows(tmp_path / "a.jsonl", tmp_path / "c", groups_file=own)


def test_lines_without_size_and_time_of_the_encode_are_accepted(tmp_path: Path) -> None:
    lines = [{name: value for name, value in row.items() if not name.startswith("enc_")} for row in rows()]
    shard = read_manifest(imported(tmp_path, lines))
    assert {entry.encoded_bytes for entry in shard.cells} == {None}
    assert status(shard.folder).complete
    export(shard.folder, tmp_path / "out.jsonl", "jsonl")
    first = json.loads((tmp_path / "out.jsonl").read_text().splitlines()[0])
    assert (first["enc_bytes"], first["enc_time_ms"]) == (None, None)


def test_ignored_fields_are_named(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", [row | {"psnr": 1} for row in rows()])
    done = import_rows(path, tmp_path / "shard", groups_file=None)
    assert "ignored fields: psnr" in done.notes


def on_line(number: int, **change: Any) -> Callable[[Rows], None]:
    return lambda lines: lines[number - 1].update(change)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (on_line(2, vmaf=math.nan), "line 2: not JSON: NaN"),
        (on_line(2, adm2=math.inf), "line 2: not JSON: Infinity"),
        (on_line(2, vmaf=100.5), "line 2: vmaf is 100.5"),
        (on_line(2, motion2="1"), "line 2: motion2 is '1'"),
        (on_line(2, motion2=10**400), "line 2: motion2 is 1000"),
        (on_line(2, adm2=True), "line 2: adm2 is True"),
        (on_line(2, cq=52), "line 2: cq is 52"),
        (on_line(2, cq=19.0), "line 2: cq is 19.0"),
        (on_line(2, frame_index=-1), "line 2: frame_index is -1"),
        (on_line(2, src="../up"), "line 2: src is '../up'"),
        (on_line(2, src=""), "line 2: src is ''"),
        (on_line(2, encoder=None), "line 2: encoder is None"),
        (on_line(2, enc_bytes=-1), "line 2: enc_bytes is -1"),
        (on_line(2, enc_time_ms="x"), "line 2: enc_time_ms is 'x'"),
        (on_line(2, enc_bytes=1), "line 2: Highway/libx264/cq19 has enc_bytes 1 and enc_time_ms 1.5, line 1 has 981"),
        (lambda lines: lines[1].pop("vif_scale2") and None, "line 2: missing fields: vif_scale2"),
        (lambda lines: lines.insert(4, dict(lines[0])), "line 5: Highway/libx264/cq19 has frame 0 already in line 1"),
        (lambda lines: lines.pop(1) and None, "Highway/libx264/cq19: 1 frames below 2 are missing, the first is 1"),
        (lambda lines: lines.pop(0) and None, "Highway/libx264/cq19: 1 frames below 2 are missing, the first is 0"),
    ],
)
def test_an_invalid_line_is_named_and_nothing_is_written(
    change: Callable[[Rows], None], named: str, tmp_path: Path
) -> None:
    lines = rows()
    change(lines)
    with pytest.raises(Several) as error:
        imported(tmp_path, lines)
    assert named in error.value.message
    assert not (tmp_path / "shard").exists()


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (b"", "rows.jsonl has no rows"),
        (b"\n \n", "rows.jsonl has no rows"),
        (b"[1]\n", "line 1: a JSON list"),
        (b"{\n", "line 1: not JSON"),
        (b'\n{"src": "\xff"}\n', "line 2: not JSON"),
    ],
)
def test_a_file_without_rows_is_refused(data: bytes, named: str, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_bytes(data)
    with pytest.raises(BadInput) as error:
        import_rows(tmp_path / "rows.jsonl", tmp_path / "shard", groups_file=None)
    assert named in error.value.message


def test_a_truncated_gzip_file_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl.gz", rows())
    for data in (path.read_bytes()[:-20], b"no gzip"):
        path.write_bytes(data)
        with pytest.raises(BadInput, match="cannot be read after line"):
            import_rows(path, tmp_path / "shard", groups_file=None)
    with pytest.raises(BadInput, match="cannot be read"):
        import_rows(tmp_path / "nowhere.jsonl", tmp_path / "shard", groups_file=None)


def test_many_problems_are_counted_and_the_first_ones_listed(tmp_path: Path) -> None:
    with pytest.raises(Several) as error:
        imported(tmp_path, [row | {"cq": 99} for row in rows()])
    assert "line 20: cq is 99" in error.value.message
    assert "line 21" not in error.value.message
    assert "and 16 more" in error.value.message


def test_a_used_folder_is_refused(tmp_path: Path) -> None:
    shard = imported(tmp_path, rows())
    with pytest.raises(BadInput, match=r"shard\.json"):
        import_rows(tmp_path / "rows.jsonl", shard, groups_file=None)
    # an import that was interrupted before its manifest continues
    (shard / "shard.json").unlink()
    assert len(import_rows(tmp_path / "rows.jsonl", shard, groups_file=None).shard.cells) == 12
    with pytest.raises(BadInput, match=r"rows\.jsonl is not a folder"):
        import_rows(tmp_path / "rows.jsonl", tmp_path / "rows.jsonl", groups_file=None)


def test_the_commands_report_their_results(tmp_path: Path, kit_here: Kit) -> None:
    path = write(tmp_path / "rows.jsonl.gz", rows())
    done = kit_here("corpus", "import", str(path), "--out", "shard", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["cells"] == 12
    assert "hevc_new" in done.stderr
    done = kit_here("corpus", "export", "shard", "--format", "csv", "--out", "rows.csv.gz", "--json", cwd=tmp_path)
    assert (done.returncode, json.loads(done.stdout)["rows"]) == (0, 36)
    assert len(gzip.decompress((tmp_path / "rows.csv.gz").read_bytes()).splitlines()) == 37
    path.write_bytes(gzip.compress(b"{"))
    done = kit_here("corpus", "import", str(path), "--out", "other", cwd=tmp_path)
    assert done.returncode == 2
    assert "line 1: not JSON" in done.stderr
    assert not (tmp_path / "other").exists()
