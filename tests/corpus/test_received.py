"""Bundles and shards from other boxes: hostile and damaged ones are refused, and nothing is written outside."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kit.core import contract, exits
from kit.core.errors import BadInput, CheckFailed
from kit.core.values import Cell
from kit.corpus.store import received
from kit.corpus.store.cellfile import CellRows
from kit.corpus.store.received import open_bundle, read_cell, read_shard
from kit.corpus.store.shard import FailedCell, Shard, observed_path, write_manifest
from kit.system.archive import ArchiveFile, ArchiveLimits, unpack_tar_gz, write_tar_gz
from tests.corpus.builders import bundle_of, plan, rows_of, shard_of

# --------------------------------------------------------------------------------------------- the archive


def tar_of(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for info, data in members:
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def info(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname = kind, link
    return made


def everything(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_a_packed_archive_unpacks_with_its_hashes(tmp_path: Path) -> None:
    members = [ArchiveFile(name="run/a/b", data=b"1" * 3_000_000), ArchiveFile(name="run/" + "x" * 150, data=b"")]
    write_tar_gz(tmp_path / "a.tar.gz", members, mtime=0)
    unpacked = unpack_tar_gz(tmp_path / "a.tar.gz", tmp_path / "out")
    assert unpacked == {m.name: (len(m.read()), hashlib.sha256(m.read()).hexdigest()) for m in members}
    assert all((tmp_path / "out" / m.name).read_bytes() == m.read() for m in members)


@pytest.mark.parametrize(
    ("member", "reason"),
    [
        (info("../evil"), "outside"),
        (info("run/../../evil"), "outside"),
        (info("run/.."), "outside"),
        (info("/evil"), "absolute"),
        (info("//evil"), "absolute"),
        (info("run/./a"), "characters"),
        (info("run//a"), "characters"),
        (info("run/.bashrc"), "characters"),
        (info("run\\..\\evil"), "characters"),
        (info("run/\x1b[2Jevil"), "characters"),
        (info("run/ümlaut"), "characters"),
        (info("run/" + "x" * 251), "long"),
        (info("/".join(["x" * 200] * 6)), "long"),
        (info("run/link", tarfile.SYMTYPE, "/etc/passwd"), "link"),
        (info("run/link", tarfile.SYMTYPE, "a"), "link"),
        (info("run/link", tarfile.LNKTYPE, "run/a"), "link"),
        (info("run/folder", tarfile.DIRTYPE), "folder"),
        (info("run/null", tarfile.CHRTYPE), "device"),
        (info("run/disk", tarfile.BLKTYPE), "device"),
        (info("run/pipe", tarfile.FIFOTYPE), "device"),
        (info("run/a"), "twice"),
        (info("run/A"), "twice"),
        (info("run/a/b"), "both"),
        (info("run"), "both"),
    ],
    ids=lambda value: value.name[:20] if isinstance(value, tarfile.TarInfo) else "",
)
def test_a_hostile_member_is_refused(tmp_path: Path, member: tarfile.TarInfo, reason: str) -> None:
    folder = tmp_path / "deep" / "in"
    folder.mkdir(parents=True)
    archive = tar_of(tmp_path / "a.tar.gz", (info("run/a"), b"1"), (member, b"" if member.type != b"0" else b"evil"))
    with pytest.raises(CheckFailed) as error:
        unpack_tar_gz(archive, folder / "out")
    assert reason in error.value.message
    assert everything(tmp_path) == [
        "a.tar.gz",
        "deep",
        "deep/in",
        "deep/in/out",
        "deep/in/out/run",
        "deep/in/out/run/a",
    ]


def test_a_link_first_and_a_file_through_it_second(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    archive = tar_of(tmp_path / "a.tar.gz", (info("run", tarfile.SYMTYPE, str(outside)), b""), (info("run/x"), b"evil"))
    with pytest.raises(CheckFailed, match="link"):
        unpack_tar_gz(archive, tmp_path / "out")
    assert everything(outside) == everything(tmp_path / "out") == []


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (ArchiveLimits(size=500_000), "500000 bytes"),
        (ArchiveLimits(free=100_000), "unpacks to"),
        (ArchiveLimits(members=1), "1 members"),
    ],
)
def test_an_archive_bomb_is_refused_early(tmp_path: Path, limits: ArchiveLimits, reason: str) -> None:
    archive = tar_of(tmp_path / "a.tar.gz", (info("run/a"), bytes(1000)), (info("run/b"), bytes(40_000_000)))
    assert archive.stat().st_size < 60_000
    with pytest.raises(CheckFailed, match=reason):
        unpack_tar_gz(archive, tmp_path / "out", limits=limits)
    assert sum(path.stat().st_size for path in (tmp_path / "out").rglob("*") if path.is_file()) < 8_000_000


def test_a_truncated_archive_is_refused(tmp_path: Path) -> None:
    noise = np.random.default_rng(1).bytes(5000)
    whole = tar_of(tmp_path / "a.tar.gz", (info("run/a"), noise), (info("run/b"), noise)).read_bytes()
    for number, end in enumerate([0, 1, 9, 50, len(whole) // 2, len(whole) - 9, len(whole) - 1]):
        (tmp_path / "cut.tar.gz").write_bytes(whole[:end])
        with pytest.raises(CheckFailed, match=r"cut\.tar\.gz"):
            unpack_tar_gz(tmp_path / "cut.tar.gz", tmp_path / str(number))


def header(name: str, size: bytes, kind: bytes = tarfile.REGTYPE) -> bytes:
    """A header with a size that Python would not write."""
    made = bytearray(info(name, kind).tobuf(tarfile.USTAR_FORMAT))
    made[124:136] = size
    made[148:156] = b" " * 8
    made[148:156] = b"%06o\0 " % sum(made)
    return bytes(made)


@pytest.mark.parametrize(
    "data",
    [
        b"no archive at all",
        gzip.compress(b"packed, but no archive"),
        gzip.compress(tarfile.TarInfo("run/a").tobuf() + bytes(1024) + b"something behind the end"),
        gzip.compress(bytes(1024)) + b"garbage",
        gzip.compress(header("run/a", b"77777777777\0")),
        gzip.compress(header("pax", b"77777777777\0", tarfile.XHDTYPE) + bytes(1024)),
        gzip.compress(header("long", b"77777777777\0", tarfile.GNUTYPE_LONGNAME) + bytes(1024)),
        gzip.compress(header("run/a", b"\xff" * 12) + bytes(1024)),
        gzip.compress(header("pax", b"\xff" * 12, tarfile.XHDTYPE) + bytes(1024)),
        gzip.compress(header("run/a", b"00000000000\0", b"S") + bytes(1024)),
        gzip.compress(header("run/a", b"00000000000\0", b"Z") + bytes(512) + header("run/b", b"zzz") + bytes(1024)),
    ],
    ids=[
        "text",
        "no-tar",
        "behind-the-end",
        "behind-the-pack",
        "size",
        "pax-size",
        "name-size",
        "negative",
        "negative-pax",
        "sparse",
        "unknown-kind",
    ],
)
def test_an_invalid_archive_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.tar.gz").write_bytes(data)
    with pytest.raises(CheckFailed):
        open_bundle(tmp_path / "a.tar.gz", tmp_path / "out")
    assert not any(path.is_file() and path.stat().st_size for path in (tmp_path / "out").rglob("*"))


# ---------------------------------------------------------------------------------------------- the bundle


def test_the_files_of_a_bundle_are_compared_with_its_manifest(tmp_path: Path) -> None:
    files = {"a.json": b"{}", "corpus/shard.json": b"{}"}
    run = open_bundle(bundle_of(tmp_path / "good.tar.gz", files), tmp_path / "0")
    assert run == tmp_path / "0" / "results"
    assert (run / "corpus" / "shard.json").read_bytes() == b"{}"
    entry = {"path": "a.json", "size": 2, "sha256": hashlib.sha256(b"{}").hexdigest()}
    rest = {"path": "corpus/shard.json", "size": 2, "sha256": entry["sha256"]}
    cases: list[tuple[Any, str]] = [
        ({"files": [entry]}, "corpus/shard.json is not in"),
        ({"files": [entry, rest, {**rest, "path": "more"}]}, "more is missing"),
        ({"files": [entry, rest, {**rest, "path": "\x1b[2J"}]}, "\\x1b[2J is missing"),
        ({"files": [{**entry, "size": 3}, rest]}, "a.json"),
        ({"files": [{**entry, "sha256": "0" * 64}, rest]}, "a.json"),
        ({"files": [entry, entry, rest]}, "twice"),
        ({"files": [[]]}, "manifest"),
        ([], "manifest"),
        ({}, "manifest"),
    ]
    for number, (listed, reason) in enumerate(cases):
        with pytest.raises(CheckFailed) as error:
            open_bundle(bundle_of(tmp_path / "bad.tar.gz", files, listed), tmp_path / f"x{number}")
        assert reason in error.value.message


def test_a_bundle_has_one_folder_and_a_manifest(tmp_path: Path) -> None:
    two = tar_of(tmp_path / "two.tar.gz", (info("a/x"), b""), (info("b/x"), b""))
    none = tar_of(tmp_path / "none.tar.gz", (info("a/x"), b""))
    for number, (path, reason) in enumerate([(two, "one folder"), (none, "manifest")]):
        with pytest.raises(CheckFailed, match=reason):
            open_bundle(path, tmp_path / str(number))


# --------------------------------------------------------------------------------------------- the manifest


def edited(folder: Path, change: Callable[[Any], object]) -> Path:
    path = folder / "shard.json"
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))
    return folder


def cell(name: str, value: object) -> Callable[[Any], object]:
    return lambda manifest: manifest["cells"][0].update({name: value})


def append(table: str, value: Any) -> Callable[[Any], object]:
    return lambda manifest: manifest[table].append(value)


FAILED = {"key": "f" * 64, "source": "Highway", "encoder": "libx264", "cq": 1, "reason": "r", "command": ""}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (cell("path", "../../../etc/passwd"), "path is '../../../etc/passwd'"),
        (cell("path", "/etc/passwd"), "path is '/etc/passwd'"),
        (cell("path", "cells/Highway/libx264/cq25-000000000000.parquet"), "path is 'cells/Highway"),
        (cell("path", None), "cells[0].path: None"),
        (cell("key", "F" * 64), "cells[0].key: 'FFFF"),
        (cell("key", 7), "cells[0].key: 7"),
        (cell("encoder", "../.."), "cells[0].encoder: '../..'"),
        (cell("encoder", "libx264\n"), "cells[0].encoder: 'libx264\\n'"),
        (cell("encoder", "l\u0131bx264"), "cells[0].encoder"),
        (cell("source", "../.."), "cells[0].source: '../..'"),
        (cell("source", "Else"), "no source 'Else'"),
        (cell("group", "Else"), "no source"),
        (cell("src_sha256", "0" * 64), "no source"),
        (cell("src_sha256", 7), "cells[0].src_sha256: 7"),
        (cell("preset", "a/b"), "cells[0].preset: 'a/b'"),
        (cell("preset", "x" * 81), "cells[0].preset"),
        (cell("cq", 52), "cells[0].cq: 52"),
        (cell("cq", -1), "cells[0].cq: -1"),
        (cell("cq", 25.0), "cells[0].cq: 25.0"),
        (cell("cq", value=True), "cells[0].cq: True"),
        (cell("rows", 0), "cells[0].rows: 0"),
        (cell("rows", 10**12), "cells[0].rows: 1000000000000"),
        (cell("rows", "5"), "cells[0].rows: '5'"),
        (cell("encoded_bytes", -1), "cells[0].encoded_bytes: -1"),
        (cell("encoded_bytes", 1.5), "cells[0].encoded_bytes: 1.5"),
        (cell("content_sha256", "x"), "cells[0].content_sha256: 'x'"),
        (cell("more", 1), "cells[0]"),
        (lambda m: m["cells"][0].pop("path"), "'path'"),
        (lambda m: m["sources"][0].update(label="../up"), "sources[0].label: '../up'"),
        (lambda m: m["sources"][0].update(label="x" * 151), "sources[0].label"),
        (lambda m: m["sources"][0].update(group="a/b"), "sources[0].group: 'a/b'"),
        (lambda m: m["sources"][0].update(labels=["\x1b[2J"]), "sources[0].labels[0]: '\\x1b[2J'"),
        (lambda m: m["sources"][0].update(groups="abc"), "sources[0].groups: 'abc'"),
        (lambda m: m["sources"][0].update(sha256="x"), "sources[0].sha256: 'x'"),
        (lambda m: m["sources"][0].update(geometry=[]), "sources[0].geometry: []"),
        (lambda m: m["sources"][0].update({"\x1b[2J": 1}), "sources[0]"),
        (lambda m: append("sources", m["sources"][0])(m), "same label"),
        (append("sources", 7), "sources[2]: 7"),
        (append("cells", 7), "cells[4]: 7"),
        (append("boxes", []), "boxes[1]: []"),
        (lambda m: m["boxes"][0].update(box="a b"), "boxes[0].box: 'a b'"),
        (lambda m: m["boxes"][0].update(box=7), "boxes[0].box: 7"),
        (lambda m: m["boxes"][0].update(platform="a b"), "boxes[0].platform: 'a b'"),
        (lambda m: m["boxes"][0].update(cells="4"), "boxes[0].cells: '4'"),
        (lambda m: m["boxes"][0]["scorers"][0].update(golden={"flat": "97"}), "scorers[0].golden.flat: '97'"),
        (lambda m: m["boxes"][0]["scorers"][0].update(golden={"flat": 10**400}), "scorers[0].golden.flat"),
        (lambda m: m["boxes"][0]["scorers"][0].update(golden={"\x1b": "97"}), "scorers[0].golden"),
        (lambda m: m["boxes"][0]["scorers"][0].update(version="\x1b[2J"), "scorers[0].version: '\\x1b[2J'"),
        (lambda m: m["boxes"][0]["scorers"][0].update(version="x" * 501), "scorers[0].version"),
        (lambda m: m["boxes"][0]["scorers"][0].pop("golden"), "'golden'"),
        (lambda m: m["boxes"][0]["encoders"].update({"lib/x": []}), "boxes[0].encoders: 'lib/x'"),
        (lambda m: m["boxes"][0]["encoders"].update({"libx264": ["a\nb"]}), "boxes[0].encoders.libx264[0]: 'a\\nb'"),
        (lambda m: m["teacher"].update(id="a/b"), "teacher.id: 'a/b'"),
        (lambda m: m["teacher"].update(sha256="a"), "teacher.sha256: 'a'"),
        (lambda m: m["teacher"].update(path="/etc/passwd"), "'path'"),
        (lambda m: m.update(feature_set=None), "feature_set: None"),
        (lambda m: m.update(demo="no"), "demo: 'no'"),
        (lambda m: m.update(allow_partial=1), "allow_partial: 1"),
        (lambda m: m.update(dropped=["x"]), "dropped[0]: 'x'"),
        (lambda m: m.update(corpus_sha256="x"), "corpus_sha256: 'x'"),
        (append("failed", {**FAILED, "stderr_tail": "", "source": "Else"}), "no source 'Else'"),
        (append("failed", {**FAILED, "stderr_tail": "", "source": "?"}), "failed[0].source: '?'"),
        (append("failed", {**FAILED, "stderr_tail": "x" * 20_001}), "failed[0].stderr_tail"),
        (append("failed", {**FAILED, "stderr_tail": "", "tries": "3"}), "failed[0].tries: '3'"),
        (append("failed", {**FAILED, "stderr_tail": "", "cq": 99}), "failed[0].cq: 99"),
    ],
)
def test_an_invalid_manifest_is_refused(tmp_path: Path, change: Callable[[Any], object], named: str) -> None:
    shard_of(tmp_path, plan())
    assert len(read_shard(tmp_path, "mine").cells) == 4
    with pytest.raises(CheckFailed) as error:
        read_shard(edited(tmp_path, change), "mine")
    assert named in error.value.message
    assert error.value.exit_code == exits.INVALID
    # nothing of the file acts on a terminal
    assert "\x1b" not in error.value.message


def test_a_manifest_of_many_errors_names_the_first_ones(tmp_path: Path) -> None:
    shard_of(tmp_path, plan())
    with pytest.raises(CheckFailed) as error:
        read_shard(edited(tmp_path, lambda manifest: manifest.update(cells=[7] * 1000)), "mine")
    assert len(error.value.message.splitlines()) == 11


@pytest.mark.parametrize("table", ["cells", "failed"])
def test_a_key_that_is_listed_twice_is_refused(tmp_path: Path, table: str) -> None:
    shard = shard_of(tmp_path, plan())
    failed = FailedCell(key="f" * 64, source="Park", encoder="libx264", cq=1, reason="r")
    twice = {"cells": shard.cells + shard.cells[:1], "failed": (failed, failed)}[table]
    write_manifest(replace(shard, **{table: twice}))
    with pytest.raises(CheckFailed, match=f"2 .*{twice[-1].key[:12]}"):
        read_shard(tmp_path, "mine")


@pytest.mark.parametrize(
    "change",
    [
        lambda manifest: manifest.update(schema_version=2),
        lambda manifest: manifest["cells"].pop(),
    ],
)
def test_a_manifest_of_another_version_or_with_another_hash_is_bad_input(
    tmp_path: Path, change: Callable[[Any], object]
) -> None:
    shard_of(tmp_path, plan())
    with pytest.raises(BadInput, match=r"shard\.json") as error:
        read_shard(edited(tmp_path, change), "mine")
    assert error.value.exit_code == exits.BAD_INPUT


def test_every_encoder_of_the_vocabulary_may_be_received(tmp_path: Path) -> None:
    # some have no preset
    shard_of(tmp_path, plan(("Highway",), encoders=contract.ENCODER_VOCAB))
    shard = read_shard(tmp_path, "mine")
    assert {read_cell(shard, entry).entry.encoder for entry in shard.cells} == set(contract.ENCODER_VOCAB)


def test_links_in_a_shard_are_refused(tmp_path: Path) -> None:
    shard = shard_of(tmp_path / "shard", plan())
    path = shard.folder / shard.cells[0].path
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CheckFailed, match=f"{path.name} is a link"):
        read_shard(shard.folder, "mine")


def test_a_manifest_that_is_too_large_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shard_of(tmp_path, plan())
    monkeypatch.setattr(received, "_LARGEST_MANIFEST", 100)
    with pytest.raises(CheckFailed, match="bytes"):
        read_shard(tmp_path, "mine")


# ------------------------------------------------------------------------------------------------ the cells


def made(folder: Path, change: Callable[[CellRows], CellRows]) -> Shard:
    """Return a shard with one cell, whose rows are changed and whose hashes match the change."""

    def rows(cell: Cell) -> CellRows:
        own = rows_of(cell)
        return change(own) if cell.key == victim else own

    cells = plan()
    victim = cells[0].key
    shard_of(folder, cells, rows=rows)
    shard = read_shard(folder, "mine")
    return replace(shard, cells=tuple(entry for entry in shard.cells if entry.key == victim))


def with_column(name: str, value: float) -> Callable[[CellRows], CellRows]:
    def change(rows: CellRows) -> CellRows:
        numbers = np.column_stack([rows.features, rows.vmaf])
        numbers[2, ("adm2", "vif_scale0", "vif_scale1", "vif_scale2", "vif_scale3", "motion2", "vmaf").index(name)] = (
            value
        )
        changed = replace(rows, features=numbers[:, :6], vmaf=numbers[:, 6])
        return with_facts(content_sha256=changed.content_sha256())(changed)

    return change


def with_facts(**facts: object) -> Callable[[CellRows], CellRows]:
    return lambda rows: replace(rows, facts={**rows.facts, **facts})


def with_labels(**labels: str) -> Callable[[CellRows], CellRows]:
    return lambda rows: replace(rows, labels={**rows.labels, **labels})


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (with_column("vmaf", 100.5), "vmaf is 100.5 in frame 2, expected 0 to 100"),
        (with_column("vmaf", -0.1), "vmaf is -0.1"),
        (with_column("adm2", -1), "adm2 is -1 in frame 2"),
        (with_column("vif_scale3", 1e9), "vif_scale3 is 1e+09"),
        (with_column("motion2", 256), "motion2 is 256"),
        (with_column("adm2", float("nan")), "not finite"),
        (with_column("vmaf", float("inf")), "not finite"),
        (with_labels(src="Else"), "src 'Else'"),
        (with_labels(group="Else"), "group 'Else'"),
        (with_labels(cell_key="0" * 64), "cell_key '0000"),
        (with_labels(encoder="libx265"), "encoder 'libx265'"),
        (lambda rows: replace(rows, cq=26), "cq 26"),
        (with_labels(corpus="../.."), "corpus is '../..'"),
        (with_facts(encoder_build="x264 - core 999"), "its key is"),
        (with_facts(argv=[]), "its key is"),
        (with_facts(architecture="vax"), "its key is"),
        (with_facts(scorer_id="cuda/golden-1"), "'cuda/golden-1'"),
        (with_facts(teacher={"id": "vmaf_4k_v0.6.1", "sha256": None}), "its teacher is {'id': 'vmaf_4k_v0.6.1'"),
        (with_facts(teacher=None), "its teacher is None"),
        (with_facts(encoder_build=7), "encoder_build is 7"),
        (with_facts(encoder_build="\x1b[2J"), "encoder_build is '\\x1b[2J'"),
        (with_facts(feature_set="other"), "feature_set 'other'"),
        (with_facts(encoder="libx265"), "encoder 'libx265'"),
        (with_facts(geometry=None), "footer"),
        (with_facts(geometry={"frames": 5}), "geometry {'frames': 5}"),
        (with_facts(content_sha256="0" * 64), "content_sha256 '0000"),
        (lambda rows: replace(rows, facts={"encoded_bytes": 1, "content_sha256": ""}), "footer"),
        (lambda rows: replace(rows, facts={**rows.facts, "origin": "imported"}), "its key is"),
    ],
)
def test_an_invalid_cell_is_refused(tmp_path: Path, change: Callable[[CellRows], CellRows], named: str) -> None:
    shard = made(tmp_path, change)
    with pytest.raises(CheckFailed) as error:
        read_cell(shard, shard.cells[0])
    assert named in error.value.message
    assert error.value.exit_code == exits.INVALID


def test_a_made_cell_of_a_shard_without_a_teacher_is_refused(tmp_path: Path) -> None:
    shard = made(tmp_path, lambda rows: rows)
    with pytest.raises(CheckFailed, match="teacher"):
        read_cell(replace(shard, teacher=None), shard.cells[0])


def test_a_valid_cell_is_read(tmp_path: Path) -> None:
    shard = made(tmp_path, lambda rows: rows)
    cell = read_cell(shard, shard.cells[0])
    assert (cell.build, cell.entry, cell.observations[0]["box"]) == ("x264 - core 164", shard.cells[0], "b")


def test_files_that_differ_from_their_entries_are_refused(tmp_path: Path) -> None:
    shard = made(tmp_path, lambda rows: rows)
    (entry,) = shard.cells
    path = tmp_path / entry.path
    data = path.read_bytes()
    for other, named in (
        (replace(entry, rows=4), "5 rows, expected 4"),
        (replace(entry, content_sha256="0" * 64), "content_sha256"),
        (replace(entry, encoded_bytes=1), "encoded_bytes"),
    ):
        with pytest.raises(CheckFailed, match=named):
            read_cell(shard, other)
    for damage in (data[:-5], data + bytes(2_000_000), b""):
        path.write_bytes(damage)
        with pytest.raises(CheckFailed, match=path.name):
            read_cell(shard, entry)
    path.unlink()
    with pytest.raises(CheckFailed, match=path.name):
        read_cell(shard, entry)


def observed(**values: object) -> Callable[[Any], object]:
    return lambda document: document["observations"][0].update(values)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (observed(box="../up"), "observations[0].box: '../up'"),
        (observed(box="b\n"), "observations[0].box: 'b\\n'"),
        (observed(platform="a b"), "observations[0].platform: 'a b'"),
        (observed(more={"deep": 1}), "observations[0].more: {'deep': 1}"),
        (observed(kit_version="\x1b[2J"), "observations[0].kit_version: '\\x1b[2J'"),
        (observed(more="x" * 501), "observations[0].more"),
        (observed(seconds="1"), "observations[0].seconds: '1'"),
        (observed(seconds=float("nan")), "NaN"),
        (lambda document: document.update(observations=7), "observations: 7"),
        (lambda document: document.pop("observations"), "'observations'"),
        (lambda document: document.update(file=None), "file: None"),
        (lambda document: document.clear(), "'cell_key'"),
    ],
)
def test_invalid_observations_are_refused(tmp_path: Path, change: Callable[[Any], object], named: str) -> None:
    shard = made(tmp_path, lambda rows: rows)
    path = observed_path(tmp_path, shard.cells[0].path)
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))
    with pytest.raises(CheckFailed) as error:
        read_cell(shard, shard.cells[0])
    assert named in error.value.message
    assert error.value.exit_code == exits.INVALID


@pytest.mark.parametrize("text", ["", "[]", "7", '{"observations": '])
def test_observations_that_are_no_document_are_refused(tmp_path: Path, text: str) -> None:
    shard = made(tmp_path, lambda rows: rows)
    observed_path(tmp_path, shard.cells[0].path).write_text(text)
    with pytest.raises(CheckFailed):
        read_cell(shard, shard.cells[0])


@pytest.mark.parametrize("hashes", ["AAAA", "A" * 30_000, "\x1b[31m"], ids=["short", "long", "no base64"])
def test_a_fingerprint_that_does_not_fit_its_clip_is_refused(hashes: str, tmp_path: Path) -> None:
    folder = tmp_path / "s"
    shard = shard_of(folder, plan(("a",)))
    (source,) = shard.sources
    fingerprint = {"version": 1, "every": 1, "hashes": hashes}
    write_manifest(replace(shard, sources=({**source, "fingerprint": fingerprint},)))
    with pytest.raises(CheckFailed) as error:
        read_shard(folder, "s")
    assert "fingerprint" in error.value.message
    assert len(error.value.message) < 2_000
