"""The environment, with real processes, wheels and signals."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import packaging
import pytest

from kit.bootstrap.environment import complete_groups
from kit.bootstrap.pins import read_pins
from tests.bootstrap.builders import START, Index, Tree, answer, finished, make_wheel, write_pins
from tests.bootstrap.conftest import GROUPS

NO_PIP = "import sys; sys.modules['pip'] = None"
NO_ENSUREPIP = f"{NO_PIP}; sys.modules['ensurepip'] = None"


# From nothing to a complete environment


def test_first_start_and_a_later_one(tree: Tree, wheels: Path, tmp_path: Path) -> None:
    (tree.bin / "uv").unlink()  # it comes from the folder, too
    done = tree.run("--wheels", wheels, "a", "--b=c", "--", "--wheels")
    facts = {"argv": ["run", "a", "--b=c", "--", "--wheels"], "prefix": str(tree.venv), "tinydep": 42, "telemetry": "1"}
    assert answer(done) == facts
    stamp = tree.stamp()
    assert (stamp["schema_version"], stamp["groups"]) == (2, ["base", "train"])
    assert stamp["requirements"] == read_pins(tree.root).sha256
    torch = stamp["torch"]
    assert isinstance(torch, dict)
    assert torch["version"] == "2.0+cpu"
    assert len(torch["files_sha256"]) == 64
    assert not (tree.venv / "kit-incomplete").exists()

    make_wheel(tmp_path / "other", "tinydep", "9", "VALUE = 'wrong'\n")
    later = tree.run(PYTHONPATH=str(tmp_path / "other" / "tinydep-9-py3-none-any.whl"))
    assert answer(later)["tinydep"] == 42
    assert later.stderr == ""
    assert "no effect" in tree.run("--torch-index=http://nowhere.invalid").stderr


def test_groups_are_added_when_a_command_needs_them(tree: Tree, wheels: Path) -> None:
    def groups_after(command: str, *argv: str) -> object:
        answer(tree.run("--wheels", wheels, *argv, command=command))
        installed = {path.name.split("-")[0] for path in tree.venv.glob("lib/python3*/site-packages/*.dist-info")}
        assert ("trainer" in installed) == ("torch" in installed) == ("train" in str(tree.stamp()["groups"]))
        return tree.stamp()["groups"]

    assert groups_after("run", "--shard-only") == ["base"]
    assert groups_after("corpus") == ["base"]
    assert groups_after("selftest") == ["base", "train", "test"]
    assert groups_after("run") == ["base", "train", "test"]


def test_a_python_with_the_pins_is_used_as_it_is(tree: Tree, wheels: Path) -> None:
    answer(tree.run("--wheels", wheels, "--shard-only"))
    tree.venv.rename(tree.home / "other")
    command = [str(tree.home / "other" / "bin" / "python"), str(tree.root / START), "--shard-only"]
    # versions are compared with `packaging`, which comes from the Python of the tests
    environ = tree.environ(PYTHONPATH=str(Path(packaging.__file__).parents[1]))
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert answer(done)["prefix"] == str(tree.home / "other")
    assert not tree.venv.exists()


def test_without_pip_and_without_ensurepip(tree: Tree, wheels: Path) -> None:
    assert answer(tree.run("--wheels", wheels, before=NO_ENSUREPIP))["tinydep"] == 42


def test_without_uv_pip_and_ensurepip(tree: Tree, wheels: Path) -> None:
    (tree.bin / "uv").unlink()
    done = tree.run("--wheels", wheels, before=NO_ENSUREPIP)
    assert (done.returncode, done.stdout) == (2, "")
    assert all(text in done.stderr for text in ("PATH has no uv", "ensurepip", f"python3.{sys.version_info[1]}-venv"))


def test_uv_that_is_too_old_is_not_used(tree: Tree, wheels: Path) -> None:
    (tree.bin / "uv").unlink()
    (tree.bin / "uv").write_text("#!/bin/sh\necho \"unexpected argument '--torch-backend'\" >&2; exit 2\n")
    (tree.bin / "uv").chmod(0o755)
    done = tree.run("--wheels", wheels, "--shard-only", before=NO_PIP)  # and pip has to be made first
    assert answer(done)["tinydep"] == 42
    assert "creating pip" in done.stderr
    assert "too old" in done.stderr


def test_a_folder_of_somebody_else_is_moved_aside(tree: Tree, wheels: Path) -> None:
    tree.venv.mkdir()
    (tree.venv / "notes.txt").write_text("mine")
    assert answer(tree.run("--wheels", wheels))["prefix"] == str(tree.venv)
    assert (tree.root / ".venv.old-1" / "notes.txt").read_text() == "mine"


# Where packages come from


def test_a_wrong_hash_is_refused(tree: Tree, tmp_path: Path) -> None:
    make_wheel(tmp_path / "wrong", "tinydep", "1.0", "VALUE = 'other'\n")
    done = tree.run("--wheels", tmp_path / "wrong", "--shard-only")
    assert (done.returncode, done.stdout) == (2, "")
    assert "sha256:" in done.stderr
    assert not (tree.venv / "kit-environment.json").exists()


def test_without_a_network(tree: Tree) -> None:
    done = tree.run(UV_DEFAULT_INDEX="http://127.0.0.1:9/simple", PIP_FIND_LINKS="/nonexistent")
    assert (done.returncode, done.stdout) == (2, "")
    assert "http://127.0.0.1:9/simple/tinydep/" in done.stderr
    assert "--wheels" in done.stderr
    log = tree.venv / "bootstrap.log"
    assert str(log) in done.stderr
    assert log.is_file()


def test_settings_of_pip_are_used(tree: Tree, index: Index, wheels: Path, tmp_path: Path) -> None:
    index.gate.set()
    (tmp_path / "folder").mkdir()
    shutil.copy(next(wheels.glob("torch-*")), tmp_path / "folder")
    config = tmp_path / "pip.conf"
    folders = f"/nonexistent\n  {tmp_path / 'folder'}"
    config.write_text(f"[global]\nindex-url = {index.url}/none\n[install]\nindex-url = {index.url}/main\n")
    (tree.bin / "uv").unlink()  # uv itself comes from there with pip
    done = tree.run(PIP_CONFIG_FILE=str(config), PIP_FIND_LINKS=folders)
    assert answer(done)["tinydep"] == 42
    assert {path.split("/")[-1].split("-")[0] for path in index.sent()} == {"uv", "tinydep", "trainer"}


def test_torch_from_an_index(tree: Tree, index: Index) -> None:
    index.gate.set()
    wheel = make_wheel(index.folder / "cpu", "torch", "2.0+here", needs="Requires-Dist: tinydep\n")
    done = tree.run("--torch-index", index.url + "/cpu", UV_DEFAULT_INDEX=index.url + "/main")
    answer(done)
    assert str(tree.stamp()["torch"]).count("2.0+here") == 1
    assert {path for path in index.sent() if "torch" in path} == {f"/cpu/{wheel.name}"}


@pytest.mark.skipif(sys.platform != "linux", reason="every torch for macOS is without CUDA")
@pytest.mark.parametrize("driver", [False, True])
def test_torch_of_the_fitting_build(tree: Tree, index: Index, *, driver: bool) -> None:
    """The index of these builds is not reachable everywhere: a stand-in for uv notes its arguments and fails."""
    index.gate.set()
    uv = (tree.bin / "uv").readlink()
    (tree.bin / "uv").unlink()
    script = f'#!/bin/sh\ncase "$*" in *--help*) ;; *torch-backend*) echo "no $*"; exit 2;; esac\nexec "{uv}" "$@"\n'
    (tree.bin / "uv").write_text(script)
    (tree.bin / "nvidia-smi").write_text("#!/bin/sh\n")
    for name in ("uv", "nvidia-smi") if driver else ("uv",):
        (tree.bin / name).chmod(0o755)
    if not driver and Path("/proc/driver/nvidia").exists():
        pytest.skip("this machine has an NVIDIA driver")
    done = tree.run(UV_DEFAULT_INDEX=index.url + "/main")
    assert (done.returncode, done.stdout) == (2, "")
    assert f"--torch-backend {'auto' if driver else 'cpu'}" in done.stderr
    assert "--torch-index" in done.stderr
    assert not any("torch" in path for path in index.sent())


@pytest.mark.parametrize(
    "argv",
    [
        ["--wheels", "no/such/folder"],
        ["--wheels"],
        ["--torch-index="],
        ["--wheels", "--fast"],
        ["--wheels", ".", "--torch-index", "file:///"],
    ],
)
def test_unusable_options(tree: Tree, argv: list[str]) -> None:
    done = tree.run(*argv)
    assert (done.returncode, done.stdout) == (2, "")
    assert argv[0].rstrip("=") in done.stderr
    assert not tree.venv.exists()


# Damage


def damage_link(venv: Path) -> None:
    """An upgrade of the system has removed the Python behind the environment."""
    (venv / "bin" / "python").unlink()
    (venv / "bin" / "python").symlink_to("/nonexistent/python3")


def damage_python(venv: Path) -> None:
    """The interpreter exists and cannot start any more."""
    (venv / "bin" / "python").unlink()
    (venv / "bin" / "python").write_text("#!/nonexistent\n")
    (venv / "bin" / "python").chmod(0o755)


def damage_pins(venv: Path) -> None:
    """Another version of the kit was unpacked over this one."""
    with (venv.parent / "requirements-frozen.txt").open("a") as handle:
        handle.write("# another version\n")


def damage_half_made(venv: Path) -> None:
    """A start was killed."""
    (venv / "kit-environment.json").rename(venv / "kit-incomplete")
    shutil.rmtree(venv / "lib")


def damage_stamp(venv: Path) -> None:
    """The disk was full."""
    (venv / "kit-environment.json").write_text("{}")


@pytest.mark.parametrize("damage", [damage_link, damage_python, damage_pins, damage_half_made, damage_stamp])
def test_a_damaged_environment_is_made_again(tree: Tree, wheels: Path, damage: Callable[[Path], None]) -> None:
    answer(tree.run("--wheels", wheels, "--shard-only"))
    assert complete_groups(tree.venv, read_pins(tree.root)) == {"base"}
    damage(tree.venv)
    assert complete_groups(tree.venv, read_pins(tree.root)) == set()
    done = tree.run("--wheels", wheels, "--shard-only")
    assert answer(done)["prefix"] == str(tree.venv)
    assert complete_groups(tree.venv, read_pins(tree.root)) == {"base"}


def test_a_package_that_cannot_be_imported(tree: Tree, wheels: Path) -> None:
    answer(tree.run("--wheels", wheels, "--shard-only"))
    package = next(tree.venv.glob("lib/python*/site-packages/tinydep"))
    (package / "__init__.py").write_text("VALUE = (")
    for _ in ("broken", "missing"):
        done = tree.run("--shard-only")
        assert (done.returncode, done.stdout) == (2, "")
        assert f"rm -r '{tree.venv}'" in done.stderr
        shutil.rmtree(package, ignore_errors=True)


def test_an_unfinished_environment_is_made_again_from_inside(tree: Tree, wheels: Path) -> None:
    answer(tree.run("--wheels", wheels, "--shard-only"))
    (tree.venv / "kit-environment.json").rename(tree.venv / "kit-incomplete")
    command = [str(tree.venv / "bin" / "python"), str(tree.root / START), "--shard-only", "--wheels", str(wheels)]
    done = subprocess.run(command, env=tree.environ(), capture_output=True, text=True, check=False, timeout=60)
    assert answer(done)["prefix"] == str(tree.venv)


def test_an_incomplete_environment_that_was_entered_does_not_loop(tree: Tree, wheels: Path) -> None:
    answer(tree.run("--wheels", wheels, "--shard-only"))
    (tree.venv / "kit-environment.json").unlink()
    command = [str(tree.venv / "bin" / "python"), "-X", "kit-environment", str(tree.root / START)]
    done = subprocess.run(command, env=tree.environ(), capture_output=True, text=True, check=False, timeout=20)
    assert done.returncode == 2
    assert "rm -r" in done.stderr


# Interruptions, and two starts at once


def unlocked(tree: Tree) -> bool:
    """Whether no process holds the lock; the tools hold it as well."""
    with (tree.root / ".venv.lock").open() as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_tool_too(tree: Tree, index: Index, number: signal.Signals, status: int) -> None:
    process = tree.popen("--shard-only", UV_DEFAULT_INDEX=index.url + "/main")
    assert index.requested.wait(60)
    assert not unlocked(tree)
    process.send_signal(number)
    done = finished(process)
    assert (done.returncode, done.stdout) == (status, "")
    assert "Traceback" not in done.stderr
    assert unlocked(tree)


def test_a_killed_start_is_repaired_after_its_tool_has_ended(tree: Tree, index: Index, wheels: Path) -> None:
    first = tree.popen("--shard-only", UV_DEFAULT_INDEX=index.url + "/main")
    assert index.requested.wait(60)
    first.send_signal(signal.SIGKILL)
    assert finished(first).returncode == -signal.SIGKILL
    second = tree.popen("--shard-only", "--wheels", wheels)
    assert second.stderr is not None
    assert "waiting" in second.stderr.readline()
    index.gate.set()
    assert answer(finished(second))["tinydep"] == 42


def test_two_starts_make_one_environment(tree: Tree, index: Index) -> None:
    first = tree.popen("--shard-only", "1", UV_DEFAULT_INDEX=index.url + "/main")
    assert index.requested.wait(60)
    second = tree.popen("--shard-only", "2", UV_DEFAULT_INDEX=index.url + "/main")
    assert second.stderr is not None
    assert "waiting" in second.stderr.readline()
    index.gate.set()
    answers = [answer(finished(process)) for process in (first, second)]
    assert [facts["argv"] for facts in answers] == [["run", "--shard-only", "1"], ["run", "--shard-only", "2"]]
    assert len(index.sent()) == 1


# Disks


@pytest.mark.parametrize("cache", [True, False])
def test_a_read_only_kit(tree: Tree, wheels: Path, mounting: list[str], *, cache: bool) -> None:
    script = 'mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" && exec "$@"'
    home = tree.environ(XDG_CACHE_HOME=str((tree.home if cache else tree.root) / "cache"))
    command = [sys.executable, str(tree.root / START), "--shard-only", f"--wheels={wheels}"]
    shell = [*mounting, shutil.which("sh") or "sh", "-c", script, str(tree.root), *command]
    environ = home | {"PATH": f"{tree.bin}:{os.environ['PATH']}"}
    done = subprocess.run(shell, env=environ, capture_output=True, text=True, check=False)
    if cache:
        folder = next((tree.home / "cache" / "vmaf-ensemble-kit").glob("venv-*/kit-environment.json")).parent
        assert answer(done)["prefix"] == str(folder)
    else:
        assert (done.returncode, done.stdout) == (2, "")
        assert str(tree.root / "cache") in done.stderr


@pytest.mark.parametrize("megabytes", [1, 20])
def test_a_full_disk(tree: Tree, tmp_path: Path, mounting: list[str], megabytes: int) -> None:
    """1 MB has no room for the environment itself, 20 MB none for the package."""
    make_wheel(tmp_path / "large", "tinydep", "1.0", payload=100_000_000)
    write_pins(tree.root, tmp_path / "large", {"base": GROUPS["base"]})
    disk = tmp_path / "disk"
    disk.mkdir()
    script = 'mount -t tmpfs -o size="$0"m none "$1" && cp -r "$2"/. "$1" && shift 2 && exec "$@"'
    command = [sys.executable, str(disk / START), f"--wheels={tmp_path / 'large'}"]
    shell = [*mounting, shutil.which("sh") or "sh", "-c", script, str(megabytes), str(disk), str(tree.root), *command]
    environ = tree.environ(PATH=f"{tree.bin}:{os.environ['PATH']}", UV_CACHE_DIR=str(disk / "cache"))
    done = subprocess.run(shell, env=environ, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (4, ""), done.stderr
