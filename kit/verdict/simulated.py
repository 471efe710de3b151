"""How often intervals over few content groups contain the truth: figures of a simulation, by number of groups.

Made by ``benchmarks/simulate_intervals.py``, which docs/statistics.md describes; a test repeats some of its entries.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

#: Number of content groups to the lowest and the highest coverage over the simulated distributions.
Coverages = Mapping[int, tuple[float, float]]

#: Of the 95 % BCa interval of a figure.
BOOTSTRAP: Coverages = MappingProxyType({3: (0.58, 0.65), 9: (0.77, 0.85), 19: (0.84, 0.89)})
#: Of the grouped jackknife's interval around a score, by level.
JACKKNIFE: Mapping[float, Coverages] = MappingProxyType(
    {level: MappingProxyType({3: (level, level)}) for level in (0.5, 0.8, 0.9, 0.95)}
)


def lookup(coverages: Coverages, groups: int) -> dict[str, float]:
    """Return the entry of the largest number of groups that is no larger than ``groups``, else of the smallest."""
    nearest = max((count for count in coverages if count <= groups), default=min(coverages))
    low, high = coverages[nearest]
    return {"groups": nearest, "low": low, "high": high}
