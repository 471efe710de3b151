"""Features and score of every frame of one clip against another, computed as those of a corpus are."""

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


def check_alike(reference: SourceFile, distorted: SourceFile, *, scale: bool = False) -> None:
    """Both must be the same frames in the same format: nothing is scaled, cut or converted unasked.

    Args:
        scale: the distorted clip may have another size.

    Raises:
        BadInput: they differ; both are told.
    """
    wanted, found = reference.geometry, distorted.geometry
    if scale:
        found = replace(found, width=wanted.width, height=wanted.height)
    if wanted != found:
        raise BadInput(
            f"the two clips differ\n  reference {reference.path.name}: {_told(reference.geometry)}\n"
            f"  distorted {distorted.path.name}: {_told(distorted.geometry)}",
            hint="Bring them to the same size, pixel format, range, rate and number of frames first.",
        )


def _told(geometry: Geometry) -> str:
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
    """Features of every frame, and the teacher's score.

    Args:
        threads: that score; their number changes no figure.
        scale: bring the distorted clip to the size of the reference where it has another.

    Raises:
        BadInput: the clips differ in geometry or length, or decode to fewer frames than they promise.
        ToolFailed: a process failed.
        LogError: it left no usable log.
    """
    check_alike(reference, distorted, scale=scale)
    with scratch_folder() as scratch:
        teachers.place(teacher, scratch)
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
            f"{distorted.path.name} against {reference.path.name}: frame counts differ: promised {expected}, "
            f"decoded {decoded}, scored {len(scores.vmaf)}",
            hint="A clip is damaged, or does not decode to the number of its packets.",
        )
    return scores
