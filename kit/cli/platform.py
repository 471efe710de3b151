"""``kit platform``: what this box is and what it can encode with."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from kit.cli.opening import ffmpeg_session
from kit.cli.output import Outcome, print_json
from kit.core import exits
from kit.options import resolve
from kit.options.click_options import json, options, texts
from kit.options.command_tables import BOX
from kit.options.run_table import RUN

if TYPE_CHECKING:
    from kit.options.session import Session
    from kit.video.ffmpeg import Ffmpeg


@click.command()
@options(BOX["options"])
@texts(*RUN.pick("ffmpeg", "gpu", "render_node"))
@json
def platform(options: bool, as_json: bool, **given: str | None) -> Outcome:
    """Show which encoders work on this box, and why others do not.

    With --options: check the arguments of every encoder that ffmpeg has, hardware or not; exit code 3 if one is
    unknown or out of range.
    """
    if options and (given["gpu"] or given["render_node"]):
        raise click.UsageError("--options needs no device; leave --gpu and --render-node out.")
    here, session, found = ffmpeg_session(given)
    if options:
        return _show_options(session, found, as_json=as_json)
    return _show_box(here, session, found, as_json=as_json)


def _show_box(here: resolve.RunConfig, session: Session, ffmpeg: Ffmpeg, *, as_json: bool) -> Outcome:
    from kit.core.contract import ENCODER_VOCAB
    from kit.platforms.detect import classify
    from kit.platforms.probe import probe
    from kit.platforms.registry import device_findings
    from kit.prereqs.examine import facts_for
    from kit.system.ui import Row

    facts = facts_for(here, session)
    found = classify(facts)
    probed = probe(ENCODER_VOCAB, ["yuv420p"], ffmpeg=ffmpeg, facts=facts, processes=session.processes)
    session.ui.say(f"{found.tag}: {found.reason}")
    rows = [Row(cells=(encoder.name, "works", encoder.build, "")) for encoder in probed.ready]
    rows += [Row(cells=(lost.name, "left out", lost.reason, lost.remedy), style="yellow") for lost in probed.left_out]
    session.ui.table(
        f"Encoders of ffmpeg {ffmpeg.version}, {ffmpeg.origin}", ("encoder", "", "build or reason", "what to do"), rows
    )
    findings = device_findings(facts, probed.ready)
    for finding in findings:
        session.ui.say(" ".join(filter(None, (f"{finding.check}: {finding.found}.", finding.remedy))))
    session.ui.say(f"Used by default: {', '.join(found.candidates)}, as far as they work; else libx264.")
    if as_json:
        print_json(
            {
                "tag": found.tag,
                "reason": found.reason,
                "candidates": list(found.candidates),
                "facts": asdict(facts),
                "ffmpeg": {"version": ffmpeg.version, "origin": ffmpeg.origin},
                "encoders": [asdict(encoder) for encoder in probed.ready],
                "left_out": [asdict(lost) for lost in probed.left_out],
                "findings": [asdict(finding) for finding in findings],
            }
        )
    return Outcome(code=exits.OK)


def _show_options(session: Session, ffmpeg: Ffmpeg, *, as_json: bool) -> Outcome:
    from kit.platforms.options import check_options, table
    from kit.system.ui import Row

    checks = check_options(ffmpeg, session.processes)
    rows = [
        Row(cells=tuple(row.values()), style="red" if check.problem else "")
        for row, check in zip(table(checks), checks, strict=True)
    ]
    session.ui.table(
        f"Arguments against ffmpeg {ffmpeg.version}", ("encoder", "option", "values", "allowed", "result"), rows
    )
    if as_json:
        print_json([asdict(check) for check in checks])
    return Outcome(code=exits.INVALID if any(check.problem for check in checks) else exits.OK)
