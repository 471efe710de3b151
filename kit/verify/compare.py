"""Verdicts of several boxes side by side, and whether they differ by more than their own seeds do. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean
from typing import Any

from kit.corpus.store.shard import Shard
from kit.training.predictions import Predictions
from kit.verdict import evidence


@dataclass(frozen=True, kw_only=True)
class Side:
    """One bundle.

    Attributes:
        name: what the comparison calls it.
        verdict: the document that it holds.
    """

    name: str
    verdict: Mapping[str, Any]
    shard: Shard
    predictions: Predictions

    def per_seed(self) -> list[float]:
        """Mean-over-folds PLCC of each seed."""
        return [float(value) for value in self.verdict["gate"]["per_seed_plccs"].values()]

    def rmse(self, what: str) -> dict[str, list[float]]:
        """RMSE of each seed, in VMAF points, by identity of the source or by encoder."""
        of = {entry.key: entry.source_id if what == "source" else entry.encoder for entry in self.shard.cells}
        labels = [of[key] for key in self.predictions.cells]
        found: dict[str, list[float]] = {}
        for _, rows in self.predictions.seeds():
            for label, figures in evidence.slices(self.predictions.part(rows), labels).items():
                found.setdefault(label, []).append(float(str(figures["rmse"])))
        return found


@dataclass(frozen=True, kw_only=True)
class Line:
    """One figure of all sides.

    Attributes:
        what: ``verdict``, ``source`` or ``encoder``; name: of which one.
        figures: mean over seeds on each side, None where a side does not have it.
        difference: the largest between two sides; spread: the largest of a side over its seeds.
    """

    what: str
    name: str
    figures: tuple[float | None, ...]
    difference: float
    spread: float

    @property
    def disagrees(self) -> bool:
        """Whether the sides differ by more than the seeds of one of them do."""
        return self.difference > self.spread


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """All figures: PLCC of the verdict, RMSE by source and by encoder."""

    sides: tuple[Side, ...]
    lines: tuple[Line, ...]

    @property
    def disagreeing(self) -> tuple[Line, ...]:
        return tuple(line for line in self.lines if line.disagrees)

    @property
    def agree(self) -> bool:
        """Whether the verdicts are the same, and their PLCC within the spread over seeds."""
        return len({side.verdict["verdict"] for side in self.sides}) == 1 and not self.lines[0].disagrees

    @property
    def conclusion(self) -> str:
        """All of it in one line."""
        words = sorted({str(side.verdict["verdict"]) for side in self.sides})
        first = self.lines[0]
        said = (
            f"All say {words[0]}"
            if len(words) == 1
            else "The verdicts differ: " + ", ".join(f"{side.name} {side.verdict['verdict']}" for side in self.sides)
        )
        said += (
            f"; mean PLCC differs by {first.difference:.5f}, {'more than' if first.disagrees else 'within'} "
            f"the spread over seeds ({first.spread:.5f})"
        )
        for what in ("source", "encoder"):
            shared = [line for line in self.lines if line.what == what and None not in line.figures]
            off = [line.name for line in shared if line.disagrees]
            said += f"; {len(off)} of {len(shared)} shared {what}s disagree" + (f" ({', '.join(off)})" if off else "")
        return said + "."


def compare(sides: Sequence[Side]) -> Comparison:
    """Put bundles side by side; each of them has predictions."""
    lines = [_line("verdict", "mean PLCC", [side.per_seed() for side in sides])]
    labels = {entry.source_id: entry.source for side in reversed(sides) for entry in side.shard.cells}
    for what in ("source", "encoder"):
        found = [side.rmse(what) for side in sides]
        names = sorted({name for side in found for name in side}, key=lambda name: labels.get(name, name))
        lines += [_line(what, labels.get(name, name), [side.get(name, []) for side in found]) for name in names]
    return Comparison(sides=tuple(sides), lines=tuple(lines))


def _line(what: str, name: str, per_seed: Sequence[Sequence[float]]) -> Line:
    means = [fmean(values) if values else None for values in per_seed]
    there = [mean for mean in means if mean is not None]
    return Line(
        what=what,
        name=name,
        figures=tuple(means),
        difference=max((abs(one - two) for one, two in combinations(there, 2)), default=0.0),
        spread=max(max(values) - min(values) for values in per_seed if values),
    )
