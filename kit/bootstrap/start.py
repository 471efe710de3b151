"""Go on with a command in a Python that has the pinned packages, and set that Python up if need be.

Standard library only; needs a Python of ``early.SUPPORTED``.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import NoReturn

from kit.bootstrap.environment import complete_groups, make, platform_key, python_of
from kit.bootstrap.messages import say
from kit.bootstrap.pins import Pins, difference, read_pins
from kit.core import exits
from kit.core.errors import BadInput, KitError, SetupFailed

CACHE_NAME = "vmaf-ensemble-kit"

#: Commands that need neither torch nor onnxruntime nor matplotlib. They run in an environment without these, but if
#: there is no environment yet, the complete one is made: a command that trains usually follows.
WITHOUT_TRAINING = ("binaries", "bundle", "corpus", "dataset", "merge", "platform", "worker")
#: What a command needs besides the packages for training.
EXTRA_GROUP = {"selftest": "test", "tune": "tune"}

#: An -X option marks the interpreter that was entered on purpose: unlike an environment variable it is not passed
#: on to the processes that the kit starts, and unlike an argument it is not the user's.
ENTERED = "kit-environment"

STATUSES = {value for name, value in vars(exits).items() if name.isupper()}

#: Imports the command line and returns its entry point.
Load = Callable[[], Callable[[list[str]], int]]


def start(argv: list[str], root: str, load: Load) -> int:
    """Run the command `argv` in an interpreter with the pinned packages and return its exit code."""
    try:
        return hand_over(ensure(argv, Path(root)), Path(root), load)
    except KitError as exc:
        say(f"Error: {exc.message}\nHint: {exc.hint or exc.default_hint}")
        return exc.exit_code


def ensure(argv: Sequence[str], root: Path) -> list[str]:
    """Return `argv` without the options of the set-up if this interpreter can go on, else replace this process.

    Raises:
        BadInput: an option of the set-up is unusable.
        SetupFailed: the environment is incomplete, or cannot be made.
        DiskFull: the disk has no space for it.
    """
    wheels, torch_index, rest = split_options(argv)
    needed, install = groups_for(rest)
    pins = read_pins(root)
    folders = folders_for(root, pins)

    def complete(folder: Path) -> bool:
        return complete_groups(folder, pins).issuperset(needed)

    if any(complete(folder) for folder in folders if folder.resolve() == Path(sys.prefix).resolve()):
        why = ""
    elif ENTERED in sys._xoptions:  # noqa: SLF001 - documented, in spite of its name
        raise SetupFailed(f"the environment {sys.prefix} is incomplete", hint=f"Delete it: rm -r '{sys.prefix}'")
    else:
        why = difference(pins, needed)
    venv = next(filter(complete, folders), None) if why else None
    made = False
    if why and venv is None:
        venv = next(filter(can_write, folders), None)
        if venv is None:
            raise SetupFailed(
                f"no folder for the environment: cannot write {' or '.join(map(str, folders))}",
                hint="Move the kit to a folder of your own and start it there.",
            )
        made = make(venv, pins, needed=needed, install=install, wheels=wheels, torch_index=torch_index, why=why)
    if (wheels or torch_index) and not made:
        say("note: --wheels and --torch-index have no effect: the environment is complete")
    if venv is not None:
        replace_process(python_of(venv), ["-X", ENTERED, str(root / "kit" / "__main__.py"), *rest])
    return rest


def groups_for(argv: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the groups of packages that a command needs, and those to install if one of them is missing.

    Only the command line counts: a shard-only run that is configured elsewhere gets everything.
    """
    command = next((word for word in argv if not word.startswith("-")), "")
    shard_only = "--shard-only" in argv and "--with-verdict" not in argv
    if command == "clean" or (command in {"run", "prereqs"} and shard_only):
        return ("base",), ("base",)
    everything = ("base", "train", *filter(None, [EXTRA_GROUP.get(command)]))
    return ("base",) if command in WITHOUT_TRAINING else everything, everything


def split_options(argv: Sequence[str]) -> tuple[Path | None, str | None, list[str]]:
    """Take ``--wheels DIR`` and ``--torch-index URL`` (also with ``=``) out of `argv`, up to a ``--``.

    Raises:
        BadInput: a value is missing, the folder does not exist, or both are given.
    """
    values: dict[str, str] = {}
    rest: list[str] = []
    pending = list(argv)
    while pending:
        word = pending.pop(0)
        name, equals, value = word.partition("=")
        if word == "--":
            rest += [word, *pending]
            break
        if name not in {"--wheels", "--torch-index"}:
            rest.append(word)
            continue
        if not equals:
            value = pending.pop(0) if pending else ""
        if not value or value.startswith("-"):
            raise BadInput(f"{name} needs a value", hint="Use --wheels DIR or --torch-index URL.")
        values[name] = value
    if len(values) > 1:
        raise BadInput("--wheels and --torch-index exclude each other", hint="--wheels uses no index at all.")
    wheels = Path(values["--wheels"]).expanduser().absolute() if "--wheels" in values else None
    if wheels is not None and not wheels.is_dir():
        raise BadInput(f"--wheels: no such folder: {wheels}")
    return wheels, values.get("--torch-index"), rest


def folders_for(root: Path, pins: Pins) -> list[Path]:
    """Return the folders in which the environment may be, best first: the kit's, and the user's cache.

    Kits of several versions and machines of one home share the cache; it is named as platformdirs names it.
    """
    base = os.environ.get("XDG_CACHE_HOME", "").strip() if sys.platform != "darwin" else ""
    cache = Path(base or Path("~", *(("Library", "Caches") if sys.platform == "darwin" else (".cache",))))
    key = hashlib.sha256(f"{pins.sha256} {platform_key()} {sys.version_info[:2]}".encode()).hexdigest()[:16]
    try:
        return [root / ".venv", cache.expanduser().absolute() / CACHE_NAME / f"venv-{key}"]
    except RuntimeError:  # a user without a home
        return [root / ".venv"]


def can_write(venv: Path) -> bool:
    """Whether an environment can be made in the folder `venv`, with its lock beside it."""
    nearest = next(folder for folder in venv.parents if folder.is_dir())
    return all(os.access(folder, os.W_OK | os.X_OK) for folder in (nearest, venv) if folder.is_dir())


def replace_process(python: Path, arguments: list[str]) -> NoReturn:
    """Execute `python`, without variables that would put packages of other Pythons before the pinned ones.

    Raises:
        SetupFailed: it cannot be executed.
    """
    environ = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "PYTHONHOME"}}
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    try:
        os.execve(python, [str(python), *arguments], environ)  # noqa: S606 - no shell is wanted
    except OSError as exc:
        raise SetupFailed(f"{python} does not start: {exc.strerror}", hint="Delete its folder, start again.") from exc


def hand_over(argv: list[str], root: Path, load: Load) -> int:
    """Import the command line with `load` and call it.

    Raises:
        SetupFailed: a package it needs cannot be imported.
        KitError: a file of the kit itself cannot be imported, or it returned no exit code.
    """
    try:
        command = load()
    except Exception as exc:
        raise damaged(exc, root) from exc
    status: object = command(argv)
    if not isinstance(status, int) or isinstance(status, bool) or status not in STATUSES:
        raise KitError(f"the command returned {status!r}, which is no exit code of the kit; this is a bug")
    return status


def damaged(exc: Exception, root: Path) -> KitError:
    """Return the error for a failed import: a damaged kit (exit code 70) or a damaged environment (2)."""
    problem = f"{type(exc).__name__}: {exc}"
    if failed_module(exc, root).partition(".")[0] == "kit":
        return KitError(f"the kit is incomplete or damaged: {problem}", hint="Unpack it again.")
    if ENTERED in sys._xoptions:  # noqa: SLF001 - documented, in spite of its name
        hint = f"Delete the environment and start again: rm -r '{sys.prefix}'"
    else:
        hint = f"Repair the packages of that Python ({sys.executable}), or start the kit with another Python."
    return SetupFailed(f"the Python environment {sys.prefix} is damaged: {problem}", hint=hint)


def failed_module(exc: Exception, root: Path) -> str:
    """Return the name of the module whose file is missing or broken."""
    if isinstance(exc, ImportError) and exc.name:
        return exc.name
    if isinstance(exc, AttributeError) and isinstance(exc.obj, ModuleType):
        return exc.obj.__name__
    if isinstance(exc, SyntaxError) and exc.filename:
        return "kit" if (root / "kit").resolve() in Path(exc.filename).resolve().parents else "a package"
    frame = exc.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    return "" if frame is None else str(frame.tb_frame.f_globals.get("__name__", ""))
