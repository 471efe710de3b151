"""What the corpus shows and what it does not: ranges, saturation, extrapolation, sources too much alike. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kit.core import contract
from kit.training.table import Table
from kit.verdict.base import CellFacts
from kit.verdict.near_duplicates import near_duplicates

#: Cells outside the range of their training rows that are named at most, the worst first.
NAMED = 20
#: An encoder of fewer content groups or rows than these has been neither learned nor tested well.
ENCODER_GROUPS, ENCODER_ROWS = 3, 200


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
        "near_duplicates": near_duplicates(rows, facts),
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
        found.append(
            {
                "cell": str(entry.id),
                "rows": count,
                "share": count / cell.rows,
                "features": [name for name, hit in zip(contract.FEATURES, beyond.any(axis=0), strict=True) if hit],
            }
        )
    found.sort(key=lambda cell: (-cell["share"], cell["cell"]))
    return {"cells": len(found), "rows": sum(cell["rows"] for cell in found), "worst": found[:NAMED]}


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
        "groups_from": ENCODER_GROUPS,
        "rows_from": ENCODER_ROWS,
        "encoders": {
            name: seen for name, seen in found.items() if seen["groups"] < ENCODER_GROUPS or seen["rows"] < ENCODER_ROWS
        },
    }
