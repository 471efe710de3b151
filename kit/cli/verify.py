"""`verify`: everything a bundle says is found out again."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kit.cli.opening import command_session
from kit.cli.output import Outcome, print_json
from kit.core import exits
from kit.options.click_options import json, options
from kit.options.command_tables import BUNDLES
from kit.options.run_table import RUN

if TYPE_CHECKING:
    from kit.system.ui import Ui
    from kit.verify.bundle import Verified


@click.command()
@click.argument("bundle", metavar="BUNDLE", type=click.Path(path_type=Path))
@options(*BUNDLES.pick("retrain", "allowed_signers"), RUN["device"])
@json
def verify(
    bundle: Path,
    retrain: str | None,
    allowed_signers: Path | None,
    device: str,
    as_json: bool,
) -> Outcome:
    """Check a bundle from another box, from archive to models.

    Nothing in the bundle is executed.

    Exit codes: 0 valid, 2 no such file, 3 a check failed.
    """
    from kit.core.errors import BadInput
    from kit.platforms.detect import usable_cores
    from kit.system.fsio import scratch_folder
    from kit.verify.bundle import verify as look

    if not bundle.is_file():
        raise BadInput(f"{bundle}: there is no such file", hint="Give the path of an ensemble-results-….tar.gz.")
    _, session = command_session()
    with scratch_folder() as scratch:
        again = None
        if retrain is not None:
            from kit.verify.retrain import Retraining

            again = Retraining(
                count=None if retrain == "all" else int(retrain),
                device=device,
                workers=usable_cores(),
                folder=scratch / "members",
                ui=session.ui,
            )
        found = look(bundle.absolute(), scratch, session.processes, allowed_signers=allowed_signers, retraining=again)
    _show(found, bundle, session.ui)
    if as_json:
        print_json(_json(found, bundle))
    return Outcome(code=exits.OK if found.valid else exits.INVALID)


def _show(found: Verified, bundle: Path, ui: Ui) -> None:
    from kit.system.ui import Row

    rows = [
        Row(
            cells=(check.name, "ok" if check.passed else "WRONG", check.found, check.expected),
            style="" if check.passed else "red",
        )
        for check in found.checks
    ]
    ui.table(f"{bundle.name}: {'valid' if found.valid else 'NOT VALID'}", ("check", "", "found", "expected"), rows)
    words = [f"verdict {found.verdict or 'none'}", f"box {found.box or 'not told'}"]
    words += [f"signed by {found.signed_by}"] if found.signed_by else []
    ui.say("; ".join([*words, *found.labels]))


def _json(found: Verified, bundle: Path) -> dict[str, object]:
    return {
        "bundle": os.fspath(bundle),
        "valid": found.valid,
        "verdict": found.verdict,
        "box": found.box,
        "signed_by": found.signed_by,
        "labels": list(found.labels),
        "checks": [asdict(check) for check in found.checks],
    }
