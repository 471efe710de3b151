"""How large the errors are, and where, in VMAF points with no mapping applied. Pure.

An error is prediction minus target. At the frame level every row counts; at the clip level a cell counts once, with the
mean over its frames of prediction and of target. Frames of one encode are not independent: nothing here is an interval.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kit.training.predictions import Predictions
from kit.verdict.metrics import Values, agreement_as_json
from kit.verdict.out_of_fold import CellFacts, columns, ensemble_mean, split

#: Ranges of the teacher's score. A range begins where the one before it ends: 60 and 80 belong to the range above them,
#: 95 to the one below it, as the names say, so every score is in exactly one.
RANGES = ("<60", "60-80", "80-95", ">95")
_FIGURES = ("rmse", "mae", "bias", "p95", "max", "plcc", "srocc", "krocc")


def figures(prediction: Values, target: Values, *, what: str) -> dict[str, Any]:
    """Compute ``count``, the errors in VMAF points, and the correlations of two vectors, float64 [n].

    ``rmse``, ``mae``, ``bias``; ``p95`` and ``max`` of the absolute error (the 95th percentile interpolated linearly);
    ``plcc``, ``srocc``, ``krocc``, null where they do not exist; ``undefined`` has the reason.

    Raises:
        InvalidEvidence: a value is not finite.
    """
    if not len(target):
        return {"count": 0, **dict.fromkeys(_FIGURES), "undefined": "no rows"}
    result = agreement_as_json(prediction, target, what=what)
    error = np.abs(prediction - target)
    return {"count": result.pop("n"), **result, "p95": float(np.percentile(error, 95)), "max": float(error.max())}


def in_range(target: Values) -> dict[str, NDArray[np.bool_]]:
    """Return a mask [n] of the scores in each of ``RANGES``."""
    masks = (target < 60, (target >= 60) & (target < 80), (target >= 80) & (target <= 95), target > 95)
    return dict(zip(RANGES, masks, strict=True))


def errors_by_level(predictions: Predictions, cells: Mapping[str, CellFacts]) -> dict[str, dict[str, Any]]:
    """Build the ``errors`` object of a verdict: ``frame`` and ``clip``."""
    average, (seeds, target) = ensemble_mean(predictions), columns(predictions)
    mean, cell = average.prediction.astype(np.float64), average.cell
    facts = [cells[key] for key in average.cells]

    def by_cell(values: Values) -> Values:
        means: Values = np.bincount(cell, weights=values, minlength=len(facts)) / np.bincount(
            cell, minlength=len(facts)
        )
        return means

    clip_seeds = {seed: by_cell(scores) for seed, scores in seeds.items()}
    each_cell = np.arange(len(facts), dtype=np.int32)
    return {
        "frame": _level(mean, seeds, target, cell, facts),
        "clip": _level(by_cell(mean), clip_seeds, by_cell(target), each_cell, facts),
    }


def _level(
    mean: Values, seeds: Mapping[int, Values], target: Values, cell: NDArray[np.int32], facts: Sequence[CellFacts]
) -> dict[str, Any]:
    """Compute the figures of the ensemble mean and of each seed; ``cell`` is the cell of each value."""
    slices: dict[str, Mapping[str, NDArray[Any]]] = {
        "per_source": split([one.source for one in facts], cell),
        "per_encoder": split([one.encoder for one in facts], cell),
        "per_source_encoder": split(_source_encoder(facts), cell),
        "per_range": in_range(target),
    }
    return {
        "overall": figures(mean, target, what="ensemble mean"),
        "per_seed": {str(seed): figures(scores, target, what=f"seed {seed}") for seed, scores in seeds.items()},
        **{
            kind: {label: figures(mean[rows], target[rows], what=label) for label, rows in by_label.items()}
            for kind, by_label in slices.items()
        },
    }


def _source_encoder(facts: Sequence[CellFacts]) -> list[str]:
    return [f"{cell.source} x {cell.encoder}" for cell in facts]


def per_source_encoder(predictions: Predictions, cells: Mapping[str, CellFacts]) -> dict[str, dict[str, object]]:
    """Compute the agreement of one seed, or of the ensemble mean, by ``source x encoder``."""
    return by_label(predictions, _source_encoder([cells[key] for key in predictions.cells]))


def by_label(predictions: Predictions, labels: Sequence[str]) -> dict[str, dict[str, object]]:
    """Compute the agreement of the rows under each label, labels in order.

    Args:
        predictions: of one seed.
        labels: label of each of ``predictions.cells``.
    """
    prediction, target = (column.astype(np.float64) for column in (predictions.prediction, predictions.target))
    return {
        label: agreement_as_json(prediction[rows], target[rows], what=label)
        for label, rows in split(labels, predictions.cell).items()
    }


def brief(frame: Mapping[str, Any]) -> dict[str, object]:
    """Pick the figures that the evidence repeats by name: ensemble mean, seeds, sources, the worst slices.

    Args:
        frame: the ``frame`` object of :func:`errors_by_level`.
    """
    by_source = {label: _short(figure) for label, figure in frame["per_source"].items()}
    by_pair = {label: _short(figure) for label, figure in frame["per_source_encoder"].items()}
    return {
        "ensemble_mean": _short(frame["overall"], reason=False),
        "per_seed": {seed: _short(figure, reason=False) for seed, figure in frame["per_seed"].items()},
        "per_source": by_source,
        "worst_source": _worst(by_source),
        "worst_source_encoder": _worst(by_pair),
    }


def _short(figure: Mapping[str, Any], *, reason: bool = True) -> dict[str, Any]:
    names = ("plcc", "srocc", "krocc", "rmse", "mae", "bias", *(("undefined",) if reason else ()))
    return {"n": figure["count"], **{name: figure[name] for name in names}}


def _worst(slices: Mapping[str, Mapping[str, Any]]) -> dict[str, object]:
    """Return the slice with the largest RMSE."""
    label = max(slices, key=lambda name: slices[name]["rmse"])
    return {"name": label, **slices[label]}
