"""How far off the predictions are, in VMAF points with no mapping applied, and where. Pure.

An error is prediction minus target. At the frame level every row counts; at the clip level a cell counts once, with the
mean over its frames of prediction and of target. Frames of one encode are not independent: nothing here is an interval.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kit.training.predictions import Predictions
from kit.verdict.base import CellFacts, columns, ensemble_mean, split
from kit.verdict.metrics import Values, described

#: Ranges of the teacher's score. A range begins where the one before it ends: 60 and 80 belong to the range above them,
#: 95 to the one below it, as the names say, so every score is in exactly one.
RANGES = ("<60", "60-80", "80-95", ">95")
_FIGURES = ("rmse", "mae", "bias", "p95", "max", "plcc", "srocc", "krocc")


def figures(prediction: Values, target: Values, *, what: str) -> dict[str, Any]:
    """``count``, then in VMAF points ``rmse``, ``mae``, ``bias``, ``p95`` and ``max`` of the absolute error (the 95th
    percentile interpolated linearly), then ``plcc``, ``srocc``, ``krocc``, null where they do not exist; ``undefined``
    says why.

    Raises:
        InvalidEvidence: a value is not finite.
    """
    if not len(target):
        return {"count": 0, **dict.fromkeys(_FIGURES), "undefined": "no rows"}
    found = described(prediction, target, what=what)
    off = np.abs(prediction - target)
    return {"count": found.pop("n"), **found, "p95": float(np.percentile(off, 95)), "max": float(off.max())}


def in_range(target: Values) -> dict[str, NDArray[np.bool_]]:
    """Which scores are in each of ``RANGES``."""
    masks = (target < 60, (target >= 60) & (target < 80), (target >= 80) & (target <= 95), target > 95)
    return dict(zip(RANGES, masks, strict=True))


def levels(predictions: Predictions, cells: Mapping[str, CellFacts]) -> dict[str, dict[str, Any]]:
    """The ``errors`` object of a verdict: ``frame`` and ``clip``."""
    averaged, (seeds, target) = ensemble_mean(predictions), columns(predictions)
    mean, of = averaged.prediction.astype(np.float64), averaged.cell
    facts = [cells[key] for key in averaged.cells]
    frames = np.bincount(of, minlength=len(facts))

    def pooled(values: Values) -> Values:
        found: Values = np.bincount(of, weights=values, minlength=len(facts)) / frames
        return found

    each = np.arange(len(facts), dtype=np.int32)
    return {
        "frame": _level(mean, seeds, target, of, facts),
        "clip": _level(pooled(mean), {seed: pooled(own) for seed, own in seeds.items()}, pooled(target), each, facts),
    }


def _level(
    mean: Values, seeds: Mapping[int, Values], target: Values, of: NDArray[np.int32], facts: Sequence[CellFacts]
) -> dict[str, Any]:
    """Figures of the ensemble mean and of each seed; ``of`` is the cell of each value."""
    parts: dict[str, Mapping[str, NDArray[Any]]] = {
        "per_source": split([cell.source for cell in facts], of),
        "per_encoder": split([cell.encoder for cell in facts], of),
        "per_source_encoder": split(pairs(facts), of),
        "per_range": in_range(target),
    }
    return {
        "overall": figures(mean, target, what="ensemble mean"),
        "per_seed": {str(seed): figures(own, target, what=f"seed {seed}") for seed, own in seeds.items()},
        **{
            kind: {name: figures(mean[rows], target[rows], what=name) for name, rows in named.items()}
            for kind, named in parts.items()
        },
    }


def pairs(facts: Sequence[CellFacts]) -> list[str]:
    """``source x encoder`` of each cell."""
    return [f"{cell.source} x {cell.encoder}" for cell in facts]


def per_source_encoder(predictions: Predictions, cells: Mapping[str, CellFacts]) -> dict[str, dict[str, object]]:
    """Figures of the predictions of one seed, or of the ensemble mean, by ``source x encoder``."""
    return slices(predictions, pairs([cells[key] for key in predictions.cells]))


def slices(predictions: Predictions, labels: Sequence[str]) -> dict[str, dict[str, object]]:
    """Agreement of the rows under each label, labels in order.

    Args:
        predictions: of one seed.
        labels: label of each of ``predictions.cells``.
    """
    values = [column.astype(np.float64) for column in (predictions.prediction, predictions.target)]
    return {
        name: described(values[0][rows], values[1][rows], what=name)
        for name, rows in split(labels, predictions.cell).items()
    }


def brief(frame: Mapping[str, Any]) -> dict[str, object]:
    """The ensemble mean, the seeds and the worst places of the frame level, which stand in the evidence by name."""
    by_source = {name: _short(found) for name, found in frame["per_source"].items()}
    by_pair = {name: _short(found) for name, found in frame["per_source_encoder"].items()}
    return {
        "ensemble_mean": _short(frame["overall"], told=False),
        "per_seed": {seed: _short(found, told=False) for seed, found in frame["per_seed"].items()},
        "per_source": by_source,
        "worst_source": _worst(by_source),
        "worst_source_encoder": _worst(by_pair),
    }


def _short(found: Mapping[str, Any], *, told: bool = True) -> dict[str, Any]:
    names = ("plcc", "srocc", "krocc", "rmse", "mae", "bias", *(("undefined",) if told else ()))
    return {"n": found["count"], **{name: found[name] for name in names}}


def _worst(found: Mapping[str, Mapping[str, Any]]) -> dict[str, object]:
    """The label with the largest RMSE."""
    label = max(found, key=lambda name: found[name]["rmse"])
    return {"name": label, **found[label]}
