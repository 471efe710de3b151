"""Compute features and score of every frame of two clips, as for a corpus."""

from __future__ import annotations

from dataclasses import replace

from kit.core.errors import BadInput
from kit.core.values import Geometry, SourceFile, Teacher
from kit.options.run_table import STALL_TIMEOUT
from kit.system.fsio import scratch_folder
from kit.system.proc import Processes
from kit.system.stall import TimeLimits
from kit.video.ffmpeg import DECODED_STATS, stats_column
from kit.video.scorers import log, teachers
from kit.video.scorers.base import CellScorer


def check_same_geometry(reference: SourceFile, distorted: SourceFile, *, scale: bool = False) -> None:
    """Refuse clips with different geometry: nothing is scaled, cut or converted silently.

    Args:
        scale: the distorted clip may have another size.

    Raises:
        BadInput: size, pixel format, range, rate or number of frames differ.
    """
    first, second = reference.geometry, distorted.geometry
    if scale:
        second = replace(second, width=first.width, height=first.height)
    if first != second:
        raise BadInput(
            f"the two clips differ\n  reference {reference.path.name}: {_describe(reference.geometry)}\n"
            f"  distorted {distorted.path.name}: {_describe(distorted.geometry)}",
            hint="Convert them to the same size, pixel format, range, rate and number of frames first.",
        )


def _describe(geometry: Geometry) -> str:
    return (
        f"{geometry.width}x{geometry.height} {geometry.pix_fmt}, range {geometry.range}, {geometry.fps} fps, "
        f"{geometry.frames} frames"
    )


def extract(
    scorer: CellScorer,
    reference: SourceFile,
    distorted: SourceFile,
    *,
    processes: Processes,
    threads: int,
    teacher: Teacher = teachers.CANONICAL,
    scale: bool = False,
) -> log.Scores:
    """Return the features and the teacher's score of every frame.

    Args:
        threads: threads of the scorer; changes no number.
        scale: scale the distorted clip to the size of the reference if it differs.

    Raises:
        BadInput: the clips differ in geometry, or decode to another number of frames.
        ToolFailed: a process failed.
        LogError: the log is invalid.
    """
    check_same_geometry(reference, distorted, scale=scale)
    with scratch_folder() as scratch:
        teachers.copy_model(teacher, scratch)
        scorer.prepare(scratch)
        stderr = processes.run_together(
            scorer.pair_commands(reference, distorted, teacher, scorer_threads=threads),
            tried=f"scoring {distorted.path.name} against {reference.path.name}",
            limit=TimeLimits(idle=STALL_TIMEOUT),
            cwd=scratch,
        )
        scores = scorer.scores(scratch, stderr)
        decoded = len(stats_column((scratch / DECODED_STATS).read_text(encoding="ascii"), 0))
    expected = reference.geometry.frames
    if (decoded, len(scores.vmaf)) != (expected, expected):
        raise BadInput(
            f"{distorted.path.name} against {reference.path.name}: frame counts differ: expected {expected}, "
            f"decoded {decoded}, scored {len(scores.vmaf)}",
            hint="Replace the damaged clip.",
        )
    return scores
