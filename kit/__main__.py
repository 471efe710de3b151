"""The kit's entry: ``python3 -m kit ARGS``, or from any folder ``python3 PATH/kit/__main__.py ARGS``.

Everything that can go wrong on the way to a command ends here, because exit code 1 means HOLD and may only come
from a finished run. Old syntax without annotations, so that an interpreter that is too old can read it.
"""

import os
import sys

# The codes of kit/core/exits.py, written out: importing that file up here could fail unguarded.
OK = 0
DISK_FULL = 4
INTERNAL = 70
INTERRUPTED = 130
WITHOUT_HOLD = (0, 2, 3, 4, 70, 130, 143)
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def main(argv):
    # type: (list[str]) -> int
    """Run the kit with `argv` (without the program's name) and return its exit code; never raises."""
    # Before anything can load onnxruntime, and for every process that the kit starts.
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    try:
        from kit.bootstrap import early

        return _settled(early.start(argv, ROOT, _command_line))
    except KeyboardInterrupt:
        _say("interrupted")
        return INTERRUPTED
    except SystemExit as exc:
        return _leaked(exc.code)
    except (ImportError, SyntaxError) as exc:
        _say("Error: the kit is incomplete or damaged: " + str(exc) + "\nHint: Unpack it again.")
        return INTERNAL
    except BaseException:  # noqa: BLE001 - an unforeseen error must not look like a verdict
        import traceback

        _say(traceback.format_exc() + "Error: the kit failed outside of its commands; this is a bug")
        return INTERNAL


def _command_line():
    # type: () -> object
    """Import the command line, which needs the pinned packages, and return its entry point."""
    from kit.cli.main import main as run

    return run


def _leaked(status):
    # type: (object) -> int
    """Return the exit code for a ``sys.exit(status)`` that nobody caught."""
    if status is None:
        return OK
    if isinstance(status, int) and not isinstance(status, bool) and status in WITHOUT_HOLD:
        return status
    _say("Error: the kit ended with " + repr(status) + ", which is not one of its exit codes; this is a bug")
    return INTERNAL


def _settled(status):
    # type: (int) -> int
    """Flush what was written; a reader that has gone (``| head``) must not change the exit code."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except (OSError, ValueError) as exc:
        full = getattr(exc, "errno", None) == 28  # ENOSPC on Linux and macOS
        sys.stdout = None  # or the interpreter flushes it again and exits with 120
        return DISK_FULL if full and status == OK else status
    return status


def _say(text):
    # type: (str) -> None
    """Write a line to stderr if there is one; a closed stderr must not change the exit code."""
    try:
        sys.stderr.write(text + "\n")
        sys.stderr.flush()
    except (AttributeError, OSError, ValueError):
        return


if __name__ == "__main__":
    if not __package__:
        # Started as a file: its own folder is first on the path, where `kit` cannot be found.
        sys.path[0] = ROOT
    sys.exit(main(sys.argv[1:]))
