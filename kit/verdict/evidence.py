"""What the out-of-fold predictions say, a module for each question. Pure, so that anyone can replay it.

``base`` what all start from; ``errors`` how far off, and where; ``bootstrap`` how sure; ``baselines`` against what;
``calibration`` how far off a new score may be; ``coverage`` what the corpus shows, ``alike`` what it shows twice.
docs/statistics.md has every figure.
"""

from __future__ import annotations

from collections.abc import Mapping

from kit.training.predictions import Predictions
from kit.verdict import intervals
from kit.verdict.accuracy import brief, levels, per_source_encoder, slices
from kit.verdict.base import ENSEMBLE, CellFacts, LosoResult, completeness_problems, ensemble_mean, loso
from kit.verdict.calibration import calibrated

__all__ = [
    "ENSEMBLE",
    "CellFacts",
    "LosoResult",
    "completeness_problems",
    "ensemble_mean",
    "loso",
    "per_source_encoder",
    "slices",
    "summary",
]


def summary(predictions: Predictions, cells: Mapping[str, CellFacts]) -> dict[str, object]:
    """The part of a verdict's ``evidence`` that follows from the predictions alone."""
    errors = levels(predictions, cells)
    return {
        **brief(errors["frame"]),
        "errors": errors,
        "uncertainty": intervals.uncertainty(intervals.by_group(predictions, cells)),
        "calibration": calibrated(predictions, cells),
    }
