"""Make the page of a run, complete or not at all."""

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
#: Seconds it may take.
_LIMIT = 1800.0


def make(run: Path, out: Path, processes: Processes) -> Path:
    """Write the page of a run folder into ``out``, in place of an earlier one.

    Returns:
        The page.

    Raises:
        BadInput: something else is there.
        DiskFull: there is no room for it.
        ToolFailed: it could not be made.
    """
    page = Path(layout.REPORT_PAGE).name
    if out.is_symlink() or (out.exists() and not (out / page).is_file() and not _is_empty(out)):
        raise BadInput(f"{out} is there already and holds no page", hint="Give a new folder with --out.")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=TEMPORARY_PREFIX, dir=out.parent) as temporary:
        folder = Path(temporary) / layout.REPORT
        argv = (sys.executable, "-m", _MODULE, str(run), str(folder))
        try:
            processes.run(argv, tried="making the report page", timeout=_LIMIT, cwd=KIT_ROOT)
        except ToolFailed as error:
            if error.returncode == exits.DISK_FULL:
                raise DiskFull("the disk is full where the report page is written") from error
            raise
        if out.exists():
            shutil.rmtree(out)
        folder.rename(out)
    return out / page


def _is_empty(folder: Path) -> bool:
    return folder.is_dir() and not any(folder.iterdir())
