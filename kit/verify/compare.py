"""Compare the verdicts of several boxes with the spread over their seeds. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean
from typing import Any

from kit.corpus.store.shard import Shard
from kit.training.predictions import Predictions
from kit.verdict.accuracy import by_label


@dataclass(frozen=True, kw_only=True)
class Side:
    """One bundle.

    Attributes:
        name: its name in the comparison.
        verdict: the content of its verdict file.
    """

    name: str
    verdict: Mapping[str, Any]
    shard: Shard
    predictions: Predictions

    def per_seed(self) -> list[float]:
        """Return the mean-over-folds PLCC of each seed."""
        return [float(value) for value in self.verdict["gate"]["per_seed_plccs"].values()]

    def rmse(self, what: str) -> dict[str, list[float]]:
        """Return the RMSE of each seed, in VMAF points, by identity of the source or by encoder."""
        label_of = {entry.key: entry.source_id if what == "source" else entry.encoder for entry in self.shard.cells}
        labels = [label_of[key] for key in self.predictions.cells]
        by_name: dict[str, list[float]] = {}
        for _, rows in self.predictions.seeds():
            for label, figures in by_label(self.predictions.part(rows), labels).items():
                by_name.setdefault(label, []).append(float(str(figures["rmse"])))
        return by_name


@dataclass(frozen=True, kw_only=True)
class Line:
    """One figure of all sides.

    Attributes:
        what: ``verdict``, ``source`` or ``encoder``; name: which one.
        figures: mean over seeds for each side, None where a side does not have it.
        difference: the largest between two sides; spread: the largest of a side over its seeds.
    """

    what: str
    name: str
    figures: tuple[float | None, ...]
    difference: float
    spread: float

    @property
    def disagrees(self) -> bool:
        """Whether the sides differ by more than the seeds of one of them."""
        return self.difference > self.spread


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """All figures: first the PLCC of the verdict, then the RMSE by source and by encoder."""

    sides: tuple[Side, ...]
    lines: tuple[Line, ...]

    @property
    def agree(self) -> bool:
        """Whether the verdicts are equal and their PLCC within the spread over seeds."""
        return len(self._words) == 1 and not self.lines[0].disagrees

    @property
    def _words(self) -> set[str]:
        return {str(side.verdict["verdict"]) for side in self.sides}

    @property
    def conclusion(self) -> str:
        """The comparison in one line."""
        first = self.lines[0]
        by_side = ", ".join(f"{side.name} {side.verdict['verdict']}" for side in self.sides)
        parts = [
            f"All verdicts are {by_side.rsplit(' ', 1)[1]}" if len(self._words) == 1 else f"Verdicts differ: {by_side}",
            f"mean PLCC differs by {first.difference:.5f}, {'more than' if first.disagrees else 'within'} the spread "
            f"over seeds ({first.spread:.5f})",
        ]
        for what in ("source", "encoder"):
            shared = [line for line in self.lines if line.what == what and None not in line.figures]
            disagreeing = [line.name for line in shared if line.disagrees]
            names = f" ({', '.join(disagreeing)})" if disagreeing else ""
            parts.append(f"{len(disagreeing)} of {len(shared)} shared {what}s disagree{names}")
        return "; ".join(parts) + "."


def compare(sides: Sequence[Side]) -> Comparison:
    """Compare bundles that all have predictions."""
    lines = [_line("verdict", "mean PLCC", [side.per_seed() for side in sides])]
    labels = {entry.source_id: entry.source for side in reversed(sides) for entry in side.shard.cells}
    for what in ("source", "encoder"):
        by_side = [side.rmse(what) for side in sides]
        names = sorted({name for by_name in by_side for name in by_name}, key=lambda name: labels.get(name, name))
        lines += [_line(what, labels.get(name, name), [by_name.get(name, []) for by_name in by_side]) for name in names]
    return Comparison(sides=tuple(sides), lines=tuple(lines))


def _line(what: str, name: str, per_seed: Sequence[Sequence[float]]) -> Line:
    means = [fmean(values) if values else None for values in per_seed]
    present = [mean for mean in means if mean is not None]
    return Line(
        what=what,
        name=name,
        figures=tuple(means),
        difference=max((abs(one - two) for one, two in combinations(present, 2)), default=0.0),
        spread=max(max(values) - min(values) for values in per_seed if values),
    )
