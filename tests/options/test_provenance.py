"""The commit that a kit is of: in a git checkout, unpacked, and in neither."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from kit.options.provenance import COMMIT_FILE, commit_of
from kit.system.proc import Processes

HASH = "0123456789abcdef0123456789abcdef01234567"


def checkout(folder: Path) -> str:
    """Make a repository with one empty commit; return its hash."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    git = ["git", "-C", str(folder), "-c", "user.name=x", "-c", "user.email=x@localhost"]
    for words in (["init", "--quiet"], ["commit", "--quiet", "--allow-empty", "--message", "x"]):
        subprocess.run([*git, *words], check=True)
    return subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()


def test_a_checkout_has_its_commit(tmp_path: Path) -> None:
    assert commit_of(tmp_path, Processes()) is None
    expected = checkout(tmp_path)
    assert commit_of(tmp_path, Processes()) == expected
    inner = tmp_path / "kit"
    inner.mkdir()
    assert commit_of(inner, Processes()) is None  # the repository around an unpacked kit is not the kit's


@pytest.mark.parametrize(("text", "commit"), [(f"{HASH}\n", HASH), ("main\n", None), ("", None), (HASH[:7], None)])
def test_an_unpacked_kit_has_that_of_its_file(text: str, commit: str | None, tmp_path: Path) -> None:
    (tmp_path / COMMIT_FILE).write_text(text)
    assert commit_of(tmp_path, Processes()) == commit


def test_without_git_no_commit_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".git").mkdir()
    assert commit_of(tmp_path, Processes()) is None  # not a repository
    monkeypatch.setenv("PATH", str(tmp_path))
    assert commit_of(tmp_path, Processes()) is None  # and no git
