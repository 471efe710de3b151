"""Every chore of the project: ``nox -s lint types docs tests tune tarball``; ``bench stress freeze help``."""

from __future__ import annotations

import filecmp
import shutil
import sys
from pathlib import Path

import nox

ROOT = Path(__file__).parent
nox.options.sessions = ["lint", "types", "docs", "tests", "tune", "tarball"]
nox.options.default_venv_backend = "venv"
DEV = nox.project.dependency_groups(nox.project.load_toml("pyproject.toml"), "dev")


def kit_python(session: nox.Session) -> str:
    """The interpreter of the kit's own environment, set up if need be."""
    # without a command the kit sets up, says which commands there are, and exits 2
    session.run(sys.executable, "-m", "kit", external=True, silent=True, success_codes=[2])
    made = ROOT / ".venv" / "bin" / "python"
    return str(made) if made.exists() else sys.executable


@nox.session
def lint(session: nox.Session) -> None:
    """Style, the usual mistakes, and plain English."""
    session.install(*DEV)
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("python", "tools/plain_words.py")


@nox.session
def types(session: nox.Session) -> None:
    """Types, strictly, against the pinned packages."""
    session.install(*DEV)
    # the kit imports pytest as well: its help makes `selftest` set up the packages of the tests
    session.run(sys.executable, "-m", "kit", "selftest", "-h", external=True, silent=True)
    session.run("mypy", "--python-executable", kit_python(session))


@nox.session(venv_backend="none")
def tests(session: nox.Session) -> None:
    """The kit's own tests, the way a stranger runs them."""
    session.run(sys.executable, "-m", "kit", "selftest", "--all", *session.posargs, external=True)


@nox.session(venv_backend="none")
def tune(session: nox.Session) -> None:
    """Run the tests that are skipped without Optuna."""
    # without options the command sets up its packages, asks for the options, and exits 2
    session.run(sys.executable, "-m", "kit", "tune", external=True, silent=True, success_codes=[2])
    session.run(sys.executable, "-m", "kit", "selftest", "--all", "tests/heads/test_tune.py", external=True)


@nox.session(venv_backend="none")
def bench(session: nox.Session) -> None:
    """Every benchmark; each prints a table."""
    for script in sorted((ROOT / "benchmarks").glob("bench_*.py")):
        session.run(kit_python(session), str(script), *session.posargs, external=True)


@nox.session(venv_backend="none")
def stress(session: nox.Session) -> None:
    """Fifty kills of a corpus run; each has to be survived."""
    session.run(kit_python(session), str(ROOT / "benchmarks" / "stress_kill.py"), *session.posargs, external=True)


@nox.session(venv_backend="none")
def tarball(session: nox.Session) -> None:
    """Pack twice: same bytes, small enough. That the extracted kit runs is one of the tests."""
    packed = []
    for turn in ("first", "second"):
        folder = Path(session.create_tmp()) / turn
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        with session.chdir(folder):
            session.run(sys.executable, str(ROOT / "make_tarball.py"), external=True)
        packed.append(next(folder.glob("*.tar.gz")))
    if not filecmp.cmp(*packed, shallow=False):
        session.error("two tarballs of the same commit differ")
    session.log("the two tarballs are the same")


@nox.session
def docs(session: nox.Session) -> None:
    """Write the page of file formats, and build the site; a broken link or a page without a place fails."""
    session.run("python", "tools/file_formats.py")
    session.install(*nox.project.dependency_groups(nox.project.load_toml("pyproject.toml"), "docs"))
    session.run("mkdocs", "build", "--strict", *session.posargs, env={"NO_MKDOCS_2_WARNING": "1"})


@nox.session
def freeze(session: nox.Session) -> None:
    """Write requirements-frozen.txt from pyproject.toml; with --upgrade in new versions."""
    session.install(*nox.project.dependency_groups(nox.project.load_toml("pyproject.toml"), "setup"))
    session.run("python", "tools/freeze.py", *session.posargs)


@nox.session(venv_backend="none", name="help")
def help_texts(session: nox.Session) -> None:
    """Write kit/cli/help.json and docs/options.md from the tables of options."""
    session.run(kit_python(session), "tools/help_texts.py", external=True)
