"""`report`: the page of a run or of somebody's bundle, made again."""

from __future__ import annotations

from pathlib import Path

import click

from kit.cli.opening import command_session
from kit.cli.output import Outcome, print_json
from kit.core import exits, layout
from kit.options.click_options import json, options
from kit.options.command_tables import BUNDLES

_ARCHIVE = ".tar.gz"


@click.command()
@click.argument("run", metavar="RUN|BUNDLE", type=click.Path(path_type=Path))
@options(BUNDLES["out"])
@json
def report(run: Path, out: Path | None, as_json: bool) -> Outcome:
    """Make the report page of a run folder or a bundle.

    Writes report.html, report.md and the figures. A bundle is verified first.

    Exit codes: 0 made, 2 bad input, 3 the bundle is invalid or has no verdict.
    """
    from kit.core.errors import BadInput
    from kit.system.fsio import scratch_folder
    from kit.system.ui import Ui, size

    if not run.exists():
        raise BadInput(f"{run} is not there", hint="Give a run folder or an ensemble-results-….tar.gz.")
    if run.is_dir():
        page = _made(run.absolute(), (out or run / layout.REPORT).absolute())
    else:
        default = run.with_name(run.name.removesuffix(_ARCHIVE) + "-report")
        with scratch_folder() as scratch:
            page = _made(_verified(run, scratch), (out or default).absolute())
    Ui().say(
        f"Page: {page} ({size(page.stat().st_size)}), beside it {layout.REPORT_MARKDOWN.split('/')[1]} and figures"
    )
    if as_json:
        print_json({"page": str(page), "bytes": page.stat().st_size})
    return Outcome(code=exits.OK)


def _made(run: Path, out: Path) -> Path:
    """The page.

    Raises:
        PageFailed: it could not be made.
    """
    from kit.core.errors import Missing, PageFailed, ToolFailed
    from kit.page.make import make

    if not layout.verdicts_in(run):
        raise Missing(f"{run} holds no verdict to make a page of", hint="Run `verdict` first.")
    try:
        return make(run, out, command_session()[1].processes)
    except ToolFailed as error:
        raise PageFailed(error.message) from error


def _verified(path: Path, scratch: Path) -> Path:
    """The run folder of a bundle.

    Raises:
        CheckFailed: it is not valid, or has no verdict.
    """
    from kit.core.errors import CheckFailed
    from kit.verify.bundle import unpacked, valid

    if valid(path, scratch, command_session()[1].processes).verdict is None:
        raise CheckFailed(f"{path} has no verdict: it is a shard alone", hint="`corpus info` shows what a shard holds.")
    return unpacked(scratch)
