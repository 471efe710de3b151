"""The ship gate: scores of a model on some rows of a table, compared with limits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from kit.core import contract
from kit.core.errors import BadInput
from kit.features.table import FeatureTable
from kit.heads.evaluate import HELD_OUT, predict, report_header
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
        max_rmse: largest RMSE, VMAF points, above 0.
        allow_training_rows: whether rows of sources that the model was fitted to may be among them.
    """

    rows: int = contract.SHIP_ROWS
    min_plcc: float = contract.SHIP_MIN_PLCC
    max_rmse: float = contract.SHIP_MAX_RMSE
    allow_training_rows: bool = False

    @property
    def looser(self) -> list[str]:
        """The limits that are looser than the default ones, each in words; stricter ones are not listed."""
        texts = []
        if self.min_plcc < contract.SHIP_MIN_PLCC:
            texts.append(f"PLCC of at least {self.min_plcc:g} (default {contract.SHIP_MIN_PLCC:g})")
        if self.max_rmse > contract.SHIP_MAX_RMSE:
            texts.append(f"RMSE of at most {self.max_rmse:g} (default {contract.SHIP_MAX_RMSE:g})")
        if self.rows < contract.SHIP_ROWS:
            texts.append(f"{self.rows} rows (default {contract.SHIP_ROWS})")
        if self.allow_training_rows:
            texts.append("rows it was fitted to allowed (default: held-out rows only)")
        return texts


def describe_limits(limits: Mapping[str, Any]) -> str:
    """Return the limits of a report in words."""
    rows = "rows, training rows allowed" if limits["allow_training_rows"] else "held-out rows"
    rmse, plcc = limits["max_rmse"], limits["min_plcc"]
    return f"PLCC of at least {plcc:g}, RMSE of at most {rmse:g}, on {limits['rows']} {rows}"


def check(model: ModelFile, table: FeatureTable, split: str | None, limits: Limits) -> dict[str, Any]:
    """Compare a model with limits.

    Returns:
        ``passed``, ``reasons`` why not, ``figures``, ``limits``, ``looser`` ones in words, and the header of the
        report.

    Raises:
        BadInput: the table has fewer rows than required, or the model does not fit it.
    """
    if limits.rows > len(table):
        raise BadInput(f"--rows {limits.rows}: the table has {len(table)}", hint="Use fewer rows, or a larger table.")
    kept = np.zeros(len(table), dtype=np.bool_)
    kept[np.linspace(0, len(table) - 1, limits.rows).round().astype(np.int64)] = True
    scores, target = predict(model, table)[kept], table.frame["vmaf"].to_numpy(np.float64)[kept]
    figures = agreement_as_json(scores, target, what=model.path.name)
    header = report_header(model, table, split)
    reasons = [
        *_untrained(model),
        *_known_rows(header["rows_fitted_on"], len(table), limits),
        *format_problems(model.path.read_bytes(), model.inputs, codec_aware=False, outputs=model.outputs),
        *_missed(figures, scores, limits),
    ]
    return {
        **header,
        "limits": asdict(limits),
        "looser": limits.looser,
        "figures": figures,
        "passed": not reasons,
        "reasons": reasons,
    }


def _untrained(model: ModelFile) -> list[str]:
    """Return a reason if the sidecar says that the head has its initial weights."""
    sidecar = model.sidecar
    if sidecar is None or (sidecar["training_recipe"]["epochs"] and sidecar["corpus"]["sha256"] is not None):
        return []
    return ["the head has its initial weights: it was never fitted"]


def _known_rows(fitted: object, rows: int, limits: Limits) -> list[str]:
    """Return a reason if the model may have been fitted to some of the rows.

    Args:
        fitted: number of rows that it was fitted to; None if not recorded.
    """
    if limits.allow_training_rows or fitted == 0:
        return []
    if fitted is None:
        return ["the sources that the model was fitted to are not recorded; --allow-training-rows accepts that"]
    return [
        f"the model was fitted to the sources of {fitted} of {rows} rows: use --split {HELD_OUT}, other rows, or "
        "--allow-training-rows"
    ]


def _missed(figures: dict[str, Any], scores: Values, limits: Limits) -> list[str]:
    """Return every missed limit."""
    missed, (low, high) = [], contract.SCORE_RANGE
    if figures["undefined"]:
        missed.append(f"no PLCC: {figures['undefined']}")
    elif not figures["plcc"] >= limits.min_plcc:
        missed.append(f"PLCC {figures['plcc']:.4f}; required: at least {limits.min_plcc:g}")
    if not figures["rmse"] <= limits.max_rmse:
        missed.append(f"RMSE {figures['rmse']:.2f} VMAF points; required: at most {limits.max_rmse:g}")
    if not low <= scores.min() <= scores.max() <= high:
        missed.append(f"scores from {scores.min():g} to {scores.max():g}; expected {low:g} to {high:g}")
    return missed
