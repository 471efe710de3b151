"""Pairs of sources of different content groups that show the same content, by the fingerprints in a manifest. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kit.video.fingerprints.compare import Pair, find_pairs
from kit.video.fingerprints.fingerprint import fingerprints_of

_LISTED = 10


@dataclass(frozen=True, kw_only=True)
class Alike:
    """What the fingerprints of several sources show.

    Attributes:
        pairs: sources of different content groups that show the same content.
        compared, not_comparable: number of pairs of different groups.
        without: labels of the sources that have no fingerprint.
    """

    pairs: tuple[Pair, ...]
    compared: int
    not_comparable: int
    without: tuple[str, ...]


def compared(sources: Sequence[Mapping[str, Any]]) -> Alike:
    """Compare the sources of a manifest.

    Raises:
        CheckFailed: a fingerprint is damaged.
    """
    fingerprints = fingerprints_of(sources)
    found = find_pairs(fingerprints, {str(source["label"]): str(source["group"]) for source in sources})
    return Alike(
        pairs=found.pairs,
        compared=found.compared,
        not_comparable=found.not_comparable,
        without=tuple(sorted({str(source["label"]) for source in sources} - fingerprints.keys())),
    )


def lines(alike: Alike) -> list[str]:
    """Return a line for each pair, and what to do; groups are never changed by themselves."""
    shown = [
        f"{' and '.join(pair.labels)} show the same content (similarity {pair.similarity:.2f}, same from "
        f"{pair.threshold:.2f}{', mirrored' if pair.mirrored else ''})"
        for pair in alike.pairs[:_LISTED]
    ]
    if more := len(alike.pairs) - len(shown):
        shown.append(f"and {more} more pairs")
    if shown:
        shown.append(
            "Put each pair into one content group with groups.json: otherwise one is in training when the other is "
            "held out."
        )
    return shown
