"""The result of the prerequisite check, which the corpus step needs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from kit.core.values import ReadyEncoder, Scorer, SourceFile, Teacher
from kit.corpus.make.produce import Bench
from kit.options.resolve import RunConfig
from kit.options.session import Session
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

    def bench(self, config: RunConfig, session: Session, folder: Path) -> Bench:
        """Return the tools and settings with which cells are made in a folder."""
        return Bench(
            ffmpeg=self.encoding,
            path_ffmpeg=self.path_ffmpeg,
            scorer=self.scored_by,
            processes=session.processes,
            folder=folder,
            box=config.box,
            platform=self.platform.tag,
            corpus="demo" if config.demo else "local",
            stall_timeout=config.stall_timeout,
        )
