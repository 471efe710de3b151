"""`verify`: check a bundle from the archive to the models."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from kit.cli.opening import command_session, run_config, session_of
from kit.cli.output import Result, Table, json_option, row
from kit.core import exits, layout
from kit.core.errors import BadInput
from kit.options.click_options import options
from kit.options.command_tables import BUNDLES
from kit.options.run_table import RUN

if TYPE_CHECKING:
    from kit.options.session import Session
    from kit.verify.bundle import Verified
    from kit.verify.retrain import Retraining


@click.command()
@click.argument("bundle", metavar="BUNDLE|RUN", type=click.Path(path_type=Path))
@options(*BUNDLES.pick("retrain", "allowed_signers", "max_epochs"), RUN["device"])
@json_option
def verify(bundle: Path, retrain: str | None, allowed_signers: Path | None, max_epochs: int, device: str) -> Result:
    """Check a bundle from another box, or a run folder before it is sent.

    Nothing in the bundle is executed. A run folder is checked as the bundle that `bundle` would write.

    Exit codes: 0 valid, 2 no such file, 3 a check failed.
    """
    from kit.system.fsio import scratch_folder
    from kit.verify import bundle as verification

    if not bundle.exists():
        raise BadInput(f"{bundle}: no such file", hint="Give an ensemble-results-….tar.gz, or a run folder.")
    _, session = command_session()
    with scratch_folder() as scratch:
        retraining = None if retrain is None else _retraining(retrain, device, scratch, session)
        packed = _pack(bundle.absolute(), scratch) if bundle.is_dir() else bundle.absolute()
        checked = verification.verify(
            packed,
            scratch,
            session.processes,
            allowed_signers=allowed_signers,
            retraining=retraining,
            most_epochs=max_epochs,
        )
    return _result(checked, bundle)


def _pack(run: Path, scratch: Path) -> Path:
    """Write the bundle of a run folder, which stays as it is.

    Raises:
        Missing, BadInput: no run folder, or one that cannot be packed.
    """
    from kit.steps import pipeline

    if not (run / layout.CONFIG).is_file():
        raise BadInput(f"{run} is no run folder: no {layout.CONFIG}", hint="Give a run folder, or its bundle.")
    config = run_config({}, {}, out_dir=run, remembered=pipeline.remembered(run))
    target = scratch / "packed" / "run.tar.gz"  # a run folder may have a name that no bundle has
    target.parent.mkdir()
    pipeline.pack(config, session_of(config), target)
    return target


def _retraining(members: str, device: str, scratch: Path, session: Session) -> Retraining:
    """Ask for members to be trained again: a number of them, or ``all``."""
    from kit.platforms.detect import usable_cores
    from kit.verify.retrain import Retraining

    return Retraining(
        count=None if members == "all" else int(members),
        device=device,
        workers=usable_cores(),
        folder=scratch / "members",
        ui=session.ui,
    )


def _result(checked: Verified, bundle: Path) -> Result:
    facts = [f"verdict {checked.verdict or 'none'}", f"box {checked.box or 'unknown'}"]
    facts += [f"signed by {checked.signed_by}"] if checked.signed_by else []
    rows = [
        row(check.name, "ok", check.found, check.expected)
        if check.passed
        else row(check.name, "WRONG", check.found, check.expected, style="red")
        for check in checked.checks
    ]
    title = f"{bundle.name}: {'valid' if checked.valid else 'NOT VALID'}"
    return Result(
        code=exits.OK if checked.valid else exits.INVALID,
        shown=(
            Table(title=title, columns=("check", "", "in the bundle", "expected"), rows=rows),
            "; ".join([*facts, *checked.labels]),
        ),
        data={
            "bundle": bundle,
            "valid": checked.valid,
            "verdict": checked.verdict,
            "box": checked.box,
            "signed_by": checked.signed_by,
            "labels": checked.labels,
            "checks": checked.checks,
        },
    )
