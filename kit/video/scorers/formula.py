"""The published formula of a teacher: its score, computed from the six features.

``vmaf_v0.6.1`` is a support vector regression: with the features x, each scaled as ``slope * x + intercept``,

    score = (sum_i alpha_i exp(-gamma |x - s_i|^2) - rho - intercept_0) / slope_0, clipped to 0 to 100.

Support vectors s, coefficients alpha, gamma, rho, slopes and intercepts come from Netflix's model file, which is in
``kit/video/scorers/netflix/`` with its licence. The file's ``score_transform`` is for phone screens: libvmaf applies it
if asked for ``enable_transform``, which the kit never asks for.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kit.core import contract
from kit.core.values import Teacher
from kit.system.fsio import read_json, sha256_file
from kit.video.scorers.teachers import CANONICAL

MODEL = Path(__file__).with_name("netflix") / f"{contract.CANONICAL_MODEL}.json"
#: Rows computed at a time: so few that BLAS starts no threads, which on a busy box take ten times as long, and that the
#: kernel values stay in the cache.
_CHUNK = 32


@dataclass(frozen=True, kw_only=True, eq=False)
class Formula:
    """A support vector regression of the six features, in the order of ``contract.FEATURES``.

    Attributes:
        slopes, intercepts: float64 [6], scale the features.
        vectors: float64 [vectors, 6], scaled; coefficients: float64 [vectors].
        gamma, rho: of the kernel and of the sum.
        slope, intercept: of the score.
    """

    slopes: NDArray[np.float64]
    intercepts: NDArray[np.float64]
    vectors: NDArray[np.float64]
    coefficients: NDArray[np.float64]
    gamma: float
    rho: float
    slope: float
    intercept: float

    def scores(self, features: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """Return the score of each row of features [n, 6], in VMAF points [n]; NaN where a feature is too large."""
        scores = np.empty(len(features))
        norms = (self.vectors**2).sum(axis=1)
        with np.errstate(over="ignore", invalid="ignore"):
            for begin in range(0, len(features), _CHUNK):
                x = features[begin : begin + _CHUNK].astype(np.float64) * self.slopes + self.intercepts
                squares = (x**2).sum(axis=1)[:, None] + norms - 2 * x @ self.vectors.T
                scores[begin : begin + _CHUNK] = np.exp(-self.gamma * squares) @ self.coefficients
        low, high = contract.SCORE_RANGE
        clipped: NDArray[np.float64] = np.clip((scores - self.rho - self.intercept) / self.slope, low, high)
        return clipped


def formula_of(teacher: Teacher | None) -> Formula | None:
    """Return the formula of a teacher; None if the kit has none.

    Args:
        teacher: None for rows that do not name theirs; then that of the default teacher.
    """
    known = teacher is None or teacher == CANONICAL or teacher.sha256 == _model_sha256()
    return _canonical() if known else None


@cache
def _model_sha256() -> str:
    return sha256_file(MODEL)


@cache
def _canonical() -> Formula:
    """Read the model file."""
    document: Any = read_json(MODEL)
    model = document["model_dict"]
    header, _, body = str(model["model"]).partition("\nSV\n")
    facts = dict(line.split(" ", 1) for line in header.splitlines())
    coefficients, vectors = zip(*map(_vector, body.splitlines()), strict=True)
    # the file has the names of libvmaf: VMAF_integer_feature_adm2_score
    names = [name.removeprefix("VMAF_integer_feature_").removesuffix("_score") for name in model["feature_names"]]
    order = [names.index(name) for name in contract.FEATURES]
    slope, *slopes = model["slopes"]
    intercept, *intercepts = model["intercepts"]
    return Formula(
        slopes=np.array(slopes)[order],
        intercepts=np.array(intercepts)[order],
        vectors=np.array(vectors)[:, order],
        coefficients=np.array(coefficients),
        gamma=float(facts["gamma"]),
        rho=float(facts["rho"]),
        slope=float(slope),
        intercept=float(intercept),
    )


def _vector(line: str) -> tuple[float, list[float]]:
    """Parse a support vector of libsvm's text: ``alpha 1:x1 3:x3``; an absent value is 0."""
    coefficient, *pairs = line.split()
    values: Iterator[tuple[str, str, str]] = (pair.partition(":") for pair in pairs)
    given = {int(index): float(value) for index, _, value in values}
    return float(coefficient), [given.get(index, 0.0) for index in range(1, len(contract.FEATURES) + 1)]
