"""Exit codes, help, old Pythons and damaged kits, with real processes: above all, exit code 1 comes from no accident.

The kit under test pins nothing, so that the Python of the tests is used as it is.
"""

from __future__ import annotations

import ast
import functools
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kit import __main__ as entry
from kit import __version__
from kit.core import exits
from tests.bootstrap.builders import MODULES, ROOT, START, make_kit

CLI = """
def main(argv):
    {body}
"""


@pytest.fixture
def kit(tmp_path: Path) -> Path:
    """A kit whose command prints its arguments."""
    return make_kit(tmp_path / "kit of mine", CLI.format(body="print(*argv); return 0"))


def command(kit: Path, body: str) -> None:
    (kit / "kit" / "cli" / "main.py").write_text(CLI.format(body=body))


def run(*argv: str | Path, path: str = os.environ["PATH"]) -> subprocess.CompletedProcess[str]:
    environ = {"PATH": path, "HOME": "/nonexistent", "PIP_CONFIG_FILE": os.devnull}
    return subprocess.run(
        argv, env=environ, capture_output=True, text=True, check=False, timeout=60, stdin=subprocess.DEVNULL
    )


def test_the_fixture_runs_its_command(kit: Path) -> None:
    done = run(sys.executable, kit / START, "a b")
    assert (done.returncode, done.stdout, done.stderr) == (0, "run a b\n", "")
    done = run(sys.executable, kit / "kit" / "__main__.py", "selftest", "a")
    assert (done.returncode, done.stdout, done.stderr) == (0, "selftest a\n", "")


# Exit codes


def test_repeated_codes_are_those_of_the_kit() -> None:
    repeated = (entry.OK, entry.DISK_FULL, entry.INTERNAL, entry.INTERRUPTED)
    assert repeated == (exits.OK, exits.DISK_FULL, exits.INTERNAL, exits.INTERRUPTED)
    assert set(entry.WITHOUT_HOLD) == {value for name, value in vars(exits).items() if name.isupper()} - {exits.HOLD}


BODIES = {
    **{f"return {code}": code for code in (0, 1, 2, 3, 4, 70, 130, 143)},
    **{f"raise SystemExit({code})": code for code in (0, 2, 143)},
    "raise SystemExit": 0,
    "raise KeyboardInterrupt": 130,
    **{f"return {value}": 70 for value in ("None", "True", "'1'", "256", "-1")},
    **{f"raise SystemExit({value})": 70 for value in ("1", "'text'", "True", "257")},
    "raise ValueError('unforeseen')": 70,
    "raise ImportError('unforeseen')": 70,
    "raise BaseException('unforeseen')": 70,
    "import kit.nowhere": 70,
}


def test_exit_codes(kit: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """In this process; `test_exit_codes_of_processes` has some of them once more."""
    for body, code in BODIES.items():
        namespace: dict[str, object] = {}
        exec(CLI.format(body=body), namespace)  # noqa: S102 - these are the lines above
        with monkeypatch.context() as patched:
            patched.setattr(entry, "ROOT", str(kit))
            patched.setattr(entry, "_command_line", lambda namespace=namespace: namespace["main"])
            assert entry.main(["x"]) == code, body
        error = capsys.readouterr().err
        explained = code in {70, 130} and body not in {"return 70", "return 130"}
        assert bool(error) == explained, (body, error)


@pytest.mark.parametrize("body", ["return 1", "raise SystemExit(1)", "raise ValueError('unforeseen')"])
def test_exit_codes_of_processes(kit: Path, body: str) -> None:
    command(kit, body)
    done = run(sys.executable, kit / START)
    assert done.returncode == BODIES[body]
    assert ("ValueError: unforeseen" in done.stderr) == ("ValueError" in body)


def test_interrupt_while_the_command_is_imported(kit: Path) -> None:
    (kit / "kit" / "cli" / "main.py").write_text("raise KeyboardInterrupt\n")
    done = run(sys.executable, kit / START)
    assert (done.returncode, done.stderr) == (130, "interrupted\n")


@pytest.mark.parametrize("name", [*MODULES, "cli/main", "../requirements-frozen.txt", "../pyproject.toml"])
def test_damaged_kit(kit: Path, name: str) -> None:
    path = kit / "kit" / (name if "." in name else f"{name}.py")
    argv = "--version" if name in {"__init__", "core/exits", "core/__init__"} else "x"
    for content in (None, "def main(argv:\n"):
        path.unlink(missing_ok=True)
        if content is not None:
            path.write_text(content)
        elif name.endswith("__init__"):
            continue  # a folder without it is a package all the same
        done = run(sys.executable, kit / START, argv)
        assert (done.returncode, done.stdout) == (70, "")
        assert "npack" in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("redirect", "code"), [(">/dev/full", 4), (">&-", 0), ("2>&-", 0), ("2>/dev/full", 0)])
def test_streams_that_cannot_be_written(kit: Path, redirect: str, code: int) -> None:
    if "full" in redirect and not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    start = ("sh", "-c", f'"$0" "$@" {redirect}', sys.executable, kit / START)
    assert run(*start).returncode == code
    assert run(*start, "--help").returncode == code
    command(kit, "return 3")
    assert run(*start).returncode == 3


def test_a_reader_that_has_gone_does_not_change_the_exit_code(kit: Path) -> None:
    command(kit, "print('x'); return 3")
    process = subprocess.Popen([sys.executable, kit / START], env={"HOME": "/nonexistent"}, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.close()
    assert process.wait(20) == 3


# Help and version


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        (["--help"], "how to run\n"),
        (["x", "--seeds", "1", "--help", "--wheels"], "how to run\n"),
        (["--version"], f"vmaf-ensemble-kit {__version__}\n"),
    ],
)
def test_help_and_version_need_no_environment(kit: Path, argv: list[str], text: str) -> None:
    (kit / "requirements-frozen.txt").unlink()
    (kit / "kit" / "cli" / "main.py").unlink()
    for python in [[sys.executable, "-I", "-S"], *([python] for python in old_pythons().values())]:
        done = run(*python, kit / START, *argv)
        assert (done.returncode, done.stdout, done.stderr) == (0, text, ""), python
    assert not (kit / ".venv").exists()


@pytest.mark.parametrize(
    ("argv", "text"),
    [(["--help"], "top"), (["corpus", "status", "--help"], "status"), (["corpus", "--help"], "top")],
)
def test_help_of_other_commands(kit: Path, argv: list[str], text: str) -> None:
    help_file = kit / "kit" / "cli" / "help.json"
    if argv[0] == "corpus" and text == "status":  # a command is found by its whole chain of words
        help_file.write_text(help_file.read_text().replace("{", '{"corpus": "cells", ', 1))
    assert run(sys.executable, kit / "kit" / "__main__.py", *argv).stdout == text + "\n"


@pytest.mark.parametrize("content", [None, "", "[]", '{"run": 1}'])
def test_damaged_help_texts(kit: Path, content: str | None) -> None:
    (kit / "kit" / "cli" / "help.json").unlink()
    if content is not None:
        (kit / "kit" / "cli" / "help.json").write_text(content)
    done = run(sys.executable, kit / START, "--help")
    assert (done.returncode, done.stdout) == (70, "")
    assert "unpack it again" in done.stderr


# Pythons and systems that the kit does not support


@functools.cache
def old_pythons() -> dict[str, str]:
    """Interpreters that are too old, by version: those on PATH, and those that pyenv keeps elsewhere."""
    names = ["python2.7", *(f"python3.{minor}" for minor in range(6, 11))]
    candidates = [path for name in names if (path := shutil.which(name))]
    if shutil.which("pyenv"):
        root = subprocess.run(["pyenv", "root"], capture_output=True, text=True, check=False).stdout.strip()
        candidates += [str(path) for name in names for path in Path(root).glob(f"versions/*/bin/{name}")]
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
    "name",
    [
        START,
        *(f"kit/{name}.py" for name in ("__init__", "__main__", "core/exits", "bootstrap/early", "bootstrap/messages")),
    ],
)
def test_first_files_are_in_old_syntax(name: str) -> None:
    tree = ast.parse((ROOT / name).read_text(), feature_version=(3, 6))
    newer = (ast.JoinedStr, ast.AnnAssign, ast.NamedExpr, ast.AsyncFunctionDef)
    assert not [node.lineno for node in ast.walk(tree) if isinstance(node, newer)]
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    assert all(function.returns is None for function in functions)


def test_an_old_python_goes_on_in_a_newer_one(kit: Path, tmp_path: Path) -> None:
    executable(tmp_path / "a" / "python3.13", "echo 'shim: not installed' >&2; exit 127\n")
    executable(tmp_path / "b" / "python3.13", "echo 3.9; echo cpython; echo /liar\n")
    executable(tmp_path / "b" / "python3.11", f'exec "{sys.executable}" "$@"\n')
    for python in each_old_python().values():
        done = run(python, kit / START, "a", "b", path=f"{tmp_path / 'a'}:{tmp_path / 'b'}")
        assert (done.returncode, done.stdout, done.stderr) == (0, "run a b\n", ""), python


def test_an_old_python_alone(kit: Path, tmp_path: Path) -> None:
    shim = executable(tmp_path / "a" / "python3.12", "exit 127\n")
    for version, python in each_old_python().items():
        done = run(python, kit / START, path=str(tmp_path / "a"))
        assert (done.returncode, done.stdout) == (2, ""), python
        assert all(text in done.stderr for text in ("3.11, 3.12, 3.13, 3.14", version, str(shim)))


def test_windows(kit: Path) -> None:
    script = f"import runpy, sys; sys.platform = 'win32'; runpy.run_path({str(kit / START)!r}, run_name='__main__')"
    done = run(sys.executable, "-c", script)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Windows" in done.stderr
