"""Checks of output files and folders before the work."""

from __future__ import annotations

import errno
import tempfile
from pathlib import Path

import pytest

from kit.core.errors import BadInput
from kit.system.outputs import refuse_foreign, refuse_inputs, require_writable, write_error


def test_a_writable_folder_is_created_and_left_empty(tmp_path: Path) -> None:
    require_writable(tmp_path / "a" / "b", option="--out", hint="")
    assert list((tmp_path / "a" / "b").iterdir()) == []


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert isinstance(write_error(tmp_path / "file" / "a"), NotADirectoryError)
    with pytest.raises(BadInput, match="--out") as error:
        require_writable(tmp_path / "file" / "a", option="--out", hint="Give another folder.")
    assert str(tmp_path / "file" / "a") in error.value.message
    assert error.value.hint == "Give another folder."


def test_a_full_disk_is_not_bad_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(**_: object) -> object:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    with pytest.raises(OSError, match="No space") as error:
        require_writable(tmp_path, option="--out", hint="")
    assert error.value.errno == errno.ENOSPC


def test_inputs_are_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "in").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path / "in")
    refuse_inputs([tmp_path / "new"], [tmp_path / "in", tmp_path / "missing"])
    for output in (tmp_path / "in", tmp_path / "link", tmp_path):
        with pytest.raises(BadInput, match=str(output)):
            refuse_inputs([output], [tmp_path / "in"])


def test_all_foreign_files_are_named(tmp_path: Path) -> None:
    own, foreign, other = (tmp_path / name for name in ("own", "foreign", "other"))
    for path in (own, foreign, other):
        path.touch()
    paths = [own, foreign, other, tmp_path / "missing"]
    with pytest.raises(BadInput, match="--out") as error:
        refuse_foreign(paths, lambda path: path == own, option="--out", hint="Give another folder.")
    assert f"{foreign}, {other}" in error.value.message
    assert "missing" not in error.value.message
    refuse_foreign(paths, lambda _: True, option="--out", hint="")
