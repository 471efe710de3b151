"""What the models of a run are described with; `verify` computes it again. Pure.

A model on the features alone (a companion) is exported beside the codec-aware ensemble whenever it is not worse: its
out-of-fold RMSE is not shown to be larger, or the codec block does harm for encoders that were not in training.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from kit.core import contract
from kit.models.shown import Shown, shown_by
from kit.models.sidecar import Accuracy, TrainedEnsemble, model_id
from kit.training import folds
from kit.training.folds import Fold
from kit.training.predictions import Predictions
from kit.training.recipe import Recipe
from kit.training.standardiser import Standardiser
from kit.training.table import Table
from kit.verdict.accuracy import brief, errors_by_level
from kit.verdict.half_widths import errors_by_group, half_widths
from kit.verdict.judge import Training, cell_facts
from kit.verdict.out_of_fold import CellFacts

#: The first version of the verdict whose runs have companions.
_COMPANIONS_SINCE = 2


@dataclass(frozen=True, kw_only=True)
class FullFit:
    """How the members of a full fit were trained.

    Attributes:
        recipe: of the ensemble of the verdict.
        device: that they were trained on.
        commit: of the kit; None where that is unknown.
        manifest_sha256: hash of ``shard.json``.
    """

    recipe: Recipe
    scale: Standardiser
    device: str
    commit: str | None
    manifest_sha256: str


def full_fold(rows: Table, recipe: Recipe) -> Fold:
    """Return the fold of the full fit: every row, or at most so many of a source."""
    (whole,) = folds.thinned(rows, [folds.everything(rows)], recipe.max_rows_per_source)
    return whole


def described_ensembles(training: Training, verdict: Mapping[str, Any], fit: FullFit) -> list[TrainedEnsemble]:
    """Return the ensemble of a PROMOTE, and its companion on the features alone where there is one.

    Args:
        training: with rows and predictions.
        verdict: its document.
    """
    if training.rows is None or training.predictions is None:
        raise ValueError("a training without rows and predictions has no models")
    cells = cell_facts(training.shard, training.folds)
    ensemble = TrainedEnsemble(
        verdict=verdict,
        recipe=fit.recipe,
        scale=fit.scale,
        device=fit.device,
        seeds=tuple(sorted(training.seeds)),
        shown=_shown(training, training.rows, fit),
        accuracy=_accuracies(training.predictions, cells, verdict),
        commit=fit.commit,
    )
    reason = companion_reason(verdict)
    if reason is None:
        return [ensemble]
    recipe = companion_recipe(fit.recipe)
    shown = _shown(training, training.rows, replace(fit, recipe=recipe))
    accuracy = _of_companion(training, cells, verdict)
    seeds = dict.fromkeys(ensemble.models, accuracy)
    return [ensemble, replace(ensemble, recipe=recipe, shown=shown, accuracy=seeds, reason=reason)]


def expected_ids(arch: str, seeds: Sequence[int], verdict: Mapping[str, Any]) -> list[str]:
    """Return the ids of the models of a PROMOTE: each seed, the ensemble in one file, and a companion."""
    in_one = [None] if len(seeds) > 1 else []
    ids = [model_id(arch, seed) for seed in (*sorted(seeds), *in_one)]
    if companion_reason(verdict) is not None:
        ids.append(model_id(contract.WITHOUT_BLOCK, None if in_one else seeds[0]))
    return ids


def companion_recipe(recipe: Recipe) -> Recipe:
    """Return the recipe of an ensemble without the codec block."""
    return replace(recipe, arch=contract.WITHOUT_BLOCK, block_dropout=0.0)


def companion_reason(verdict: Mapping[str, Any]) -> str | None:
    """Return why a model on the features alone is exported beside the ensemble, in a sentence; None where none is.

    Verdicts of version 1 have no companions.
    """
    evidence = verdict["evidence"]
    without = evidence["baselines"].get(contract.WITHOUT_BLOCK)
    if verdict.get("schema_version", 1) < _COMPANIONS_SINCE or without is None or without["rmse"] is None:
        return None
    harms = _block_harms(evidence["codec_block"])
    off = without["difference"]["rmse"]  # with the block minus without it, of the same seeds
    value, low = -off["value"], -off["value"] if off["high"] is None else -off["high"]
    compared = f"RMSE {without['rmse']:.2f} without the codec block, {without['rmse'] - value:.2f} with it"
    compared += "" if off["high"] is None else f", difference {value:+.2f} ({low:+.2f} to {-off['low']:+.2f})"
    if low <= 0:
        return f"Not worse than with the codec block: {compared}."
    return f"The codec block does harm for an unseen encoder; for those in training: {compared}." if harms else None


def _block_harms(block: object) -> bool:
    """Return whether the block does harm that is worth naming for an encoder that was not in training."""
    if not isinstance(block, Mapping):
        return False
    differences = [figures["difference"] for figures in block["unseen"].values()]
    return any(
        one["low"] is not None and one["low"] > 0 and one["value"] >= block["smallest_effect"] for one in differences
    )


def _shown(training: Training, rows: Table, fit: FullFit) -> Shown:
    used = full_fold(rows, fit.recipe).train
    part = replace(rows, features=rows.features[used], codec=rows.codec[used])
    return shown_by(part, training.shard, fit.manifest_sha256, codec_aware=fit.recipe.architecture.codec_aware)


def _accuracies(
    predictions: Predictions, cells: Mapping[str, CellFacts], verdict: Mapping[str, Any]
) -> dict[int | None, Accuracy]:
    """Return the accuracy of each seed's model, and as None that of the ensemble."""
    evidence, gate = verdict["evidence"], verdict["gate"]
    accuracies: dict[int | None, Accuracy] = {
        None: Accuracy(
            of="ensemble mean",
            mean_plcc=gate["mean_plcc"],
            rmse=evidence["ensemble_mean"]["rmse"],
            bias=evidence["ensemble_mean"]["bias"],
            worst_source=evidence["worst_source"],
            half_widths=evidence.get("half_widths"),
        )
    }
    for seed, rows in predictions.seeds():
        plcc = gate["per_seed_plccs"][str(seed)]
        accuracies[seed] = accuracy_of(predictions.part(rows), cells, of=f"seed {seed}", mean_plcc=plcc)
    return accuracies


def _of_companion(training: Training, cells: Mapping[str, CellFacts], verdict: Mapping[str, Any]) -> Accuracy:
    predictions = training.baselines[contract.WITHOUT_BLOCK].predictions
    if predictions is None:
        raise ValueError("a companion needs the predictions of its baseline")
    plcc = verdict["evidence"]["baselines"][contract.WITHOUT_BLOCK]["mean_plcc"]
    count = len(list(predictions.seeds()))
    return accuracy_of(predictions, cells, of=f"mean of {count} seeds", mean_plcc=plcc)


def accuracy_of(predictions: Predictions, cells: Mapping[str, CellFacts], *, of: str, mean_plcc: float) -> Accuracy:
    """Return the accuracy of the mean over the seeds of these predictions."""
    figures: Mapping[str, Any] = brief(errors_by_level(predictions, cells)["frame"])
    return Accuracy(
        of=of,
        mean_plcc=mean_plcc,
        rmse=figures["ensemble_mean"]["rmse"],
        bias=figures["ensemble_mean"]["bias"],
        worst_source=figures["worst_source"],
        half_widths=half_widths(errors_by_group(predictions, cells)),
    )
