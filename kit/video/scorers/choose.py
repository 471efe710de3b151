"""Which scorer a box uses: the tool asked for, else the operator's own under ``binaries/``, else ffmpeg's filter."""

from __future__ import annotations

from pathlib import Path

from kit.core.errors import PrerequisiteFailed
from kit.core.values import Scorer, Teacher
from kit.system.fsio import sha256_file
from kit.system.proc import Processes
from kit.video.ffmpeg import Ffmpeg
from kit.video.scorers import ffmpeg_filter, own, vmaf_tool
from kit.video.scorers.base import CellScorer
from kit.video.scorers.ffmpeg_filter import FilterScorer


def located(
    explicit: Path | None, *, origin: str, folder: Path, backend: str, ffmpeg: Ffmpeg, processes: Processes
) -> CellScorer:
    """The scorer to use, not proven yet.

    Args:
        origin: where ``explicit`` came from, in words.
        folder: where an operator's own build would lie.
        backend: what it is to compute with, one of ``contract.SCORER_BACKENDS``.

    Raises:
        PrerequisiteFailed: a tool that was asked for, or that lies in its place, does not run or is not the one that
            was added; or CUDA was asked for and there is no tool.
    """
    if explicit is not None:
        return vmaf_tool.locate(explicit, origin=origin, ffmpeg=ffmpeg, processes=processes, backend=backend)
    if tool := own.tool_in(folder):
        return own.locate(tool, ffmpeg=ffmpeg, processes=processes, backend=backend)
    if backend != ffmpeg_filter.BACKEND:
        raise PrerequisiteFailed(
            f"--scorer-backend {backend}: no vmaf tool is there, and ffmpeg's filter scores on the CPU",
            hint="Give a tool with --vmaf-bin, or leave --scorer-backend out.",
        )
    return FilterScorer(ffmpeg=ffmpeg)


def proven(scorer: CellScorer, *, teacher: Teacher, processes: Processes) -> Scorer:
    """Have a scorer prove itself.

    Raises:
        PrerequisiteFailed: it does not compute what it should, or not with what it was told to.
    """
    if isinstance(scorer, vmaf_tool.VmafTool):
        return vmaf_tool.check(scorer, teacher=teacher, processes=processes)
    return ffmpeg_filter.check(scorer.ffmpeg, teacher=teacher, processes=processes)


def described(scorer: CellScorer) -> dict[str, object]:
    """What ``prereqs.json`` keeps of a scorer, enough to know it again."""
    if isinstance(scorer, vmaf_tool.VmafTool):
        return {
            "kind": "vmaf tool",
            "version": scorer.version,
            "origin": scorer.origin,
            "backend": scorer.backend,
            "sha256": sha256_file(scorer.path),
        }
    return {
        "kind": "ffmpeg filter",
        "version": scorer.ffmpeg.version,
        "origin": scorer.ffmpeg.origin,
        "backend": ffmpeg_filter.BACKEND,
        "sha256": None,
    }
