"""Whether boxes agree where they have made the same: on the anchors, and on whatever else they share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import combinations

from kit.core import contract
from kit.core.errors import CheckFailed
from kit.corpus.merge.cells import Apart, Compared, Merged
from kit.corpus.store.boxes import Who


@dataclass(kw_only=True)
class Pair:
    """Two boxes and how far their cells of the same places are apart.

    Attributes:
        anchors, places: how many they share; same: of the places, with the same rows.
        vmaf, mean_vmaf, feature: largest differences, as in :class:`Apart`; each with the cell where it is.
        disagree: anchors that differ by more than is allowed, in words.
    """

    anchors: int = 0
    places: int = 0
    same: int = 0
    vmaf: tuple[float, str] = (0.0, "")
    mean_vmaf: tuple[float, str] = (0.0, "")
    feature: tuple[float, str] = (0.0, "")
    disagree: list[str] = field(default_factory=list)


Pairs = dict[tuple[Who, Who], Pair]


def order(one: Who) -> tuple[str, str]:
    """The order in which boxes are listed."""
    return one[0] or "", one[1] or ""


def pairs_of(boxes: Iterable[Who], merged: Iterable[Merged]) -> Pairs:
    """Every pair of named boxes; rows that do not tell their box have no identity to be compared by.

    Args:
        merged: what came of each place, in any order.
    """
    pairs: Pairs = {pair: Pair() for pair in combinations(sorted((b for b in boxes if b[0]), key=order), 2)}
    for place in merged:
        anchor = is_anchor(place)
        for pair, apart, same_key in _compared(place.compared):
            if pair in pairs:
                _add(pairs[pair], place.name, apart, anchor=anchor, same_key=same_key)
    return pairs


def is_anchor(place: Merged) -> bool:
    """Whether every box makes this cell."""
    return place.place[1] == contract.ANCHOR_ENCODER and place.place[3] == contract.ANCHOR_CQ


def _compared(compared: Sequence[Compared]) -> Iterator[tuple[tuple[Who, Who], Apart, bool]]:
    """Each pair of boxes once, with the largest of its differences."""
    found: dict[tuple[Who, Who], tuple[Apart, bool]] = {}
    for both in compared:
        for one in both.one:
            for other in both.other:
                if one != other:
                    pair = (one, other) if order(one) < order(other) else (other, one)
                    before = found.get(pair)
                    if before is None or _far(both.apart) > _far(before[0]):
                        found[pair] = both.apart, both.same_key
    yield from ((pair, *what) for pair, what in found.items())


def _far(apart: Apart) -> tuple[bool, float, float]:
    return apart.frames[0] != apart.frames[1], apart.vmaf, apart.feature


def _add(pair: Pair, name: str, apart: Apart, *, anchor: bool, same_key: bool) -> None:
    pair.places += 1
    pair.anchors += anchor
    pair.same += _far(apart) == (False, 0.0, 0.0)
    pair.vmaf = max(pair.vmaf, (apart.vmaf, name))
    pair.mean_vmaf = max(pair.mean_vmaf, (apart.mean_vmaf, name))
    pair.feature = max(pair.feature, (apart.feature, f"{apart.feature_name} of {name}"))
    allowed = contract.GOLDEN_TOLERANCE if same_key else contract.ANCHOR_TOLERANCE
    worst = apart.vmaf if same_key else apart.mean_vmaf
    if anchor and (apart.frames[0] != apart.frames[1] or worst > allowed):
        pair.disagree.append(f"{name}: {apart}; expected {allowed:g} at most")


def check(pairs: Pairs) -> None:
    """Boxes must agree on their anchors.

    Raises:
        CheckFailed: they do not; each pair is named, and the box that disagrees with most others.
    """
    apart = {pair: found for pair, found in pairs.items() if found.disagree}
    if not apart:
        return
    blame: dict[Who, int] = {}
    for pair in apart:
        for one in pair:
            blame[one] = blame.get(one, 0) + 1
    lines = [
        f"  - {shown(one)} and {shown(other)}, {len(found.disagree)} of {found.anchors} anchors, e.g. "
        f"{found.disagree[0]}"
        for (one, other), found in apart.items()
    ]
    most = max(blame.values())
    worst = sorted(shown(one) for one, count in blame.items() if count == most)
    hint = "Have both score their anchors again; one of their scorers is broken."
    if len(worst) == 1:
        hint = f"{worst[0]} disagrees with {most} others; leave it out."
    raise CheckFailed(
        "boxes disagree about their anchors, so what they score cannot be one corpus:\n" + "\n".join(lines), hint=hint
    )


def shown(one: Who) -> str:
    """A box for people."""
    return one[0] or "not told"
