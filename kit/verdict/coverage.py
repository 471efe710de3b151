"""What the corpus covers: ranges, saturation, extrapolation, near-duplicates, encoders with few rows. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kit.core import contract
from kit.training.table import Table
from kit.verdict.baselines import Corpus
from kit.verdict.near_duplicates import near_duplicates
from kit.verdict.out_of_fold import CellFacts

#: Cells outside the range of their training rows that a verdict names, the worst first.
NAMED = 20
#: An encoder with fewer content groups or rows than these is neither learned nor tested well.
ENCODER_GROUPS, ENCODER_ROWS = 3, 200
#: A source with a larger share of the training rows decides what the networks learn.
LARGEST_SHARE = 1 / 3


def coverage(rows: Table, cells: Mapping[str, CellFacts], corpus: Corpus) -> dict[str, object]:
    """Build the ``coverage`` object of a verdict.

    Args:
        rows: every row of the corpus; cells: facts of each of its cells.
    """
    facts = [cells[entry.key] for entry in rows.cells]
    most = contract.SCORE_RANGE[1]
    saturated = int(np.count_nonzero(rows.target >= most))
    return {
        "features": {name: _range(rows.features[:, index]) for index, name in enumerate(contract.FEATURES)},
        "scores": _range(rows.target),
        "saturated": {"score": most, "rows": saturated, "share": saturated / len(rows)},
        "outside_training": _outside(rows, facts),
        "near_duplicates": near_duplicates(rows, facts, corpus.fingerprints),
        "thin_encoders": _thin(facts),
        "rows_by_source": rows_by_source(facts, corpus.max_rows_per_source),
    }


def rows_by_source(facts: Sequence[CellFacts], most: int | None) -> dict[str, object]:
    """Build the ``rows_by_source`` of a verdict's ``coverage``: the source with most training rows, and its share.

    Args:
        most: most training rows of a source; None for no limit.
    """
    rows: defaultdict[str, int] = defaultdict(int)
    for cell in facts:
        rows[cell.source] += cell.rows
    trained = {source: min(count, most or count) for source, count in rows.items()}
    largest = max(sorted(trained), key=lambda source: (trained[source], rows[source]))
    share = trained[largest] / sum(trained.values())
    return {
        "largest": largest,
        "share": share,
        "share_of_all": rows[largest] / sum(rows.values()),
        "warn_above": LARGEST_SHARE,
        "warn": share > LARGEST_SHARE,
        "max_rows_per_source": most,
    }


def share_sentence(figures: Mapping[str, Any]) -> str:
    """Return ``rows_by_source`` in words, with what to do where it is a warning."""
    most = figures["max_rows_per_source"]
    limit = f" (at most {most} of a source are trained on)" if most else ""
    text = f"{figures['largest']} has the most: {figures['share']:.0%} of the training rows{limit}."
    if figures["warn"]:
        text += f" Above {figures['warn_above']:.0%} one source decides what is learned: use --max-rows-per-source."
    return text


def _range(values: np.ndarray[Any, np.dtype[np.float32]]) -> dict[str, float]:
    return {"min": float(values.min()), "max": float(values.max())}


def _outside(rows: Table, facts: Sequence[CellFacts]) -> dict[str, object]:
    """List the cells with rows whose features are outside the range of the rows that their fold was trained on."""
    starts = np.concatenate([[0], np.cumsum([cell.rows for cell in facts])])[:-1]
    low, high = (reduce.reduceat(rows.features, starts, axis=0) for reduce in (np.minimum, np.maximum))
    folds = np.array([cell.fold for cell in facts])
    least = {fold: low[folds != fold].min(axis=0) for fold in np.unique(folds).tolist()}
    largest = {fold: high[folds != fold].max(axis=0) for fold in np.unique(folds).tolist()}
    outside: list[dict[str, Any]] = []
    for index, (entry, cell) in enumerate(zip(rows.cells, facts, strict=True)):
        if (low[index] >= least[cell.fold]).all() and (high[index] <= largest[cell.fold]).all():
            continue
        features = rows.features[starts[index] : starts[index] + cell.rows]
        beyond = (features < least[cell.fold]) | (features > largest[cell.fold])
        count = int(np.count_nonzero(beyond.any(axis=1)))
        outside.append(
            {
                "cell": str(entry.id),
                "rows": count,
                "share": count / cell.rows,
                "features": [name for name, hit in zip(contract.FEATURES, beyond.any(axis=0), strict=True) if hit],
            }
        )
    outside.sort(key=lambda cell: (-cell["share"], cell["cell"]))
    return {"cells": len(outside), "rows": sum(cell["rows"] for cell in outside), "worst": outside[:NAMED]}


def _thin(facts: Sequence[CellFacts]) -> dict[str, object]:
    """List the encoders with fewer content groups or rows than the limits."""
    by_encoder: defaultdict[str, list[CellFacts]] = defaultdict(list)
    for cell in facts:
        by_encoder[cell.encoder].append(cell)
    counts = {
        name: {
            "groups": len({cell.group for cell in cells}),
            "cells": len(cells),
            "rows": sum(cell.rows for cell in cells),
        }
        for name, cells in sorted(by_encoder.items())
    }
    return {
        "groups_from": ENCODER_GROUPS,
        "rows_from": ENCODER_ROWS,
        "encoders": {
            name: count
            for name, count in counts.items()
            if count["groups"] < ENCODER_GROUPS or count["rows"] < ENCODER_ROWS
        },
    }
