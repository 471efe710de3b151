"""What each step hands to the next."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kit.core.values import ReadyEncoder, Scorer, SourceFile, Teacher
from kit.corpus.store.shard import Shard
from kit.platforms.detect import Platform
from kit.platforms.facts import HostFacts
from kit.training.folds import assign
from kit.training.predictions import Predictions
from kit.training.table import Table
from kit.verdict.baselines import Baseline
from kit.verdict.evidence import CellFacts
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


@dataclass(frozen=True, kw_only=True)
class Training:
    """Out-of-fold predictions, or why there are none that can be judged.

    Attributes:
        folds: the scheme, ``loso`` or ``kfold:K``; holdout: what else was held out, of ``contract.HOLDOUTS``.
        predictions: None where nothing could be trained.
        baselines: what the ensemble is compared with, by name.
        rows: the corpus; None where there are no predictions.
        problems: one line for each reason why the evidence is not valid.
    """

    shard: Shard
    seeds: tuple[int, ...]
    folds: str
    holdout: tuple[str, ...]
    predictions: Predictions | None
    problems: tuple[str, ...]
    baselines: Mapping[str, Baseline]
    rows: Table | None


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The verdict as written: ``word`` is PROMOTE, HOLD or INVALID, ``document`` the whole JSON."""

    word: str
    document: Mapping[str, Any]

    @property
    def described(self) -> str:
        """What it is, for a message."""
        return f"the verdict {self.word} is written"


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """The one file that goes back, read back and verified. ``verdict`` is None for a shard alone."""

    path: Path
    size: int
    sha256: str
    verdict: str | None

    @property
    def described(self) -> str:
        """What it is, for a message."""
        return f"the verdict {self.verdict} is packed as {self.path.name}"


def cell_facts(shard: Shard, scheme: str) -> dict[str, CellFacts]:
    """Cell key to what the evidence needs to know, with the folds of a scheme.

    Raises:
        InvalidEvidence: too few content groups for the scheme.
    """
    folds = assign(shard.cells, scheme)
    return {
        entry.key: CellFacts(source=entry.source, group=entry.group, fold=folds[entry.group], encoder=entry.encoder,
                             rows=entry.rows)
        for entry in shard.cells
    }  # fmt: skip
