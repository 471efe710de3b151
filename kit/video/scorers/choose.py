"""Choose a box's scorer: the requested tool, else the operator's own in ``binaries/``, else ffmpeg's filter."""

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


def locate_scorer(
    explicit: Path | None, *, origin: str, folder: Path, backend: str, ffmpeg: Ffmpeg, processes: Processes
) -> CellScorer:
    """Return the scorer to use, not verified yet.

    Args:
        explicit: path of the requested tool, if any.
        origin: the option or variable of ``explicit``, in words.
        folder: folder of an operator's own build.
        backend: one of ``contract.SCORER_BACKENDS``.

    Raises:
        PrerequisiteFailed: the tool does not run, or is not the one that was added; or CUDA without a tool.
    """
    if explicit is not None:
        return vmaf_tool.locate(explicit, origin=origin, ffmpeg=ffmpeg, processes=processes, backend=backend)
    if tool := own.tool_in(folder):
        return own.locate(tool, ffmpeg=ffmpeg, processes=processes, backend=backend)
    if backend != ffmpeg_filter.BACKEND:
        raise PrerequisiteFailed(
            f"--scorer-backend {backend}: needs a vmaf tool; ffmpeg's filter scores on the CPU",
            hint="Give a tool with --vmaf-bin, or omit --scorer-backend.",
        )
    return FilterScorer(ffmpeg=ffmpeg)


def verify_scorer(scorer: CellScorer, *, teacher: Teacher, processes: Processes) -> Scorer:
    """Verify a scorer with the golden table.

    Raises:
        PrerequisiteFailed: wrong scores, another backend, or an unknown teacher.
    """
    if isinstance(scorer, vmaf_tool.VmafTool):
        return vmaf_tool.check(scorer, teacher=teacher, processes=processes)
    return ffmpeg_filter.check(scorer.ffmpeg, teacher=teacher, processes=processes)


def describe_scorer(scorer: CellScorer) -> dict[str, object]:
    """Return the scorer as ``prereqs.json`` records it, enough to recognise it."""
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
