"""The target of a corpus: whether it is a known formula of the network's inputs, and what that means. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kit.core import contract
from kit.core.values import Teacher
from kit.training.predictions import Predictions
from kit.training.table import Table
from kit.verdict.out_of_fold import ENSEMBLE
from kit.video.scorers.formula import Formula


def formula_scores(rows: Table, formula: Formula | None) -> NDArray[np.float64] | None:
    """Return the teacher's score of each row by its formula; None if there is no formula, or if features are missing.

    Args:
        formula: of the teacher; None if the kit has none.
    """
    if formula is None or not set(contract.FEATURES) <= set(rows.inputs.features):
        return None
    columns = [rows.inputs.features.index(name) for name in contract.FEATURES]
    return formula.scores(rows.features.take(columns, axis=1))


def target(rows: Table, teacher: Teacher | None, scores: NDArray[np.float64] | None) -> dict[str, Any]:
    """Build the ``target`` of the evidence.

    Args:
        scores: as :func:`formula_scores` returns them.
    """
    name = None if teacher is None else teacher.text
    if scores is None:
        sentence = (
            f"The kit has no formula of the target, the score of {name or 'an unknown teacher'}: RMSE is approximation "
            "error and all that the network's inputs do not show."
        )
        return {
            "teacher": name,
            "formula_known": False,
            "sentence": sentence,
            "rows": len(rows),
            "largest_difference": None,
        }
    difference = float(np.abs(rows.target.astype(np.float64) - scores).max(initial=0.0))
    known = difference <= contract.FORMULA_TOLERANCE
    return {
        "teacher": name,
        "formula_known": known,
        "sentence": _sentence(name or contract.DEFAULT_TEACHER, difference, known=known),
        "rows": len(rows),
        "largest_difference": difference,
    }


def _sentence(name: str, difference: float, *, known: bool) -> str:
    if known:
        return (
            f"The target, {name}, is a known formula of the network's inputs (largest difference {difference:.2g}): "
            "RMSE is approximation error, and no student can be better than its teacher."
        )
    return (
        f"The target is not {name} of these features: scores differ from its formula by up to {difference:.3g} points, "
        f"expected {contract.FORMULA_TOLERANCE:g} at most."
    )


def formula_predictions(predictions: Predictions, rows: Table, scores: NDArray[np.float64]) -> Predictions:
    """Return the formula's scores for the ensemble's rows, once each, as predictions of one seed.

    Args:
        predictions: the ensemble's, complete.
        scores: of each row of the corpus.
    """
    ((_, first), *_) = predictions.seeds()
    part = predictions.part(first)
    first_row = dict(zip((entry.key for entry in rows.cells), np.flatnonzero(rows.frame == 0).tolist(), strict=True))
    begin = np.array([first_row[key] for key in part.cells], dtype=np.int64)
    return replace(
        part,
        seed=np.full(len(part), ENSEMBLE, dtype=np.int32),
        prediction=scores[begin[part.cell] + part.frame].astype(np.float32),
    )
