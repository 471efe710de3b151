"""Which scorer a box uses: the tool asked for, else the operator's own under ``binaries/``, else ffmpeg's filter."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from kit.ffmpeg import Ffmpeg
from kit.fsio import sha256_file
from kit.proc import Processes
from kit.scorers import ffmpeg_filter, vmaf_tool
from kit.scorers.base import CellScorer
from kit.scorers.ffmpeg_filter import FilterScorer
from kit.types import Scorer


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """A scorer that has proven itself.

    Attributes:
        why_not_cuda: why a box with CUDA is scored on its CPU; empty where the question does not arise.
    """

    scorer: CellScorer
    proof: Scorer
    why_not_cuda: str = ""


def own_tool(kit_root: Path, tag: str) -> Path:
    """Where an operator's own build for a platform lies."""
    return kit_root / "binaries" / tag / "vmaf"


def located(explicit: Path | None, *, origin: str, own: Path, ffmpeg: Ffmpeg, processes: Processes) -> CellScorer:
    """The scorer to use, not proven yet.

    Args:
        origin: where ``explicit`` came from, in words.
        own: where an operator's own build would lie.

    Raises:
        PrerequisiteFailed: a tool that was asked for, or that lies in its place, does not run.
    """
    if explicit is not None:
        return vmaf_tool.locate(explicit, origin=origin, ffmpeg=ffmpeg, processes=processes)
    if own.is_file():
        origin = f"binaries/{own.parent.name}"
        return vmaf_tool.locate(own, origin=origin, ffmpeg=ffmpeg, processes=processes)
    return FilterScorer(ffmpeg=ffmpeg)


def proven(scorer: CellScorer, *, cuda: bool, teacher: str, processes: Processes) -> Chosen:
    """Have a scorer prove itself; a tool with CUDA first where asked for.

    Raises:
        PrerequisiteFailed: it does not compute what it should.
    """
    if isinstance(scorer, vmaf_tool.VmafTool):
        tool, proof, why = vmaf_tool.choose_backend(scorer, cuda=cuda, teacher=teacher, processes=processes)
        return Chosen(scorer=tool, proof=proof, why_not_cuda=why)
    return Chosen(scorer=scorer, proof=ffmpeg_filter.check(scorer.ffmpeg, teacher=teacher, processes=processes))


def described(scorer: CellScorer) -> dict[str, object]:
    """What ``prereqs.json`` keeps of a scorer, enough to know it again."""
    if isinstance(scorer, vmaf_tool.VmafTool):
        return {"kind": "vmaf tool", "version": scorer.version, "origin": scorer.origin, "backend": scorer.backend,
                "sha256": sha256_file(scorer.path)}  # fmt: skip
    return {"kind": "ffmpeg filter", "version": scorer.ffmpeg.version, "origin": scorer.ffmpeg.origin,
            "backend": ffmpeg_filter.BACKEND, "sha256": None}  # fmt: skip


def with_backend(scorer: CellScorer, backend: str) -> CellScorer:
    """The scorer with the backend that it was proven with."""
    if isinstance(scorer, vmaf_tool.VmafTool):
        return replace(scorer, backend=backend)
    return scorer
