"""Agreement of predictions with the target of a table: in each fold, clip by clip, and on all clips together. Pure.

A mean over clips hides an offset of each clip, since a correlation within a clip does not depend on it. All clips
together show it, and so does the deviation of the clips' biases.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean, pstdev

import numpy as np

from kit.features.table import FeatureTable
from kit.training.folds import Fold
from kit.verdict.metrics import Values, agreement_as_json, error_figures, pearson, spearman

#: Figures of a fold; RMSE in VMAF points without a mapping.
FIGURES = ("plcc", "srocc", "rmse")


def scored(table: FeatureTable, folds: Sequence[Fold], predictions: Mapping[str, Values]) -> dict[str, object]:
    """Return all figures of an architecture or a model.

    Args:
        predictions: of each seed, float64 [rows], VMAF points; an exported model counts as one seed.

    Returns:
        ``folds``: of each fold its sources, its figures for every seed, and mean and deviation over seeds; ``mean``: of
        each figure the mean over folds and seeds, the deviation over folds of the mean over seeds and the other way
        round, both those of the population; ``per_clip`` and ``all_clips``: means over seeds, see :func:`by_clip`.
    """
    target = table.frame["vmaf"].to_numpy(np.float64)
    by_fold = {
        fold.held_out: {
            seed: agreement_as_json(values[fold.held], target[fold.held], what=f"{seed}, {fold.held_out}")
            for seed, values in predictions.items()
        }
        for fold in folds
    }
    together = [agreement_as_json(values, target, what=f"{seed}, all clips") for seed, values in predictions.items()]
    clips = [by_clip(table, values, target) for values in predictions.values()]
    return {
        "folds": [
            {
                "held_out": fold.held_out,
                "sources": sorted(set(table.sources[fold.held].tolist())),
                "n_train": len(fold.train),
                "n_val": len(fold.held),
                "per_seed": by_fold[fold.held_out],
                **{name: _spread(by_fold[fold.held_out].values(), name) for name in FIGURES},
            }
            for fold in folds
        ],
        "mean": {name: _over(by_fold, list(predictions), name) for name in FIGURES},
        "per_clip": {name: _mean(clips, name) for name in clips[0]},
        "all_clips": {name: _mean(together, name) for name in (*FIGURES, "bias")},
    }


def by_clip(table: FeatureTable, prediction: Values, target: Values) -> dict[str, float | None]:
    """Return means over clips of the figures within each clip.

    Returns:
        ``plcc`` and ``srocc`` over the clips where they exist (None without any), ``undefined`` the number of the
        others, ``rmse``, ``clips``, and ``bias_std``: the deviation of the clips' biases, VMAF points.
    """
    plcc, srocc, rmse, bias = [], [], [], []
    for _, rows in table.clips():
        one, two = prediction[rows], target[rows]
        off = error_figures(one, two)
        rmse.append(off["rmse"])
        bias.append(off["bias"])
        if len(one) > 2 and np.ptp(one) > 0 and np.ptp(two) > 0:
            plcc.append(pearson(one, two))
            srocc.append(spearman(one, two))
    return {
        "clips": len(rmse),
        "undefined": len(rmse) - len(plcc),
        "plcc": fmean(plcc) if plcc else None,
        "srocc": fmean(srocc) if srocc else None,
        "rmse": fmean(rmse),
        "bias_std": pstdev(bias),
    }


def _defined(parts: Iterable[Mapping[str, object]], name: str) -> list[float]:
    """Return the values of a figure where it exists."""
    return [value for part in parts if isinstance(value := part[name], int | float)]


def _mean(parts: Iterable[Mapping[str, object]], name: str) -> float | None:
    values = _defined(parts, name)
    return fmean(values) if values else None


def _spread(parts: Iterable[Mapping[str, object]], name: str) -> dict[str, float | None]:
    values = _defined(parts, name)
    return {"mean": fmean(values), "std": pstdev(values)} if values else {"mean": None, "std": None}


def _over(
    by_fold: Mapping[str, Mapping[str, Mapping[str, object]]], seeds: Sequence[str], name: str
) -> dict[str, object]:
    """Return mean and deviations of a figure over folds and seeds, without the ``undefined`` members that lack it."""
    members = [_defined(fold.values(), name) for fold in by_fold.values()]
    folds = [fmean(values) for values in members if values]
    each_seed = [_defined([fold[seed] for fold in by_fold.values()], name) for seed in seeds]
    means = [fmean(values) for values in each_seed if values]
    count = sum(map(len, members))
    return {
        "mean": fmean(value for values in members for value in values) if count else None,
        "std_folds": pstdev(folds) if folds else None,
        "std_seeds": pstdev(means) if means else None,
        "undefined": len(by_fold) * len(seeds) - count,
    }
