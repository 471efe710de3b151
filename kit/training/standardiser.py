"""What makes the six features comparable: their mean and standard deviation over the rows that are trained on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kit.core import contract


@dataclass(frozen=True, kw_only=True)
class Standardiser:
    """Mean and standard deviation of the six features over the training rows; float32 [6] each."""

    mean: NDArray[np.float32]
    std: NDArray[np.float32]

    def apply(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """(features - mean) / std, float32 [n, 6]."""
        return (features - self.mean) / self.std


def fit_standardiser(features: NDArray[np.float32], rows: NDArray[np.int32]) -> Standardiser:
    """Fit on training rows only. A feature that never varies is left at its distance from the mean (std 1).

    Args:
        features: [n, 6 or more], the features first.
        rows: which of them to fit on.
    """
    mean, std = np.ones((2, len(contract.FEATURES)), dtype=np.float32)
    for index in range(len(mean)):
        column = features[rows, index].astype(np.float64)  # one at a time: there may be millions of rows
        mean[index] = column.mean()
        std[index] = column.std() or 1.0
    return Standardiser(mean=mean, std=std)
