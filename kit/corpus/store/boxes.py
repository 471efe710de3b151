"""Who has made which cells: what the observations beside them tell, counted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from kit.core.canon import canonical_json
from kit.corpus.store.shard import Box, CellEntry

#: A box by name and platform; None for what is not told.
Who = tuple[str | None, str | None]


class Makers:
    """Adds up cells by the boxes that were seen to make them."""

    def __init__(self) -> None:
        self._scorers: dict[Who, dict[bytes, Mapping[str, Any]]] = {}
        self._builds: dict[Who, dict[str, set[str]]] = {}
        self._cells: dict[Who, int] = {}
        self._rows: dict[Who, int] = {}

    def know(self, who: Who, scorers: Iterable[Mapping[str, Any]]) -> None:
        """A box, whether it has made a cell or not, and what it scores with."""
        known = self._scorers.setdefault(who, {})
        known.update((canonical_json(scorer), scorer) for scorer in scorers)

    def add(self, entry: CellEntry, build: str | None, observations: Iterable[Mapping[str, Any]]) -> frozenset[Who]:
        """Count a cell for every box that was seen to make it; returns them.

        Args:
            build: of its encoder.
        """
        makers = frozenset(who(observation) for observation in observations)
        for maker in makers:
            self.know(maker, ())
            builds = self._builds.setdefault(maker, {}).setdefault(entry.encoder, set())
            builds.update([] if build is None else [build])
            self._cells[maker] = self._cells.get(maker, 0) + 1
            self._rows[maker] = self._rows.get(maker, 0) + entry.rows
        return makers

    def boxes(self) -> tuple[Box, ...]:
        """All of them, sorted."""
        return tuple(
            Box(
                box=maker[0],
                platform=maker[1],
                scorers=tuple(self._scorers[maker][key] for key in sorted(self._scorers[maker])),
                encoders={name: tuple(sorted(builds)) for name, builds in sorted(self._builds.get(maker, {}).items())},
                cells=self._cells.get(maker, 0),
                rows=self._rows.get(maker, 0),
            )
            for maker in sorted(self._scorers, key=lambda maker: (maker[0] or "", maker[1] or ""))
        )


def who(observation: Mapping[str, Any]) -> Who:
    """The box of an observation."""
    return observation.get("box"), observation.get("platform")
