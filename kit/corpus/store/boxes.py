"""Count the cells of a shard by the boxes that made them, from the observations stored with the cells."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from kit.core.canon import canonical_json
from kit.corpus.store.shard import Box, CellEntry

#: Name and platform of a box; None if imported rows do not give it.
BoxId = tuple[str | None, str | None]


class BoxCounts:
    """Counts cells and rows, and collects scorers and encoder builds, by box."""

    def __init__(self) -> None:
        self._scorers: dict[BoxId, dict[bytes, Mapping[str, Any]]] = {}
        self._builds: dict[BoxId, dict[str, set[str]]] = {}
        self._cells: Counter[BoxId] = Counter()
        self._rows: Counter[BoxId] = Counter()

    def add_box(self, box: BoxId, scorers: Iterable[Mapping[str, Any]]) -> None:
        """Add a box with its scorers, even if it made no cell."""
        self._scorers.setdefault(box, {}).update((canonical_json(scorer), scorer) for scorer in scorers)

    def add_cell(
        self, entry: CellEntry, build: str | None, observations: Iterable[Mapping[str, Any]]
    ) -> frozenset[BoxId]:
        """Count a cell for every box that made it and return those boxes.

        Args:
            build: of its encoder.
        """
        makers = frozenset(map(box_id, observations))
        for maker in makers:
            self.add_box(maker, ())
            builds = self._builds.setdefault(maker, {}).setdefault(entry.encoder, set())
            builds.update([] if build is None else [build])
            self._cells[maker] += 1
            self._rows[maker] += entry.rows
        return makers

    def boxes(self) -> tuple[Box, ...]:
        """Return all boxes, sorted by name and platform."""
        return tuple(
            Box(
                box=box[0],
                platform=box[1],
                scorers=tuple(self._scorers[box][key] for key in sorted(self._scorers[box])),
                encoders={name: tuple(sorted(builds)) for name, builds in sorted(self._builds.get(box, {}).items())},
                cells=self._cells[box],
                rows=self._rows[box],
            )
            for box in sorted(self._scorers, key=sort_key)
        )


def box_id(observation: Mapping[str, Any]) -> BoxId:
    """Return the box of an observation."""
    return observation.get("box"), observation.get("platform")


def sort_key(box: BoxId) -> tuple[str, str]:
    """Return the key by which boxes are sorted."""
    return box[0] or "", box[1] or ""
