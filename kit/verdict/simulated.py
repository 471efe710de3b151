"""How often intervals over few content groups contain the truth: figures of a simulation, by number of groups.

Made by ``benchmarks/simulate_intervals.py``, which docs/statistics.md describes; a test repeats some of its entries.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

#: Number of content groups to the lowest and the highest coverage over the simulated distributions.
Coverages = Mapping[int, tuple[float, float]]

#: Of the 95 % BCa interval of a figure; 4,000 repetitions, standard error at most 0.008.
BOOTSTRAP: Coverages = MappingProxyType(
    {
        3: (0.572, 0.734),
        4: (0.634, 0.798),
        5: (0.671, 0.839),
        6: (0.723, 0.861),
        7: (0.732, 0.874),
        8: (0.762, 0.885),
        9: (0.767, 0.896),
        12: (0.797, 0.911),
        15: (0.829, 0.916),
        19: (0.830, 0.933),
        25: (0.853, 0.939),
        30: (0.855, 0.936),
        40: (0.867, 0.943),
    }
)
#: Of the grouped jackknife's interval around a score, by level; where it is finite.
JACKKNIFE: Mapping[float, Coverages] = MappingProxyType(
    {
        0.5: MappingProxyType(
            {
                3: (0.661, 0.666),
                4: (0.624, 0.632),
                5: (0.600, 0.608),
                6: (0.587, 0.594),
                7: (0.576, 0.580),
                8: (0.567, 0.571),
                9: (0.561, 0.564),
                12: (0.544, 0.547),
                15: (0.535, 0.537),
                19: (0.526, 0.528),
                25: (0.519, 0.522),
                30: (0.516, 0.518),
                40: (0.513, 0.517),
            }
        ),
        0.8: MappingProxyType(
            {
                4: (0.978, 0.980),
                5: (0.929, 0.933),
                6: (0.910, 0.911),
                7: (0.894, 0.896),
                8: (0.884, 0.886),
                9: (0.875, 0.878),
                12: (0.856, 0.861),
                15: (0.847, 0.849),
                19: (0.834, 0.839),
                25: (0.827, 0.832),
                30: (0.823, 0.826),
                40: (0.819, 0.821),
            }
        ),
        0.9: MappingProxyType(
            {
                9: (0.989, 0.994),
                12: (0.961, 0.966),
                15: (0.950, 0.952),
                19: (0.940, 0.941),
                25: (0.930, 0.933),
                30: (0.927, 0.927),
                40: (0.920, 0.922),
            }
        ),
        0.95: MappingProxyType({19: (0.992, 0.997), 25: (0.981, 0.984), 30: (0.976, 0.979), 40: (0.969, 0.972)}),
    }
)


def lookup(coverages: Coverages, groups: int) -> dict[str, float]:
    """Return the entry of the largest number of groups that is no larger than ``groups``, else of the smallest."""
    nearest = max((count for count in coverages if count <= groups), default=min(coverages))
    low, high = coverages[nearest]
    return {"groups": nearest, "low": low, "high": high}
