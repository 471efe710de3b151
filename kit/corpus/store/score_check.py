"""Compare scores with the teacher's formula: where one is known, a score must follow from the features of its row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kit.core import contract
from kit.core.values import CellId, Teacher
from kit.video.scorers.formula import Formula, formula_of

#: Cells that a message names.
_LISTED = 5
#: What to do about refused rows.
HINT = (
    "Score the clips again, or leave these cells out. If another model made the scores, name it: --assume-teacher NAME "
    "(merge, corpus import) or --teacher NAME (run)."
)


@dataclass(frozen=True, kw_only=True)
class Deviation:
    """The difference of a cell's scores from the formula, in VMAF points.

    Attributes:
        wrong: number of rows beyond ``contract.FORMULA_TOLERANCE``, of ``rows``.
        largest: absolute; mean: of all rows, positive where the scores are too high.
    """

    cell: CellId
    rows: int
    wrong: int
    largest: float
    mean: float

    def __str__(self) -> str:
        return f"{self.cell}: {self.wrong} of {self.rows} rows, by up to {self.largest:.3g}, mean {self.mean:+.3g}"


class ScoreCheck:
    """Compares the scores of cells with the formula and collects those that differ. Threads may share one.

    Args:
        teacher: of the cells; None for rows that do not name theirs, which are taken to be the default teacher's.
    """

    def __init__(self, teacher: Teacher | None) -> None:
        self.teacher = teacher
        self.formula: Formula | None = formula_of(teacher)
        self.deviations: list[Deviation] = []

    def add(self, cell: CellId, features: NDArray[np.floating[Any]], scores: NDArray[np.floating[Any]]) -> None:
        """Compare the scores [n] of a cell's rows, VMAF points, with those of their features [n, 6]."""
        if self.formula is None:
            return
        differences = scores - self.formula.scores(features)
        sizes = np.abs(differences)
        deviation = Deviation(
            cell=cell,
            rows=len(sizes),
            wrong=int((~(sizes <= contract.FORMULA_TOLERANCE)).sum()),  # also NaN, of features that are too large
            largest=float(sizes.max()),
            mean=float(differences.mean()),
        )
        self.deviations.append(deviation)

    @property
    def agreed(self) -> str:
        """One line: how closely all scores follow from their features."""
        return agreement([self])

    @property
    def problem(self) -> str | None:
        """A message of several lines if scores differ; the cells with the largest differences are named."""
        wrong = sorted(
            (one for one in self.deviations if one.wrong), key=lambda one: (-one.largest, -abs(one.mean), one.cell)
        )
        if not wrong:
            return None
        rows, of = sum(one.wrong for one in wrong), sum(one.rows for one in self.deviations)
        mean = sum(one.mean * one.rows for one in wrong) / sum(one.rows for one in wrong)
        lines = [str(one) for one in wrong[:_LISTED]]
        lines += [f"and {len(wrong) - _LISTED} more cells"] if len(wrong) > _LISTED else []
        return (
            f"{rows} of {of} scores in {len(wrong)} of {len(self.deviations)} cells do not follow from their features "
            f"by the formula of {self.teacher or contract.DEFAULT_TEACHER}, mean difference {mean:+.3g}, "
            f"expected {contract.FORMULA_TOLERANCE} at most:" + "".join(f"\n  - {line}" for line in lines)
        )


def agreement(checks: Sequence[ScoreCheck]) -> str:
    """Return one line: how closely the scores of all checks, which have one teacher, follow from their features."""
    first = checks[0]
    if first.formula is None:
        return f"Scores unchecked: the kit has no formula of the teacher {first.teacher}"
    largest = max((one.largest for check in checks for one in check.deviations), default=0.0)
    rows = sum(one.rows for check in checks for one in check.deviations)
    return f"{rows} scores follow from their features by the teacher's formula, largest difference {largest:.2g}"
