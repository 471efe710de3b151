"""Find sources of different folds that show the same content, by fingerprints or by features. Pure.

Where a source has no fingerprint, as in shards of earlier versions, the trajectories of the features are compared. They
also take different scenes for one, so such pairs only warn.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kit.core import contract
from kit.training.table import Table
from kit.verdict.metrics import Values
from kit.verdict.out_of_fold import CellFacts
from kit.video.fingerprints.compare import find_pairs
from kit.video.fingerprints.fingerprint import Fingerprint

#: Two sources are near-duplicates if, at one shift of at most ``LAGS`` frames and over at least ``OVERLAP`` frames,
#: three correlations are high enough: of motion2 and of its change from frame to frame at least ``MOTION_ALIKE``, and
#: the median over the other five features at least ``OTHERS_ALIKE``. motion2 decides: it is computed from the reference
#: alone, while the others follow an encoder's pattern of frame types in every source; its changes separate content from
#: a trend that two clips share by chance. The numbers were measured on real clips, see docs/adr/0018.
LAGS, OVERLAP, MOTION_ALIKE, OTHERS_ALIKE = 8, 24, 0.6, 0.6
#: A larger shift must be better by more than a rounding error, so that every machine chooses the same one.
_BETTER = 1e-9
_MOTION = contract.FEATURES.index("motion2")


def near_duplicates(
    rows: Table, facts: Sequence[CellFacts], fingerprints: Mapping[str, Fingerprint]
) -> dict[str, object]:
    """Build the ``near_duplicates`` of a verdict's ``coverage``: pairs of sources whose folds differ.

    Args:
        facts: of each of the table's cells.
        fingerprints: by label, of the sources that have one. Without any, features alone are compared; without some,
            the pairs that lack one are compared by features and listed apart.
    """
    fold_of = {cell.source: cell.fold for cell in facts}
    known = {name: fingerprints[name] for name in fold_of if name in fingerprints}
    without = sorted(fold_of.keys() - known.keys())
    by_features = features_alike(rows, facts) if without else {"pairs": []}
    if not known:
        return {"method": "features", **by_features}
    found = find_pairs(known, fold_of)
    pairs = [
        {
            "sources": list(pair.labels),
            "similarity": pair.similarity,
            "threshold": pair.threshold,
            "shift": pair.shift,
            "mirrored": pair.mirrored,
        }
        for pair in found.pairs
    ]
    return {
        "method": "fingerprints",
        "compared": found.compared,
        "not_comparable": found.not_comparable,
        "pairs": pairs,
        "without_fingerprint": without,
        "suspected": [pair for pair in by_features["pairs"] if not known.keys() >= set(pair["sources"])],
    }


def features_alike(rows: Table, facts: Sequence[CellFacts]) -> dict[str, Any]:
    """Compare sources by their features.

    Args:
        facts: of each of the table's cells.
    """
    fold_of = {cell.source: cell.fold for cell in facts}
    features = trajectories(rows, facts)
    names = sorted(features)
    similarity, lags = motion_similarity([features[name][:, _MOTION] for name in names])
    _, fold = np.unique([fold_of[name] for name in names], return_inverse=True)
    apart = np.triu(fold[:, None] != fold[None, :])
    compared = apart & np.isfinite(similarity)
    pairs = []
    for one, two in np.argwhere(compared & (similarity >= MOTION_ALIKE)).tolist():
        lag = int(lags[one, two])
        others = others_similarity(features[names[one]], features[names[two]], lag)
        if others >= OTHERS_ALIKE:
            pairs.append(
                {
                    "sources": [names[one], names[two]],
                    "motion2": float(similarity[one, two]),
                    "others": others,
                    "lag": lag,
                }
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
    """Average each source's features over its cells: float64 [frames - 1, 6].

    The first frame is left out: it has no motion.
    """
    of_source: defaultdict[str, list[Values]] = defaultdict(list)
    start = 0
    for cell in facts:
        of_source[cell.source].append(rows.features[start + 1 : start + cell.rows].astype(np.float64))
        start += cell.rows
    return {
        name: np.mean([part[: min(map(len, parts))] for part in parts], axis=0) for name, parts in of_source.items()
    }


def motion_similarity(motions: Sequence[Values]) -> tuple[Values, NDArray[np.int64]]:
    """Compute the similarity of the motion of every two sources at their best shift, and that shift.

    The similarity is the smaller of two correlations: of the motion, and of its change from frame to frame.

    Args:
        motions: of each of S sources, float64 [its frames].

    Returns:
        [S, S] each; the similarity is not finite where too few frames overlap or nothing moves. At a lag above 0 the
        second source shows what the first one shows that many frames later.
    """
    best = np.full((len(motions), len(motions)), -np.inf)
    lags = np.zeros(best.shape, dtype=np.int64)
    of_length: defaultdict[int, list[int]] = defaultdict(list)
    for index, motion in enumerate(motions):
        if len(motion) and np.ptp(motion) > 0:
            of_length[len(motion)].append(index)
    stacked = {length: np.stack([motions[index] for index in members]) for length, members in of_length.items()}
    for one, two in product(of_length, repeat=2):
        block = np.ix_(of_length[one], of_length[two])
        for lag in sorted(range(-LAGS, LAGS + 1), key=abs):
            first, second = _shifted(stacked[one], stacked[two], lag)
            if first.shape[1] < OVERLAP:
                continue
            similarity = np.minimum(_correlations(first, second), _correlations(np.diff(first), np.diff(second)))
            better = similarity > best[block] + _BETTER
            lags[block] = np.where(better, lag, lags[block])
            best[block] = np.where(better, similarity, best[block])
    return best, lags


def others_similarity(one: Values, two: Values, lag: int) -> float:
    """Correlate two trajectories [frames, 6] at a shift; return the median over the features other than motion2."""
    correlations = np.diag(_correlations(*_shifted(one.T, two.T, lag)))
    return float(np.median(np.delete(correlations, _MOTION)))


def _shifted(one: Values, two: Values, lag: int) -> tuple[Values, Values]:
    """Return the columns of [a, frames] and [b, frames] that overlap when the first begins ``lag`` frames earlier."""
    first, second = (one[:, lag:], two) if lag >= 0 else (one, two[:, -lag:])
    length = min(first.shape[1], second.shape[1])
    return first[:, :length], second[:, :length]


def _correlations(one: Values, two: Values) -> Values:
    """Correlate (Pearson) every row of one with every row of the other: [a, b], 0 where a row is constant."""
    correlations: Values = _unit(one) @ _unit(two).T
    return correlations


def _unit(values: Values) -> Values:
    centred = values - values.mean(axis=1, keepdims=True)
    size = np.sqrt((centred**2).sum(axis=1, keepdims=True))
    scaled: Values = np.divide(centred, size, out=np.zeros_like(centred), where=size > 0)
    return scaled
