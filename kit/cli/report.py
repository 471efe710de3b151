"""`report`: make the page of a run or of a received bundle again."""

from __future__ import annotations

from pathlib import Path

import click

from kit.cli.opening import command_session
from kit.cli.output import Result, json_option
from kit.core import layout
from kit.core.errors import BadInput, CheckFailed, Missing, PageFailed, ToolFailed
from kit.options.click_options import options
from kit.options.command_tables import BUNDLES
from kit.system.ui import size

_ARCHIVE = ".tar.gz"


@click.command()
@click.argument("run", metavar="RUN|BUNDLE", type=click.Path(path_type=Path))
@options(BUNDLES["out"])
@json_option
def report(run: Path, out: Path | None) -> Result:
    """Make the report page of a run folder or a bundle.

    Writes report.html, report.md and the figures. A bundle is verified first.

    Exit codes: 0 made, 2 bad input, 3 the bundle is invalid or has no verdict.
    """
    from kit.system.fsio import scratch_folder

    if not run.exists():
        raise BadInput(f"{run}: no such file or folder", hint="Give a run folder or an ensemble-results-….tar.gz.")
    if run.is_dir():
        page = _make_page(run.absolute(), (out or run / layout.REPORT).absolute())
    else:
        default = run.with_name(run.name.removesuffix(_ARCHIVE) + "-report")
        with scratch_folder() as scratch:
            page = _make_page(_unpack_verified(run, scratch), (out or default).absolute())
    count = page.stat().st_size
    others = f"{Path(layout.REPORT_MARKDOWN).name} and figures are in the same folder"
    return Result(shown=(f"Page: {page} ({size(count)}); {others}",), data={"page": page, "bytes": count})


def _make_page(run: Path, out: Path) -> Path:
    """Make the page of a run folder.

    Raises:
        PageFailed: making it failed.
    """
    from kit.page.make import make

    if not layout.verdicts_in(run):
        raise Missing(f"{run} has no verdict, so no page can be made", hint="Run `verdict` first.")
    try:
        return make(run, out, command_session()[1].processes)
    except ToolFailed as error:
        raise PageFailed(error.message) from error


def _unpack_verified(path: Path, scratch: Path) -> Path:
    """Verify a bundle; return the run folder in it.

    Raises:
        CheckFailed: it is not valid, or has no verdict.
    """
    from kit.verify.bundle import require_valid, unpacked_folder

    if require_valid(path, scratch, command_session()[1].processes).verdict is None:
        raise CheckFailed(f"{path} is a shard and has no verdict", hint="`corpus info` shows the contents of a shard.")
    return unpacked_folder(scratch)
