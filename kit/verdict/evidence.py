"""The ``evidence`` object of a verdict: every figure that follows from corpus and predictions. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from kit.core import contract
from kit.training.predictions import Predictions
from kit.training.table import Table
from kit.verdict.accuracy import brief, errors_by_level
from kit.verdict.baselines import Baseline, Corpus, comparison
from kit.verdict.calibration import calibration
from kit.verdict.codec_block import codec_block
from kit.verdict.coverage import coverage
from kit.verdict.half_widths import errors_by_group, half_widths
from kit.verdict.intervals import by_group, uncertainty
from kit.verdict.out_of_fold import CellFacts


def summary(
    predictions: Predictions, cells: Mapping[str, CellFacts], *, version: int = contract.VERDICT_VERSION
) -> dict[str, object]:
    """Compute what follows from the predictions alone, as a verdict of a version has it."""
    errors = errors_by_level(predictions, cells)
    grouped = errors_by_group(predictions, cells)
    return {
        **brief(errors["frame"]),
        "errors": errors,
        "uncertainty": uncertainty(by_group(predictions, cells), version=version),
        "calibration": calibration(predictions, cells, grouped["frame"]),
        "half_widths": half_widths(grouped),
    }


def evidence(
    predictions: Predictions,
    rows: Table,
    cells: Mapping[str, CellFacts],
    baselines: Mapping[str, Baseline],
    corpus: Corpus,
    *,
    unseen: Mapping[str, Baseline] | None = None,
    version: int = contract.VERDICT_VERSION,
) -> dict[str, object]:
    """Compute all evidence.

    Args:
        predictions: complete, of every seed.
        rows: every row of the corpus.
        unseen: predictions for encoders that were not in training, see :func:`kit.verdict.codec_block.codec_block`.
        version: of the verdict; of version 1 the bootstrap is computed as then, the other fields as now.
    """
    return {
        **summary(predictions, cells, version=version),
        "baselines": comparison(predictions, cells, baselines, corpus, version=version),
        "codec_block": codec_block(unseen, cells),
        "coverage": coverage(rows, cells, corpus),
    }
