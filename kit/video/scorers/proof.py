"""The proof that a scorer computes what it should: it reproduces the golden table and knows the teacher."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from kit.core import contract
from kit.core.errors import PrerequisiteFailed, ToolFailed
from kit.core.values import Scorer, Teacher
from kit.video.ffmpeg import remedy
from kit.video.scorers import golden, log, teachers

_NO_MODEL = "This scorer does not take that file as a model; see --teacher."
#: Scores a generated pair with a teacher.
ScorePair = Callable[[golden.Pair, Teacher], log.Scores]


class Mismatch(PrerequisiteFailed):
    """The scorer runs, and its answers are others than those of the table."""


def means(scores: log.Scores) -> NDArray[np.float64]:
    """Mean over frames of the six features and the score, float64 [7]."""
    return np.append(scores.features.mean(axis=0), scores.vmaf.mean())


def prove(score: ScorePair, *, name: str, backend: str, teacher: Teacher, hint: str) -> Scorer:
    """Have a scorer answer every golden pair.

    Args:
        name: what it is, in words.
        hint: what to do when it is not usable.

    Raises:
        Mismatch: an answer differs from the golden table by more than the tolerance.
        PrerequisiteFailed: it cannot score, or the teacher is unknown.
    """
    answers: dict[str, float] = {}
    wrong = []
    asked = teachers.CANONICAL
    try:
        for pair in golden.pairs():
            scores = score(pair, asked)
            found, expected = means(scores), np.array(golden.EXPECTED[pair.name])
            answers[pair.name] = float(found[-1])
            if np.abs(found - expected).max() > contract.GOLDEN_TOLERANCE:
                wrong.append(f"{pair.name}: found {found.round(6)}, expected {expected}")
        if teacher != teachers.CANONICAL:
            asked = teacher
            answers[f"{pair.name} {teacher.sha256 or teacher.id}"] = float(score(pair, teacher).vmaf.mean())
    except (ToolFailed, log.LogError) as error:
        raise PrerequisiteFailed(
            f"the scorer ({name}) cannot score with {asked}\n  {error.message}",
            hint=_NO_MODEL if asked.sha256 else remedy(error.message) or hint,
        ) from error
    if wrong:
        raise Mismatch(
            f"the scorer ({name}) does not reproduce the golden table within {contract.GOLDEN_TOLERANCE} VMAF\n  "
            + "\n  ".join(wrong),
            hint=f"This libvmaf computes something else. {hint}",
        )
    return Scorer(id=f"{backend}/golden-{golden.GOLDEN_VERSION}", version=scores.version, golden=answers)
