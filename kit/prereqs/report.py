"""What the first step hands to the second."""

from __future__ import annotations

from dataclasses import dataclass

from kit.core.values import ReadyEncoder, Scorer, SourceFile, Teacher
from kit.platforms.detect import Platform
from kit.platforms.facts import HostFacts
from kit.video.ffmpeg import Ffmpeg
from kit.video.scorers.base import CellScorer


@dataclass(frozen=True, kw_only=True)
class Prereqs:
    """What the box has and is asked to do.

    Attributes:
        ffmpeg: reads and scores; ``encoding`` encodes and is mostly the same one.
        path_ffmpeg: the one on PATH, where an encoder works with no other.
        points: (encoder, cq) of every encode of one source.
        files: the clips found, not hashed yet.
        scorer, scored_by: the proof of what scores, and what scores.
    """

    facts: HostFacts
    platform: Platform
    ffmpeg: Ffmpeg
    teacher: Teacher
    scorer: Scorer
    encoders: tuple[ReadyEncoder, ...]
    points: tuple[tuple[str, int], ...]
    files: tuple[SourceFile, ...]
    encoding: Ffmpeg
    scored_by: CellScorer
    path_ffmpeg: Ffmpeg | None = None
