"""What must work on any Python, however old: the help, the version, and the way to a Python the kit can use.

Old syntax without annotations or f-strings (Python 2.7 reads it), the standard library only, nothing slow at import.
"""
# ruff: noqa: ANN001, ANN201, PTH113, PTH123, RUF005, UP031 - annotations, pathlib, unpacking and f-strings are newer

import os
import sys

import kit
from kit.core import exits

SUPPORTED = ((3, 11), (3, 12), (3, 13), (3, 14))

# The order in which other interpreters are tried. Every pin has wheels for all four; the newest of them comes last
# because distributions ship it first as a preview next to the Python they support.
PREFERRED = ("3.13", "3.12", "3.11", "3.14")

# What a candidate answers about itself, one item a line; it may be any version.
QUESTION = (
    "import sys\n"
    "tag = sys.implementation.name + getattr(sys, 'abiflags', '') if sys.version_info > (3, 3) else 'old'\n"
    "sys.stdout.write('%d.%d\\n%s\\n%s\\n' % (sys.version_info[0], sys.version_info[1], tag, sys.executable))\n"
)


def start(argv, root, load):
    # type: (list[str], str, object) -> int
    """Answer --help and --version at once; otherwise go on in an interpreter the kit supports.

    Args:
        argv: the arguments without the program's name.
        root: the folder that holds ``kit/``.
        load: imports the command line and returns its entry point.

    Returns:
        An exit status of ``kit/core/exits.py``.
    """
    if "--help" in argv:
        return show_help(argv, os.path.join(root, "kit", "cli", "help.json"))
    if "--version" in argv:
        show("vmaf-ensemble-kit " + kit.__version__)
        return exits.OK
    if sys.platform == "win32":
        return refuse("the kit runs on Linux and macOS, not on Windows", "start it inside WSL 2, which is a Linux")
    if not fits(sys.version_info[:2], tag_of_this()):
        return go_on_elsewhere(argv, root)

    from kit.bootstrap import start

    return start.start(argv, root, load)  # type: ignore[arg-type] # old syntax cannot name its type


def show_help(argv, path):
    # type: (list[str], str) -> int
    """Write the help text of the longest leading chain of words in `argv` that names a command."""
    import json

    try:
        with open(path, "rb") as handle:
            texts = json.loads(handle.read().decode("utf-8"))
        text = texts[command_in(argv, texts)].rstrip("\n")
    except (IOError, OSError, ValueError, KeyError, TypeError, AttributeError) as exc:  # noqa: UP024 - two in 2.7
        say("Error: the help texts cannot be read: %s: %s" % (type(exc).__name__, exc))
        say("Hint: the kit is incomplete or damaged, unpack it again")
        return exits.INTERNAL
    show(text)
    return exits.OK


def command_in(argv, known):
    # type: (list[str], dict[str, str]) -> str
    """The longest leading chain of non-option words that is a key of `known`; "" is the top level."""
    words = []  # type: list[str]
    for word in argv:
        if word.startswith("-") or " ".join(words + [word]) not in known:
            break
        words.append(word)
    return " ".join(words)


def fits(version, tag):
    # type: (tuple[int, ...], str) -> bool
    """Whether the pinned wheels can be installed for a Python `version` (major, minor) that is built as `tag`.

    `tag` is the implementation's name and its ABI flags: a ``t`` marks a free-threaded build, which takes other
    wheels.
    """
    return tuple(version) in SUPPORTED and tag.startswith("cpython") and "t" not in tag[len("cpython") :]


def tag_of_this():
    # type: () -> str
    if sys.version_info < (3, 3):  # noqa: UP036 - this file is read by interpreters that old
        return "old"
    return sys.implementation.name + getattr(sys, "abiflags", "")


def go_on_elsewhere(argv, root):
    # type: (list[str], str) -> int
    """Replace this process with a fitting Python from PATH; when there is none, say what was looked at."""
    seen = []  # type: list[str]
    # An environment that is already there is the quickest find: the next interpreter checks it in full.
    for path in [os.path.join(root, ".venv", "bin", "python")] + on_path(os.environ.get("PATH", "")):
        version, executable = ask(path)
        if executable:
            sys.stdout.flush()
            os.execv(executable, [executable, os.path.join(root, "kit", "__main__.py")] + argv)  # noqa: S606
        if os.path.join(root, ".venv") not in path:
            seen.append("%s (%s)" % (path, version))
    wanted = ", ".join("%d.%d" % pair for pair in SUPPORTED)
    found = "this is %s %s (%s)" % (tag_of_this(), sys.version.split()[0], sys.executable)
    others = "; on PATH: " + ", ".join(seen) if seen else "; PATH has no other"
    return refuse(
        "the kit needs CPython %s; %s%s" % (wanted, found, others),
        "install one of them with your package manager; it is found by its name, for example python3.12",
    )


def on_path(path):
    # type: (str) -> list[str]
    """Executables called python3.X in the folders of `path`, best version first."""
    found = []
    for version in PREFERRED:
        for folder in path.split(os.pathsep):
            candidate = os.path.join(folder or os.curdir, "python" + version)
            if os.path.isfile(candidate) and os.access(candidate, os.X_OK) and candidate not in found:
                found.append(candidate)
    return found


def ask(path):
    # type: (str) -> tuple[str, str]
    """What the interpreter at `path` says of itself: its version, and its executable if the kit can use it.

    A name on PATH can be a version manager's shim that only prints a complaint, or a link that leads nowhere.
    """
    import subprocess

    try:
        process = subprocess.Popen(
            [path, "-c", QUESTION], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        answer = process.communicate()[0].decode("utf-8", "replace").splitlines()
    except OSError as exc:
        return "does not start: " + str(exc.strerror), ""
    if process.returncode != 0 or len(answer) != len(("version", "tag", "executable")):
        return "does not run", ""
    version, tag, executable = answer
    pair = tuple(int(part) for part in version.split("."))
    return version + " " + tag, executable if fits(pair, tag) else ""


def refuse(message, hint):
    # type: (str, str) -> int
    say("Error: " + message)
    say("Hint: " + hint)
    return exits.BAD_INPUT


def show(text):
    # type: (str) -> None
    """Write what was asked for to stdout, if there is one, in UTF-8 whatever the locale."""
    if sys.stdout is not None:
        stream = getattr(sys.stdout, "buffer", sys.stdout)
        stream.write((text + "\n").encode("utf-8"))  # type: ignore[arg-type]  # 2.7 has no buffer and writes bytes


def say(line):
    # type: (str) -> None
    """Write a line to stderr, if there is one."""
    if sys.stderr is not None:
        sys.stderr.write(line + "\n")
