"""The start on a bare Python, with real processes, environments and wheels; nothing is fetched from a network.

The kit under test is a copy of the start's own modules with a tiny `kit/cli/main.py` behind them, which
says where it runs.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from kit.bootstrap import start
from kit.bootstrap.environment import is_complete

ROOT = Path(__file__).resolve().parents[2]
START = ("__init__", "__main__", "core/exits", "core/errors")
CLI = """
import ast, json, os, sys
import tinydep

def main(argv):
    word, _, rest = argv[-1].partition(":") if argv else ("", "", "")
    if word == "return":
        return ast.literal_eval(rest)
    if word == "raise":
        raise eval(rest)
    print(json.dumps({"argv": argv, "prefix": os.path.realpath(sys.prefix), "tinydep": tinydep.VALUE}))
    return 0
"""


def make_wheel(folder: Path, name: str, version: str, content: str, needs: str = "") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    info = f"{name}-{version}.dist-info"
    files = {
        f"{name}/__init__.py": content,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for member, text in files.items():
            archive.writestr(member, text)
        archive.writestr(f"{info}/RECORD", "".join(f"{member},,\n" for member in [*files, f"{info}/RECORD"]))
    return path


@dataclass
class Tree:
    """A kit in a folder of its own, and the way to start it."""

    root: Path
    home: Path

    @property
    def venv(self) -> Path:
        return self.root / ".venv"

    def environ(self, **more: str) -> dict[str, str]:
        clean = {"PATH": os.environ["PATH"], "HOME": str(self.home), "PIP_CONFIG_FILE": os.devnull, "PIP_RETRIES": "0"}
        return clean | more

    def popen(self, *argv: str, python: str = sys.executable, **more: str) -> subprocess.Popen[str]:
        command = [python, str(self.root / "run_full_pipeline.py"), *argv]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(command, text=True, env=self.environ(**more), cwd=self.home, **pipes)  # type: ignore[call-overload,no-any-return]

    def run(self, *argv: str, python: str = sys.executable, **more: str) -> subprocess.CompletedProcess[str]:
        return finished(self.popen(*argv, python=python, **more))

    def unlocked(self) -> bool:
        """Whether no process holds the lock; those that the start has started hold it too."""
        with (self.root / ".venv.lock").open() as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            return True


def finished(process: subprocess.Popen[str], timeout: float = 60) -> subprocess.CompletedProcess[str]:
    try:
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def told(done: subprocess.CompletedProcess[str]) -> dict[str, object]:
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert isinstance(answer, dict)
    return answer


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheels") / "my {wheels}"
    make_wheel(folder, "tinydep", "1.0+local", "VALUE = 42\n")
    return folder


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """A kit that was never started."""
    root, home = tmp_path / "the {kit} é", tmp_path / "home"
    home.mkdir()
    (root / "kit" / "cli").mkdir(parents=True)
    (root / "kit" / "core").mkdir()
    shutil.copy(ROOT / "run_full_pipeline.py", root)
    shutil.copytree(ROOT / "kit" / "bootstrap", root / "kit" / "bootstrap")
    for name in START:
        shutil.copy(ROOT / "kit" / f"{name}.py", root / "kit" / f"{name}.py")
    (root / "kit" / "cli" / "main.py").write_text(CLI)
    (root / "kit" / "cli" / "help.json").write_text(
        json.dumps({"": "top", "run": "how to run", "corpus status": "status"})
    )
    (root / "requirements-frozen.txt").write_text('tinydep==1.0  # 0.1 MB\nnever==1 ; sys_platform == "plan9"\n')
    return Tree(root, home)


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory, wheels: Path) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """A kit after its first start, to be copied, and what that start said."""
    first = tree.__wrapped__(tmp_path_factory.mktemp("made"))  # type: ignore[attr-defined]
    return first.root, first.run("--wheels", str(wheels), "a", "--b=c")


@pytest.fixture
def ready(tree: Tree, made: tuple[Path, object]) -> Tree:
    """A kit that was started before."""
    shutil.copytree(made[0] / ".venv", tree.venv, symlinks=True)
    return tree


@dataclass
class Index:
    """A package index on this machine that hands out wheels only while `gate` is set."""

    folder: Path
    url: str = ""
    asked: threading.Event = field(default_factory=threading.Event)
    gate: threading.Event = field(default_factory=threading.Event)
    log: list[str] = field(default_factory=list)

    def answer(self, path: str) -> bytes | None:
        self.log.append(path)
        if path.endswith(".whl"):
            self.asked.set()
            self.gate.wait(60)
            return (self.folder / path.lstrip("/")).read_bytes()
        place, name = path.strip("/").split("/")
        found = [wheel.name for wheel in (self.folder / place).glob(f"{name}-*.whl")]
        links = "".join(f'<a href="/{place}/{wheel.replace("+", "%2B")}">{wheel}</a>' for wheel in found)
        return f"<!DOCTYPE html><html><body>{links}</body></html>".encode() if found else None


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    state = Index(tmp_path / "index")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = state.answer(self.path.replace("%2B", "+"))
            self.send_response(200 if body else 404)
            self.send_header("Content-Type", "text/html" if self.path.endswith("/") else "application/zip")
            self.send_header("Content-Length", str(len(body or b"")))
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, *_: object) -> None:
            pass

        def handle(self) -> None:
            with suppress(ConnectionError):  # the pip that asked was killed
                super().handle()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    make_wheel(state.folder / "main", "tinydep", "1.0", "VALUE = 43\n")
    yield state
    state.gate.set()
    server.shutdown()
    server.server_close()
    thread.join()


# The first start, and those after it


def test_first_start(made: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    root, done = made
    assert told(done) == {"argv": ["run", "a", "--b=c"], "prefix": str(root / ".venv"), "tinydep": 42}
    assert "tinydep 1.0 is not installed" in done.stderr
    assert not (root / ".venv" / "kit-incomplete").exists()
    assert not (root / ".venv" / "tmp").exists()
    assert "Successfully installed tinydep" in (root / ".venv" / "bootstrap.log").read_text()


def test_later_start_is_silent(ready: Tree) -> None:
    """How quick it is stands in benchmarks/bench_startup.py."""
    done = ready.run()
    assert (told(done)["prefix"], done.stderr) == (str(ready.venv), "")


@pytest.mark.parametrize("argv", [["-m", "kit"], ["{root}/kit/__main__.py"]])
def test_other_commands_go_the_same_way(ready: Tree, argv: list[str]) -> None:
    command = [sys.executable, *(part.format(root=ready.root) for part in argv), "selftest", "x"]
    done = subprocess.run(command, env=ready.environ(), cwd=ready.root, capture_output=True, text=True, check=False)
    assert told(done) == {"argv": ["selftest", "x"], "prefix": str(ready.venv), "tinydep": 42}


def test_python_with_the_pins_is_used_as_it_is(tree: Tree, made: tuple[Path, object], wheels: Path) -> None:
    python = str(made[0] / ".venv" / "bin" / "python")
    done = tree.run("--torch-index=http://nowhere.invalid", python=python)
    assert told(done) == {"argv": ["run"], "prefix": str(made[0] / ".venv"), "tinydep": 42}
    assert "--torch-index has no effect" in done.stderr
    assert not tree.venv.exists()


def test_options_are_taken_out_and_told_to_be_without_effect(ready: Tree, wheels: Path) -> None:
    done = ready.run("a", "--wheels", str(wheels), "--", "--wheels", "b")
    assert told(done)["argv"] == ["run", "a", "--", "--wheels", "b"]
    assert "--wheels has no effect" in done.stderr


def test_packages_of_other_pythons_stay_out(ready: Tree, tmp_path: Path) -> None:
    make_wheel(tmp_path / "other", "tinydep", "9", "VALUE = 'wrong'\n")
    done = ready.run(PYTHONPATH=str(tmp_path / "other" / "tinydep-9-py3-none-any.whl"))
    assert told(done)["tinydep"] == 42


# What can happen to an environment


def damage_base(venv: Path) -> None:
    """An upgrade of the system took the Python behind the environment away."""
    (venv / "bin" / "python").unlink()
    (venv / "bin" / "python").symlink_to("/nonexistent/python3")


def damage_python(venv: Path) -> None:
    """The interpreter is there, and cannot start any more."""
    (venv / "bin" / "python").unlink()
    (venv / "bin" / "python").write_text("#!/bin/sh\necho 'Fatal Python error' >&2\nexit 1\n")
    (venv / "bin" / "python").chmod(0o755)


def damage_requirements(venv: Path) -> None:
    """The folder was unpacked over with another version of the kit."""
    with (venv.parent / "requirements-frozen.txt").open("a") as handle:
        handle.write("# another version\n")


def damage_half_made(venv: Path) -> None:
    """A start was killed."""
    (venv / "kit-environment.json").unlink()
    (venv / "kit-incomplete").touch()
    shutil.rmtree(venv / "lib")


@pytest.mark.parametrize("damage", [damage_base, damage_python, damage_requirements, damage_half_made])
def test_damage_is_noticed(ready: Tree, damage: Callable[[Path], None]) -> None:
    def complete() -> bool:
        requirements = start.read_requirements(ready.root)
        return is_complete(ready.venv, requirements.sha256, start.this_platform().key)

    assert complete()
    damage(ready.venv)
    assert not complete()


@pytest.mark.parametrize("damage", [damage_python, damage_half_made])
def test_environment_is_made_anew(ready: Tree, wheels: Path, damage: Callable[[Path], None]) -> None:
    damage(ready.venv)
    assert told(ready.run(f"--wheels={wheels}"))["prefix"] == str(ready.venv)
    assert ready.run().stderr == ""


@pytest.mark.parametrize("content", [None, "VALUE = ("])
def test_damaged_environment_has_a_remedy(ready: Tree, content: str | None) -> None:
    package = next(ready.venv.glob("lib/python*/site-packages/tinydep"))
    shutil.rmtree(package)
    if content is not None:
        package.mkdir()
        (package / "__init__.py").write_text(content)
    done = ready.run()
    assert (done.returncode, done.stdout) == (2, "")
    assert f"rm -r '{ready.venv}'" in done.stderr


def test_entered_environment_without_a_stamp_does_not_loop(ready: Tree) -> None:
    (ready.venv / "pyvenv.cfg").unlink()
    command = [str(ready.venv / "bin" / "python"), "-X", "kit-environment", str(ready.root / "kit" / "__main__.py")]
    done = subprocess.run(command, env=ready.environ(), capture_output=True, text=True, check=False, timeout=20)
    assert done.returncode == 2
    assert "rm -r" in done.stderr


def test_started_from_inside_an_unfinished_environment(ready: Tree, wheels: Path) -> None:
    (ready.venv / "kit-environment.json").unlink()
    (ready.venv / "kit-incomplete").touch()
    next(ready.venv.glob("lib/python*/site-packages/tinydep-*")).rename(ready.home / "away")
    done = ready.run("--wheels", str(wheels), python=str(ready.venv / "bin" / "python"))
    assert told(done) == {"argv": ["run"], "prefix": str(ready.venv), "tinydep": 42}


def test_folder_that_is_not_the_kits_is_moved_aside(tree: Tree, wheels: Path) -> None:
    tree.venv.mkdir()
    (tree.venv / "notes.txt").write_text("mine")
    assert told(tree.run("--wheels", str(wheels)))["prefix"] == str(tree.venv)
    assert (tree.root / ".venv.old-1" / "notes.txt").read_text() == "mine"


# Interruptions, and two at once


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signal_ends_pip_too(tree: Tree, index: Index, number: signal.Signals, status: int) -> None:
    process = tree.popen(PIP_INDEX_URL=index.url + "/main")
    assert index.asked.wait(120)
    assert not tree.unlocked()
    process.send_signal(number)
    done = finished(process)
    assert (done.returncode, done.stdout) == (status, "")
    assert "Traceback" not in done.stderr
    assert tree.unlocked()


def test_killed_start_is_repaired_after_its_pip_is_gone(tree: Tree, index: Index, wheels: Path) -> None:
    first = tree.popen(PIP_INDEX_URL=index.url + "/main")
    assert index.asked.wait(120)
    first.send_signal(signal.SIGKILL)
    assert finished(first).returncode == -signal.SIGKILL
    second = tree.popen("--wheels", str(wheels))
    assert second.stderr is not None
    assert "waiting" in second.stderr.readline()
    index.gate.set()
    assert told(finished(second))["tinydep"] == 42


def test_two_starts_make_one_environment(tree: Tree, index: Index) -> None:
    first = tree.popen("first", PIP_INDEX_URL=index.url + "/main")
    assert index.asked.wait(120)
    second = tree.popen("second", PIP_INDEX_URL=index.url + "/main")
    assert second.stderr is not None
    assert "waiting" in second.stderr.readline()
    index.gate.set()
    answers = [told(finished(process)) for process in (first, second)]
    assert [answer["argv"] for answer in answers] == [["run", "first"], ["run", "second"]]
    assert sum(path.endswith(".whl") for path in index.log) == 1


# Where packages come from


def test_without_a_network(tree: Tree) -> None:
    done = tree.run(PIP_INDEX_URL="http://127.0.0.1:9/simple")
    assert (done.returncode, done.stdout) == (2, "")
    assert "to download: less than 1 MB" in done.stderr
    assert "No matching distribution found for tinydep==1.0" in done.stderr
    assert "--wheels DIR" in done.stderr
    assert str(tree.venv / "bootstrap.log") in done.stderr
    assert (tree.venv / "bootstrap.log").is_file()


def test_torch_from_another_index(tree: Tree, index: Index) -> None:
    cpu = make_wheel(index.folder / "cpu", "torch", "2.0+cpu", "BUILD = 'cpu'\n", "Requires-Dist: tinydep\n")
    make_wheel(index.folder / "main", "torch", "2.0", "BUILD = 'cuda'\n")
    index.gate.set()
    with (tree.root / "requirements-frozen.txt").open("a") as handle:
        handle.write("torch==2.0\n")
    tree.venv.mkdir()
    (tree.venv / "kit-incomplete").touch()
    done = tree.run("--torch-index", index.url + "/cpu", PIP_INDEX_URL=index.url + "/main")
    assert told(done)["tinydep"] == 43
    assert "size unknown: torch" in done.stderr
    fetched = [path for path in index.log if path.endswith(".whl")]
    assert fetched == [f"/cpu/{cpu.name}", "/main/tinydep-1.0-py3-none-any.whl"]


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--wheels", "no/such/folder"], "there is no folder"),
        (["--wheels"], "needs a value"),
        (["--torch-index="], "needs a value"),
        (["--wheels", "--fast"], "needs a value"),
        (["--wheels", ".", "--torch-index", "file:///"], "exclude each other"),
    ],
)
def test_unusable_options(tree: Tree, argv: Sequence[str], said: str) -> None:
    done = tree.run(*argv)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert not tree.venv.exists()
