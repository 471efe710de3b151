"""The cells of one place (source, encoder, preset, quality point) from all inputs, made into those of the result."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from kit.core import contract
from kit.core.canon import canonical_json
from kit.core.values import CellId
from kit.corpus.make.keep import contents
from kit.corpus.merge.labels import Resolved
from kit.corpus.store import shard as shards
from kit.corpus.store.boxes import Who, who
from kit.corpus.store.cellfile import CellRows
from kit.corpus.store.received import Received, read_cell
from kit.corpus.store.shard import CellEntry, Shard, place

#: (source identity, encoder, preset, quality point): what makes cells of different boxes comparable.
Place = tuple[str, str, str | None, int]


@dataclass(frozen=True, kw_only=True)
class Apart:
    """How far the rows of two cells of one place are apart; all 0 for the same rows.

    Attributes:
        vmaf, mean_vmaf: largest difference of a frame, and difference of the means, in VMAF points.
        feature, feature_name: largest difference of a feature in a frame, and of which.
        frames: of each; nothing else is compared where they differ.
    """

    frames: tuple[int, int]
    vmaf: float = 0.0
    mean_vmaf: float = 0.0
    feature: float = 0.0
    feature_name: str = contract.FEATURES[0]

    def __str__(self) -> str:
        if self.frames[0] != self.frames[1]:
            return f"{self.frames[0]} and {self.frames[1]} frames"
        return (
            f"vmaf by {self.vmaf:.6g} in a frame and {self.mean_vmaf:.6g} in the mean, "
            f"{self.feature_name} by {self.feature:.6g}"
        )


@dataclass(frozen=True, kw_only=True)
class Version:
    """Rows that one or more inputs have for a key.

    Attributes:
        inputs: which of the inputs, by number; makers: the boxes that made them.
    """

    key: str
    content: str
    rows: CellRows
    inputs: tuple[int, ...]
    makers: frozenset[Who]


@dataclass(frozen=True, kw_only=True)
class Compared:
    """Two versions of a place: by whom they were made, whether they have one key, and how far they are apart."""

    one: frozenset[Who]
    other: frozenset[Who]
    same_key: bool
    apart: Apart


@dataclass(frozen=True, kw_only=True)
class Conflict:
    """One key with several contents, or one that an input has left out as such.

    Attributes:
        name: readable place; apart: the largest difference; None where an earlier merge has dropped the cell.
    """

    name: str
    key: str
    inputs: tuple[int, ...]
    makers: frozenset[Who]
    apart: Apart | None


@dataclass(frozen=True, kw_only=True)
class Kept:
    """A cell of the result, and what is known of it.

    Attributes:
        copies: inputs that have it.
    """

    entry: CellEntry
    build: str | None
    observations: tuple[Mapping[str, Any], ...]
    copies: int


@dataclass(frozen=True, kw_only=True)
class Merged:
    """What came of a place."""

    place: Place
    name: str
    kept: tuple[Kept, ...]
    conflicts: tuple[Conflict, ...]
    compared: tuple[Compared, ...]


def merge_place(
    where: Place,
    found: Sequence[tuple[int, Shard, CellEntry]],
    *,
    out: Path,
    resolved: Resolved,
    dropped: frozenset[str],
) -> Merged:
    """Read the cells of a place, compare them, and write those of the result.

    Args:
        found: number of the input, its shard, and the line of the cell in it.
        dropped: keys that an input has left out because boxes disagreed.

    Raises:
        CheckFailed: a cell is damaged.
    """
    cells = [(number, read_cell(shard, entry)) for number, shard, entry in found]
    label = resolved.label[where[0]]
    name = str(CellId(source=label, encoder=where[1], cq=where[3]))
    versions = _versions(cells)
    apart = {(a.key, a.content, b.key, b.content): _apart(a.rows, b.rows) for a, b in combinations(versions, 2)}
    kept, conflicts = [], []
    for key in sorted({version.key for version in versions}):
        own = [version for version in versions if version.key == key]
        if len(own) > 1 or key in dropped:
            between = [apart[a.key, a.content, b.key, b.content] for a, b in combinations(own, 2)]
            conflicts.append(
                Conflict(
                    name=name,
                    key=key,
                    inputs=tuple(sorted(n for version in own for n in version.inputs)),
                    makers=frozenset().union(*(version.makers for version in own)),
                    apart=max(between, key=_size, default=None),
                )
            )
        else:
            copies = [cell for _, cell in cells if cell.entry.key == key]
            kept.append(_keep(copies, out, label=label, group=resolved.group[where[0]]))
    compared = [
        Compared(one=a.makers, other=b.makers, same_key=a.key == b.key, apart=apart[a.key, a.content, b.key, b.content])
        for a, b in combinations(versions, 2)
    ]
    compared += [
        Compared(one=v.makers, other=v.makers, same_key=True, apart=Apart(frames=(len(v.rows.vmaf),) * 2))
        for v in versions
    ]
    return Merged(place=where, name=name, kept=tuple(kept), conflicts=tuple(conflicts), compared=tuple(compared))


def _versions(cells: Sequence[tuple[int, Received]]) -> list[Version]:
    """The different rows among cells of one place, in order of key and content."""
    alike: dict[tuple[str, str], list[tuple[int, Received]]] = {}
    for number, cell in cells:
        alike.setdefault((cell.entry.key, cell.entry.content_sha256), []).append((number, cell))
    return [
        Version(
            key=key,
            content=content,
            rows=same[0][1].rows,
            inputs=tuple(number for number, _ in same),
            makers=frozenset(who(one) for _, cell in same for one in cell.observations),
        )
        for (key, content), same in sorted(alike.items())
    ]


def _apart(one: CellRows, other: CellRows) -> Apart:
    frames = (len(one.vmaf), len(other.vmaf))
    if frames[0] != frames[1]:
        return Apart(frames=frames)
    features = np.abs(one.features - other.features).max(axis=0)
    return Apart(
        frames=frames,
        vmaf=float(np.abs(one.vmaf - other.vmaf).max()),
        mean_vmaf=abs(float(one.vmaf.mean()) - float(other.vmaf.mean())),
        feature=float(features.max()),
        feature_name=contract.FEATURES[int(features.argmax())],
    )


def _size(apart: Apart) -> tuple[bool, float, float]:
    return apart.frames[0] != apart.frames[1], apart.vmaf, apart.feature


def _keep(copies: Sequence[Received], out: Path, *, label: str, group: str) -> Kept:
    """Write a cell with the labels it has from now on; which of its copies is taken does not depend on their order."""
    first = min(copies, key=lambda cell: canonical_json(cell.rows.facts))
    corpus = min(str(cell.rows.labels["corpus"]) for cell in copies)
    rows = replace(first.rows, labels={**first.rows.labels, "src": label, "group": group, "corpus": corpus})
    old = first.entry
    path = place(CellId(source=label, encoder=old.encoder, cq=old.cq), old.key)
    entry = replace(old, source=label, group=group, path=path, encoded_bytes=rows.facts["encoded_bytes"])  # type: ignore[arg-type]
    observations = united(cell.observations for cell in copies)
    _write(out, path, rows, observations)
    return Kept(entry=entry, build=first.build, observations=observations, copies=len(copies))


def _write(out: Path, path: str, rows: CellRows, observations: Sequence[Mapping[str, Any]]) -> None:
    """Write a cell into a folder that nobody sees yet and that is synced as a whole."""
    data, observed = contents(rows, observations)
    (out / path).parent.mkdir(parents=True, exist_ok=True)
    shards.observed_path(out, path).write_bytes(observed)
    (out / path).write_bytes(data)


def united(several: Iterable[Sequence[Mapping[str, Any]]]) -> tuple[Mapping[str, Any], ...]:
    """Every observation once, in one order."""
    by_text = {canonical_json(one): one for observations in several for one in observations}
    return tuple(by_text[text] for text in sorted(by_text))
