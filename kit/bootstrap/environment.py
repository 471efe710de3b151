"""Makes the environment, or makes it again from nothing; standard library only.

In the environment's folder lie, besides what ``venv`` puts there:

    kit-incomplete            from the first moment until it is finished; marks the folder as the kit's
    kit-environment.json      written last: for which requirements, platform and Python it is complete
    bootstrap.log             everything ``venv`` and ``pip`` wrote

Whatever is found without a valid stamp is emptied and made anew, not continued: a killed pip leaves packages that look
installed, and what it had fetched lies in its cache anyway.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from types import FrameType

from kit.bootstrap.pins import Pin, Platform, Requirements, lacking, normal, to_download
from kit.bootstrap.pip import Progress, run_logged
from kit.core.errors import DiskFull, SetupFailed, Terminated

STAMP = "kit-environment.json"
STAMP_SCHEMA = 1
INCOMPLETE = "kit-incomplete"
LOG = "bootstrap.log"
NO_SPACE = (errno.ENOSPC, errno.EDQUOT)

# What a megabyte of wheel becomes on disk, measured: 3.9 for the pins with a CPU build of torch, 1.4 for CUDA packages.
# While pip works, what it has downloaded lies beside it.
UNPACKED = 4.0
UNPACKED_CUDA = 1.5
BARE_MEGABYTES = 50.0

SPACE_HINT = "free some space, or move the kit to a larger disk, then start again"
VENV_HINT = (
    "install what brings Python's venv and ensurepip (Debian, Ubuntu: sudo apt install python{python}-venv; "
    "Fedora: sudo dnf install python3), then start again"
)
NETWORK_HINT = (
    "behind a proxy or without a network: on another machine of this kind run `python{python} -m pip download "
    "--only-binary :all: -r requirements-frozen.txt -d DIR`, bring DIR here and start with --wheels DIR"
)


@dataclass(frozen=True, kw_only=True)
class Stamp:
    """For what an environment is complete: the requirements' sha256, the platform's key, the Python (``3.12``)."""

    requirements: str
    platform: str
    python: str


@dataclass(frozen=True, kw_only=True)
class Job:
    """An environment to be made.

    Args:
        venv: its folder.
        python: the interpreter to make it with, of the version in `platform`.
        requirements: the parsed content of `file`.
        wheels: the only place to take packages from; None for pip's own configuration.
        torch_index: the index to take torch from; None for pip's own configuration.
        why: why it is needed, for humans.
    """

    venv: Path
    python: Path
    requirements: Requirements
    file: Path
    platform: Platform
    wheels: Path | None
    torch_index: str | None
    why: str


def python_of(venv: Path) -> Path:
    return venv / "bin" / "python"


def read_stamp(venv: Path) -> Stamp | None:
    """The stamp of the environment in `venv`; None when there is none, or none that can be read."""
    try:
        content = json.loads((venv / STAMP).read_text(encoding="utf-8"))
        if content.pop("schema_version") != STAMP_SCHEMA:
            return None
        return Stamp(**content)
    except (OSError, ValueError, TypeError, AttributeError, KeyError):
        return None


def interpreter_facts(python: Path) -> tuple[str, str] | None:
    """Version (``3.12``) and prefix (links resolved) of the interpreter; None when it does not run."""
    # The path is passed on as bytes: the two interpreters need not agree on an encoding.
    question = (
        "import os, sys; prefix = os.fsencode(os.path.realpath(sys.prefix)); "
        "sys.stdout.buffer.write(b'%d.%d %s' % (*sys.version_info[:2], prefix))"
    )
    try:
        answer = subprocess.run(
            [python, "-I", "-c", question], stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    version, _, prefix = answer.stdout.partition(b" ")
    return version.decode(errors="replace"), os.fsdecode(prefix)


def is_complete(venv: Path, requirements: str, platform: str) -> bool:
    """Whether `venv` is finished for these requirements (sha256) and platform (key), and its Python is what it was.

    The Python behind the environment's link may have been taken away or replaced by an upgrade of the system. It is
    asked, because behind ``execv`` there is no second chance.
    """
    stamp = read_stamp(venv)
    if stamp is None or (stamp.requirements, stamp.platform) != (requirements, platform):
        return False
    return interpreter_facts(python_of(venv)) == (stamp.python, str(venv.resolve()))


def make(job: Job) -> bool:
    """Make the environment; False when another start finished it in the meantime.

    Raises:
        SetupFailed: it cannot be made.
        DiskFull: there is no space for it, before or while it is made.
        Terminated: SIGTERM arrived.
    """
    for module in ("venv", "ensurepip"):
        if find_spec(module) is None:
            raise SetupFailed(f"{job.python} has no module {module}", hint=VENV_HINT.format(python=job.platform.python))
    progress = Progress(sys.stderr, os.environ)
    with file_errors(job.venv), ending_on_sigterm(), locked(job.venv, progress) as lock:
        if is_complete(job.venv, job.requirements.sha256, job.platform.key):
            progress.note(f"the environment was finished by another start: {job.venv}")
            return False
        announce(job, progress)
        empty(job.venv, progress)
        check_space(job)
        build(job, progress, lock)
        finish(job)
        progress.note(f"the environment is complete: {job.venv}")
        return True


@contextmanager
def file_errors(venv: Path) -> Iterator[None]:
    """Turn the file system's complaints into errors with an exit status."""
    try:
        yield
    except OSError as exc:
        if exc.errno in NO_SPACE:
            raise DiskFull(f"no space left while making the environment in {venv}", hint=SPACE_HINT) from exc
        raise SetupFailed(
            f"the environment cannot be made in {venv}: {exc}",
            hint="check that the folder can be written, and who owns it",
        ) from exc


@contextmanager
def ending_on_sigterm() -> Iterator[None]:
    """Turn SIGTERM into an exception, so that a running pip is ended too."""

    def end(_number: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise Terminated("stopped by SIGTERM while making the environment", hint="the next start makes it anew")

    previous = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


@contextmanager
def locked(venv: Path, progress: Progress) -> Iterator[int]:
    """Hold the lock beside `venv`, waiting for another start if there is one; yields the lock's descriptor.

    The processes started under the lock inherit it: should this one be killed, its pip keeps the next start waiting
    until it is gone as well.
    """
    venv.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(venv.with_name(venv.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress.note(f"another start is making the environment in {venv}; waiting for it")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError as exc:
            progress.note(f"this file system has no locks ({exc.strerror}): do not start the kit twice at once")
        yield descriptor
    finally:
        os.close(descriptor)


def announce(job: Job, progress: Progress) -> None:
    """Say what is made, where, why, and how much there is to download."""
    size = to_download(job.requirements, job.platform, torch_from_elsewhere=job.torch_index is not None)
    progress.note(f"making the environment in {job.venv} with Python {job.platform.python} ({job.why})")
    if job.torch_index is not None and not any(pin.name == "torch" for pin in job.requirements.on(job.platform)):
        progress.note(f"--torch-index has no effect: there is no torch for {job.platform.key}")
    if job.wheels is not None:
        progress.note(f"packages: {size.packages}, all from {job.wheels}, nothing to download")
        return
    unknown = f"; size unknown: {', '.join(size.unknown)}" if size.unknown else ""
    progress.note(f"packages: {size.packages}, to download: {readable(size.megabytes)}{unknown}")
    if size.cuda_megabytes:
        progress.note(
            f"{readable(size.cuda_megabytes)} of that are CUDA packages for torch; --torch-index URL, with an index "
            "of CPU builds, avoids them"
        )


def readable(megabytes: float) -> str:
    if megabytes < 1:
        return "less than 1 MB"
    return f"{megabytes / 1000:.1f} GB" if megabytes >= 1000 else f"{megabytes:.0f} MB"


def check_space(job: Job) -> None:
    """Refuse to begin what cannot be finished, once what an earlier start left is removed.

    Raises:
        DiskFull: the disk has less space than the environment needs.
    """
    size = to_download(job.requirements, job.platform, torch_from_elsewhere=job.torch_index is not None)
    plain, cuda = size.megabytes - size.cuda_megabytes, size.cuda_megabytes
    need = BARE_MEGABYTES + (1 + UNPACKED) * plain + (1 + UNPACKED_CUDA) * cuda
    if job.wheels is not None:
        need = BARE_MEGABYTES + UNPACKED * wheel_megabytes(job.wheels, job.requirements.on(job.platform))
    found = shutil.disk_usage(job.venv).free / 1e6
    if found < need:
        smaller = "; CPU builds of torch need less: --torch-index URL" if cuda and job.wheels is None else ""
        raise DiskFull(
            f"the environment needs about {readable(need)} in {job.venv}, there are {readable(found)}",
            hint=SPACE_HINT + smaller,
        )


def wheel_megabytes(folder: Path, pins: Sequence[Pin]) -> float:
    """The size of the pins' wheels in `folder`; the largest counts where it holds several of one pin."""
    largest = dict.fromkeys(((pin.name, pin.version) for pin in pins), 0.0)
    for wheel in folder.glob("*-*-*.whl"):
        name, version, _ = wheel.name.split("-", 2)
        pin = (normal(name), version.partition("+")[0])
        if pin in largest:
            largest[pin] = max(largest[pin], wheel.stat().st_size / 1e6)
    return sum(largest.values())


def empty(venv: Path, progress: Progress) -> None:
    """Leave `venv` as a folder with nothing but the mark of being incomplete; what is not the kit's is moved aside."""
    found = {entry.name for entry in venv.iterdir()} if venv.is_dir() else set()
    if os.path.lexists(venv) and (found or not venv.is_dir()) and not found & {STAMP, INCOMPLETE}:
        aside = next(
            path for n in range(1, 1000) if not os.path.lexists(path := venv.with_name(f"{venv.name}.old-{n}"))
        )
        venv.rename(aside)
        progress.note(f"{venv} was not made by the kit; it is {aside} now")
    venv.mkdir(exist_ok=True)
    (venv / INCOMPLETE).write_text("The environment in this folder is not finished.\n", encoding="utf-8")
    (venv / STAMP).unlink(missing_ok=True)
    for entry in venv.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        elif entry.name != INCOMPLETE:
            entry.unlink()


def build(job: Job, progress: Progress, lock: int) -> None:
    """Create the environment and install the pins.

    Raises:
        SetupFailed: ``venv`` or ``pip`` failed, or the pins are not there afterwards.
        DiskFull: one of them found no space.
    """
    # pip unpacks below TMPDIR, and /tmp can be a small disk in memory; here is where the space was checked.
    temporary = job.venv / "tmp"
    temporary.mkdir()
    environ = setup_environment(dict(os.environ), temporary)
    for what, command in commands(job):
        progress.show(what)
        ended = run_logged(command, log=job.venv / LOG, environ=environ, progress=progress, keep=lock)
        if ended.status != 0:
            raise failure(job, what, ended.status, ended.tail)
    found = installed_in(job)
    missing = lacking(job.requirements.on(job.platform), found.get)
    if missing:
        raise SetupFailed(
            f"pip succeeded, but {missing}; its log is {job.venv / LOG}", hint="check pip's configuration"
        )


def setup_environment(environ: dict[str, str], temporary: Path) -> dict[str, str]:
    """The environment variables for ``venv`` and ``pip``: without those that send packages or imports elsewhere."""
    elsewhere = {"PYTHONHOME", "PYTHONPATH", "PIP_TARGET", "PIP_PREFIX", "PIP_ROOT"}
    kept = {name: value for name, value in environ.items() if name not in elsewhere}
    return kept | {"PIP_USER": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "TMPDIR": str(temporary)}


def commands(job: Job) -> Iterator[tuple[str, list[str]]]:
    """What to run, in order, each with its description."""
    yield "creating the environment", [str(job.python), "-I", "-m", "venv", "--without-pip", str(job.venv)]
    # venv would start this itself, and keep to itself what it says when it fails.
    yield "creating pip", [str(python_of(job.venv)), "-I", "-m", "ensurepip", "--default-pip"]
    pip = [str(python_of(job.venv)), "-I", "-u", "-m", "pip", "install", "--no-input", "--progress-bar", "off"]
    pip += ["--only-binary", ":all:"]
    torch = next((pin for pin in job.requirements.on(job.platform) if pin.name == "torch"), None)
    if job.torch_index is not None and torch is not None:
        source = ["--no-deps", "--index-url", job.torch_index]
        yield "fetching torch from the given index", [*pip, *source, f"torch=={torch.version}"]
    source = ["--no-index", "--find-links", str(job.wheels)] if job.wheels is not None else []
    yield "fetching and installing the packages", [*pip, *source, "-r", str(job.file)]


def failure(job: Job, what: str, status: int, tail: list[str]) -> SetupFailed | DiskFull:
    """The error for a ``venv`` or ``pip`` that ended with `status`."""
    text = "\n".join(tail)
    if any(f"[Errno {number}]" in text for number in NO_SPACE):
        return DiskFull(f"{what}: no space left in {job.venv}", hint=SPACE_HINT)
    how = f"exit status {status}" if status > 0 else f"ended by signal {-status}"
    shown = "".join(f"\n  {line}" for line in tail)
    python = job.platform.python
    if what.startswith("creating"):
        hint = VENV_HINT.format(python=python)
    elif job.wheels is not None:
        hint = f"{job.wheels} must hold a wheel of every pin for Python {python} on {job.platform.key}"
    else:
        hint = NETWORK_HINT.format(python=python)
    return SetupFailed(f"{what}: {how}{shown}\n  the full log is {job.venv / LOG}", hint=hint)


def installed_in(job: Job) -> dict[str, str]:
    """Name and version of every package in the environment."""
    from importlib import metadata

    site = job.venv / "lib" / f"python{job.platform.python}" / "site-packages"
    return {normal(found.name): found.version for found in metadata.distributions(path=[str(site)])}


def finish(job: Job) -> None:
    """Write the stamp, in one step and last of all."""
    shutil.rmtree(job.venv / "tmp", ignore_errors=True)
    stamp = Stamp(requirements=job.requirements.sha256, platform=job.platform.key, python=job.platform.python)
    draft = job.venv / (STAMP + ".new")
    with draft.open("w", encoding="utf-8") as handle:
        json.dump({"schema_version": STAMP_SCHEMA} | asdict(stamp), handle, indent=2)
        handle.flush()
        os.fsync(handle.fileno())
    draft.replace(job.venv / STAMP)
    (job.venv / INCOMPLETE).unlink()
