"""What a corpus holds, in figures, and which of its cells a person should look at."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from kit.core import contract
from kit.core.errors import Missing
from kit.corpus.store import shard as shards
from kit.corpus.store.cellfile import CellRows
from kit.corpus.store.place import shard_folder
from kit.corpus.store.shard import CellEntry, Shard

#: The columns with a range.
NUMBERS = (*contract.FEATURES, "vmaf")
#: A mean score that is higher at a coarser quality point by more than this is suspicious, in VMAF points.
RISE = 0.5
#: Encoded bytes that grow by more than this factor at a coarser quality point are suspicious.
GROWTH = 1.02
#: A frame scored below this is suspicious even at the coarsest point: mostly a wrong frame, seldom a bad encode.
VERY_LOW = 5.0

_Key = TypeVar("_Key", str, tuple[str, str, str])


@dataclass(frozen=True, kw_only=True)
class Range:
    """Lowest, mean and highest value of a column over all rows."""

    lowest: float
    mean: float
    highest: float


@dataclass(frozen=True, kw_only=True)
class SourceShare:
    """What a corpus holds of a source."""

    group: str
    cells: int
    rows: int


@dataclass(frozen=True, kw_only=True)
class EncoderShare:
    """What a corpus holds of an encoder; ``saturated`` is the share of its rows with vmaf = 100."""

    cqs: tuple[int, ...]
    cells: int
    rows: int
    saturated: float


@dataclass(frozen=True, kw_only=True)
class CellFigures:
    """A cell in figures.

    Attributes:
        lowest, total, highest: float64 [7] over the rows, the features and then the score.
        saturated: rows with the highest score there is.
    """

    entry: CellEntry
    lowest: NDArray[np.float64]
    total: NDArray[np.float64]
    highest: NDArray[np.float64]
    saturated: int

    @property
    def mean_vmaf(self) -> float:
        return float(self.total[-1]) / self.entry.rows

    @property
    def name(self) -> str:
        return str(self.entry.id)


@dataclass(frozen=True, kw_only=True)
class Summary:
    """A corpus in figures.

    Attributes:
        sources, encoders: by label and by name, sorted.
        saturated: share of rows with vmaf = 100.
        suspicious: (cell, reason), a cell once for each reason.
    """

    shard: Shard
    sources: Mapping[str, SourceShare]
    encoders: Mapping[str, EncoderShare]
    ranges: Mapping[str, Range]
    saturated: float
    suspicious: tuple[tuple[str, str], ...]


def summarise(folder: Path) -> Summary:
    """Read every cell of a shard, or of the one in a run folder.

    Raises:
        Missing, BadInput, CheckFailed: no shard, no manifest, no cell, or one that is damaged.
    """
    shard = shards.read_manifest(shard_folder(folder))
    if not shard.cells:
        raise Missing(f"{folder} lists no finished cell", hint="Run `corpus` again.")
    cells = [_figures(entry, rows) for entry, rows in shards.read_rows(shard)]
    lowest = np.min([cell.lowest for cell in cells], axis=0)
    mean = np.sum([cell.total for cell in cells], axis=0) / shard.rows
    highest = np.max([cell.highest for cell in cells], axis=0)
    return Summary(
        shard=shard,
        sources=_by_source(cells),
        encoders=_by_encoder(cells),
        ranges={
            name: Range(lowest=float(lowest[i]), mean=float(mean[i]), highest=float(highest[i]))
            for i, name in enumerate(NUMBERS)
        },
        saturated=sum(cell.saturated for cell in cells) / shard.rows,
        suspicious=tuple(sorted((cell.name, reason) for cell, reason in suspicions(cells))),
    )


def _figures(entry: CellEntry, rows: CellRows) -> CellFigures:
    numbers = np.column_stack([rows.features, rows.vmaf])
    return CellFigures(
        entry=entry,
        lowest=numbers.min(axis=0),
        total=numbers.sum(axis=0),
        highest=numbers.max(axis=0),
        saturated=int((rows.vmaf >= contract.SCORE_RANGE[1]).sum()),
    )


def _by_source(cells: list[CellFigures]) -> dict[str, SourceShare]:
    parts = _split(cells, lambda entry: entry.source)
    return {
        label: SourceShare(group=part[0].entry.group, cells=len(part), rows=sum(cell.entry.rows for cell in part))
        for label, part in parts.items()
    }


def _by_encoder(cells: list[CellFigures]) -> dict[str, EncoderShare]:
    shares = {}
    for name, part in _split(cells, lambda entry: entry.encoder).items():
        rows = sum(cell.entry.rows for cell in part)
        shares[name] = EncoderShare(
            cqs=tuple(sorted({cell.entry.cq for cell in part})),
            cells=len(part),
            rows=rows,
            saturated=sum(cell.saturated for cell in part) / rows,
        )
    return shares


def _split(cells: list[CellFigures], by: Callable[[CellEntry], _Key]) -> dict[_Key, list[CellFigures]]:
    """Cells with the same value together, in order of the values."""
    parts: dict[_Key, list[CellFigures]] = {}
    for cell in cells:
        parts.setdefault(by(cell.entry), []).append(cell)
    return dict(sorted(parts.items()))


def suspicions(cells: list[CellFigures]) -> Iterator[tuple[CellFigures, str]]:
    """Cells a person should look at, each with the reason. None of them is left out of anything."""
    for cell in cells:
        yield from ((cell, reason) for reason in _by_itself(cell))
    for ladder in _split(cells, lambda entry: (entry.source_id, entry.encoder, entry.preset or "")).values():
        yield from _by_ladder(sorted(ladder, key=lambda cell: cell.entry.cq))
    for of_source in _split(cells, lambda entry: entry.source_id).values():
        frames = max(cell.entry.rows for cell in of_source)
        yield from (
            (cell, f"{cell.entry.rows} frames, other cells of its source have {frames}")
            for cell in of_source
            if cell.entry.rows < frames
        )


def _by_itself(cell: CellFigures) -> Iterator[str]:
    if cell.saturated == cell.entry.rows:
        yield "every frame has vmaf 100: nothing to learn from"
    elif cell.lowest[-1] < VERY_LOW:
        yield f"vmaf {cell.lowest[-1]:.2f} in some frame, below {VERY_LOW:g}: are the right frames compared?"
    if cell.entry.rows > 1:
        constant = [name for i, name in enumerate(contract.FEATURES) if cell.lowest[i] == cell.highest[i]]
        if constant:
            yield f"the same value in every frame: {', '.join(constant)}"


def _by_ladder(ladder: list[CellFigures]) -> Iterator[tuple[CellFigures, str]]:
    """Cells of one source and encoder from the finest quality point to the coarsest."""
    for finer, coarser in pairwise(ladder):
        against = f"cq {finer.entry.cq}"
        if finer.entry.content_sha256 == coarser.entry.content_sha256:
            yield coarser, f"the same numbers as at {against}: the encoder ignored the quality point"
            continue
        if coarser.mean_vmaf > finer.mean_vmaf + RISE:
            yield coarser, f"mean vmaf {coarser.mean_vmaf:.2f}, higher than {finer.mean_vmaf:.2f} at {against}"
        before, now = finer.entry.encoded_bytes, coarser.entry.encoded_bytes
        if before is not None and now is not None and now > before * GROWTH:
            yield coarser, f"{now} encoded bytes, more than {before} at {against}"
