"""Out-of-fold predictions: whether they are complete, how well each member agrees, their mean over seeds. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import mean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kit.core.errors import InvalidEvidence
from kit.training.predictions import Predictions
from kit.verdict.metrics import Values, agreement_as_json

#: Number of the ensemble mean where seeds are numbers.
ENSEMBLE = -1


@dataclass(frozen=True, kw_only=True)
class CellFacts:
    """A cell as the evidence uses it; ``fold`` is the one that holds out its group."""

    source: str
    group: str
    fold: str
    encoder: str
    rows: int


@dataclass(frozen=True, kw_only=True)
class FoldAgreement:
    """Agreement of a member with its held-out rows.

    Attributes:
        plcc, srocc, krocc: None where they do not exist: ``undefined`` says why.
        rmse, mae, bias: VMAF points, no mapping applied.
    """

    n: int
    plcc: float | None
    srocc: float | None
    krocc: float | None
    rmse: float
    mae: float
    bias: float
    undefined: str | None


#: Agreement of every member by seed and fold, both in order.
MemberAgreement = Mapping[int, Mapping[str, FoldAgreement]]


def left_out_folds(members: MemberAgreement) -> dict[str, str]:
    """Return the folds without a correlation, with the reason: they are left out of the means of every seed."""
    reasons: dict[str, str] = {}
    for seed, folds in members.items():
        for fold, figures in folds.items():
            if figures.undefined is not None:
                reasons.setdefault(fold, f"seed {seed}: {figures.undefined}")
    return dict(sorted(reasons.items()))


def mean_plccs(members: MemberAgreement) -> dict[int, float]:
    """Average the PLCC of each seed over the folds that have one for every seed.

    Raises:
        InvalidEvidence: no fold has one.
    """
    means = {seed: value for seed, value in defined_means(members).items() if value is not None}
    if len(means) < len(members):
        raise InvalidEvidence(["no fold has a correlation"])
    return means


def defined_means(members: MemberAgreement) -> dict[int, float | None]:
    """Average the PLCC of each seed over the folds that have one for every seed; None where no fold has one."""
    left_out = left_out_folds(members)
    plccs = {
        seed: [figures.plcc for fold, figures in folds.items() if fold not in left_out and figures.plcc is not None]
        for seed, folds in members.items()
    }
    return {seed: mean(values) if values else None for seed, values in plccs.items()}


def completeness_problems(predictions: Predictions, cells: Mapping[str, CellFacts], seeds: Sequence[int]) -> list[str]:
    """List what is missing, doubled or in a wrong fold, one line each.

    Every seed must predict every row of every cell exactly once, in the fold that holds out the cell's group.
    """
    problems = []
    rows = np.array([cells[key].rows if key in cells else 0 for key in predictions.cells], dtype=np.int64)
    unpredicted = {cell.fold for key, cell in cells.items() if key not in set(predictions.cells)}
    starts = np.concatenate([[0], np.cumsum(rows)])
    rows_of_seed = dict(predictions.seeds())
    for seed in seeds:
        if seed not in rows_of_seed:
            problems.append(f"seed {seed} has no prediction")
            continue
        cell, frame = predictions.cell[rows_of_seed[seed]], predictions.frame[rows_of_seed[seed]]
        known = (frame >= 0) & (frame < rows[cell])
        # every row of the corpus has a number of its own
        times = np.bincount(starts[cell[known]] + frame[known], minlength=int(starts[-1]))
        lacking = np.unique(np.searchsorted(starts, np.flatnonzero(times == 0), side="right") - 1)
        folds = unpredicted | {cells[predictions.cells[index]].fold for index in lacking.tolist()}
        problems += [f"seed {seed}: fold {fold} lacks predictions" for fold in sorted(folds)]
        if (times > 1).any():
            problems.append(f"seed {seed}: rows are predicted more than once")
        if not known.all():
            problems.append(f"seed {seed}: {np.count_nonzero(~known)} predictions belong to no row of the corpus")
    if extra := sorted(rows_of_seed.keys() - set(seeds)):
        problems.append(f"predictions of seeds that were not requested: {extra}")
    if wrong := _in_wrong_fold(predictions, cells):
        problems.append(f"{wrong} cells are predicted in a fold that does not hold out their group")
    return problems


def _in_wrong_fold(predictions: Predictions, cells: Mapping[str, CellFacts]) -> int:
    """Count the (cell, fold) pairs whose fold does not hold out the cell's group."""
    pairs = np.unique(predictions.cell.astype(np.int64) * len(predictions.folds) + predictions.fold)
    wrong = 0
    for cell, fold in (divmod(pair, len(predictions.folds)) for pair in pairs.tolist()):
        facts = cells.get(predictions.cells[cell])
        wrong += facts is not None and facts.fold != predictions.folds[fold]
    return wrong


def member_agreement(predictions: Predictions) -> MemberAgreement:
    """Compute the agreement of every member on its held-out rows.

    Raises:
        InvalidEvidence: a value of a member is not finite; all of these are named.
    """
    members: dict[int, dict[str, FoldAgreement]] = {}
    problems: list[str] = []
    for seed, fold, rows in predictions.members():
        prediction, target = (
            column[rows].astype(np.float64) for column in (predictions.prediction, predictions.target)
        )
        try:
            figures: dict[str, Any] = agreement_as_json(prediction, target, what=f"seed {seed}, held out {fold}")
        except InvalidEvidence as error:
            problems += error.problems
        else:
            members.setdefault(seed, {})[fold] = FoldAgreement(**figures)
    if problems:
        raise InvalidEvidence(problems)
    return members


def ensemble_mean(predictions: Predictions) -> Predictions:
    """Average every row's prediction over seeds, as seed ``ENSEMBLE``. Every seed must have every row."""
    seeds = [rows for _, rows in predictions.seeds()]
    first = seeds[0]
    stacked = np.stack([predictions.prediction[rows] for rows in seeds])
    return replace(
        predictions.part(first),
        seed=np.full(stacked.shape[1], ENSEMBLE, dtype=np.int32),
        prediction=stacked.mean(axis=0, dtype=np.float64).astype(np.float32),
    )


def split(labels: Iterable[str], cell: NDArray[np.int32]) -> dict[str, NDArray[np.int64]]:
    """Group rows by the label of their cell, labels in order.

    Args:
        labels: of each cell; cell: [n], the cell of each row.
    """
    names, of_cell = np.unique(np.array(list(labels), dtype=np.str_), return_inverse=True)
    label = of_cell[cell]
    order = np.argsort(label, kind="stable")
    ends = np.cumsum(np.bincount(label, minlength=len(names)))
    return dict(zip(names.tolist(), np.split(order, ends[:-1]), strict=True))


def columns(predictions: Predictions) -> tuple[dict[int, Values], Values]:
    """Return the scores of each seed and the target, float64 [n], in one order of rows.

    Every seed must have every row.
    """
    seeds = list(predictions.seeds())
    scores = {seed: predictions.prediction[rows].astype(np.float64) for seed, rows in seeds}
    return scores, predictions.target[seeds[0][1]].astype(np.float64)
