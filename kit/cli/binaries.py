"""``kit binaries``: the operator's own builds of the ``vmaf`` tool."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from kit.cli.opening import ffmpeg_session
from kit.cli.output import Result, Table, json_option, row
from kit.core import contract, exits
from kit.core.errors import BadInput
from kit.options.click_options import options
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
@json_option
def add(path: Path, tag: str | None) -> Result:
    """Copy the vmaf tool PATH to binaries/TAG/vmaf.

    It must reproduce the golden scores on the CPU. CUDA is tested too, and recorded if the tool really used it.
    """
    from kit.options.session import KIT_ROOT
    from kit.video.scorers import own

    session, ffmpeg, here = _open()
    tag = _checked_tag(tag or here, here)
    record = own.add(path, own.tool_folder(KIT_ROOT, tag), ffmpeg=ffmpeg, processes=session.processes)
    return Result(
        shown=(
            f"binaries/{tag}/{own.TOOL}: vmaf {record.version}, {record.size} bytes, SHA-256 {record.sha256}",
            *(f"{backend}: {len(pairs)} golden pairs reproduced" for backend, pairs in record.backends.items()),
            *(f"{backend}: not verified: {reason}" for backend, reason in record.not_proven.items()),
        ),
        data=record,
    )


@binaries.command()
@json_option
def check() -> Result:
    """Check every tool below binaries/ against its record and the golden scores.

    Exit codes: 0 all pass or there are none, 3 a check failed.
    """
    from kit.options.session import KIT_ROOT
    from kit.video.scorers import own

    session, ffmpeg, here = _open()
    tools = own.check_all(KIT_ROOT, here, ffmpeg=ffmpeg, processes=session.processes)
    rows = [
        row(
            tool.platform,
            "yes" if tool.recorded else "no: added by hand",
            ", ".join(tool.backends) or "none",
            _outcome(tool),
            tool.remedy,
            style="red" if tool.problem else "",
        )
        for tool in tools
    ]
    columns = ("platform", "recorded", "verified now", "result", "what to do")
    return Result(
        code=exits.INVALID if any(tool.problem for tool in tools) else exits.OK,
        shown=(
            Table(title="Own builds", columns=columns, rows=rows)
            if tools
            else "binaries/ has no vmaf tool; ffmpeg's filter scores.",
        ),
        data={"platform": here, "tools": tools},
    )


def _outcome(tool: ToolCheck) -> str:
    return tool.problem or ("passed" if tool.backends else "not run: it is for another system")


def _open() -> tuple[Session, Ffmpeg, str]:
    """Open a session and ffmpeg, and return them with this box's platform tag."""
    from kit.platforms.detect import classify
    from kit.prereqs.examine import facts_for

    config, session, ffmpeg = ffmpeg_session()
    return session, ffmpeg, classify(facts_for(config, session)).tag


def _checked_tag(tag: str, here: str) -> str:
    """Return the tag if this box can run tools for it.

    Raises:
        BadInput: it cannot.
    """
    from kit.video.scorers.own import runs_on

    possible = sorted(known for known in {*contract.PLATFORM_TAGS, here} if runs_on(known, here))
    if tag not in possible:
        raise BadInput(
            f"--platform: this box cannot verify a tool for {tag!r}", hint=f"It can for {', '.join(possible)}."
        )
    return tag
