"""Reproducible archives."""

from __future__ import annotations

import hashlib
import os
import tarfile
from pathlib import Path

import pytest

from kit.system.archive import ArchiveFile, read_hashes, write_tar_gz

CONTENT = {"run/b.json": b"{}\n", "run/a/deep.parquet": bytes(range(256)) * 40, "run/empty": b"", "run/é": b"x"}


def from_disk(folder: Path, order: list[str], *, mtime: float, mode: int) -> list[ArchiveFile]:
    """Write the same content to files in a given order, with given times and permissions."""
    for name in order:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(CONTENT[name])
        path.chmod(mode)
        os.utime(path, (mtime, mtime))
    return [ArchiveFile(name=name, data=folder / name) for name in sorted(CONTENT)]


def test_the_same_members_give_the_same_bytes(tmp_path: Path) -> None:
    first = from_disk(tmp_path / "x", list(CONTENT), mtime=1e9, mode=0o600)
    second = from_disk(tmp_path / "y", list(reversed(CONTENT)), mtime=1.5e9, mode=0o777)
    in_memory = [ArchiveFile(name=name, data=CONTENT[name]) for name in sorted(CONTENT)]
    for name, members in (("one.tar.gz", first), ("another-name.tar.gz", second), ("m", in_memory)):
        write_tar_gz(tmp_path / name, members, mtime=1_700_000_000)
    archives = {path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    assert len(archives) == 1


@pytest.mark.parametrize(
    ("members", "mtime"),
    [
        ([ArchiveFile(name="b", data=b"x")], 5),
        ([ArchiveFile(name="a", data=b"y")], 5),
        ([ArchiveFile(name="a", data=b"x", mode=0o755)], 5),
        ([ArchiveFile(name="a", data=b"x")], 6),
        ([ArchiveFile(name="a", data=b"x"), ArchiveFile(name="b", data=b"")], 5),
    ],
)
def test_other_members_give_other_bytes(tmp_path: Path, members: list[ArchiveFile], mtime: int) -> None:
    write_tar_gz(tmp_path / "1", [ArchiveFile(name="a", data=b"x")], mtime=5)
    write_tar_gz(tmp_path / "2", members, mtime=mtime)
    assert (tmp_path / "1").read_bytes() != (tmp_path / "2").read_bytes()


def test_members_are_owned_by_nobody_and_keep_their_order(tmp_path: Path) -> None:
    names = ["run/c", "run/a", "run/b.sh"]
    members = [ArchiveFile(name=name, data=b"x", mode=0o755 if name.endswith("sh") else 0o644) for name in names]
    write_tar_gz(tmp_path / "a.tar.gz", members, mtime=1234)
    with tarfile.open(tmp_path / "a.tar.gz") as tar:
        infos = tar.getmembers()
    assert [info.name for info in infos] == names
    assert [info.mode for info in infos] == [0o644, 0o644, 0o755]
    assert {(info.uid, info.gid, info.uname, info.gname, info.mtime, info.isreg()) for info in infos} == {
        (0, 0, "", "", 1234, True)
    }


def test_the_gzip_header_has_no_name(tmp_path: Path) -> None:
    write_tar_gz(tmp_path / "my-secret-name.tar.gz", [], mtime=1)
    data = (tmp_path / "my-secret-name.tar.gz").read_bytes()
    assert b"secret" not in data
    assert int.from_bytes(data[4:8], "little") == 1


def test_reading_back(tmp_path: Path) -> None:
    members = [ArchiveFile(name=name, data=data) for name, data in sorted(CONTENT.items())]
    write_tar_gz(tmp_path / "a.tar.gz", members, mtime=0)
    assert list(read_hashes(tmp_path / "a.tar.gz")) == [
        (name, len(data), hashlib.sha256(data).hexdigest()) for name, data in sorted(CONTENT.items())
    ]


def test_a_name_may_be_long_and_foreign(tmp_path: Path) -> None:
    names = ["x" * 300, "ü" * 120]
    write_tar_gz(tmp_path / "a", [ArchiveFile(name=name, data=b"") for name in names], mtime=0)
    assert [name for name, *_ in read_hashes(tmp_path / "a")] == names


def test_a_missing_member_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_tar_gz(tmp_path / "a", [ArchiveFile(name="x", data=tmp_path / "no")], mtime=0)
