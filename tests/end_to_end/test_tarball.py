"""The tarball: reproducible, small, complete, and the demo runs from an empty folder."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from kit import __version__
from kit.core import exits, layout
from kit.options.provenance import commit_of
from kit.options.session import KIT_ROOT
from kit.system.proc import Processes

NAME = f"vmaf-ensemble-kit-{__version__}"


def pack(root: Path, folder: Path, *args: str, **env: str) -> subprocess.CompletedProcess[str]:
    folder.mkdir(exist_ok=True)
    return subprocess.run(
        [sys.executable, str(root / "make_tarball.py"), *args],
        cwd=folder,
        env=os.environ | env,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def tarball(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not (KIT_ROOT / ".git").exists() and not (KIT_ROOT / "MANIFEST.sha256").exists():
        pytest.skip("packing needs a git checkout or an unpacked kit, and this is neither")
    if (KIT_ROOT / ".git").exists() and shutil.which("git") is None:
        pytest.skip("packing a checkout needs git")
    folder = tmp_path_factory.mktemp("tarball")
    done = pack(KIT_ROOT, folder)
    assert done.returncode == 0, done.stderr
    return folder / f"{NAME}.tar.gz"


@pytest.fixture
def unpacked(tarball: Path, tmp_path: Path) -> Path:
    with tarfile.open(tarball) as tar:
        tar.extractall(tmp_path, filter="data")
    return tmp_path / NAME


def test_twice_the_same_bytes(tarball: Path, tmp_path: Path) -> None:
    assert pack(KIT_ROOT, tmp_path).returncode == 0
    assert (tmp_path / tarball.name).read_bytes() == tarball.read_bytes()


def test_an_unpacked_kit_packs_itself_the_same(tarball: Path, unpacked: Path, tmp_path: Path) -> None:
    done = pack(unpacked, tmp_path / "again")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "again" / tarball.name).read_bytes() == tarball.read_bytes()


def test_an_unpacked_kit_knows_its_commit(unpacked: Path) -> None:
    assert commit_of(unpacked, Processes()) == commit_of(KIT_ROOT, Processes()) is not None


def test_a_changed_kit_does_not_pack_itself(unpacked: Path, tmp_path: Path) -> None:
    with (unpacked / "kit" / "verdict" / "gate.py").open("a") as stream:
        stream.write("# changed\n")
    done = pack(unpacked, tmp_path / "again")
    assert done.returncode == exits.INVALID
    assert "kit/verdict/gate.py" in done.stderr
    assert list((tmp_path / "again").iterdir()) == []


@pytest.mark.parametrize(
    ("args", "code"),
    [(("--help",), exits.OK), (("--out", "x"), exits.BAD_INPUT), (("x",), exits.BAD_INPUT)],
)
def test_help_and_unknown_arguments_pack_nothing(args: tuple[str, ...], code: int, tmp_path: Path) -> None:
    done = pack(KIT_ROOT, tmp_path, *args)
    assert done.returncode == code
    assert "usage: make_tarball.py" in (done.stderr if code else done.stdout)
    assert list(tmp_path.iterdir()) == []


def test_source_date_epoch_is_honoured(tmp_path: Path, tarball: Path) -> None:
    assert pack(KIT_ROOT, tmp_path, SOURCE_DATE_EPOCH="1234567890").returncode == 0
    with tarfile.open(tmp_path / tarball.name) as tar:
        assert {member.mtime for member in tar} == {1234567890}
    assert pack(KIT_ROOT, tmp_path, SOURCE_DATE_EPOCH="yesterday").returncode == exits.BAD_INPUT


def test_size_top_folder_and_plain_files(tarball: Path) -> None:
    assert tarball.stat().st_size < 5 << 18
    with tarfile.open(tarball) as tar:
        members = tar.getmembers()
    assert {member.name.split("/")[0] for member in members} == {NAME}
    assert all(member.isfile() for member in members)
    assert all((member.uid, member.gid, member.uname, member.gname) == (0, 0, "", "") for member in members)


def test_the_list_of_hashes_covers_every_file(unpacked: Path) -> None:
    listed = {}
    for line in (unpacked / "MANIFEST.sha256").read_text().splitlines():
        digest, name = line.split("  ", 1)
        listed[name] = digest
    there = {
        str(path.relative_to(unpacked)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in unpacked.rglob("*")
        if path.is_file() and path.name != "MANIFEST.sha256"
    }
    assert there == listed
    needed = {
        "run_full_pipeline.py",
        "requirements-frozen.txt",
        "kit/cli/help.json",
        "tests/end_to_end/test_tarball.py",
    }
    assert needed | {f"kit/system/schemas/{name}.json" for name in ("sidecar", "registry")} <= there.keys()


@pytest.mark.slow
@pytest.mark.ffmpeg
def test_the_demo_runs_from_the_unpacked_kit(unpacked: Path, home: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "run_full_pipeline.py", "--box", "testbox", "--json"],
        cwd=unpacked,
        env=home,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (exits.OK, exits.HOLD), done.stderr
    value = json.loads(done.stdout)
    assert value["verdict"]["demo"] is True
    assert "demo clips" in value["verdict"]["recommendation"]
    assert value["verdict"]["corpus"]["sources"] == 9
    assert value["verdict"]["corpus"]["cells"] == 36
    assert layout.verdicts_in(Path(value["run"])) == [value["verdict"]["verdict"]]
    assert (Path(value["run"]) / layout.REGISTRY).is_file() == (value["verdict"]["verdict"] == "PROMOTE")
    assert (unpacked / "runs" / Path(value["bundle"]["path"]).name).is_file()
