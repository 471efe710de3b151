"""What must work on any Python, however old: the help, the version, and the way to a Python that the kit supports.

Old syntax without annotations or f-strings (Python 2.7 reads it), the standard library only, nothing slow at import.
"""
# ruff: noqa: ANN001, ANN201, PTH113, PTH123, RUF005, UP031 - annotations, pathlib, unpacking and f-strings are newer

import os
import sys

import kit
from kit.bootstrap.messages import say, show
from kit.core import exits

SUPPORTED = ((3, 11), (3, 12), (3, 13), (3, 14))

# The order in which other interpreters are tried. The newest comes last, because distributions ship it first as a
# preview next to the Python they support.
PREFERRED = ("3.13", "3.12", "3.11", "3.14")

# Makes an interpreter of any version print its version, build and path, one a line.
FACTS = (
    "import sys\n"
    "build = sys.implementation.name + getattr(sys, 'abiflags', '') if sys.version_info > (3, 3) else 'old'\n"
    "sys.stdout.write('%d.%d\\n%s\\n%s\\n' % (sys.version_info[0], sys.version_info[1], build, sys.executable))\n"
)


def start(argv, root, load):
    # type: (list[str], str, object) -> int
    """Answer --help and --version at once; otherwise go on in an interpreter that the kit supports.

    Args:
        argv: the arguments without the program's name.
        root: the folder that contains ``kit/``.
        load: imports the command line and returns its entry point.

    Returns:
        An exit code of ``kit/core/exits.py``.
    """
    if "--help" in argv:
        return show_help(argv, os.path.join(root, "kit", "cli", "help.json"))
    if "--version" in argv:
        show("vmaf-ensemble-kit " + kit.__version__)
        return exits.OK
    if sys.platform == "win32":
        return refuse("the kit runs on Linux and macOS, not on Windows", "Start it inside WSL 2, which is a Linux.")
    build = "old" if sys.version_info < (3, 3) else sys.implementation.name + getattr(sys, "abiflags", "")
    if not fits(sys.version_info[:2], build):
        return run_elsewhere(argv, root, build)

    from kit.bootstrap import start

    return start.start(argv, root, load)  # type: ignore[arg-type] # old syntax cannot name its type


def show_help(argv, path):
    # type: (list[str], str) -> int
    """Write the help text of the longest leading chain of words in `argv` that names a command."""
    import json

    try:
        with open(path, "rb") as handle:
            texts = json.loads(handle.read().decode("utf-8"))
        words = []  # type: list[str]
        for word in argv:
            if word.startswith("-") or " ".join(words + [word]) not in texts:
                break
            words.append(word)
        show(texts[" ".join(words)].rstrip("\n"))
    except (IOError, OSError, ValueError, KeyError, TypeError, AttributeError) as exc:  # noqa: UP024 - two in 2.7
        say("Error: the help texts cannot be read: %s: %s" % (type(exc).__name__, exc))
        say("Hint: The kit is incomplete or damaged; unpack it again.")
        return exits.INTERNAL
    return exits.OK


def fits(version, build):
    # type: (tuple[int, ...], str) -> bool
    """Whether the pinned wheels can be installed for a Python `version` (major, minor).

    `build` is the implementation's name and its ABI flags: a ``t`` marks a free-threaded build, which needs other
    wheels.
    """
    return tuple(version) in SUPPORTED and build.startswith("cpython") and "t" not in build[len("cpython") :]


def run_elsewhere(argv, root, build):
    # type: (list[str], str, str) -> int
    """Replace this process with a supported Python from PATH; without one, list the interpreters that were tried."""
    tried = []  # type: list[str]
    # The environment of an earlier start comes first; the next interpreter checks it in full.
    own = os.path.join(root, ".venv", "bin", "python")
    for path in [own] + on_path(os.environ.get("PATH", "")):
        version, executable = describe(path)
        if executable:
            sys.stdout.flush()
            os.execv(executable, [executable, os.path.join(root, "kit", "__main__.py")] + argv)  # noqa: S606
        if path != own:
            tried.append("%s (%s)" % (path, version))
    return refuse(
        "the kit needs CPython %s; this is %s %s (%s); on PATH: %s"
        % (
            ", ".join("%d.%d" % pair for pair in SUPPORTED),
            build,
            sys.version.split()[0],
            sys.executable,
            ", ".join(tried) or "no other",
        ),
        "Install one of them with your package manager; it is found by its name, for example python3.12.",
    )


def on_path(path):
    # type: (str) -> list[str]
    """Return the executables called python3.X in the folders of `path`, best version first."""
    executables = []
    for version in PREFERRED:
        for folder in path.split(os.pathsep):
            candidate = os.path.join(folder or os.curdir, "python" + version)
            if os.path.isfile(candidate) and os.access(candidate, os.X_OK) and candidate not in executables:
                executables.append(candidate)
    return executables


def describe(path):
    # type: (str) -> tuple[str, str]
    """Return the version of the interpreter at `path`, and its real path, which is empty if the kit cannot use it.

    A name on PATH can be a version manager's shim that only prints a complaint, or a dangling link.
    """
    import subprocess

    try:
        process = subprocess.Popen(
            [path, "-c", FACTS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        lines = process.communicate()[0].decode("utf-8", "replace").splitlines()
    except OSError as exc:
        return "does not start: " + str(exc.strerror), ""
    if process.returncode != 0 or len(lines) != len(("version", "build", "executable")):
        return "does not run", ""
    version, build, executable = lines
    return version + " " + build, executable if fits(tuple(map(int, version.split("."))), build) else ""


def refuse(message, hint):
    # type: (str, str) -> int
    say("Error: " + message)
    say("Hint: " + hint)
    return exits.BAD_INPUT
