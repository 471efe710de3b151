"""What a training says of itself as JSON: one report a seed, one of the ensemble mean, one of each hold-out. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean, pstdev

from kit.core import contract, layout
from kit.training.folds import Fold
from kit.training.predictions import Predictions
from kit.training.recipe import Recipe, architecture
from kit.verdict import evidence
from kit.verdict.evidence import CellFacts
from kit.verdict.metrics import Agreement

#: Figures of a fold in the order in which a report has them.
_FIGURES = ("plcc", "srocc", "krocc", "rmse", "mae", "bias")


def seed_report(
    recipe: Recipe,
    corpus_sha256: str,
    *,
    scheme: str,
    parts: Sequence[Fold],
    found: Predictions,
    cells: Mapping[str, CellFacts],
    seed: int,
    agreements: Mapping[str, Agreement],
    seconds: float,
    training_loss: Sequence[float],
) -> dict[str, object]:
    """The content of ``loso_seed{N}.json`` and ``loso_ensemble.json``, without their provenance.

    Args:
        found: predictions of this seed alone.
        seed: ``evidence.ENSEMBLE`` for the ensemble mean.
        agreements: by label of the fold.
        seconds: time its members took, summed over processes.
        training_loss: mean squared error of each epoch, in VMAF points squared, mean over its members.
    """
    plccs = [fold.plcc for fold in agreements.values()]
    return {
        "schema_version": contract.SCHEMA_VERSION,
        "seed": None if seed == evidence.ENSEMBLE else seed,
        "corpus": {"path": layout.CORPUS, "sha256": corpus_sha256},
        "scheme": scheme,
        "n_folds": len(agreements),
        "folds": [
            _fold(part, agreements[part.held_out])
            | {"groups": sorted({cell.group for cell in cells.values() if cell.fold == part.held_out})}
            for part in parts
        ],
        "per_source_encoder": evidence.per_source_encoder(found, cells),
        "mean_plcc": evidence.LosoResult(members={seed: agreements}).mean_plccs()[seed],
        "std_plcc": pstdev(plccs),
        "min_plcc": min(plccs),
        "max_plcc": max(plccs),
        "mean_srocc": fmean(fold.srocc for fold in agreements.values()),
        "mean_rmse": fmean(fold.rmse for fold in agreements.values()),
        "arch": recipe.arch,
        "epochs": recipe.epochs,
        "batch_size": recipe.batch_size,
        "lr": recipe.lr,
        "weight_decay": recipe.weight_decay,
        "num_codecs": len(contract.ENCODER_VOCAB) if architecture(recipe.arch).codec_aware else 0,
        "encoder_vocab_version": contract.ENCODER_VOCAB_VERSION,
        "wall_time_s": round(seconds, 3),
        "training_loss": list(training_loss),
    }


def holdout_report(by: str, corpus_sha256: str, *, parts: Sequence[Fold], found: Predictions) -> dict[str, object]:
    """The content of ``holdout_encoder.json`` or ``holdout_box.json``, without its provenance.

    Its sources are in training too, with other encoders or from other boxes: it tells nothing of unseen content.

    Raises:
        InvalidEvidence: a member whose agreement is undefined or not finite; all of them are named.
    """
    members = evidence.loso(found)
    (ensemble,) = evidence.loso(evidence.ensemble_mean(found)).members.values()
    return {
        "schema_version": contract.SCHEMA_VERSION,
        "by": by,
        "corpus": {"path": layout.CORPUS, "sha256": corpus_sha256},
        "folds": [
            _fold(part, ensemble[part.held_out])
            | {"per_seed": {str(seed): _figures(folds[part.held_out]) for seed, folds in members.members.items()}}
            for part in parts
        ],
        "mean_plcc": {str(seed): value for seed, value in members.mean_plccs().items()},
    }


def _fold(part: Fold, agreement: Agreement) -> dict[str, object]:
    return {"held_out": part.held_out, "n_train": len(part.train), "n_val": len(part.held), **_figures(agreement)}


def _figures(agreement: Agreement) -> dict[str, object]:
    return {name: getattr(agreement, name) for name in _FIGURES}
