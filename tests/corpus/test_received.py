"""Bundles and shards from somebody else: what is hostile or damaged is refused, and nothing lands outside."""

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

from kit.core import contract
from kit.core.errors import BadInput, CheckFailed
from kit.core.values import Cell
from kit.corpus.store import received
from kit.corpus.store.cellfile import CellRows
from kit.corpus.store.received import open_bundle, read_cell, read_shard
from kit.corpus.store.shard import Shard, observed_path
from kit.system.archive import Limits, Member, unpack_tar_gz, write_tar_gz
from tests.corpus.builders import plan, rows_of, shard_of

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


def test_what_was_packed_comes_out_with_its_hashes(tmp_path: Path) -> None:
    members = [Member(name="run/a/b", data=b"1" * 3_000_000), Member(name="run/" + "x" * 150, data=b"")]
    write_tar_gz(tmp_path / "a.tar.gz", members, mtime=0)
    found = unpack_tar_gz(tmp_path / "a.tar.gz", tmp_path / "out")
    assert found == {m.name: (len(m.read()), hashlib.sha256(m.read()).hexdigest()) for m in members}
    assert all((tmp_path / "out" / m.name).read_bytes() == m.read() for m in members)


@pytest.mark.parametrize(
    ("member", "told"),
    [
        (info("../evil"), "outside the folder"),
        (info("run/../../evil"), "outside the folder"),
        (info("run/.."), "outside the folder"),
        (info("/evil"), "absolute path"),
        (info("//evil"), "absolute path"),
        (info("run/./a"), "characters other than"),
        (info("run//a"), "characters other than"),
        (info("run/.bashrc"), "characters other than"),
        (info("run\\..\\evil"), "characters other than"),
        (info("run/\x1b[2Jevil"), "characters other than"),
        (info("run/ümlaut"), "characters other than"),
        (info("run/" + "x" * 251), "too long"),
        (info("/".join(["x" * 200] * 6)), "too long"),
        (info("run/link", tarfile.SYMTYPE, "/etc/passwd"), "is a link"),
        (info("run/link", tarfile.SYMTYPE, "a"), "is a link"),
        (info("run/link", tarfile.LNKTYPE, "run/a"), "is a link"),
        (info("run/folder", tarfile.DIRTYPE), "is a folder"),
        (info("run/null", tarfile.CHRTYPE), "a device or a pipe"),
        (info("run/disk", tarfile.BLKTYPE), "a device or a pipe"),
        (info("run/pipe", tarfile.FIFOTYPE), "a device or a pipe"),
        (info("run/a"), "occurs twice"),
        (info("run/A"), "occurs twice"),
        (info("run/a/b"), "both a file and a folder"),
        (info("run"), "both a file and a folder"),
    ],
    ids=lambda value: value.name[:20] if isinstance(value, tarfile.TarInfo) else "",
)
def test_a_hostile_member_is_refused(tmp_path: Path, member: tarfile.TarInfo, told: str) -> None:
    place = tmp_path / "deep" / "in"
    place.mkdir(parents=True)
    archive = tar_of(tmp_path / "a.tar.gz", (info("run/a"), b"1"), (member, b"" if member.type != b"0" else b"evil"))
    with pytest.raises(CheckFailed) as error:
        unpack_tar_gz(archive, place / "out")
    assert told in error.value.message
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
    with pytest.raises(CheckFailed, match="is a link"):
        unpack_tar_gz(archive, tmp_path / "out")
    assert everything(outside) == everything(tmp_path / "out") == []


@pytest.mark.parametrize(
    ("limits", "told"),
    [
        (Limits(size=500_000), "unpacks to more than 500000 bytes"),
        (Limits(free=100_000), "unpacks to more than"),
        (Limits(members=1), "more than 1 members"),
    ],
)
def test_a_bomb_is_refused_before_it_goes_off(tmp_path: Path, limits: Limits, told: str) -> None:
    archive = tar_of(tmp_path / "a.tar.gz", (info("run/a"), bytes(1000)), (info("run/b"), bytes(40_000_000)))
    assert archive.stat().st_size < 60_000
    with pytest.raises(CheckFailed, match=told):
        unpack_tar_gz(archive, tmp_path / "out", limits=limits)
    assert sum(path.stat().st_size for path in (tmp_path / "out").rglob("*") if path.is_file()) < 8_000_000


def test_a_truncated_archive_is_refused_wherever_it_ends(tmp_path: Path) -> None:
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
def test_what_is_no_archive_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.tar.gz").write_bytes(data)
    with pytest.raises(CheckFailed):
        open_bundle(tmp_path / "a.tar.gz", tmp_path / "out")
    assert not any(path.is_file() and path.stat().st_size for path in (tmp_path / "out").rglob("*"))


# ---------------------------------------------------------------------------------------------- the bundle


def bundle_of(path: Path, files: dict[str, bytes], listed: Any = None, top: str = "results") -> Path:
    described = [
        {"path": name, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in files.items()
    ]
    manifest = json.dumps({"files": described} if listed is None else listed).encode()
    members = [Member(name=f"{top}/{name}", data=data) for name, data in {"manifest.json": manifest, **files}.items()]
    write_tar_gz(path, members, mtime=0)
    return path


def test_a_bundle_is_held_against_its_manifest(tmp_path: Path) -> None:
    files = {"a.json": b"{}", "corpus/shard.json": b"{}"}
    run = open_bundle(bundle_of(tmp_path / "good.tar.gz", files), tmp_path / "0")
    assert run == tmp_path / "0" / "results"
    assert (run / "corpus" / "shard.json").read_bytes() == b"{}"
    entry = {"path": "a.json", "size": 2, "sha256": hashlib.sha256(b"{}").hexdigest()}
    rest = {"path": "corpus/shard.json", "size": 2, "sha256": entry["sha256"]}
    cases: list[tuple[Any, str]] = [
        ({"files": [entry]}, "corpus/shard.json is not in its manifest"),
        ({"files": [entry, rest, {**rest, "path": "more"}]}, "more is missing"),
        ({"files": [{**entry, "size": 3}, rest]}, "a.json is not what its manifest says"),
        ({"files": [{**entry, "sha256": "0" * 64}, rest]}, "a.json is not what its manifest says"),
        ({"files": [entry, entry, rest]}, "lists a file twice"),
        ({"files": [[]]}, "cannot be used"),
        ([], "cannot be used"),
        ({}, "cannot be used"),
    ]
    for number, (listed, told) in enumerate(cases):
        with pytest.raises(CheckFailed) as error:
            open_bundle(bundle_of(tmp_path / "bad.tar.gz", files, listed), tmp_path / f"x{number}")
        assert told in error.value.message


def test_a_bundle_has_one_folder_and_a_manifest(tmp_path: Path) -> None:
    two = tar_of(tmp_path / "two.tar.gz", (info("a/x"), b""), (info("b/x"), b""))
    none = tar_of(tmp_path / "none.tar.gz", (info("a/x"), b""))
    for number, (path, told) in enumerate([(two, "expected one folder"), (none, "manifest cannot be used")]):
        with pytest.raises(CheckFailed, match=told):
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


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (cell("path", "../../../etc/passwd"), "not where it belongs"),
        (cell("path", "/etc/passwd"), "not where it belongs"),
        (cell("path", "cells/Highway/libx264/cq25-000000000000.parquet"), "not where it belongs"),
        (cell("path", None), "not where it belongs"),
        (cell("encoder", "../.."), "the cell"),
        (cell("source", "../.."), "not among the sources"),
        (cell("group", "Else"), "not among the sources"),
        (cell("src_sha256", "0" * 64), "not among the sources"),
        (cell("preset", "a/b"), "the cell"),
        (cell("cq", 52), "the cell"),
        (cell("cq", 25.0), "the cell"),
        (cell("rows", 0), "the cell"),
        (cell("rows", 10**12), "the cell"),
        (cell("rows", "5"), None),
        (cell("encoded_bytes", -1), "the cell"),
        (lambda m: m["sources"][0].update(label="../up"), "a source called"),
        (lambda m: m["sources"][0].update(group="a/b"), "a source called"),
        (lambda m: m["sources"][0].update(labels=["\x1b[2J"]), "a source called"),
        (lambda m: m["sources"][0].update(sha256="x"), "no hash"),
        (lambda m: m["sources"].append(m["sources"][0]), "same label"),
        (lambda m: m["sources"].append(7), "cannot be used"),
        (lambda m: m["boxes"][0].update(box="a b"), "a box called"),
        (lambda m: m["boxes"][0].update(box=7), "a box called"),
        (lambda m: m["boxes"][0]["scorers"][0].update(golden={"flat": "97"}), "golden answers"),
        (lambda m: m["boxes"][0]["scorers"][0].pop("golden"), "without id, version and golden"),
        (lambda m: m["boxes"][0]["encoders"].update({"lib/x": []}), "an encoder called"),
        (lambda m: m["boxes"][0]["encoders"].update({"libx264": ["a\nb"]}), "an encoder called"),
        (lambda m: m["teacher"].update(id="a/b"), "the teacher"),
        (lambda m: m["teacher"].update(path="/etc/passwd"), "the teacher"),
        (lambda m: m.update(feature_set=None), "the feature set"),
        (lambda m: m.update(demo="no"), "demo"),
        (lambda m: m.update(dropped=["x"]), "dropped"),
        (lambda m: m["cells"].append(m["cells"][0]), None),
        (
            lambda m: m["failed"].append(
                {
                    "key": "f" * 64,
                    "source": "?",
                    "encoder": "x",
                    "cq": 1,
                    "reason": "",
                    "command": "",
                    "stderr_tail": "",
                    "tries": 1,
                }
            ),
            "the failed cell",
        ),
    ],
)
def test_a_manifest_that_says_what_cannot_be_is_refused(
    tmp_path: Path, change: Callable[[Any], object], told: str | None
) -> None:
    shard_of(tmp_path, plan())
    assert len(read_shard(tmp_path, "mine").cells) == 4
    with pytest.raises((CheckFailed, BadInput)) as error:
        read_shard(edited(tmp_path, change), "mine")
    assert told is None or told in error.value.message


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
    with pytest.raises(CheckFailed, match="is a link"):
        read_shard(shard.folder, "mine")


def test_a_manifest_of_gigabytes_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shard_of(tmp_path, plan())
    monkeypatch.setattr(received, "_LARGEST_MANIFEST", 100)
    with pytest.raises(CheckFailed, match="bytes"):
        read_shard(tmp_path, "mine")


# ------------------------------------------------------------------------------------------------ the cells


def made(folder: Path, change: Callable[[CellRows], CellRows]) -> Shard:
    """A shard whose first cell was made otherwise, its hashes as they should be for that."""

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
    ("change", "told"),
    [
        (with_column("vmaf", 100.5), "vmaf is 100.5 in frame 2, expected 0 to 100"),
        (with_column("vmaf", -0.1), "vmaf is -0.1"),
        (with_column("adm2", -1), "adm2 is -1 in frame 2"),
        (with_column("vif_scale3", 1e9), "vif_scale3 is 1e+09"),
        (with_column("motion2", 256), "motion2 is 256"),
        (with_column("adm2", float("nan")), "not finite"),
        (with_column("vmaf", float("inf")), "not finite"),
        (with_labels(src="Else"), "rows are of another cell"),
        (with_labels(group="Else"), "rows are of another cell"),
        (with_labels(cell_key="0" * 64), "rows are of another cell"),
        (with_labels(encoder="libx265"), "rows are of another cell"),
        (with_labels(corpus="../.."), "a corpus called"),
        (with_facts(encoder_build="x264 - core 999"), "its key is"),
        (with_facts(argv=[]), "its key is"),
        (with_facts(architecture="vax"), "its key is"),
        (with_facts(scorer_id="cuda/golden-1"), "its scorer 'cuda/golden-1'"),
        (with_facts(teacher={"id": "vmaf_4k_v0.6.1", "sha256": None}), "its teacher"),
        (with_facts(encoder_build=7), "no text"),
        (with_facts(feature_set="other"), "features"),
        (with_facts(encoder="libx265"), "footer is of another cell"),
        (with_facts(geometry=None), "cannot be used"),
        (with_facts(geometry={"frames": 5}), "geometry"),
        (with_facts(content_sha256="0" * 64), "content hash"),
        (lambda rows: replace(rows, facts={"encoded_bytes": 1, "content_sha256": ""}), "cannot be used"),
        (lambda rows: replace(rows, facts={**rows.facts, "origin": "imported"}), "its key is"),
    ],
)
def test_a_cell_that_is_not_what_it_says_is_refused(
    tmp_path: Path, change: Callable[[CellRows], CellRows], told: str
) -> None:
    shard = made(tmp_path, change)
    with pytest.raises(CheckFailed) as error:
        read_cell(shard, shard.cells[0])
    assert told in error.value.message


def test_a_cell_that_is_what_it_says_is_read(tmp_path: Path) -> None:
    shard = made(tmp_path, lambda rows: rows)
    found = read_cell(shard, shard.cells[0])
    assert (found.build, found.entry, found.observations[0]["box"]) == ("x264 - core 164", shard.cells[0], "b")


def test_files_that_differ_from_their_lines_are_refused(tmp_path: Path) -> None:
    shard = made(tmp_path, lambda rows: rows)
    (entry,) = shard.cells
    path = tmp_path / entry.path
    data = path.read_bytes()
    for other, told in (
        (replace(entry, rows=4), "5 rows, expected 4"),
        (replace(entry, content_sha256="0" * 64), "content hash"),
        (replace(entry, encoded_bytes=1), "its footer says something else"),
    ):
        with pytest.raises(CheckFailed, match=told):
            read_cell(shard, other)
    for damage, told in ((data[:-5], "cannot be read"), (data + bytes(2_000_000), "bytes for 5 rows"), (b"", "cannot")):
        path.write_bytes(damage)
        with pytest.raises(CheckFailed, match=told):
            read_cell(shard, entry)
    path.unlink()
    with pytest.raises(CheckFailed, match="and cannot be read"):
        read_cell(shard, entry)


@pytest.mark.parametrize(
    "observed",
    [
        '{"observations": [{"box": "../up"}]}',
        '{"observations": [{"box": "b", "more": {"deep": 1}}]}',
        '{"observations": [{"box": "b", "kit_version": "\\u001b[2J"}]}',
        '{"observations": 7}',
        "[]",
        "",
        '{"observations": [{"seconds": NaN}]}',
    ],
)
def test_what_was_observed_must_be_plain(tmp_path: Path, observed: str) -> None:
    shard = made(tmp_path, lambda rows: rows)
    observed_path(tmp_path, shard.cells[0].path).write_text(observed)
    with pytest.raises(CheckFailed, match="what was observed of it"):
        read_cell(shard, shard.cells[0])
