"""The result of the prerequisite check, which the corpus step needs."""

from __future__ import annotations

from dataclasses import dataclass

from kit.core.values import ReadyEncoder, Scorer, SourceFile, Teacher
from kit.platforms.detect import Platform
from kit.platforms.facts import HostFacts
from kit.video.ffmpeg import Ffmpeg
from kit.video.scorers.base import CellScorer


@dataclass(frozen=True, kw_only=True)
class Prereqs:
    """The box, its tools, and the encodes of the run.

    Attributes:
        ffmpeg: decodes and scores.
        encoding: encodes; mostly the same one.
        path_ffmpeg: the one on PATH, if an encoder works with no other.
        points: (encoder, cq) of every encode of one source.
        files: the clips, not hashed yet.
        scorer: id, version and golden answers of the scorer.
        scored_by: the program that scores.
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
