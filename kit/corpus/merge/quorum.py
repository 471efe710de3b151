"""Check that boxes agree on the anchors, and compare them on all encodes that they share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import combinations

from kit.core import contract
from kit.core.errors import CheckFailed
from kit.core.values import CellId
from kit.corpus.merge.cells import Comparison, Difference, MergedEncode
from kit.corpus.store.boxes import BoxId, sort_key
from kit.corpus.store.shard import UNKNOWN


@dataclass(kw_only=True)
class BoxPair:
    """The comparison of two boxes over the encodes that both made.

    Attributes:
        anchors, places: anchors and encodes that both made.
        same: encodes with identical rows.
        vmaf, mean_vmaf, feature: largest differences, as in :class:`Difference`; ``_at``: the cell with each.
        disagree: anchors that differ by more than the tolerance, with their differences.
    """

    boxes: tuple[str, str]
    anchors: int = 0
    places: int = 0
    same: int = 0
    vmaf: float = 0.0
    vmaf_at: str = ""
    mean_vmaf: float = 0.0
    mean_vmaf_at: str = ""
    feature: float = 0.0
    feature_at: str = ""
    disagree: list[str] = field(default_factory=list)

    def add(self, cell: CellId, difference: Difference, *, anchor: bool, same_key: bool) -> None:
        """Count an encode that both boxes made."""
        name = str(cell)
        self.places += 1
        self.anchors += anchor
        self.same += difference.size == (False, 0.0, 0.0)
        self.vmaf, self.vmaf_at = max((self.vmaf, self.vmaf_at), (difference.vmaf, name))
        self.mean_vmaf, self.mean_vmaf_at = max((self.mean_vmaf, self.mean_vmaf_at), (difference.mean_vmaf, name))
        feature_name = f"{difference.feature_name} of {name}"
        self.feature, self.feature_at = max((self.feature, self.feature_at), (difference.feature, feature_name))
        allowed = contract.GOLDEN_TOLERANCE if same_key else contract.ANCHOR_TOLERANCE
        largest = difference.vmaf if same_key else difference.mean_vmaf
        if anchor and (difference.frames[0] != difference.frames[1] or largest > allowed):
            self.disagree.append(f"{name}: {difference}; expected {allowed:g} at most")


BoxPairs = dict[tuple[BoxId, BoxId], BoxPair]


def box_pairs(boxes: Iterable[BoxId], merged: Iterable[MergedEncode]) -> BoxPairs:
    """Return the comparison of every two boxes with names; imported rows have no box to compare.

    Args:
        merged: the merged encodes, in any order.
    """
    named = sorted((box for box in boxes if box[0]), key=sort_key)
    pairs = {(one, other): BoxPair(boxes=(shown(one), shown(other))) for one, other in combinations(named, 2)}
    for encode in merged:
        for pair, difference, same_key in _largest_differences(encode.comparisons):
            if pair in pairs:
                pairs[pair].add(encode.cell, difference, anchor=encode.encode.is_anchor, same_key=same_key)
    return pairs


def _largest_differences(
    comparisons: Sequence[Comparison],
) -> Iterator[tuple[tuple[BoxId, BoxId], Difference, bool]]:
    """Yield each pair of boxes once, with its largest difference and whether that is within one key."""
    largest: dict[tuple[BoxId, BoxId], tuple[Difference, bool]] = {}
    for comparison in comparisons:
        for one in comparison.one:
            for other in comparison.other - {one}:
                pair = (one, other) if sort_key(one) < sort_key(other) else (other, one)
                before = largest.get(pair)
                if before is None or comparison.difference.size > before[0].size:
                    largest[pair] = comparison.difference, comparison.same_key
    yield from ((pair, difference, same_key) for pair, (difference, same_key) in largest.items())


def check(pairs: BoxPairs) -> None:
    """Check that boxes agree on their anchors.

    Raises:
        CheckFailed: they disagree; the error names each pair, and the box that disagrees with most others.
    """
    disagreeing = {boxes: pair for boxes, pair in pairs.items() if pair.disagree}
    if not disagreeing:
        return
    counts = Counter(box for boxes in disagreeing for box in boxes)
    lines = [
        f"  - {' and '.join(pair.boxes)}, {len(pair.disagree)} of {pair.anchors} anchors, e.g. {pair.disagree[0]}"
        for pair in disagreeing.values()
    ]
    most = max(counts.values())
    suspects = sorted(shown(box) for box, count in counts.items() if count == most)
    hint = "Have both boxes score their anchors again; one of their scorers is broken."
    if len(suspects) == 1:
        hint = f"{suspects[0]} disagrees with {most} others; leave it out."
    raise CheckFailed("boxes disagree on their anchors, so they cannot be one corpus:\n" + "\n".join(lines), hint=hint)


def shown(box: BoxId) -> str:
    """Return the name of a box for people."""
    return box[0] or UNKNOWN
