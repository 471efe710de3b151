"""Sources that look like the same content on both sides of a fold, by the trajectories of their features. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray

from kit.core import contract
from kit.training.table import Table
from kit.verdict.base import CellFacts
from kit.verdict.metrics import Values

#: Two sources are near-duplicates if, at one shift of at most ``LAGS`` frames and over at least ``OVERLAP`` frames,
#: their motion2 correlates by ``MOTION_ALIKE``, and so does its change from frame to frame, and the other five features
#: by ``OTHERS_ALIKE``, their median. motion2 decides: it is computed from the reference alone, while the others follow
#: an encoder's pattern of frame types in all sources alike; its changes tell content from a trend that two clips share
#: by chance. The numbers were found on real clips, see docs/adr/0018.
LAGS, OVERLAP, MOTION_ALIKE, OTHERS_ALIKE = 8, 24, 0.6, 0.6
#: A shift is better than a smaller one by more than a rounding, or it is not: every machine has to find the same.
_BETTER = 1e-9
_MOTION = contract.FEATURES.index("motion2")


def near_duplicates(rows: Table, facts: Sequence[CellFacts]) -> dict[str, object]:
    """The ``near_duplicates`` of a verdict's ``coverage``: pairs of sources whose folds differ.

    Args:
        facts: of each of the table's cells.
    """
    fold_of = {cell.source: cell.fold for cell in facts}
    shown = trajectories(rows, facts)
    names = sorted(shown)
    alike, lags = motion_alike([shown[name][:, _MOTION] for name in names])
    _, fold = np.unique([fold_of[name] for name in names], return_inverse=True)
    apart = np.triu(fold[:, None] != fold[None, :])
    compared = apart & np.isfinite(alike)
    pairs = []
    for one, two in np.argwhere(compared & (alike >= MOTION_ALIKE)).tolist():
        lag = int(lags[one, two])
        others = others_alike(shown[names[one]], shown[names[two]], lag)
        if others >= OTHERS_ALIKE:
            pairs.append(
                {"sources": [names[one], names[two]], "motion2": float(alike[one, two]), "others": others, "lag": lag}
            )
    count = int(np.count_nonzero(compared))
    return {
        "compared": count,
        "not_comparable": int(np.count_nonzero(apart)) - count,
        "motion2_from": MOTION_ALIKE,
        "others_from": OTHERS_ALIKE,
        "pairs": pairs,
    }


def trajectories(rows: Table, facts: Sequence[CellFacts]) -> Mapping[str, Values]:
    """Features of each source by frame, mean over its cells: float64 [frames, 6]; the first frame has no motion."""
    own: defaultdict[str, list[Values]] = defaultdict(list)
    start = 0
    for cell in facts:
        own[cell.source].append(rows.features[start + 1 : start + cell.rows].astype(np.float64))
        start += cell.rows
    return {name: np.mean([part[: min(map(len, parts))] for part in parts], axis=0) for name, parts in own.items()}


def motion_alike(motions: Sequence[Values]) -> tuple[Values, NDArray[np.int64]]:
    """How alike the motions of every two sources are at their best shift, and at which.

    How alike is the smaller of two correlations: of the motion, and of its change from frame to frame.

    Args:
        motions: of each of S sources, float64 [its frames].

    Returns:
        [S, S] each; not finite where too few frames overlap or nothing moves. At a lag above 0 the second source shows
        what the first one shows so many frames later.
    """
    alike = np.full((len(motions), len(motions)), -np.inf)
    lags = np.zeros(alike.shape, dtype=np.int64)
    of_length: defaultdict[int, list[int]] = defaultdict(list)
    for index, motion in enumerate(motions):
        if len(motion) and np.ptp(motion) > 0:
            of_length[len(motion)].append(index)
    stacked = {length: np.stack([motions[index] for index in own]) for length, own in of_length.items()}
    for one, two in product(of_length, repeat=2):
        block = np.ix_(of_length[one], of_length[two])
        for lag in sorted(range(-LAGS, LAGS + 1), key=abs):
            first, second = _shifted(stacked[one], stacked[two], lag)
            if first.shape[1] < OVERLAP:
                continue
            found = np.minimum(_correlations(first, second), _correlations(np.diff(first), np.diff(second)))
            better = found > alike[block] + _BETTER
            lags[block] = np.where(better, lag, lags[block])
            alike[block] = np.where(better, found, alike[block])
    return alike, lags


def others_alike(one: Values, two: Values, lag: int) -> float:
    """Median over the features but motion2 of the correlation of two trajectories [frames, 6] at a shift."""
    found = np.diag(_correlations(*_shifted(one.T, two.T, lag)))
    return float(np.median(np.delete(found, _MOTION)))


def _shifted(one: Values, two: Values, lag: int) -> tuple[Values, Values]:
    """Columns of [a, frames] and [b, frames] that lie on each other when the first begins ``lag`` frames earlier."""
    first, second = (one[:, lag:], two) if lag >= 0 else (one, two[:, -lag:])
    length = min(first.shape[1], second.shape[1])
    return first[:, :length], second[:, :length]


def _correlations(one: Values, two: Values) -> Values:
    """Pearson's of every row of one with every row of the other, 0 where one is constant: [a, b]."""
    found: Values = _unit(one) @ _unit(two).T
    return found


def _unit(values: Values) -> Values:
    centred = values - values.mean(axis=1, keepdims=True)
    size = np.sqrt((centred**2).sum(axis=1, keepdims=True))
    scaled: Values = np.divide(centred, size, out=np.zeros_like(centred), where=size > 0)
    return scaled
