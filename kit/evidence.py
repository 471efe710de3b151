"""What the out-of-fold predictions say, computed from them alone. Pure, so that anyone can replay it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean

import numpy as np
from numpy.typing import NDArray

from kit.errors import InvalidEvidence
from kit.metrics import Agreement, agreement
from kit.training.predictions import Predictions


@dataclass(frozen=True, kw_only=True)
class CellFacts:
    """What the evidence needs to know of a cell."""

    source: str
    group: str
    encoder: str
    rows: int


@dataclass(frozen=True, kw_only=True)
class LosoResult:
    """Agreement of every member, seeds and folds in order."""

    members: Mapping[int, Mapping[str, Agreement]]

    def mean_plccs(self) -> dict[int, float]:
        """Mean over folds of PLCC, for each seed."""
        return {seed: mean(fold.plcc for fold in folds.values()) for seed, folds in self.members.items()}


def completeness_problems(predictions: Predictions, cells: Mapping[str, CellFacts], seeds: Sequence[int]) -> list[str]:
    """Every seed must predict every row of every cell exactly once, in the fold of the cell's own group."""
    problems = []
    expected = {(key, frame) for key, cell in cells.items() for frame in range(cell.rows)}
    for seed in seeds:
        rows = predictions.seed == seed
        found = list(zip(predictions.cell[rows].tolist(), predictions.frame[rows].tolist(), strict=True))
        if not found:
            problems.append(f"seed {seed} has no prediction")
            continue
        lacking = {cells[key].group for key, _ in expected.difference(found)}
        problems += [f"seed {seed}: fold {group} lacks predictions" for group in sorted(lacking)]
        if len(found) != len(set(found)):
            problems.append(f"seed {seed}: rows are predicted more than once")
        if strange := len(set(found) - expected):
            problems.append(f"seed {seed}: {strange} predictions belong to no row of the corpus")
    if extra := sorted(set(predictions.seed.tolist()) - set(seeds)):
        problems.append(f"predictions of seeds that were not asked for: {extra}")
    wrong = {(fold, key) for fold, key in zip(predictions.fold.tolist(), predictions.cell.tolist(), strict=True)
             if key in cells and cells[key].group != fold}  # fmt: skip
    if wrong:
        problems.append(f"{len(wrong)} cells are predicted in a fold that does not hold out their group")
    return problems


def loso(predictions: Predictions) -> LosoResult:
    """Agreement of every member on its held-out rows.

    Raises:
        InvalidEvidence: any member whose agreement is undefined or not finite; all of them are named.
    """
    members: dict[int, dict[str, Agreement]] = {}
    problems: list[str] = []
    for seed, fold, rows in predictions.members():
        try:
            members.setdefault(seed, {})[fold] = _agree(predictions, rows, f"seed {seed}, held out {fold}")
        except InvalidEvidence as error:
            problems += error.problems
    if problems:
        raise InvalidEvidence(problems)
    return LosoResult(members=members)


def _agree(predictions: Predictions, rows: NDArray[np.bool_], what: str) -> Agreement:
    return agreement(
        predictions.prediction[rows].astype(np.float64), predictions.target[rows].astype(np.float64), what=what
    )


def ensemble_mean(predictions: Predictions) -> Predictions:
    """Mean over seeds of every row's prediction, as one seed numbered -1. Every seed must have every row."""
    seeds = np.unique(predictions.seed)
    first = predictions.seed == seeds[0]
    stacked = np.stack([predictions.prediction[predictions.seed == seed] for seed in seeds]).astype(np.float64)
    return Predictions(
        corpus_sha256=predictions.corpus_sha256, seed=np.full(int(first.sum()), -1, dtype=np.int32),
        fold=predictions.fold[first], cell=predictions.cell[first], frame=predictions.frame[first],
        target=predictions.target[first], prediction=stacked.mean(axis=0).astype(np.float32),
    )  # fmt: skip


def summary(predictions: Predictions, cells: Mapping[str, CellFacts]) -> dict[str, object]:
    """The ``evidence`` object of a verdict, except its list of problems.

    RMSE, MAE and bias are in VMAF points with no mapping applied; rows of one encode are not independent.
    """
    averaged = ensemble_mean(predictions)
    sources = np.array([cells[key].source for key in averaged.cell])
    encoders = np.array([cells[key].encoder for key in averaged.cell])
    by_source = dict(_errors(averaged, sources))
    by_pair = dict(_errors(averaged, np.char.add(np.char.add(sources, " x "), encoders)))
    everything = np.ones(len(averaged), dtype=np.bool_)
    return {
        "ensemble_mean": _agree(averaged, everything, "ensemble mean").as_dict(),
        "per_seed": {
            str(seed): _agree(predictions, predictions.seed == seed, f"seed {seed}").as_dict()
            for seed in np.unique(predictions.seed).tolist()
        },
        "per_source": by_source,
        "worst_source": _worst(by_source),
        "worst_source_encoder": _worst(by_pair),
    }


def _errors(averaged: Predictions, labels: NDArray[np.str_]) -> Iterator[tuple[str, dict[str, float]]]:
    """RMSE, MAE and bias of the ensemble mean for each label; defined also where a correlation is not."""
    error = averaged.prediction.astype(np.float64) - averaged.target.astype(np.float64)
    for label in np.unique(labels).tolist():
        chosen = error[labels == label]
        yield (
            label,
            {
                "rows": float(len(chosen)),
                "rmse": float(np.sqrt(np.mean(chosen**2))),
                "mae": float(np.mean(np.abs(chosen))),
                "bias": float(np.mean(chosen)),
            },
        )


def _worst(errors: Mapping[str, Mapping[str, float]]) -> dict[str, object]:
    """The label with the largest RMSE."""
    label = max(errors, key=lambda name: errors[name]["rmse"])
    return {"name": label, **errors[label]}
