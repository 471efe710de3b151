"""The ``evidence`` object of a verdict: every figure that follows from corpus and predictions. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from kit.training.predictions import Predictions
from kit.training.table import Table
from kit.verdict.accuracy import brief, errors_by_level
from kit.verdict.baselines import Baseline, Corpus, comparison
from kit.verdict.calibration import calibration
from kit.verdict.coverage import coverage
from kit.verdict.intervals import by_group, uncertainty
from kit.verdict.out_of_fold import CellFacts


def summary(predictions: Predictions, cells: Mapping[str, CellFacts]) -> dict[str, object]:
    """Compute what follows from the predictions alone."""
    errors = errors_by_level(predictions, cells)
    return {
        **brief(errors["frame"]),
        "errors": errors,
        "uncertainty": uncertainty(by_group(predictions, cells)),
        "calibration": calibration(predictions, cells),
    }


def evidence(
    predictions: Predictions,
    rows: Table,
    cells: Mapping[str, CellFacts],
    baselines: Mapping[str, Baseline],
    corpus: Corpus,
) -> dict[str, object]:
    """Compute all evidence.

    Args:
        predictions: complete, of every seed.
        rows: every row of the corpus.
    """
    return {
        **summary(predictions, cells),
        **comparison(predictions, cells, baselines, corpus, rows.inputs.codec_width),
        "coverage": coverage(rows, cells, corpus),
    }
