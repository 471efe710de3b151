"""Merge the cells that several inputs have for the same encode (source, encoder, preset, quality point)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from kit.core import contract
from kit.core.canon import canonical_json
from kit.core.values import CellId
from kit.corpus.merge.labels import Resolved
from kit.corpus.store import shard as shards
from kit.corpus.store.boxes import BoxId, box_id
from kit.corpus.store.cellfile import CellRows
from kit.corpus.store.received import Received, read_cell
from kit.corpus.store.score_check import ScoreCheck
from kit.corpus.store.shard import CellEntry, Shard


class EncodeId(NamedTuple):
    """Identity of an encode; cells of different boxes with the same one can be compared."""

    source_id: str
    encoder: str
    preset: str | None
    cq: int

    @property
    def is_anchor(self) -> bool:
        """Whether every box makes this encode."""
        return (self.encoder, self.cq) == (contract.ANCHOR_ENCODER, contract.ANCHOR_CQ)


@dataclass(frozen=True, kw_only=True)
class Difference:
    """The difference between the rows of two cells of one encode; all 0 for identical rows.

    Attributes:
        vmaf: largest difference of a frame, VMAF points.
        mean_vmaf: difference of the means, VMAF points.
        feature, feature_name: largest difference of a feature in a frame, and its name.
        frames: of each cell; if they differ, nothing else is compared.
    """

    frames: tuple[int, int]
    vmaf: float = 0.0
    mean_vmaf: float = 0.0
    feature: float = 0.0
    feature_name: str = contract.FEATURES[0]

    @property
    def size(self) -> tuple[bool, float, float]:
        """The key by which differences are compared: frame counts first."""
        return self.frames[0] != self.frames[1], self.vmaf, self.feature

    def __str__(self) -> str:
        if self.frames[0] != self.frames[1]:
            return f"{self.frames[0]} and {self.frames[1]} frames"
        return (
            f"vmaf by {self.vmaf:.6g} in a frame and {self.mean_vmaf:.6g} in the mean, "
            f"{self.feature_name} by {self.feature:.6g}"
        )


@dataclass(frozen=True, kw_only=True)
class Version:
    """The rows that one or more inputs have for a key.

    Attributes:
        inputs: their numbers.
        makers: the boxes that made them.
    """

    key: str
    content: str
    rows: CellRows
    inputs: tuple[int, ...]
    makers: frozenset[BoxId]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two versions of an encode: the boxes that made them, whether they have one key, and their difference."""

    one: frozenset[BoxId]
    other: frozenset[BoxId]
    same_key: bool
    difference: Difference


@dataclass(frozen=True, kw_only=True)
class Conflict:
    """A key with several contents, or a key that an input has dropped.

    Attributes:
        difference: the largest one; None if an earlier merge has dropped the cell.
    """

    cell: CellId
    key: str
    inputs: tuple[int, ...]
    makers: frozenset[BoxId]
    difference: Difference | None


@dataclass(frozen=True, kw_only=True)
class Kept:
    """A cell of the result.

    Attributes:
        copies: number of inputs that have it.
    """

    entry: CellEntry
    build: str | None
    observations: tuple[Mapping[str, Any], ...]
    copies: int


@dataclass(frozen=True, kw_only=True)
class MergedEncode:
    """The merged cells of an encode."""

    encode: EncodeId
    cell: CellId
    kept: tuple[Kept, ...]
    conflicts: tuple[Conflict, ...]
    comparisons: tuple[Comparison, ...]


def merge_encode(
    encode: EncodeId,
    inputs: Sequence[tuple[int, Shard, CellEntry]],
    *,
    out: Path,
    resolved: Resolved,
    dropped: frozenset[str],
    checks: Sequence[ScoreCheck],
) -> MergedEncode:
    """Read the cells of an encode, compare them, and write those of the result.

    Args:
        inputs: number of the input, its shard, and the manifest entry of the cell.
        dropped: keys that an input has dropped because boxes disagreed.
        checks: of the scores of each input; collects what differs.

    Raises:
        CheckFailed: a cell is damaged.
    """
    cells = [(number, read_cell(shard, entry)) for number, shard, entry in inputs]
    for number, received in cells:
        checks[number].add(received.entry.id, received.rows.features, received.rows.vmaf)
    cell = CellId(source=resolved.label[encode.source_id], encoder=encode.encoder, cq=encode.cq)
    versions = _versions(cells)
    differences = [(a, b, _difference(a.rows, b.rows)) for a, b in combinations(versions, 2)]
    kept, conflicts = [], []
    for key in sorted({version.key for version in versions}):
        own = [version for version in versions if version.key == key]
        if len(own) > 1 or key in dropped:
            conflicts.append(_conflict(cell, own, [d for a, b, d in differences if a.key == b.key == key]))
        else:
            copies = [received for _, received in cells if received.entry.key == key]
            kept.append(_write_kept(copies, out, cell=cell, group=resolved.group[encode.source_id]))
    comparisons = [
        Comparison(one=a.makers, other=b.makers, same_key=a.key == b.key, difference=difference)
        for a, b, difference in differences
    ]
    comparisons += [
        Comparison(one=v.makers, other=v.makers, same_key=True, difference=Difference(frames=(len(v.rows.vmaf),) * 2))
        for v in versions
    ]
    return MergedEncode(
        encode=encode, cell=cell, kept=tuple(kept), conflicts=tuple(conflicts), comparisons=tuple(comparisons)
    )


def _conflict(cell: CellId, versions: Sequence[Version], differences: Sequence[Difference]) -> Conflict:
    """Return the conflict between versions of one key."""
    return Conflict(
        cell=cell,
        key=versions[0].key,
        inputs=tuple(sorted(number for version in versions for number in version.inputs)),
        makers=frozenset().union(*(version.makers for version in versions)),
        difference=max(differences, key=lambda difference: difference.size, default=None),
    )


def _versions(cells: Sequence[tuple[int, Received]]) -> list[Version]:
    """Return the distinct rows among the cells of an encode, sorted by key and content."""
    copies: dict[tuple[str, str], list[tuple[int, Received]]] = {}
    for number, cell in cells:
        copies.setdefault((cell.entry.key, cell.entry.content_sha256), []).append((number, cell))
    return [
        Version(
            key=key,
            content=content,
            rows=own[0][1].rows,
            inputs=tuple(number for number, _ in own),
            makers=frozenset(box_id(observation) for _, cell in own for observation in cell.observations),
        )
        for (key, content), own in sorted(copies.items())
    ]


def _difference(one: CellRows, other: CellRows) -> Difference:
    frames = (len(one.vmaf), len(other.vmaf))
    if frames[0] != frames[1]:
        return Difference(frames=frames)
    features = np.abs(one.features - other.features).max(axis=0)
    return Difference(
        frames=frames,
        vmaf=float(np.abs(one.vmaf - other.vmaf).max()),
        mean_vmaf=abs(float(one.vmaf.mean()) - float(other.vmaf.mean())),
        feature=float(features.max()),
        feature_name=contract.FEATURES[int(features.argmax())],
    )


def _write_kept(copies: Sequence[Received], out: Path, *, cell: CellId, group: str) -> Kept:
    """Write a cell under its resolved labels; the order of its copies does not change the result."""
    first = min(copies, key=lambda copy: canonical_json(copy.rows.facts))
    corpus = min(str(copy.rows.labels["corpus"]) for copy in copies)
    rows = replace(first.rows, labels={**first.rows.labels, "src": cell.source, "group": group, "corpus": corpus})
    path = shards.path_of(cell, first.entry.key)
    entry = replace(first.entry, source=cell.source, group=group, path=path)
    observations = united(copy.observations for copy in copies)
    _write(out, path, rows, observations)
    return Kept(entry=entry, build=first.build, observations=observations, copies=len(copies))


def _write(out: Path, path: str, rows: CellRows, observations: Sequence[Mapping[str, Any]]) -> None:
    """Write a cell into a temporary folder that is synced as a whole."""
    data, observed = shards.cell_files(rows, observations)
    (out / path).parent.mkdir(parents=True, exist_ok=True)
    shards.observed_path(out, path).write_bytes(observed)
    (out / path).write_bytes(data)


def united(several: Iterable[Sequence[Mapping[str, Any]]]) -> tuple[Mapping[str, Any], ...]:
    """Return the distinct observations, in a fixed order."""
    by_text = {canonical_json(one): one for observations in several for one in observations}
    return tuple(by_text[text] for text in sorted(by_text))
