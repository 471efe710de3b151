"""The process that makes a page: ``python -m kit.page.process RUN OUT``.

It is separate, so that its failure cannot affect a verdict, and limited, since the run may come from another box.
"""

from __future__ import annotations

import sys
from pathlib import Path

from kit.core import exits
from kit.core.errors import KitError
from kit.system.confine import confine
from kit.system.fsio import NO_ROOM


def main() -> int:
    """Write the page; report failures on stderr."""
    confine()
    from kit.page.write import write

    try:
        write(Path(sys.argv[1]), Path(sys.argv[2]))
    except KitError as error:
        sys.stderr.write(f"{error.message}\n{error.hint or error.default_hint}\n")
        return exits.BAD_INPUT
    except OSError as error:
        if error.errno in NO_ROOM:
            return exits.DISK_FULL
        raise
    return exits.OK


if __name__ == "__main__":
    sys.exit(main())
