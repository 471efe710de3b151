"""Make the page of a run in a process of its own, complete or not at all."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from kit.core import exits, layout
from kit.core.errors import BadInput, DiskFull, ToolFailed
from kit.options.session import KIT_ROOT
from kit.system.fsio import TEMPORARY_PREFIX
from kit.system.proc import Processes

_MODULE = "kit.page.process"
#: Seconds that the process may take.
_LIMIT = 1800.0


def make(run: Path, out: Path, processes: Processes) -> Path:
    """Write the page of a run folder into ``out``, replacing an earlier page; return its path.

    Raises:
        BadInput: ``out`` exists and has no page.
        DiskFull: no space left for the page.
        ToolFailed: the process failed.
    """
    page = Path(layout.REPORT_PAGE).name
    if out.is_symlink() or (out.exists() and not (out / page).is_file() and not _is_empty(out)):
        raise BadInput(f"{out} exists and is not a folder with a page", hint="Give a new folder with --out.")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=TEMPORARY_PREFIX, dir=out.parent) as temporary:
        folder = Path(temporary) / layout.REPORT
        argv = (sys.executable, "-m", _MODULE, str(run), str(folder))
        try:
            processes.run(argv, tried="making the report page", timeout=_LIMIT, cwd=KIT_ROOT)
        except ToolFailed as error:
            if error.returncode == exits.DISK_FULL:
                raise DiskFull(f"no space left for the report page in {out.parent}") from error
            raise
        if out.exists():
            shutil.rmtree(out)
        folder.rename(out)
    return out / page


def _is_empty(folder: Path) -> bool:
    return folder.is_dir() and not any(folder.iterdir())
