"""The least-squares baseline computed again, in numpy alone and apart from the code that trained it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kit.core import contract
from kit.training.folds import Fold
from kit.training.standardiser import fit_standardiser
from kit.training.table import Table

#: Rows of one part of the sums.
_PART = 1 << 16


def linear_scores(rows: Table, fold: Fold) -> NDArray[np.float64]:
    """Return the scores of the rows that a fold holds out, by the line through the features of its training rows."""
    scale = fit_standardiser(rows.features, fold.train)

    def columns(part: NDArray[np.int32]) -> NDArray[np.float64]:
        inputs = scale.apply(rows.features[part]).astype(np.float64)
        return np.concatenate([inputs, np.ones((len(part), 1))], axis=1)

    width = rows.features.shape[1] + 1
    products, moments = np.zeros((width, width)), np.zeros(width)
    for begin in range(0, len(fold.train), _PART):
        part = fold.train[begin : begin + _PART]
        x = columns(part)
        products += x.T @ x
        moments += x.T @ rows.target[part].astype(np.float64)
    weights = np.linalg.lstsq(products, moments, rcond=1e-12)[0]
    return np.clip(columns(fold.held) @ weights, *contract.SCORE_RANGE)
