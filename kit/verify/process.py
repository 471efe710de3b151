"""The process that checks an unpacked bundle: ``python -m kit.verify.process FOLDER EPOCHS``, one check per line on
stdout; EPOCHS: the most that its training may have.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

from kit.system.confine import confine


def main() -> int:
    """Run the checks with limits on memory and time."""
    confine()
    from kit.verify.checks import run_checks
    from kit.verify.received_run import ReceivedRun

    for check in run_checks(ReceivedRun(Path(sys.argv[1]), int(sys.argv[2]))):
        sys.stdout.write(json.dumps(asdict(check)) + "\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
