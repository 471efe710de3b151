#!/usr/bin/env python3
"""Start the whole run: ``python3 run_full_pipeline.py ARGS`` is ``python3 -m kit run ARGS``.

Old syntax without annotations: any Python from 2.7 on can read this file, and then find a supported Python on PATH.
Exit codes are those of ``kit/core/exits.py``, repeated here for the case that ``kit`` cannot be imported.
"""

import os
import sys

INTERNAL = 70
INTERRUPTED = 130


def main():
    # type: () -> int
    root = os.path.dirname(os.path.abspath(__file__))
    if root not in sys.path:
        sys.path.insert(0, root)
    try:
        from kit.__main__ import main as start
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as exc:  # noqa: BLE001 - a truncated file fails in any way, and exit code 1 is a verdict
        if sys.stderr is not None:
            sys.stderr.write("Error: the kit is incomplete or damaged: " + str(exc) + "\nHint: Unpack it again.\n")
        return INTERNAL
    # the process may be replaced on the way to a command, but keeps its number; see kit/options/provenance.py
    os.environ["VMAF_KIT_ENTRY"] = str(os.getpid()) + ":run_full_pipeline.py"
    return start(["run"] + sys.argv[1:])  # noqa: RUF005 - old syntax


if __name__ == "__main__":
    sys.exit(main())
