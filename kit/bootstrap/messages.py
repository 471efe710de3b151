"""Write to the user's terminal; in old syntax, like `early`."""
# ruff: noqa: ANN001, ANN201 - annotations are newer

import sys


def show(text):
    # type: (str) -> None
    """Write a line to stdout, if there is one, in UTF-8, also where the locale is another."""
    if sys.stdout is not None:
        stream = getattr(sys.stdout, "buffer", sys.stdout)
        stream.write((text + "\n").encode("utf-8"))  # type: ignore[arg-type]  # 2.7 has no buffer and writes bytes


def say(line):
    # type: (str) -> None
    """Write a line to stderr, if there is one."""
    if sys.stderr is not None:
        sys.stderr.write(line + "\n")
