"""The folder of an environment: its stamp, its lock, and making it; standard library only.

Besides the files of the virtual environment the folder has

    kit-incomplete            until it is finished; marks the folder as the kit's own
    kit-environment.json      the stamp, written last: what the environment is complete for
    bootstrap.log             the output of every tool

An environment without a valid stamp is emptied and made again: a killed tool leaves packages that look installed.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from kit.bootstrap.messages import say
from kit.bootstrap.pins import GROUPS, Pins
from kit.bootstrap.uv import NO_SPACE, SPACE_HINT, Installer
from kit.core.errors import DiskFull, SetupFailed, Terminated

STAMP = "kit-environment.json"
STAMP_SCHEMA = 2
INCOMPLETE = "kit-incomplete"


def platform_key() -> str:
    return f"{sys.platform}-{os.uname().machine}"


def python_of(venv: Path) -> Path:
    return venv / "bin" / "python"


def complete_groups(venv: Path, pins: Pins) -> frozenset[str]:
    """Return the groups that the environment is complete for; none if it is unfinished, outdated or damaged."""
    try:
        stamp = json.loads((venv / STAMP).read_text(encoding="utf-8"))
        expected = {"schema_version": STAMP_SCHEMA, "requirements": pins.sha256, "platform": platform_key()}
        if expected.items() <= stamp.items() and python_works(venv, stamp["python"]):
            return frozenset(stamp["groups"])
    except (OSError, subprocess.SubprocessError, ValueError, TypeError, AttributeError, KeyError):
        pass
    return frozenset()


def python_works(venv: Path, version: str) -> bool:
    """Whether the environment's Python runs and has this version (``3.12``).

    An upgrade of the system may have removed or replaced it, and after ``execv`` there is no way back.
    """
    if Path(sys.prefix).resolve() == venv.resolve():
        return True
    facts = "import os, sys; sys.exit([os.path.realpath(sys.prefix), '%d.%d' % sys.version_info[:2]] != sys.argv[1:])"
    command = [str(python_of(venv)), "-I", "-c", facts, str(venv.resolve()), version]
    return subprocess.run(command, capture_output=True, timeout=60, check=False).returncode == 0


def make(
    venv: Path,
    pins: Pins,
    *,
    needed: Sequence[str],
    install: Sequence[str],
    wheels: Path | None,
    torch_index: str | None,
    why: str,
) -> bool:
    """Make the environment or add groups of packages to it; False when another start did so in the meantime.

    Args:
        needed: the groups without which the command cannot run.
        install: the groups to install if one of them is missing.
        wheels: the only folder to take packages from; None for the configured indexes.
        torch_index: the index to take torch from; None for the index of the build that fits the machine.
        why: the reason, for the user.

    Raises:
        SetupFailed: a tool failed, or the folder cannot be written.
        DiskFull: there is no space left.
        Terminated: SIGTERM arrived.
    """
    signal.signal(signal.SIGTERM, _terminate)  # so that a running tool is ended too
    with locked(venv) as lock:
        present = complete_groups(venv, pins)
        if present.issuperset(needed):
            say(f"setup: another start has finished the environment in {venv}")
            return False
        groups = [group for group in GROUPS if group in {*present, *install}]
        why = f"it has only {', '.join(sorted(present))}" if present else why
        say(f"setup: environment in {venv}, packages for {', '.join(groups)} ({why})")
        mark_incomplete(venv, keep=bool(present))
        Installer(venv, lock, wheels).install(pins, groups, torch_index)
        write_stamp(venv, {"requirements": pins.sha256, "groups": groups})
        say("setup: the environment is complete")
        return True


def _terminate(_number: int, _frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise Terminated("SIGTERM while making the environment", hint="The next start makes it again.")


@contextmanager
def locked(venv: Path) -> Iterator[int]:
    """Hold the lock beside `venv`, waiting for another start; yields the lock's descriptor.

    The tools inherit it: if this process is killed, its tool keeps the next start waiting until it has ended too.

    Raises:
        SetupFailed: what is done under the lock failed for a reason of the file system; DiskFull if the disk is full.
    """
    try:
        venv.parent.mkdir(parents=True, exist_ok=True)
        with venv.with_name(venv.name + ".lock").open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say(f"setup: waiting for another start that makes the environment in {venv}")
                fcntl.flock(lock, fcntl.LOCK_EX)
            except OSError as exc:
                say(f"setup: this file system has no locks ({exc.strerror}): do not start the kit twice at once")
            yield lock.fileno()
    except OSError as exc:
        if exc.errno in NO_SPACE:
            raise DiskFull(f"no space left while making the environment in {venv}", hint=SPACE_HINT) from exc
        hint = "Check the owner and the permissions of that folder."
        raise SetupFailed(f"the environment cannot be made in {venv}: {exc}", hint=hint) from exc


def mark_incomplete(venv: Path, *, keep: bool) -> None:
    """Mark the folder as unfinished, and empty it unless `keep`; a folder that the kit did not make is moved aside."""
    content = {entry.name for entry in venv.iterdir()} if venv.is_dir() else set()
    if os.path.lexists(venv) and (content or not venv.is_dir()) and not content & {STAMP, INCOMPLETE}:
        names = (venv.with_name(f"{venv.name}.old-{number}") for number in range(1, 1000))
        aside = next(path for path in names if not os.path.lexists(path))
        venv.rename(aside)
        say(f"setup: the kit did not make {venv}; it is now {aside}")
    venv.mkdir(exist_ok=True)
    (venv / INCOMPLETE).write_text("The environment in this folder is not finished.\n", encoding="utf-8")
    (venv / STAMP).unlink(missing_ok=True)
    for entry in () if keep else venv.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        elif entry.name != INCOMPLETE:
            entry.unlink()


def write_stamp(venv: Path, facts: Mapping[str, object]) -> None:
    """Write the stamp, in one step and last of all, with a hash over the files of torch, which no pin covers."""
    torch = None
    for record in venv.glob("lib/python3*/site-packages/torch-*.dist-info/RECORD"):
        version = record.parent.name.removeprefix("torch-").removesuffix(".dist-info")
        # the rest differs from one installation to the next
        files = [line for line in sorted(record.read_text(encoding="utf-8").splitlines()) if line.startswith("torch/")]
        torch = {"version": version, "files_sha256": hashlib.sha256("\n".join(files).encode()).hexdigest()}
    python = "{}.{}".format(*sys.version_info)
    stamp = {"schema_version": STAMP_SCHEMA, "platform": platform_key(), "python": python, **facts, "torch": torch}
    draft = venv / f"{STAMP}.new"
    with draft.open("w", encoding="utf-8") as handle:
        json.dump(stamp, handle, indent=2)
        handle.flush()
        os.fsync(handle.fileno())
    draft.replace(venv / STAMP)
    (venv / INCOMPLETE).unlink()
