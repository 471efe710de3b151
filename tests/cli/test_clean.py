"""`clean` on real folders: what it lists, what it removes, and what it leaves alone."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from kit.core import exits
from kit.options.session import KIT_ROOT
from kit.system.fsio import SCRATCH_PREFIX

MAIN = "import sys; from kit.cli.main import main; sys.exit(main(sys.argv[1:]))"


@pytest.fixture
def kit_copy(tmp_path: Path) -> Path:
    """A kit of its own, so that this one's environment is not at stake."""
    folder = tmp_path / "kit-folder"
    shutil.copytree(KIT_ROOT / "kit", folder / "kit", ignore=shutil.ignore_patterns("__pycache__"))
    write(folder / "runs" / "a-run" / "corpus" / "shard.json", 50)
    write(folder / "binaries" / "linux-x86_64-cpu" / "vmaf", 60)
    return folder


@pytest.fixture
def env(home: dict[str, str], tmp_path: Path) -> dict[str, str]:
    """The environment of a user with a cache, a state folder and temporary files of earlier runs."""
    user = tmp_path / "user"
    cache, state = (user / kind / "vmaf-ensemble-kit" for kind in ("cache", "state"))
    write(cache / "demo-1" / "Clip.y4m", 1000)
    write(cache / "identity" / "ab.json", 20)
    write(cache / "probes" / "cd.json", 30)
    write(cache / "venv-0123" / "lib" / "big.so", 5000)
    write(cache / "venv-0123.lock", 0)
    write(state / "box", 12)
    (user / "tmp").mkdir()
    places = {"XDG_CACHE_HOME": str(user / "cache"), "XDG_STATE_HOME": str(user / "state"), "HOME": str(user)}
    return home | places | {"TMPDIR": str(user / "tmp")}


def write(path: Path, size: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)


def clean(
    folder: Path, env: dict[str, str], *args: str, python: str = sys.executable, answers: int | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [python, "-c", MAIN, "clean", *args],
        cwd=folder,
        env=env,
        stdin=subprocess.DEVNULL if answers is None else answers,
        capture_output=True,
        text=True,
        check=False,
    )


def contents(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc"}


def test_the_list_has_kinds_and_sizes_and_removes_nothing(kit_copy: Path, env: dict[str, str]) -> None:
    user = Path(env["HOME"])
    before = contents(user)
    done = clean(kit_copy, env, "--json")
    assert done.returncode == exits.OK, done.stderr
    items = {Path(item["path"]).name: item for item in json.loads(done.stdout)}
    assert {name: (item["kind"], item["bytes"]) for name, item in items.items()} == {
        "demo-1": ("demo clips", 1000),
        "identity": ("hashes of clips", 20),
        "probes": ("results of encoder probes", 30),
        "venv-0123": ("environment", 5000),
        "venv-0123.lock": ("lock of an environment", 0),
        "box": ("random tag of the box", 12),
    }
    assert not any(item["removed"] for item in items.values())
    assert clean(kit_copy, env).returncode == exits.OK  # off a terminal it does not ask
    assert contents(user) == before


def test_yes_removes_everything_listed_and_nothing_else(kit_copy: Path, env: dict[str, str]) -> None:
    kept = contents(kit_copy)
    done = clean(kit_copy, env, "--yes", "--json")
    assert done.returncode == exits.OK, done.stderr
    assert all(item["removed"] for item in json.loads(done.stdout))
    assert contents(Path(env["HOME"])) == set()
    assert not (Path(env["XDG_CACHE_HOME"]) / "vmaf-ensemble-kit").exists()
    assert contents(kit_copy) == kept  # runs and binaries among them
    again = clean(kit_copy, env, "--yes", "--json")
    assert (again.returncode, json.loads(again.stdout)) == (exits.OK, [])


def test_on_a_terminal_each_item_is_a_question(kit_copy: Path, env: dict[str, str]) -> None:
    keyboard, its_end = pty.openpty()
    os.write(keyboard, b"y\nn\nn\nn\nn\ny\n")
    done = clean(kit_copy, env, answers=its_end)
    os.close(its_end)
    os.close(keyboard)
    assert done.returncode == exits.OK, done.stderr
    assert done.stderr.count("[y/N]") == 6
    cache = Path(env["XDG_CACHE_HOME"]) / "vmaf-ensemble-kit"
    assert sorted(path.name for path in cache.iterdir()) == ["identity", "probes", "venv-0123", "venv-0123.lock"]
    assert contents(Path(env["XDG_STATE_HOME"])) == set()


def test_the_environment_it_runs_in_is_removed_last(kit_copy: Path, env: dict[str, str]) -> None:
    place = kit_copy / ".venv"
    venv.create(place, with_pip=False)
    (packages,) = place.glob("lib/python*/site-packages")
    shared = next(path for path in sys.path if path.endswith("site-packages"))
    (packages / "shared.pth").write_text(f"{shared}\n")
    done = clean(kit_copy, env, "--yes", "--json", python=str(place / "bin" / "python"))
    assert done.returncode == exits.OK, done.stderr
    items = json.loads(done.stdout)
    assert (items[-1]["path"], items[-1]["running"], items[-1]["removed"]) == (str(place), True, True)
    assert not any(item["running"] for item in items[:-1])
    assert not place.exists()


def test_an_environment_in_use_is_kept(kit_copy: Path, env: dict[str, str]) -> None:
    place = kit_copy / ".venv"
    venv.create(place, with_pip=False)
    argv = [str(place / "bin" / "python"), "-c", "print('up', flush=True); input()"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        done = clean(kit_copy, env, "--yes", "--json")
        other.communicate(b"\n")
    assert done.returncode == exits.OK, done.stderr
    (item,) = [item for item in json.loads(done.stdout) if item["path"] == str(place)]
    assert (item["used_by"], item["removed"]) == ([other.pid], False)
    assert place.exists()


def test_a_temporary_folder_of_a_running_kit_is_kept(kit_copy: Path, env: dict[str, str]) -> None:
    old, used = (Path(env["TMPDIR"]) / f"{SCRATCH_PREFIX}{name}" for name in ("old", "used"))
    for folder in (old, used):
        write(folder / "clip.yuv", 40)
    handle = os.open(used, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    done = clean(kit_copy, env, "--yes", "--json")
    os.close(handle)
    assert done.returncode == exits.OK, done.stderr
    assert {
        item["path"]: item["removed"] for item in json.loads(done.stdout) if item["kind"] == "temporary folder"
    } == {
        str(old): True,
        str(used): False,
    }
    assert not old.exists()
    assert used.exists()


def test_a_link_is_removed_and_not_what_it_points_to(kit_copy: Path, env: dict[str, str], tmp_path: Path) -> None:
    write(tmp_path / "elsewhere" / "precious", 7)
    link = Path(env["XDG_CACHE_HOME"]) / "vmaf-ensemble-kit" / "features"
    link.symlink_to(tmp_path / "elsewhere")
    assert clean(kit_copy, env, "--yes").returncode == exits.OK
    assert not link.is_symlink()
    assert (tmp_path / "elsewhere" / "precious").is_file()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may remove anything")
def test_what_cannot_be_removed_is_named(kit_copy: Path, env: dict[str, str]) -> None:
    folder = Path(env["XDG_CACHE_HOME"]) / "vmaf-ensemble-kit" / "identity"
    folder.chmod(0o500)
    done = clean(kit_copy, env, "--yes")
    folder.chmod(0o700)
    assert done.returncode == exits.BAD_INPUT
    assert str(folder) in done.stderr
    assert not (folder.parent / "probes").exists()
