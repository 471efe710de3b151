"""Verify a scorer: it reproduces the golden table and knows the teacher."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from kit.core import contract
from kit.core.errors import PrerequisiteFailed, ToolFailed
from kit.core.values import Scorer, Teacher
from kit.video.ffmpeg import remedy
from kit.video.scorers import golden, log, teachers

_NO_MODEL = "This scorer cannot use that model file; see --teacher."
#: Scores a golden pair with a teacher.
ScorePair = Callable[[golden.GoldenPair, Teacher], log.Scores]


class GoldenMismatch(PrerequisiteFailed):
    """The scorer runs, and its scores differ from the golden table."""


def means(scores: log.Scores) -> NDArray[np.float64]:
    """Return the means over frames of the six features and the score, float64 [7]."""
    return np.append(scores.features.mean(axis=0), scores.vmaf.mean())


def prove(score: ScorePair, *, name: str, backend: str, teacher: Teacher, hint: str) -> Scorer:
    """Score every golden pair and compare the scores with the table.

    Args:
        score: scores a golden pair.
        name: the scorer, in words.
        hint: the hint of an error.

    Raises:
        GoldenMismatch: a score differs from the golden table by more than the tolerance.
        PrerequisiteFailed: it cannot score, or the teacher is unknown.
    """
    golden_scores: dict[str, float] = {}
    wrong = []
    current = teachers.CANONICAL
    try:
        for pair in golden.pairs():
            scores = score(pair, current)
            measured, expected = means(scores), np.array(golden.EXPECTED[pair.name])
            golden_scores[pair.name] = float(measured[-1])
            if np.abs(measured - expected).max() > contract.GOLDEN_TOLERANCE:
                wrong.append(f"{pair.name}: measured {measured.round(6)}, expected {expected}")
        if teacher != teachers.CANONICAL:
            current = teacher
            golden_scores[f"{pair.name} {teacher.sha256 or teacher.id}"] = float(score(pair, teacher).vmaf.mean())
    except (ToolFailed, log.LogError) as error:
        raise PrerequisiteFailed(
            f"the scorer ({name}) cannot score with {current}\n  {error.message}",
            hint=_NO_MODEL if current.sha256 else remedy(error.message) or hint,
        ) from error
    if wrong:
        raise GoldenMismatch(
            f"the scorer ({name}) does not reproduce the golden table within {contract.GOLDEN_TOLERANCE} VMAF\n  "
            + "\n  ".join(wrong),
            hint=f"This libvmaf computes other scores. {hint}",
        )
    return Scorer(id=f"{backend}/golden-{golden.GOLDEN_VERSION}", version=scores.version, golden=golden_scores)
