"""``kit platform``: what this box is and what it can encode with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from kit.cli.opening import ffmpeg_session
from kit.cli.output import Result, Table, json_option, row
from kit.core import exits
from kit.core.contract import ENCODER_VOCAB
from kit.options import resolve
from kit.options.click_options import options, texts
from kit.options.command_tables import BOX
from kit.options.run_table import RUN

if TYPE_CHECKING:
    from kit.options.session import Session
    from kit.video.ffmpeg import Ffmpeg


@click.command()
@options(BOX["options"])
@texts(*RUN.pick("ffmpeg", "gpu", "render_node"))
@json_option
def platform(options: bool, **given: str | None) -> Result:
    """Show which encoders work on this box, and why others do not.

    With --options: check the arguments of every encoder that ffmpeg has, hardware or not; exit code 3 if one is
    unknown or out of range.
    """
    if options and (given["gpu"] or given["render_node"]):
        raise click.UsageError("--options needs no device; leave --gpu and --render-node out.")
    config, session, ffmpeg = ffmpeg_session(given)
    return _check_arguments(session, ffmpeg) if options else _describe_box(config, session, ffmpeg)


def _describe_box(config: resolve.RunConfig, session: Session, ffmpeg: Ffmpeg) -> Result:
    from kit.platforms.detect import classify
    from kit.platforms.probe import probe
    from kit.platforms.registry import device_findings
    from kit.prereqs.examine import facts_for

    facts = facts_for(config, session)
    box = classify(facts)
    probed = probe(ENCODER_VOCAB, ["yuv420p"], ffmpeg=ffmpeg, facts=facts, processes=session.processes)
    findings = device_findings(facts, probed.ready)
    rows = [row(encoder.name, "works", encoder.build, "") for encoder in probed.ready]
    rows += [row(lost.name, "left out", lost.reason, lost.remedy, style="yellow") for lost in probed.left_out]
    title = f"Encoders of ffmpeg {ffmpeg.version}, {ffmpeg.origin}"
    return Result(
        shown=(
            f"{box.tag}: {box.reason}",
            Table(title=title, columns=("encoder", "", "build or reason", "what to do"), rows=rows),
            *(f"{finding.check}: {finding.found}. {finding.remedy}".strip() for finding in findings),
            f"Used by default: {', '.join(box.candidates)}, as far as they work; else libx264.",
        ),
        data={
            "tag": box.tag,
            "reason": box.reason,
            "candidates": box.candidates,
            "facts": facts,
            "ffmpeg": {"version": ffmpeg.version, "origin": ffmpeg.origin},
            "encoders": probed.ready,
            "left_out": probed.left_out,
            "findings": findings,
        },
    )


def _check_arguments(session: Session, ffmpeg: Ffmpeg) -> Result:
    """Compare the arguments of every encoder with ffmpeg's own help."""
    from kit.platforms.options import check_options, table

    checks = check_options(ffmpeg, session.processes)
    rows = [
        row(*cells.values(), style="red" if check.problem else "")
        for cells, check in zip(table(checks), checks, strict=True)
    ]
    columns = ("encoder", "option", "values", "allowed", "result")
    return Result(
        code=exits.INVALID if any(check.problem for check in checks) else exits.OK,
        shown=(Table(title=f"Arguments against ffmpeg {ffmpeg.version}", columns=columns, rows=rows),),
        data=checks,
    )
