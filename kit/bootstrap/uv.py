"""Install packages with uv; standard library only."""

from __future__ import annotations

import ast
import errno
import os
import re
import shutil
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from kit.bootstrap.messages import say
from kit.bootstrap.pins import SETUP, Pins
from kit.core.errors import DiskFull, SetupFailed

LOG = "bootstrap.log"
TAIL_LINES = 12
PATIENCE_S = 10.0
NO_SPACE = (errno.ENOSPC, errno.EDQUOT)

#: pip's settings that uv gets as well, so that a mirror set up for pip is used; uv's own variables take priority.
UV_NAMES = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "trusted-host": "UV_INSECURE_HOST",
    "cert": "SSL_CERT_FILE",
    "proxy": "ALL_PROXY",
}
#: Variables that would send packages or imports elsewhere, or switch a check off.
UNWANTED = (
    *("PYTHONHOME", "PYTHONPATH", "PIP_TARGET", "PIP_PREFIX", "PIP_ROOT"),
    *("UV_PYTHON", "UV_SYSTEM_PYTHON", "UV_NO_VERIFY_HASHES", "UV_REQUIRE_HASHES"),
)

SPACE_HINT = "Free some space, or move the kit to a larger disk, then start it again."
NETWORK_HINT = "Without a network or behind a proxy: --wheels DIR or --torch-index URL, see docs/installation.md."


class Installer:
    """The tools that fill the environment in `venv`: pip for uv itself, uv for everything else.

    Args:
        lock: a descriptor that the tools keep open.
        wheels: the only folder to take packages from; None for the configured indexes.
    """

    def __init__(self, venv: Path, lock: int, wheels: Path | None) -> None:
        self.venv, self.lock, self.wheels = venv, lock, wheels
        # The interpreter behind an environment: the link in the environment may just have been deleted.
        self.python = getattr(sys, "_base_executable", "") or sys.executable
        self.environ = {name: value for name, value in os.environ.items() if name not in UNWANTED}
        self.environ |= {"PIP_USER": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "UV_PYTHON_DOWNLOADS": "never"}
        # as pip does: a kit that somebody else starts may not write it, and would compile torch at every start
        self.environ.setdefault("UV_COMPILE_BYTECODE", "1")
        if ssl.get_default_verify_paths().cafile:  # as pip does, so that a company's certificate counts
            self.environ.setdefault("UV_SYSTEM_CERTS", "1")
        self.offline = [] if wheels is None else ["--no-index", "--find-links", str(wheels)]

    def install(self, pins: Pins, groups: Sequence[str], torch_index: str | None) -> None:
        """Create the environment if it is missing, and install the packages of `groups`.

        Raises:
            SetupFailed: a tool failed.
            DiskFull: a tool found no space.
        """
        uv = self.find_uv(pins)
        if self.wheels is None:
            self.environ = self.pip_settings() | self.environ
        if not os.access(os.environ.get("XDG_CACHE_HOME") or Path("~").expanduser(), os.W_OK):
            self.environ.setdefault("UV_CACHE_DIR", str(self.venv / "uv-cache"))
        python = ["--python", str(self.venv)]
        if not (self.venv / "bin" / "python").exists():
            self.run("creating the environment", [uv, "venv", "--allow-existing", "--python", self.python, "."])
        command = [uv, "pip", "install", *python, "--only-binary", ":all:"]
        pinned = ["--no-deps", "--require-hashes", "-r", self.write("packages.txt", pins, groups)]
        # with hashes it does not matter which index has a version
        pinned += self.offline or ["--index-strategy", "unsafe-best-match"]
        self.run("installing the packages", [*command, *pinned])
        if pins.torch and "train" in groups and not any(self.venv.glob("lib/python3*/site-packages/torch-*.dist-info")):
            self.install_torch([*command, pins.torch], torch_index)
        self.run("checking the packages", [uv, "pip", "check", *python])
        shutil.rmtree(self.venv / "uv-cache", ignore_errors=True)

    def install_torch(self, command: list[str], index: str | None) -> None:
        """Install torch, whose hash depends on the build, from the first source that has it."""
        if self.wheels is not None:
            return self.run(f"installing torch from {self.wheels}", [*command, *self.offline])
        if index is not None:
            self.environ.pop("UV_FIND_LINKS", None)
            return self.run(f"installing torch from {index}", [*command, "--index", index])
        if "UV_FIND_LINKS" in self.environ:
            with suppress(SetupFailed):
                return self.run("installing torch from the configured folders", [*command, "--no-index"])
        if sys.platform == "darwin":  # every build for macOS is one without CUDA
            return self.run("installing torch", command)
        backend = "auto" if shutil.which("nvidia-smi") or Path("/proc/driver/nvidia").exists() else "cpu"
        return self.run(f"installing torch ({backend} build)", [*command, "--torch-backend", backend])

    def find_uv(self, pins: Pins) -> str:
        """Return a uv: from PATH if it is new enough, else one in the environment's folder, installed if need be.

        Raises:
            SetupFailed: pip failed, or there is no pip.
        """
        on_path, own = shutil.which("uv"), self.venv / "uv"
        tried = "PATH has no uv"
        if on_path is not None:
            known = subprocess.run(
                [on_path, "pip", "install", "--torch-backend=cpu", "--help"], capture_output=True, check=False
            )
            if known.returncode == 0:
                return on_path
            tried = f"{on_path} is too old or does not run"
        if not (own / "bin" / "uv").exists():
            python = sys.executable
            if find_spec("pip") is None:
                if find_spec("ensurepip") is None:
                    raise SetupFailed(
                        f"the environment is made with uv, but {tried}, and {python} has neither pip nor ensurepip",
                        hint="Install uv (https://docs.astral.sh/uv), or python{}.{}-venv on Debian and Ubuntu, "
                        "then start again.".format(*sys.version_info),
                    )
                self.run("creating pip", [self.python, "-m", "venv", "pip"])
                python = str(self.venv / "pip" / "bin" / "python")
            pip = [python, "-m", "pip", "install", "--no-input", "--only-binary", ":all:", "--target", str(own)]
            pinned = ["--require-hashes", "-r", self.write("uv.txt", pins, [SETUP])]
            self.run(f"installing uv with pip ({tried})", [*pip, *self.offline, *pinned])
        return str(own / "bin" / "uv")

    def write(self, name: str, pins: Pins, groups: Sequence[str]) -> str:
        (self.venv / name).write_text(pins.lines(groups), encoding="utf-8")
        return name

    def pip_settings(self) -> dict[str, str]:
        """Return the indexes, folders, certificates and proxy that pip is configured for, as variables for uv."""
        # an environment that uv made has no pip, the Python it was made with may have one
        python = sys.executable if find_spec("pip") else getattr(sys, "_base_executable", sys.executable)
        command = [python, "-m", "pip", "config", "list"]
        output = subprocess.run(command, capture_output=True, text=True, env=self.environ, check=False).stdout
        variables = {}
        for section in ("global", "install", ":env:"):  # a later one takes priority
            for name, value in re.findall(rf"^{section}\.([\w-]+)=(['\"].*)$", output, re.MULTILINE):
                parts = ast.literal_eval(value).split()
                if name == "find-links":  # pip skips a folder that does not exist, uv fails
                    parts = [part if "://" in part else str(Path(part).absolute()) for part in parts]
                    parts = [part for part in parts if "://" in part or Path(part).is_dir()]
                if name in UV_NAMES and parts:
                    variables[UV_NAMES[name]] = ("," if name == "find-links" else " ").join(parts)
        return variables

    def run(self, purpose: str, command: list[str]) -> None:
        """Run a tool in the environment's folder, with its output in the log and one line of progress.

        Raises:
            SetupFailed: it failed.
            DiskFull: it found no space.
        """
        live = sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb"
        if not live:
            say(f"setup: {purpose}")
        started = time.monotonic()
        with (self.venv / LOG).open("ab+") as log:
            begin = log.tell()
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self.environ,
                cwd=self.venv,
                pass_fds=(self.lock,),
                process_group=0,
            )
            try:
                while process.poll() is None:
                    if live:
                        line = f"setup: {purpose} ({time.monotonic() - started:.0f} s)"
                        sys.stderr.write("\r\x1b[K" + line[: shutil.get_terminal_size().columns - 1])
                        sys.stderr.flush()
                    with suppress(subprocess.TimeoutExpired):
                        process.wait(1)
            finally:
                end_group(process)
                if live:
                    sys.stderr.write("\r\x1b[K")
            log.seek(begin)
            output = log.read().decode(errors="replace")
        if process.returncode != 0:
            raise self.failure(purpose, process.returncode, output)

    def failure(self, purpose: str, status: int, output: str) -> SetupFailed | DiskFull:
        """Return the error for a tool that failed, with the last lines of its output."""
        if re.search(rf"\b(Errno|os error) ({NO_SPACE[0]}|{NO_SPACE[1]})\b", output):
            return DiskFull(f"{purpose}: no space left in {self.venv}", hint=SPACE_HINT)
        lines = [f"\n  {line}" for line in output.splitlines() if line.strip()]
        how = f"exit status {status}" if status > 0 else f"ended by signal {-status}"
        hint = NETWORK_HINT
        if self.wheels is not None:
            hint = f"{self.wheels} must have a wheel of every package, uv included; see docs/installation.md."
        shown = "".join(lines[-TAIL_LINES:])
        return SetupFailed(f"{purpose}: {how}{shown}\n  full output: {self.venv / LOG}", hint=hint)


def end_group(process: subprocess.Popen[bytes]) -> None:
    """End a running process and everything it started: politely first, then by force."""
    for number, patience in ((signal.SIGTERM, PATIENCE_S), (signal.SIGKILL, None)):
        if process.poll() is None:
            # macOS refuses to signal a group of which only a zombie is left.
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, number)
            # A second Ctrl-C means: do not wait.
            with suppress(subprocess.TimeoutExpired, KeyboardInterrupt):
                process.wait(patience)
