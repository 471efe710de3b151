"""Summarise a corpus in figures, and list cells that a person should look at."""

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
from kit.corpus.store.planned import shard_folder
from kit.corpus.store.shard import CellEntry, Shard

#: Columns whose range is reported.
NUMBERS = (*contract.FEATURES, "vmaf")
#: VMAF points by which a mean score may be higher at a coarser quality point without being suspicious.
RISE = 0.5
#: Factor by which the encoded bytes may grow at a coarser quality point without being suspicious.
GROWTH = 1.02
#: A frame below this score is suspicious even at the coarsest point: mostly a wrong frame, seldom a bad encode.
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
    """Contents of a corpus for one source."""

    group: str
    cells: int
    rows: int


@dataclass(frozen=True, kw_only=True)
class EncoderShare:
    """Contents of a corpus for one encoder; ``saturated`` is the share of its rows with vmaf = 100."""

    cqs: tuple[int, ...]
    cells: int
    rows: int
    saturated: float


@dataclass(frozen=True, kw_only=True)
class CellFigures:
    """A cell in figures.

    Attributes:
        lowest, total, highest: float64 [7] over the rows: the features, then the score.
        saturated: rows with the highest possible score.
    """

    entry: CellEntry
    lowest: NDArray[np.float64]
    total: NDArray[np.float64]
    highest: NDArray[np.float64]
    saturated: int

    @property
    def mean_vmaf(self) -> float:
        return float(self.total[-1]) / self.entry.rows


@dataclass(frozen=True, kw_only=True)
class Summary:
    """A corpus in figures.

    Attributes:
        sources, encoders: by label and by name, sorted.
        saturated: share of rows with vmaf = 100.
        suspicious: (cell, reason), one item per reason.
    """

    shard: Shard
    sources: Mapping[str, SourceShare]
    encoders: Mapping[str, EncoderShare]
    ranges: Mapping[str, Range]
    saturated: float
    suspicious: tuple[tuple[str, str], ...]


def summarise(folder: Path) -> Summary:
    """Read every cell of a shard, or of the shard in a run folder, and summarise it.

    Raises:
        Missing, BadInput, CheckFailed: no shard, no manifest, no cell, or a damaged cell.
    """
    shard = shards.read_manifest(shard_folder(folder))
    if not shard.cells:
        raise Missing(f"{folder} has no finished cell", hint="Run `corpus` again.")
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
        suspicious=tuple(sorted((str(cell.entry.id), reason) for cell, reason in suspicions(cells))),
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
    return {
        label: SourceShare(group=own[0].entry.group, cells=len(own), rows=sum(cell.entry.rows for cell in own))
        for label, own in _grouped(cells, lambda entry: entry.source).items()
    }


def _by_encoder(cells: list[CellFigures]) -> dict[str, EncoderShare]:
    shares = {}
    for name, own in _grouped(cells, lambda entry: entry.encoder).items():
        rows = sum(cell.entry.rows for cell in own)
        shares[name] = EncoderShare(
            cqs=tuple(sorted({cell.entry.cq for cell in own})),
            cells=len(own),
            rows=rows,
            saturated=sum(cell.saturated for cell in own) / rows,
        )
    return shares


def _grouped(cells: list[CellFigures], by: Callable[[CellEntry], _Key]) -> dict[_Key, list[CellFigures]]:
    """Group cells by a key, sorted by the key."""
    groups: dict[_Key, list[CellFigures]] = {}
    for cell in cells:
        groups.setdefault(by(cell.entry), []).append(cell)
    return dict(sorted(groups.items()))


def suspicions(cells: list[CellFigures]) -> Iterator[tuple[CellFigures, str]]:
    """Yield cells that a person should look at, each with the reason. They stay in the corpus."""
    for cell in cells:
        yield from ((cell, reason) for reason in _suspicious_values(cell))
    for ladder in _grouped(cells, lambda entry: (entry.source_id, entry.encoder, entry.preset or "")).values():
        yield from _suspicious_steps(sorted(ladder, key=lambda cell: cell.entry.cq))
    for of_source in _grouped(cells, lambda entry: entry.source_id).values():
        frames = max(cell.entry.rows for cell in of_source)
        yield from (
            (cell, f"{cell.entry.rows} frames, other cells of its source have {frames}")
            for cell in of_source
            if cell.entry.rows < frames
        )


def _suspicious_values(cell: CellFigures) -> Iterator[str]:
    if cell.saturated == cell.entry.rows:
        yield "every frame has vmaf 100: the cell carries no information"
    elif cell.lowest[-1] < VERY_LOW:
        yield f"vmaf {cell.lowest[-1]:.2f} in a frame, expected {VERY_LOW:g} at least: check which frames are compared"
    if cell.entry.rows > 1:
        constant = [name for i, name in enumerate(contract.FEATURES) if cell.lowest[i] == cell.highest[i]]
        if constant:
            yield f"the same value in every frame: {', '.join(constant)}"


def _suspicious_steps(ladder: list[CellFigures]) -> Iterator[tuple[CellFigures, str]]:
    """Compare cells of one source and encoder from the finest quality point to the coarsest."""
    for finer, coarser in pairwise(ladder):
        finer_cq = f"cq {finer.entry.cq}"
        if finer.entry.content_sha256 == coarser.entry.content_sha256:
            yield coarser, f"the same numbers as at {finer_cq}: the encoder ignored the quality point"
            continue
        if coarser.mean_vmaf > finer.mean_vmaf + RISE:
            yield coarser, f"mean vmaf {coarser.mean_vmaf:.2f}, higher than {finer.mean_vmaf:.2f} at {finer_cq}"
        before, now = finer.entry.encoded_bytes, coarser.entry.encoded_bytes
        if before is not None and now is not None and now > before * GROWTH:
            yield coarser, f"{now} encoded bytes, more than {before} at {finer_cq}"
