"""``kit binaries``: the operator's own builds of the ``vmaf`` tool."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kit.cli.opening import ffmpeg_session
from kit.cli.output import Outcome, print_json
from kit.core import contract, exits
from kit.core.errors import BadInput
from kit.options.click_options import json, options
from kit.options.command_tables import BOX

if TYPE_CHECKING:
    from kit.options.session import Session
    from kit.video.ffmpeg import Ffmpeg
    from kit.video.scorers.own import ToolCheck


@click.group()
def binaries() -> None:
    """Adopt and check your own builds of the vmaf tool."""


@binaries.command()
@click.argument("path", metavar="PATH", type=click.Path(path_type=Path))
@options(BOX["tag"])
@json
def add(path: Path, tag: str | None, as_json: bool) -> Outcome:
    """Copy the vmaf tool PATH to binaries/TAG/vmaf.

    It must reproduce the golden scores on the CPU. CUDA is tested too, and recorded if the tool really used it.
    """
    from kit.options.session import KIT_ROOT
    from kit.video.scorers import own

    session, ffmpeg, here = _here()
    tag = _fitting(tag or here, here)
    record = own.add(path, own.tool_folder(KIT_ROOT, tag), ffmpeg=ffmpeg, processes=session.processes)
    session.ui.say(f"binaries/{tag}/{own.TOOL}: vmaf {record.version}, {record.size} bytes, SHA-256 {record.sha256}")
    for backend, answers in record.backends.items():
        session.ui.say(f"{backend}: {len(answers)} golden pairs reproduced")
    for backend, reason in record.not_proven.items():
        session.ui.say(f"{backend}: not proven: {reason}")
    if as_json:
        print_json(asdict(record))
    return Outcome(code=exits.OK)


@binaries.command()
@json
def check(as_json: bool) -> Outcome:
    """Check every tool below binaries/ against its record and the golden scores.

    Exit codes: 0 all pass or there are none, 3 a check failed.
    """
    from kit.options.session import KIT_ROOT
    from kit.system.ui import Row
    from kit.video.scorers import own

    session, ffmpeg, here = _here()
    found = own.check_all(KIT_ROOT, here, ffmpeg=ffmpeg, processes=session.processes)
    if found:
        session.ui.table(
            "Own builds",
            ("platform", "record", "proven now", "result", "what to do"),
            [
                Row(
                    cells=(
                        tool.platform,
                        "yes" if tool.recorded else "none: put there by hand",
                        ", ".join(tool.backends) or "none",
                        _result(tool),
                        tool.remedy,
                    ),
                    style="red" if tool.problem else "",
                )
                for tool in found
            ],
        )
    else:
        session.ui.say("There is no vmaf tool under binaries/; ffmpeg's filter scores.")
    if as_json:
        print_json({"platform": here, "tools": [asdict(tool) for tool in found]})
    return Outcome(code=exits.INVALID if any(tool.problem for tool in found) else exits.OK)


def _result(tool: ToolCheck) -> str:
    return tool.problem or ("right" if tool.backends else "not run here: it is for another system")


def _here() -> tuple[Session, Ffmpeg, str]:
    """A session, an ffmpeg and this box's platform tag, as a run would find it."""
    from kit.platforms.detect import classify
    from kit.prereqs.examine import facts_for

    options, session, ffmpeg = ffmpeg_session()
    return session, ffmpeg, classify(facts_for(options, session)).tag


def _fitting(tag: str, here: str) -> str:
    """The tag, if a tool that has been run here can be one for it."""
    from kit.video.scorers.own import runs_on

    fitting = [known for known in {*contract.PLATFORM_TAGS, here} if runs_on(known, here)]
    if tag not in fitting:
        raise BadInput(
            f"--platform: {tag!r} is none that this box can prove a tool for",
            hint=f"Here: {', '.join(sorted(fitting))}.",
        )
    return tag
