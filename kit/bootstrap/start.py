"""From the interpreter somebody happened to start to the one that has the pinned packages.

``ensure`` gathers the facts in one place (`Facts`), decides from them alone (`choose`) and then acts: it stays in
this interpreter, replaces the process with the environment's, or has the environment made first (``bootstrap_env``).
Standard library only; needs a Python of ``bootstrap_early.SUPPORTED``.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Literal, NoReturn

from kit.bootstrap.environment import Job, Stamp, is_complete, make, python_of, read_stamp
from kit.bootstrap.pins import BadPins, Platform, Requirements, lacking, parse
from kit.core import exits
from kit.core.errors import BadInput, KitError, SetupFailed

REQUIREMENTS = "requirements-frozen.txt"
CACHE_NAME = "vmaf-ensemble-kit"

# An -X option marks the interpreter that was entered on purpose: unlike an environment variable it is not passed
# on to the processes the kit starts, and unlike an argument it is not the user's.
ENTERED = "kit-environment"

STATUSES = (
    exits.OK,
    exits.HOLD,
    exits.BAD_INPUT,
    exits.INVALID,
    exits.DISK_FULL,
    exits.INTERNAL,
    exits.INTERRUPTED,
    exits.TERMINATED,
)


#: Imports the command line and returns its entry point.
Load = Callable[[], Callable[[list[str]], int]]


@dataclass(frozen=True, kw_only=True)
class Options:
    """The bootstrap's own options: a folder of wheels, an index for torch; None when not given."""

    wheels: Path | None
    torch_index: str | None

    def given(self) -> str:
        named = {"--wheels": self.wheels, "--torch-index": self.torch_index}
        return " and ".join(name for name, value in named.items() if value is not None)


@dataclass(frozen=True, kw_only=True)
class Place:
    """A folder in which the environment may live.

    Args:
        writable: it can be made (again) there.
        complete: it is there, finished, for these requirements, and its Python still runs.
    """

    path: Path
    writable: bool
    complete: bool


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What is known before anything is decided.

    Args:
        executable: the running interpreter.
        base: the interpreter its environment was made with; `executable` when it runs in none.
        prefix: the environment the running interpreter belongs to, links resolved.
        entered: the kit itself started this interpreter as the environment's.
        lacking: the first pin this interpreter does not satisfy, in words; "" when it satisfies all.
        places: where the environment may live, best first.
    """

    executable: Path
    base: Path
    prefix: Path
    entered: bool
    lacking: str
    places: tuple[Place, ...]


@dataclass(frozen=True, kw_only=True)
class EnvPlan:
    """What to do.

    Args:
        action: ``stay`` in this interpreter, ``enter`` the environment, ``make`` it first, or ``leave`` an
            environment that has to be made anew from outside.
        venv: the environment's folder.
        python: the interpreter to go on with (enter, leave) or to make the environment with (make).
        why: the reason, for humans.
    """

    action: Literal["stay", "enter", "make", "leave"]
    venv: Path
    python: Path
    why: str


def start(argv: list[str], root: str, load: Load) -> int:
    """Run the command `argv` in an interpreter with the pinned packages and return its exit status."""
    try:
        return hand_over(ensure(argv, Path(root)), Path(root), load)
    except KitError as exc:
        report(exc)
        return exc.exit_code


def ensure(argv: list[str], root: Path) -> list[str]:
    """Return `argv` without the bootstrap's options if this is the right interpreter; else replace the process.

    Args:
        argv: the arguments without the program's name.
        root: the folder that holds ``kit/`` and requirements-frozen.txt.

    Raises:
        BadInput: an option of the bootstrap is not usable.
        SetupFailed: the environment cannot be made, or is damaged.
        DiskFull: there is no space for it.
        Terminated: SIGTERM arrived while it was made.
    """
    options, rest = split_options(argv)
    requirements = read_requirements(root)
    platform = this_platform()
    plan = choose(gather(root, requirements, platform, os.environ))
    if plan.action == "leave":
        leave(plan, argv, root)
    made = False
    if plan.action == "make":
        job = Job(
            venv=plan.venv,
            python=plan.python,
            requirements=requirements,
            file=root / REQUIREMENTS,
            platform=platform,
            wheels=options.wheels,
            torch_index=options.torch_index,
            why=plan.why,
        )
        made = make(job)
    if options.given() and not made:
        say(f"note: {options.given()} has no effect, the environment is complete ({plan.venv})")
    if plan.action != "stay":
        enter(plan.venv, rest, root)
    return rest


def split_options(argv: Sequence[str]) -> tuple[Options, list[str]]:
    """Take ``--wheels DIR`` and ``--torch-index URL`` (also with ``=``) out of `argv`, up to a ``--``.

    Raises:
        BadInput: a value is missing, the folder does not exist, or both are given.
    """
    values: dict[str, str] = {}
    rest: list[str] = []
    pending = list(argv)
    while pending:
        word = pending.pop(0)
        if word == "--":
            rest += [word, *pending]
            break
        name, equals, value = word.partition("=")
        if name not in {"--wheels", "--torch-index"}:
            rest.append(word)
            continue
        if not equals:
            value = pending.pop(0) if pending else ""
        if not value or value.startswith("-"):
            raise BadInput(f"{name} needs a value", hint="--wheels DIR, or --torch-index URL")
        values[name] = value
    if len(values) > 1:
        raise BadInput("--wheels and --torch-index exclude each other: --wheels uses no index at all")
    wheels = Path(values["--wheels"]).expanduser().absolute() if "--wheels" in values else None
    if wheels is not None and not wheels.is_dir():
        raise BadInput(f"--wheels: there is no folder {wheels}")
    return Options(wheels=wheels, torch_index=values.get("--torch-index")), rest


def read_requirements(root: Path) -> Requirements:
    try:
        return parse((root / REQUIREMENTS).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as exc:
        raise BadPins(str(exc)) from exc


def this_platform() -> Platform:
    return Platform(
        system=sys.platform, machine=os.uname().machine, python=f"{sys.version_info[0]}.{sys.version_info[1]}"
    )


def gather(root: Path, requirements: Requirements, platform: Platform, environ: Mapping[str, str]) -> Facts:
    """Look at the running interpreter and at the folders where the environment may be."""
    wanted = Stamp(requirements=requirements.sha256, platform=platform.key, python=platform.python)
    prefix = Path(sys.prefix).resolve()
    places = [look(root / ".venv", wanted, prefix)]
    cache = cache_folder(environ, platform.system)
    if cache is not None:
        places.append(look(cache / f"venv-{cache_key(wanted)}", wanted, prefix))
    at_home = any(place.complete and place.path.resolve() == prefix for place in places)
    return Facts(
        executable=Path(sys.executable),
        base=Path(getattr(sys, "_base_executable", sys.executable)),
        prefix=prefix,
        entered=ENTERED in sys._xoptions,  # noqa: SLF001 - documented, in spite of its name
        lacking="" if at_home else lacking(requirements.on(platform), installed_version),
        places=tuple(places),
    )


def look(path: Path, wanted: Stamp, prefix: Path) -> Place:
    """The state of the environment at `path`; `prefix` is the running interpreter's own."""
    if path.resolve() == prefix:
        complete = read_stamp(path) == wanted
    else:
        complete = is_complete(path, wanted.requirements, wanted.platform)
    return Place(path=path, writable=can_write(path), complete=complete)


def can_write(path: Path) -> bool:
    """Whether an environment can be made in the folder `path`; the lock is written beside it."""
    if os.pathsep in str(path):
        return False  # venv refuses such a folder
    if path.is_dir() and not os.access(path, os.W_OK | os.X_OK):
        return False
    nearest = next(folder for folder in path.parents if folder.is_dir())
    return os.access(nearest, os.W_OK | os.X_OK)


def cache_folder(environ: Mapping[str, str], system: str) -> Path | None:
    """The user's cache folder for the kit, named as platformdirs names it; None for a user without a home."""
    base = environ.get("XDG_CACHE_HOME", "")
    if system != "darwin" and base.strip():
        return Path(base).absolute() / CACHE_NAME
    try:
        home = Path.home()
    except RuntimeError:
        return None
    return home / ("Library/Caches" if system == "darwin" else ".cache") / CACHE_NAME


def cache_key(stamp: Stamp) -> str:
    """Short name of an environment; kits of several versions and machines of one home share the cache folder."""
    return hashlib.sha256(f"{stamp.requirements} {stamp.platform} {stamp.python}".encode()).hexdigest()[:16]


def installed_version(name: str) -> str | None:
    """The version of the package `name` that this interpreter would import; None when there is none."""
    from importlib import metadata

    try:
        # A folder that only looks like a package's record has no version, whatever the annotations say.
        return metadata.version(name) or None
    except (metadata.PackageNotFoundError, KeyError, UnicodeDecodeError):
        return None


def choose(facts: Facts) -> EnvPlan:
    """Decide what to do from the facts alone.

    Raises:
        SetupFailed: the environment that was entered is not complete, or there is no place to make one.
    """
    first = facts.places[0]
    own = next((place for place in facts.places if place.path.resolve() == facts.prefix), None)
    if own is not None and own.complete:
        return EnvPlan(action="stay", venv=own.path, python=facts.executable, why="this is the kit's environment")
    if facts.entered:
        raise SetupFailed(
            f"{facts.executable} was started as the kit's environment and is not a complete one",
            hint=f"delete the environment and start again: rm -r '{facts.executable.parent.parent}'",
        )
    if not facts.lacking:
        return EnvPlan(
            action="stay", venv=facts.prefix, python=facts.executable, why="this Python has all the pinned packages"
        )
    for place in facts.places:
        if place.complete:
            return EnvPlan(action="enter", venv=place.path, python=python_of(place.path), why="it is complete")
    for place in facts.places:
        if place.writable and place is own and facts.base != facts.executable:
            return EnvPlan(action="leave", venv=place.path, python=facts.base, why="it is made anew from outside")
        if place.writable:
            why = facts.lacking if place is first else f"{facts.lacking}; {first.path.parent} cannot hold it"
            return EnvPlan(action="make", venv=place.path, python=facts.executable, why=why)
    raise SetupFailed(
        "no place for the environment: " + " and ".join(f"{place.path} cannot be made" for place in facts.places),
        hint="move the kit to a folder of your own, without a colon in its name, and start it there",
    )


def enter(venv: Path, argv: Sequence[str], root: Path) -> NoReturn:
    """Replace this process with the environment's Python, which goes on with `argv`."""
    replace_process(python_of(venv), ["-X", ENTERED, str(root / "kit" / "__main__.py"), *argv], isolated=True)


def leave(plan: EnvPlan, argv: Sequence[str], root: Path) -> NoReturn:
    """Replace this process with the Python outside the environment; it gets all arguments and starts over."""
    replace_process(plan.python, [str(root / "kit" / "__main__.py"), *argv], isolated=False)


def replace_process(python: Path, arguments: list[str], *, isolated: bool) -> NoReturn:
    """Execute `python`; `isolated` keeps packages of other Pythons out, which PYTHONPATH would put before the pins.

    Raises:
        SetupFailed: it cannot be executed.
    """
    unwanted = {"PYTHONPATH", "PYTHONHOME"} if isolated else set()
    environ = {name: value for name, value in os.environ.items() if name not in unwanted}
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    try:
        os.execve(python, [str(python), *arguments], environ)  # noqa: S606 - no shell is wanted
    except OSError as exc:
        raise SetupFailed(f"{python} does not start: {exc.strerror}", hint="delete its folder and start again") from exc


def hand_over(argv: list[str], root: Path, load: Load) -> int:
    """Import the command line with `load` and call it.

    Raises:
        SetupFailed: a package it needs cannot be imported.
        KitError: a file of the kit itself cannot be imported, or it returned no exit status.
    """
    try:
        command = load()
    except Exception as exc:
        raise damaged(exc, root) from exc
    status: object = command(argv)
    if not isinstance(status, int) or isinstance(status, bool) or status not in STATUSES:
        raise KitError(f"the command returned {status!r}, which is no exit status of the kit; this is a bug")
    return status


def damaged(exc: Exception, root: Path) -> KitError:
    """Tell a damaged kit (exit status 70) from a damaged environment (2) by the module the import failed in."""
    found = f"{type(exc).__name__}: {exc}"
    if blamed(exc, root).partition(".")[0] == "kit":
        return KitError(f"the kit is incomplete or damaged: {found}", hint="unpack it again")
    if ENTERED in sys._xoptions:  # noqa: SLF001 - documented, in spite of its name
        hint = f"delete the environment and start again: rm -r '{sys.prefix}'"
    else:
        hint = f"repair that Python's packages ({sys.executable}), or start the kit with another Python"
    return SetupFailed(f"the Python environment {sys.prefix} is damaged: {found}", hint=hint)


def blamed(exc: Exception, root: Path) -> str:
    """The module whose file is missing or broken."""
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


def report(exc: KitError) -> None:
    say(f"Error: {exc.message}")
    if exc.hint:
        say(f"Hint: {exc.hint}")


def say(line: str) -> None:
    """Write a line to stderr, if there is one."""
    if sys.stderr is not None:
        sys.stderr.write(line + "\n")
