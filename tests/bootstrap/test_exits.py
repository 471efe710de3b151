"""What the start answers on any Python and in any trouble, with real processes: above all, never an exit status of 1.

The kit under test pins a package of the Python that runs the tests, so that it is used as it is.
"""

from __future__ import annotations

import ast
import functools
import json
import os
import shutil
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

from kit import __main__ as entry
from kit import __version__
from kit.core import exits

ROOT = Path(__file__).resolve().parents[2]
MODULES = (
    "__init__",
    "__main__",
    "core/exits",
    "core/errors",
    *sorted(f"bootstrap/{path.stem}" for path in ROOT.glob("kit/bootstrap/[!_]*.py")),
)
START = "run_full_pipeline.py"
CLI = """
def main(argv):
    {body}
"""


@pytest.fixture
def kit(tmp_path: Path) -> Path:
    """A kit whose command prints its arguments; pytest is the one package it wants."""
    root = tmp_path / "kit of mine"
    (root / "kit" / "cli").mkdir(parents=True)
    shutil.copy(ROOT / START, root)
    for name in MODULES:
        (root / "kit" / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / "kit" / f"{name}.py", root / "kit" / f"{name}.py")
    (root / "kit" / "cli" / "help.json").write_text(json.dumps({"": "top", "run": "how to run", "corpus status": "no"}))
    (root / "requirements-frozen.txt").write_text(f"pytest=={metadata.version('pytest').partition('+')[0]}\n")
    command(root, "print(*argv); return 0")
    return root


def command(kit: Path, body: str) -> None:
    (kit / "kit" / "cli" / "main.py").write_text(CLI.format(body=body))


def clean(**more: str) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "PIP_CONFIG_FILE": os.devnull} | more


def run(*argv: str | Path, environ: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        argv, env=environ or clean(), capture_output=True, text=True, check=False, timeout=60, stdin=subprocess.DEVNULL
    )


def test_the_fixture_runs_its_command(kit: Path) -> None:
    done = run(sys.executable, kit / START, "a b")
    assert (done.returncode, done.stdout, done.stderr) == (0, "run a b\n", "")


# Exit codes


def test_codes_that_are_written_out_are_those_of_the_kit() -> None:
    assert (entry.OK, entry.DISK_FULL, entry.INTERNAL, entry.INTERRUPTED) == (
        exits.OK,
        exits.DISK_FULL,
        exits.INTERNAL,
        exits.INTERRUPTED,
    )
    known = {value for name, value in vars(exits).items() if name.isupper()}
    assert set(entry.WITHOUT_HOLD) == known - {exits.HOLD}


@pytest.mark.parametrize(
    ("body", "status"),
    [
        *((f"return {code}", code) for code in (0, 1, 2, 3, 4, 70, 130, 143)),
        *((f"raise SystemExit({code})", code) for code in (0, 2, 143)),
        ("raise SystemExit", 0),
        ("raise KeyboardInterrupt", 130),
        *((f"return {value}", 70) for value in ("None", "True", "'1'", "256", "-1")),
        *((f"raise SystemExit({value})", 70) for value in ("1", "'text'", "True", "257")),
        ("raise ValueError('unforeseen')", 70),
        ("raise ImportError('unforeseen')", 70),
        ("raise BaseException('unforeseen')", 70),
        ("import kit.nowhere", 70),
    ],
)
def test_exit_codes(kit: Path, body: str, status: int) -> None:
    command(kit, body)
    done = run(sys.executable, kit / START)
    assert done.returncode == status
    assert bool(done.stderr) == (status in {70, 130} and not body.startswith("return 7") and body != "return 130")


def test_traceback_of_an_unforeseen_error_is_shown(kit: Path) -> None:
    command(kit, "raise ValueError('unforeseen')")
    assert "ValueError: unforeseen" in run(sys.executable, kit / START).stderr


def test_interrupt_while_the_command_is_imported(kit: Path) -> None:
    (kit / "kit" / "cli" / "main.py").write_text("raise KeyboardInterrupt\n")
    done = run(sys.executable, kit / START)
    assert (done.returncode, done.stderr) == (130, "interrupted\n")


@pytest.mark.parametrize("how", ["missing", "cut off"])
@pytest.mark.parametrize("name", [*MODULES, "cli/main", "requirements"])
def test_damaged_kit(kit: Path, name: str, how: str) -> None:
    path = kit / "requirements-frozen.txt" if name == "requirements" else kit / "kit" / f"{name}.py"
    path.unlink()
    if how == "cut off":
        path.write_text("def main(argv:\n")
    elif name == "__init__":
        return  # a folder without it is a package all the same
    done = run(sys.executable, kit / START, "--version" if name in {"__init__", "core/exits"} else "x")
    assert (done.returncode, done.stdout) == (70, "")
    assert "unpack" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("redirect", "status"), [(">/dev/full", 4), (">&-", 0), ("2>&-", 0), ("2>/dev/full", 0)])
def test_streams_that_take_nothing(kit: Path, redirect: str, status: int) -> None:
    if "full" in redirect and not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full")
    done = run("sh", "-c", f'"$0" "$@" {redirect}', sys.executable, kit / START)
    assert done.returncode == status
    command(kit, "return 3")
    assert run("sh", "-c", f'"$0" "$@" {redirect}', sys.executable, kit / START).returncode == 3
    assert run("sh", "-c", f'"$0" "$@" {redirect}', sys.executable, kit / START, "--help").returncode == status


def test_reader_that_went_away_does_not_change_the_status(kit: Path) -> None:
    command(kit, "print('x'); return 3")
    process = subprocess.Popen([sys.executable, kit / START], env=clean(), stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.close()
    assert process.wait(20) == 3


# Help and version


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        (["--help"], "how to run\n"),
        (["x", "--seeds", "1", "--help"], "how to run\n"),
        (["--help", "--wheels"], "how to run\n"),
        (["--version"], f"vmaf-ensemble-kit {__version__}\n"),
    ],
)
def test_help_and_version_need_nothing_but_python(kit: Path, argv: list[str], text: str) -> None:
    (kit / "requirements-frozen.txt").write_text("nothing==0\n")
    (kit / "kit" / "cli" / "main.py").unlink()
    for python in [[sys.executable, "-I", "-S"], *([python] for python in old_pythons().values())]:
        done = run(*python, kit / START, *argv)
        assert (done.returncode, done.stdout, done.stderr) == (0, text, ""), python
    assert not (kit / ".venv").exists()


@pytest.mark.parametrize(
    ("argv", "text"),
    [(["--help"], "top"), (["corpus", "status", "--help"], "top"), (["run", "a", "--help"], "how to run")],
)
def test_help_of_other_commands(kit: Path, argv: list[str], text: str) -> None:
    assert run(sys.executable, kit / "kit" / "__main__.py", *argv).stdout == text + "\n"


@pytest.mark.parametrize("content", [None, "", "[]", "{}", '{"run": 1}'])
def test_help_texts_that_are_not_there(kit: Path, content: str | None) -> None:
    (kit / "kit" / "cli" / "help.json").unlink()
    if content is not None:
        (kit / "kit" / "cli" / "help.json").write_text(content)
    done = run(sys.executable, kit / START, "--help")
    assert (done.returncode, done.stdout) == (70, "")
    assert "unpack it again" in done.stderr


# Pythons and systems the kit cannot use


@functools.cache
def old_pythons() -> dict[str, str]:
    """Interpreters that are too old, by version: those on PATH, and those a version manager keeps elsewhere."""
    names = ["python2.7", *(f"python3.{minor}" for minor in range(6, 11))]
    candidates = [found for name in names if (found := shutil.which(name))]
    if shutil.which("pyenv"):
        root = Path(run("pyenv", "root", environ=dict(os.environ)).stdout.strip())
        candidates += [str(path) for name in names for path in root.glob(f"versions/*/bin/{name}")]
    working: dict[str, str] = {}
    for path in candidates:
        done = run(path, "-c", "import sys; sys.stdout.write('%d.%d' % sys.version_info[:2])")
        if done.returncode == 0:
            working.setdefault(done.stdout, path)
    return working


def each_old_python() -> dict[str, str]:
    if not old_pythons():
        pytest.skip("no Python from 2.7 to 3.10 found on PATH or with pyenv")
    return old_pythons()


def executable(path: Path, content: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n" + content)
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    "name", [START, "kit/__init__.py", "kit/__main__.py", "kit/core/exits.py", "kit/bootstrap/early.py"]
)
def test_first_files_are_in_old_syntax(name: str) -> None:
    tree = ast.parse((ROOT / name).read_text(), feature_version=(3, 6))
    newer = (ast.JoinedStr, ast.AnnAssign, ast.NamedExpr, ast.AsyncFunctionDef)
    assert not [node.lineno for node in ast.walk(tree) if isinstance(node, newer)]
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    assert all(function.returns is None for function in functions)


def test_old_python_goes_on_in_a_newer_one(kit: Path, tmp_path: Path) -> None:
    executable(tmp_path / "a" / "python3.13", "echo 'shim: not installed' >&2; exit 127\n")
    executable(tmp_path / "b" / "python3.13", "echo 3.9; echo cpython; echo /liar\n")
    executable(tmp_path / "b" / "python3.11", f'exec "{sys.executable}" "$@"\n')
    for python in each_old_python().values():
        done = run(python, kit / START, "a", "b", environ=clean(PATH=f"{tmp_path / 'a'}:{tmp_path / 'b'}"))
        assert (done.returncode, done.stdout, done.stderr) == (0, "run a b\n", ""), python


def test_old_python_alone(kit: Path, tmp_path: Path) -> None:
    shim = executable(tmp_path / "a" / "python3.12", "exit 127\n")
    for version, python in each_old_python().items():
        done = run(python, kit / START, environ=clean(PATH=str(tmp_path / "a")))
        assert (done.returncode, done.stdout) == (2, ""), python
        assert "3.11, 3.12, 3.13, 3.14" in done.stderr
        assert version in done.stderr
        assert f"{shim} (does not run)" in done.stderr


def test_windows(kit: Path) -> None:
    script = f"import runpy, sys; sys.platform = 'win32'; runpy.run_path({str(kit / START)!r}, run_name='__main__')"
    done = run(sys.executable, "-c", script)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Windows" in done.stderr


@pytest.mark.parametrize("module", ["venv", "ensurepip"])
def test_python_without_venv(kit: Path, module: str) -> None:
    (kit / "requirements-frozen.txt").write_text("nothing==0\n")
    script = (
        f"import runpy, sys; sys.modules[{module!r}] = None; runpy.run_path({str(kit / START)!r}, run_name='__main__')"
    )
    done = run(sys.executable, "-c", script)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"python3.{sys.version_info[1]}-venv" in done.stderr
    assert not (kit / ".venv").exists()


# Disks


def wheel(folder: Path, payload: int) -> None:
    """A package called nothing that unpacks to `payload` bytes."""
    folder.mkdir()
    record = [f"nothing-0.dist-info/{name}" for name in ("METADATA", "WHEEL", "RECORD")]
    with zipfile.ZipFile(folder / "nothing-0-py3-none-any.whl", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("nothing/__init__.py", "")
        archive.writestr("nothing/payload", bytes(payload))
        archive.writestr(record[0], "Metadata-Version: 2.1\nName: nothing\nVersion: 0\n")
        archive.writestr(record[1], "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(
            record[2], "".join(f"{name},,\n" for name in ["nothing/__init__.py", "nothing/payload", *record])
        )


@pytest.mark.parametrize("works", [True, False])
def test_read_only_kit(kit: Path, tmp_path: Path, mounting: list[str], *, works: bool) -> None:
    (kit / "requirements-frozen.txt").write_text("nothing==0\n")
    wheel(tmp_path / "wheels", 10)
    script = 'mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" && "$@" && "$@" --wheels=/'
    environ = clean(XDG_CACHE_HOME=str(tmp_path / "cache") if works else str(kit / "cache"))
    start = [sys.executable, str(kit / START), f"--wheels={tmp_path / 'wheels'}"]
    done = run(*mounting, "sh", "-c", script, str(kit), *start, environ=environ)
    if not works:
        assert done.returncode == 2
        assert "no place for the environment" in done.stderr
        return
    assert (done.returncode, done.stdout) == (0, "run\nrun\n"), done.stderr
    assert "cannot hold it" in done.stderr
    assert "--wheels has no effect" in done.stderr
    assert list((tmp_path / "cache" / "vmaf-ensemble-kit").glob("venv-*/kit-environment.json"))


@pytest.mark.parametrize(("megabytes", "said"), [(20, "needs about 50 MB"), (70, "no space left")])
def test_disk_full(kit: Path, tmp_path: Path, mounting: list[str], megabytes: int, said: str) -> None:
    (kit / "requirements-frozen.txt").write_text("nothing==0\n")
    wheel(tmp_path / "wheels", 100_000_000)
    disk = tmp_path / "disk"
    disk.mkdir()
    script = 'mount -t tmpfs -o size="$0"m none "$1" && cp -r "$2"/. "$1" && shift 2 && "$@"'
    start = [sys.executable, str(disk / START), f"--wheels={tmp_path / 'wheels'}"]
    done = run(*mounting, "sh", "-c", script, str(megabytes), str(disk), str(kit), *start)
    assert (done.returncode, done.stdout) == (4, ""), done.stderr
    assert said in done.stderr
