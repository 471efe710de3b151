"""A kit of the bootstrap's own modules with a tiny command behind them, tiny wheels, and an index on this machine."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
START = "run_full_pipeline.py"
MODULES = (
    *("__init__", "__main__", "core/exits", "core/errors", "core/__init__", "bootstrap/__init__"),
    *sorted(f"bootstrap/{path.stem}" for path in ROOT.glob("kit/bootstrap/[!_]*.py")),
)
CLI = """
import json, os, sys
import tinydep

def main(argv):
    facts = {"argv": argv, "prefix": os.path.realpath(sys.prefix), "tinydep": tinydep.VALUE}
    print(json.dumps(facts | {"telemetry": os.environ["ORT_DISABLE_TELEMETRY"]}))
    return 0
"""
HELP = {"": "top", "run": "how to run", "corpus status": "status"}


def make_wheel(
    folder: Path, name: str, version: str, content: str = "", *, needs: str = "", script: str = "", payload: int = 0
) -> Path:
    """Write a wheel with a module `content`, metadata lines `needs`, an executable `script`, and `payload` zeros."""
    folder.mkdir(parents=True, exist_ok=True)
    info = f"{name}-{version}.dist-info"
    files: dict[str, str | bytes] = {
        f"{name}/__init__.py": content,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    if script:
        files[f"{name}-{version}.data/scripts/{name}"] = script
    if payload:
        files[f"{name}/payload"] = bytes(payload)
    files[f"{info}/RECORD"] = "".join(f"{member},,\n" for member in [*files, f"{info}/RECORD"])
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, data in files.items():
            archive.writestr(member, data)
            archive.getinfo(member).external_attr = (0o100755 if "/scripts/" in member else 0o100644) << 16
    return path


def real_uv() -> str:
    """Return the uv that made this environment, or skip."""
    own = [f"{sys.prefix}/bin", f"{sys.prefix}/uv/bin", str(ROOT / ".venv" / "uv" / "bin")]
    path = shutil.which("uv", path=os.pathsep.join([os.environ.get("PATH", ""), *own]))
    if path is None:
        pytest.skip("no uv on PATH or in this environment: pip install uv")
    return path


def write_pins(root: Path, wheels: Path, groups: dict[str, Iterable[str]], *, torch: str = "") -> None:
    """Pin the wheels whose names begin with the given ones, with their hashes."""
    text = "# a comment\n"
    for group in ("setup", "base", "train", "tune", "test"):
        text += f"\n# group: {group}\n"
        for prefix in groups.get(group, ()):
            path = next(wheels.glob(f"{prefix}-*.whl"))
            name, version = path.name.split("-")[:2]
            text += f"{name}=={version} \\\n    --hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}\n"
    (root / "requirements-frozen.txt").write_text(text)
    extra = [f"torch=={torch}; sys_platform != 'plan9'"] if torch else []
    (root / "pyproject.toml").write_text(f"[project.optional-dependencies]\ntrain = {extra!r}\n")


def make_kit(root: Path, cli: str = CLI) -> Path:
    """Copy the bootstrap into the folder `root`, with `cli` as its command line and nothing pinned."""
    (root / "kit" / "cli").mkdir(parents=True)
    shutil.copy(ROOT / START, root)
    for name in MODULES:
        (root / "kit" / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / "kit" / f"{name}.py", root / "kit" / f"{name}.py")
    (root / "kit" / "cli" / "main.py").write_text(cli)
    (root / "kit" / "cli" / "help.json").write_text(json.dumps(HELP))
    write_pins(root, root, {})
    return root


@dataclass
class Tree:
    """A kit in a folder of its own, and the way to start it without the settings of this machine."""

    root: Path
    home: Path
    bin: Path

    @property
    def venv(self) -> Path:
        return self.root / ".venv"

    def stamp(self) -> dict[str, object]:
        stamp: dict[str, object] = json.loads((self.venv / "kit-environment.json").read_text())
        return stamp

    def environ(self, **more: str) -> dict[str, str]:
        quiet = {"PIP_CONFIG_FILE": os.devnull, "PIP_RETRIES": "0", "UV_HTTP_RETRIES": "0"}
        return {"PATH": str(self.bin), "HOME": str(self.home)} | quiet | more

    def popen(self, *argv: str | Path, command: str = "run", before: str = "", **more: str) -> subprocess.Popen[str]:
        """Start a command; `before` is Python that runs in the same process first."""
        start = [sys.executable, str(self.root / "kit" / "__main__.py"), command, *map(str, argv)]
        if before:
            script = f"{before}\nimport runpy, sys; sys.argv.pop(0); runpy.run_path(sys.argv[0], run_name='__main__')"
            start[1:1] = ["-c", script]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL}
        return subprocess.Popen(start, text=True, env=self.environ(**more), cwd=self.home, **pipes)

    def run(
        self, *argv: str | Path, command: str = "run", before: str = "", **more: str
    ) -> subprocess.CompletedProcess[str]:
        return finished(self.popen(*argv, command=command, before=before, **more))


def finished(process: subprocess.Popen[str]) -> subprocess.CompletedProcess[str]:
    try:
        out, err = process.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def answer(done: subprocess.CompletedProcess[str]) -> dict[str, object]:
    """Return what the tiny command printed."""
    assert done.returncode == 0, done.stderr
    facts: dict[str, object] = json.loads(done.stdout)
    return facts


@dataclass
class Index:
    """A package index on this machine, one per sub-folder; it sends wheels only while `gate` is set."""

    folder: Path
    url: str = ""
    requested: threading.Event = field(default_factory=threading.Event)
    gate: threading.Event = field(default_factory=threading.Event)
    log: list[str] = field(default_factory=list)

    def body(self, path: str) -> bytes | None:
        self.log.append(path)
        if path.endswith(".whl"):
            self.requested.set()
            self.gate.wait(60)
            return (self.folder / path.lstrip("/")).read_bytes()
        place, _, name = path.strip("/").partition("/")
        wheels = [wheel.name for wheel in (self.folder / place).glob(f"{name}-*.whl")]
        links = "".join(f'<a href="/{place}/{wheel.replace("+", "%2B")}">{wheel}</a>' for wheel in wheels)
        return f"<!DOCTYPE html><html><body>{links}</body></html>".encode() if wheels else None

    def sent(self) -> list[str]:
        """Return the paths of the wheels that were sent, without those of metadata."""
        return [path for path in self.log if path.endswith(".whl")]
