"""The ship gate: scores of a model on some rows of a table, compared with limits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from kit.core import contract
from kit.core.errors import BadInput
from kit.features.table import FeatureTable
from kit.heads.evaluate import predict, report_header
from kit.models.graph_format import format_problems
from kit.models.model_file import ModelFile
from kit.verdict.metrics import Values, agreement_as_json

#: Schema of the report: what :func:`check` returns, and its provenance.
SCHEMA = "validation"


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a model has to reach.

    Attributes:
        rows: number of rows, evenly spaced over the table.
        min_plcc: smallest Pearson correlation with ``vmaf``, above 0, at most 1.
        max_rmse: largest RMSE, VMAF points, above 0; None for no limit.
    """

    rows: int
    min_plcc: float
    max_rmse: float | None


def describe_limits(limits: Mapping[str, Any]) -> str:
    """Return the limits of a report in words."""
    rmse = "" if limits["max_rmse"] is None else f", RMSE of at most {limits['max_rmse']:g}"
    return f"PLCC of at least {limits['min_plcc']:g}{rmse}, on {limits['rows']} rows"


def check(model: ModelFile, table: FeatureTable, split: str | None, limits: Limits) -> dict[str, Any]:
    """Compare a model with limits.

    Returns:
        ``passed``, ``reasons`` why not, ``figures``, ``limits``, and the header of the report.

    Raises:
        BadInput: the table has fewer rows than required, or the model does not fit it.
    """
    if limits.rows > len(table):
        raise BadInput(f"--rows {limits.rows}: the table has {len(table)}", hint="Use fewer rows, or a larger table.")
    kept = np.zeros(len(table), dtype=np.bool_)
    kept[np.linspace(0, len(table) - 1, limits.rows).round().astype(np.int64)] = True
    scores, target = predict(model, table)[kept], table.frame["vmaf"].to_numpy(np.float64)[kept]
    figures = agreement_as_json(scores, target, what=model.path.name)
    reasons = [
        *format_problems(model.path.read_bytes(), model.inputs, codec_aware=False, outputs=model.outputs),
        *_missed(figures, scores, limits),
    ]
    return {
        **report_header(model, table, split),
        "limits": asdict(limits),
        "figures": figures,
        "passed": not reasons,
        "reasons": reasons,
    }


def _missed(figures: dict[str, Any], scores: Values, limits: Limits) -> list[str]:
    """Return every missed limit."""
    missed, (low, high) = [], contract.SCORE_RANGE
    if figures["undefined"]:
        missed.append(f"no PLCC: {figures['undefined']}")
    elif not figures["plcc"] >= limits.min_plcc:
        missed.append(f"PLCC {figures['plcc']:.4f}; required: at least {limits.min_plcc:g}")
    if limits.max_rmse is not None and not figures["rmse"] <= limits.max_rmse:
        missed.append(f"RMSE {figures['rmse']:.2f} VMAF points; required: at most {limits.max_rmse:g}")
    if not low <= scores.min() <= scores.max() <= high:
        missed.append(f"scores from {scores.min():g} to {scores.max():g}; expected {low:g} to {high:g}")
    return missed
