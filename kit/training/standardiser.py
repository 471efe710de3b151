"""Mean and standard deviation of the features over the training rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Standardiser:
    """Mean and standard deviation of each feature; float32 [features] each."""

    mean: NDArray[np.float32]
    std: NDArray[np.float32]

    def apply(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return (features - mean) / std, float32 [n, features]."""
        return (features - self.mean) / self.std


def fit_standardiser(features: NDArray[np.float32], rows: NDArray[np.int32]) -> Standardiser:
    """Fit to training rows. A constant feature gets std 1, so that it is only shifted.

    Args:
        features: [n, features].
        rows: indices of the rows to fit to.
    """
    mean, std = np.ones((2, features.shape[1]), dtype=np.float32)
    for index in range(len(mean)):
        column = features[rows, index].astype(np.float64)  # one at a time: there may be millions of rows
        mean[index] = column.mean()
        std[index] = column.std() or 1.0
    return Standardiser(mean=mean, std=std)
