"""Atomic writes, strict JSON, temporary files and locks."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from kit.core.errors import BadInput, Missing
from kit.options.session import KIT_ROOT
from kit.system.fsio import (
    TEMPORARY_PREFIX,
    atomic_path,
    free_bytes,
    locked,
    read_json,
    remove_temporaries,
    scratch_folder,
    sha256_file,
    temporaries,
    write_bytes,
    write_json,
)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


class Interrupted(BaseException):
    """Any interruption of a write."""


@pytest.mark.parametrize("kind", [OSError, ValueError, KeyboardInterrupt, Interrupted])
@pytest.mark.parametrize("before", [None, b"old"])
def test_a_failed_write_keeps_the_old_file(tmp_path: Path, kind: type[BaseException], before: bytes | None) -> None:
    target = tmp_path / "a.bin"
    if before is not None:
        target.write_bytes(before)

    def fail() -> None:
        with atomic_path(target) as temporary:
            temporary.write_bytes(b"half")
            raise kind

    with pytest.raises(kind):
        fail()
    assert names(tmp_path) == ([] if before is None else ["a.bin"])
    assert before is None or target.read_bytes() == before


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    target = tmp_path / "a.bin"
    write_bytes(target, b"a long first content")
    with target.open("rb") as earlier:
        write_bytes(target, b"short")
        # an open reader still reads the old content
        assert earlier.read() == b"a long first content"
    assert target.read_bytes() == b"short"
    assert names(tmp_path) == ["a.bin"]


def test_the_old_file_stays_until_the_new_one_is_complete(tmp_path: Path) -> None:
    target = tmp_path / "a.parquet"
    write_bytes(target, b"old")
    with atomic_path(target) as temporary:
        temporary.write_bytes(b"new")
        assert target.read_bytes() == b"old"
        assert (temporary.parent, temporary.suffix, temporary.name[:5]) == (tmp_path, ".parquet", ".tmp-")
    assert target.read_bytes() == b"new"


def test_missing_folders_are_created(tmp_path: Path) -> None:
    write_bytes(tmp_path / "a" / "b" / "c", b"x")
    assert (tmp_path / "a" / "b" / "c").read_bytes() == b"x"


def test_a_target_that_is_a_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(OSError, match="a"):
        write_bytes(tmp_path / "a", b"x")
    assert names(tmp_path) == ["a"]


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_permissions_follow_the_umask(tmp_path: Path, umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        write_bytes(tmp_path / "a", b"")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == mode


def test_json_is_sorted_indented_and_ends_with_a_newline(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"b": [1, 2.5], "a": "é", "c": None})
    text = (tmp_path / "a.json").read_bytes().decode()
    assert text == '{\n  "a": "\\u00e9",\n  "b": [\n    1,\n    2.5\n  ],\n  "c": null\n}\n'
    assert read_json(tmp_path / "a.json") == {"b": [1, 2.5], "a": "é", "c": None}


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_json_without_infinities(tmp_path: Path, bad: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"a": [bad]})
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "is not valid JSON"),
        (b"{", "is not valid JSON"),
        (b"{} {}", "is not valid JSON"),
        (b"{'a': 1}", "is not valid JSON"),
        (b"[NaN]", "NaN is not JSON"),
        (b'{"a": Infinity}', "Infinity is not JSON"),
        (b"-Infinity", "-Infinity is not JSON"),
        (b"[1e999]", "is not valid JSON"),
        (b"[-1e999]", "is not valid JSON"),
        (b'"\xff"', "'utf-8' codec can't decode byte 0xff in position 1"),
        (b"\xff\xfe{\x00}\x00", "'utf-8' codec can't decode"),
        pytest.param(b"[" * 100_000, "is not valid JSON", id="deep"),
        pytest.param(b"9" * 5000, "is not valid JSON", id="5000-digits"),
    ],
)
def test_json_is_read_strictly(tmp_path: Path, data: bytes, expected: str) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(data)
    with pytest.raises(BadInput) as error:
        read_json(path)
    assert expected in error.value.message
    assert str(path) in error.value.message


@pytest.mark.parametrize(("written_by", "hint"), [("corpus", "Run `corpus` first."), ("", "")])
def test_the_hint_names_the_command_that_writes_a_file(tmp_path: Path, written_by: str, hint: str) -> None:
    with pytest.raises(Missing, match=r"a\.json") as error:
        read_json(tmp_path / "a.json", written_by=written_by)
    assert error.value.hint == hint


@pytest.mark.parametrize("data", [b"", b"abc", bytes(range(256)) * 5000])
def test_sha256_of_a_file(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a").write_bytes(data)
    assert sha256_file(tmp_path / "a") == hashlib.sha256(data).hexdigest()


def test_temporaries_are_removed_and_nothing_else(tmp_path: Path) -> None:
    kept = [tmp_path / "cells" / "a.parquet", tmp_path / "tmp-notes", tmp_path / "x.tmp-", tmp_path / ".lock"]
    gone = [tmp_path / name for name in (".tmp-1.json", "cells/.tmp-2.parquet", "cells/.tmp-3/deep/f", ".tmp-4/.tmp-5")]
    for path in (*kept, *gone):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    assert remove_temporaries(tmp_path) >= 4
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == sorted(kept)
    assert not list(tmp_path.rglob(".tmp-*"))
    assert remove_temporaries(tmp_path) == 0


KILLED = """
import os, sys
from pathlib import Path
from kit.system.fsio import atomic_path
with atomic_path(Path(sys.argv[1])) as temporary:
    temporary.write_bytes(b"half")
    os._exit(9)
"""


def test_a_killed_writer_leaves_a_temporary_file(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "a")], cwd=KIT_ROOT, check=False)
    assert len(names(tmp_path)) == 1
    assert remove_temporaries(tmp_path) == 1
    assert names(tmp_path) == []


def test_free_space_is_that_of_the_nearest_folder(tmp_path: Path) -> None:
    free = free_bytes(tmp_path / "not" / "there")
    usage = os.statvfs(tmp_path)
    assert free == pytest.approx(usage.f_bavail * usage.f_frsize, rel=0.05)


OTHER = """
import sys
from pathlib import Path
from kit.core.errors import BadInput
from kit.system.fsio import locked
try:
    with locked(Path(sys.argv[1])):
        print("mine", flush=True)
        sys.stdin.readline()
except BadInput as error:
    print("refused", error.message, error.hint)
"""


def other(folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", OTHER, str(folder)],
        cwd=KIT_ROOT,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )


def test_a_second_process_is_refused_until_the_first_is_done(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with locked(folder):
        answer = other(folder).communicate()[0]
        assert answer.startswith("refused")
        assert str(folder) in answer
    assert other(folder).communicate("\n")[0] == "mine\n"


def test_a_killed_process_releases_the_lock(tmp_path: Path) -> None:
    with other(tmp_path) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "mine\n"
        with pytest.raises(BadInput, match="another process"), locked(tmp_path):
            pass
        process.kill()
        process.wait()
    with locked(tmp_path):
        assert names(tmp_path) == [".lock"]


def test_the_lock_is_released_after_an_error(tmp_path: Path) -> None:
    def fail() -> None:
        with locked(tmp_path):
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    with locked(tmp_path):
        pass


def test_json_numbers_keep_their_digits(tmp_path: Path) -> None:
    values = [0.1, 1 / 3, 97.428043, 5e-324, 1.7976931348623157e308, 2**53 + 1]
    write_json(tmp_path / "a.json", values)
    assert read_json(tmp_path / "a.json") == values
    assert json.loads((tmp_path / "a.json").read_text()) == values


def test_folders_may_disappear_during_the_search(tmp_path: Path) -> None:
    kept = tmp_path / "a" / f"{TEMPORARY_PREFIX}kept"
    kept.mkdir(parents=True)
    over = threading.Event()

    def come_and_go() -> None:
        while not over.is_set():
            for name in range(20):
                (tmp_path / f"{TEMPORARY_PREFIX}{name}" / "below").mkdir(parents=True)
            for name in range(20):
                shutil.rmtree(tmp_path / f"{TEMPORARY_PREFIX}{name}")

    busy = threading.Thread(target=come_and_go)
    busy.start()
    try:
        assert all(kept in temporaries(tmp_path) for _ in range(300))
    finally:
        over.set()
        busy.join()


def test_a_scratch_folder_that_another_process_removes_at_once_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []

    def mkdtemp(**kwargs: object) -> str:
        made.append(tmp_path / str(len(made)))
        if len(made) > 1:
            made[-1].mkdir()
        return str(made[-1])

    monkeypatch.setattr("tempfile.mkdtemp", mkdtemp)
    with scratch_folder() as folder:
        assert folder == made[1]
        assert len(made) == 2
