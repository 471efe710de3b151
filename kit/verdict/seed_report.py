"""Reports of a training as JSON: one for each seed, one for the ensemble mean, one for each hold-out. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from statistics import fmean, mean, pstdev

import numpy as np
from numpy.typing import NDArray

from kit.core import contract, layout
from kit.training.folds import Fold
from kit.training.predictions import Predictions
from kit.training.recipe import Recipe
from kit.verdict.accuracy import per_source_encoder
from kit.verdict.out_of_fold import (
    ENSEMBLE,
    CellFacts,
    FoldAgreement,
    MemberAgreement,
    defined_means,
    ensemble_mean,
    left_out_folds,
    member_agreement,
)

#: Figures of a fold in the order of a report.
_FIGURES = ("plcc", "srocc", "krocc", "rmse", "mae", "bias", "undefined")


@dataclass(frozen=True, kw_only=True)
class History:
    """How the training of a seed went.

    Attributes:
        seconds: time its members took, summed over processes.
        loss: float64 [epochs], mean squared error in VMAF points squared, mean over its members.
    """

    seconds: float
    loss: NDArray[np.float64]


def with_ensemble(histories: Mapping[int, History]) -> dict[int, History]:
    """Add the history of the ensemble mean: the sum of the times and the mean of the losses."""
    seconds = sum(one.seconds for one in histories.values())
    loss = np.mean([one.loss for one in histories.values()], axis=0)
    return {**histories, ENSEMBLE: History(seconds=seconds, loss=loss)}


def report_file(seed: int) -> str:
    """Return the path of a seed's report in the run folder; ``ENSEMBLE`` is that of the ensemble mean."""
    return layout.ENSEMBLE_REPORT if seed == ENSEMBLE else layout.seed_report(seed)


def seed_reports(
    recipe: Recipe,
    corpus_sha256: str,
    *,
    scheme: str,
    folds: Sequence[Fold],
    predictions: Predictions,
    members: MemberAgreement,
    cells: Mapping[str, CellFacts],
    histories: Mapping[int, History],
) -> dict[int, dict[str, object]]:
    """Build the reports of every seed and, as ``ENSEMBLE``, of the ensemble mean, without their provenance.

    Args:
        scheme: ``loso`` or ``kfold:K``.
        members: agreement of every member.
        histories: of every seed and of ``ENSEMBLE``.

    Raises:
        InvalidEvidence: a value of the ensemble mean is not finite.
    """
    average = ensemble_mean(predictions)
    agreements = {**members, **member_agreement(average)}
    left_out = left_out_folds(agreements).keys()
    parts = {seed: predictions.part(rows) for seed, rows in predictions.seeds()} | {ENSEMBLE: average}
    groups = {
        fold.held_out: sorted({cell.group for cell in cells.values() if cell.fold == fold.held_out}) for fold in folds
    }
    return {
        seed: {
            "schema_version": contract.SCHEMA_VERSION,
            "seed": None if seed == ENSEMBLE else seed,
            "corpus": {"path": layout.CORPUS, "sha256": corpus_sha256},
            "scheme": scheme,
            "n_folds": len(agreements[seed]),
            "folds": [
                _fold(fold, agreements[seed][fold.held_out]) | {"groups": groups[fold.held_out]} for fold in folds
            ],
            "per_source_encoder": per_source_encoder(part, cells),
            **_over_folds(agreements[seed], left_out),
            "arch": recipe.arch,
            **({} if recipe.name == contract.UNNAMED_RECIPE else {"recipe": recipe.name}),
            "epochs": recipe.epochs,
            "batch_size": recipe.batch_size,
            "lr": recipe.lr,
            "weight_decay": recipe.weight_decay,
            "num_codecs": len(recipe.inputs.encoder_vocab) if recipe.architecture.codec_aware else 0,
            "encoder_vocab_version": recipe.inputs.encoder_vocab_version,
            "wall_time_s": round(histories[seed].seconds, 3),
            "training_loss": histories[seed].loss.tolist(),
        }
        for seed, part in parts.items()
    }


def _over_folds(agreements: Mapping[str, FoldAgreement], left_out: Set[str]) -> dict[str, float | None]:
    """Summarise a seed over its folds; those without a correlation count for the RMSE alone."""
    defined = [(fold.plcc, fold.srocc) for name, fold in agreements.items() if name not in left_out]
    plccs = [plcc for plcc, _ in defined if plcc is not None]
    sroccs = [srocc for _, srocc in defined if srocc is not None]
    return {
        "mean_plcc": mean(plccs) if plccs else None,
        "std_plcc": pstdev(plccs) if plccs else None,
        "min_plcc": min(plccs, default=None),
        "max_plcc": max(plccs, default=None),
        "mean_srocc": fmean(sroccs) if sroccs else None,
        "mean_rmse": fmean(fold.rmse for fold in agreements.values()),
    }


def holdout_report(
    by: str, corpus_sha256: str, *, folds: Sequence[Fold], predictions: Predictions
) -> dict[str, object]:
    """Build ``holdout_encoder.json`` or ``holdout_box.json``, without its provenance.

    Its sources are in training too, with other encoders or from other boxes: it shows nothing about unseen content.

    Raises:
        InvalidEvidence: a value of a member is not finite; all of these are named.
    """
    members = member_agreement(predictions)
    (ensemble,) = member_agreement(ensemble_mean(predictions)).values()
    return {
        "schema_version": contract.SCHEMA_VERSION,
        "by": by,
        "corpus": {"path": layout.CORPUS, "sha256": corpus_sha256},
        "folds": [
            _fold(fold, ensemble[fold.held_out])
            | {"per_seed": {str(seed): _figures(of[fold.held_out]) for seed, of in members.items()}}
            for fold in folds
        ],
        "mean_plcc": {str(seed): value for seed, value in defined_means(members).items()},
    }


def _fold(fold: Fold, agreement: FoldAgreement) -> dict[str, object]:
    return {
        "held_out": fold.held_out,
        "n_train": len(fold.train),
        "n_val": len(fold.held),
        **_figures(agreement),
    }


def _figures(agreement: FoldAgreement) -> dict[str, object]:
    return {name: getattr(agreement, name) for name in _FIGURES}
