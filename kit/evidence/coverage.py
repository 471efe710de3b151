"""What the corpus shows and what it does not: ranges, saturation, extrapolation, sources too much alike. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from kit import contract
from kit.evidence.base import CellFacts
from kit.metrics import Values
from kit.training.table import Table

#: Cells outside the range of their training rows that are named at most, the worst first.
NAMED = 20
#: An encoder of fewer content groups or rows than these has been neither learned nor tested well.
ENCODER_GROUPS, ENCODER_ROWS = 3, 200
#: Two sources are near-duplicates if, at one shift of at most ``LAGS`` frames and over at least ``OVERLAP`` frames,
#: their motion2 correlates by ``MOTION_ALIKE``, and so does its change from frame to frame, and the other five features
#: by ``OTHERS_ALIKE``, their median. motion2 decides: it is computed from the reference alone, while the others follow
#: an encoder's pattern of frame types in all sources alike; its changes tell content from a trend that two clips share
#: by chance. The numbers were found on real clips, see docs/adr/0018.
LAGS, OVERLAP, MOTION_ALIKE, OTHERS_ALIKE = 8, 24, 0.6, 0.6
_MOTION = contract.FEATURES.index("motion2")


def covered(rows: Table, cells: Mapping[str, CellFacts]) -> dict[str, object]:
    """The ``coverage`` object of a verdict.

    Args:
        rows: every row of the corpus; cells: what is known of each of its cells.
    """
    facts = [cells[entry.key] for entry in rows.cells]
    most = contract.SCORE_RANGE[1]
    saturated = int(np.count_nonzero(rows.target >= most))
    return {
        "features": {name: _range(rows.features[:, index]) for index, name in enumerate(contract.FEATURES)},
        "scores": _range(rows.target),
        "saturated": {"score": most, "rows": saturated, "share": saturated / len(rows)},
        "outside_training": _outside(rows, facts),
        "near_duplicates": _near_duplicates(rows, facts),
        "thin_encoders": _thin(facts),
    }


def _range(values: np.ndarray[Any, np.dtype[np.float32]]) -> dict[str, float]:
    return {"min": float(values.min()), "max": float(values.max())}


def _outside(rows: Table, facts: Sequence[CellFacts]) -> dict[str, object]:
    """Cells with rows whose features no row had that their fold was trained on."""
    starts = np.concatenate([[0], np.cumsum([cell.rows for cell in facts])])[:-1]
    low, high = (reduce.reduceat(rows.features, starts, axis=0) for reduce in (np.minimum, np.maximum))
    folds = np.array([cell.fold for cell in facts])
    least = {fold: low[folds != fold].min(axis=0) for fold in np.unique(folds).tolist()}
    largest = {fold: high[folds != fold].max(axis=0) for fold in np.unique(folds).tolist()}
    found: list[dict[str, Any]] = []
    for index, (entry, cell) in enumerate(zip(rows.cells, facts, strict=True)):
        if (low[index] >= least[cell.fold]).all() and (high[index] <= largest[cell.fold]).all():
            continue
        own = rows.features[starts[index] : starts[index] + cell.rows]
        beyond = (own < least[cell.fold]) | (own > largest[cell.fold])
        count = int(np.count_nonzero(beyond.any(axis=1)))
        found.append({
            "cell": f"{cell.source} x {cell.encoder} x cq {entry.cq}", "rows": count, "share": count / cell.rows,
            "features": [name for name, hit in zip(contract.FEATURES, beyond.any(axis=0), strict=True) if hit],
        })  # fmt: skip
    found.sort(key=lambda cell: (-cell["share"], cell["cell"]))
    return {"cells": len(found), "rows": sum(cell["rows"] for cell in found), "worst": found[:NAMED]}


def _near_duplicates(rows: Table, facts: Sequence[CellFacts]) -> dict[str, object]:
    """Pairs of sources on both sides of a fold that look like the same content."""
    fold_of = {cell.source: cell.fold for cell in facts}
    shown = {source: _trajectory(rows, [index for index, cell in enumerate(facts) if cell.source == source])
             for source in sorted(fold_of)}  # fmt: skip
    pairs, compared, apart = [], 0, 0
    for one, two in combinations(shown, 2):
        if fold_of[one] == fold_of[two]:
            continue
        if (best := _best_shift(shown[one][:, _MOTION], shown[two][:, _MOTION])) is None:
            apart += 1
            continue
        compared += 1
        motion, lag = best
        if motion >= MOTION_ALIKE and (others := _others(shown[one], shown[two], lag)) >= OTHERS_ALIKE:
            pairs.append({"sources": [one, two], "motion2": motion, "others": others, "lag": lag})
    return {"compared": compared, "not_comparable": apart, "motion2_from": MOTION_ALIKE, "others_from": OTHERS_ALIKE,
            "pairs": pairs}  # fmt: skip


def _trajectory(rows: Table, cells: Sequence[int]) -> Values:
    """Features of a source by frame, mean over its cells: float64 [frames, 6]; the first frame has no motion."""
    own = [rows.features[rows.cell == index] for index in cells]
    frames = min(map(len, own))
    mean: Values = np.mean([part[1:frames].astype(np.float64) for part in own], axis=0)
    return mean


def _shifted(one: Values, two: Values, lag: int) -> tuple[Values, Values]:
    """Frames of two trajectories that lie on each other when the first one begins ``lag`` frames earlier."""
    first, second = (one[lag:], two) if lag >= 0 else (one, two[-lag:])
    length = min(len(first), len(second))
    return first[:length], second[:length]


def _correlations(one: Values, two: Values) -> Values:
    """Pearson's of each column, 0 where one is constant."""
    first, second = one - one.mean(axis=0), two - two.mean(axis=0)
    size = np.sqrt((first**2).sum(axis=0) * (second**2).sum(axis=0))
    found: Values = np.divide((first * second).sum(axis=0), size, out=np.zeros(size.shape), where=size > 0)
    return found


def _best_shift(one: Values, two: Values) -> tuple[float, int] | None:
    """How alike two motions are at the best shift, and at which; None where too few frames overlap or nothing moves.

    How alike is the smaller of two correlations: of the motion, and of its change from frame to frame.
    """
    if min(len(one), len(two)) < OVERLAP or np.ptp(one) == 0 or np.ptp(two) == 0:
        return None
    found = {}
    for lag in sorted(range(-LAGS, LAGS + 1), key=abs):
        first, second = _shifted(one, two, lag)
        if len(first) >= OVERLAP:
            changes = _correlations(np.diff(first), np.diff(second))
            found[lag] = float(min(_correlations(first, second), changes))
    lag = max(found, key=found.__getitem__)
    return found[lag], lag


def _others(one: Values, two: Values, lag: int) -> float:
    found = _correlations(*_shifted(one, two, lag))
    return float(np.median(np.delete(found, _MOTION)))


def _thin(facts: Sequence[CellFacts]) -> dict[str, object]:
    """Encoders of which there is too little."""
    of: defaultdict[str, list[CellFacts]] = defaultdict(list)
    for cell in facts:
        of[cell.encoder].append(cell)
    found = {
        name: {"groups": len({cell.group for cell in own}), "cells": len(own), "rows": sum(cell.rows for cell in own)}
        for name, own in sorted(of.items())
    }
    return {
        "groups_from": ENCODER_GROUPS, "rows_from": ENCODER_ROWS,
        "encoders": {name: seen for name, seen in found.items()
                     if seen["groups"] < ENCODER_GROUPS or seen["rows"] < ENCODER_ROWS},
    }  # fmt: skip
