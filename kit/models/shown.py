"""What the training rows showed a model: data sets, the range of every input, resolutions. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kit.core import contract
from kit.core.inputs import Inputs
from kit.corpus.store.shard import Shard
from kit.training.table import Table

#: Inputs of the codec block that are numbers, not slots.
NUMBERS = ("preset_norm", "crf_norm")
#: Rounding of an input, relative: values come from float32 and from JSON.
_ROUNDING = 1e-6


@dataclass(frozen=True, kw_only=True)
class Shown:
    """What a model was fitted to.

    Attributes:
        corpora: names of the data sets.
        ranges: lowest and highest value of each feature, and of the numbers of the codec block.
        resolutions: of the reference clips, such as ``640x360``, smallest first; empty if not recorded.
        manifest_sha256: hash of ``shard.json``.
    """

    corpora: tuple[str, ...]
    ranges: Mapping[str, tuple[float, float]]
    resolutions: tuple[str, ...]
    manifest_sha256: str


def shown_by(rows: Table, shard: Shard, manifest_sha256: str, *, codec_aware: bool) -> Shown:
    """Return what a corpus shows a model that is fitted to all of its rows."""
    labels = {entry.source for entry in shard.cells}  # a source whose cells all failed was not shown
    return Shown(
        corpora=rows.corpora,
        ranges=ranges_of(rows.features, rows.codec, rows.inputs, codec_aware=codec_aware),
        resolutions=resolutions_of([source for source in shard.sources if source["label"] in labels]),
        manifest_sha256=manifest_sha256,
    )


def ranges_of(
    features: NDArray[np.float32], codec: NDArray[np.float32], inputs: Inputs, *, codec_aware: bool
) -> dict[str, tuple[float, float]]:
    """Return the lowest and highest value of every input but the slots of encoders."""
    columns = columns_of((*inputs.features, *(NUMBERS if codec_aware else ())), features, codec, inputs)
    return {name: (float(column.min()), float(column.max())) for name, column in columns.items()}


def resolutions_of(sources: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Return the resolutions of sources of a shard, smallest first; imported sources have none."""
    sizes = {(shape["width"], shape["height"]) for source in sources if (shape := source["geometry"]) is not None}
    return tuple(f"{width}x{height}" for width, height in sorted(sizes, key=lambda size: (size[0] * size[1], size)))


def columns_of(
    names: Collection[str], features: NDArray[np.float32], codec: NDArray[np.float32], inputs: Inputs
) -> dict[str, NDArray[np.float32]]:
    """Return the inputs of these names, float32 [n] each."""
    columns = dict(zip(inputs.features, features.T, strict=True))
    columns |= {name: codec[:, inputs.codec_block_layout.index(name)] for name in NUMBERS}
    return {name: columns[name] for name in names}


def outside(ranges: Mapping[str, Sequence[float]], columns: Mapping[str, NDArray[np.float32]]) -> list[str]:
    """Return a line for every input with rows outside of its range, such as ``motion2 31.2 > 29.3 (12 of 48 frames)``.

    Args:
        ranges: by the names of the columns.
    """
    lines = []
    for name, column in columns.items():
        (low, high), (below, above) = ranges[name], _beyond(ranges[name], column)
        shown, scale = ("cq", contract.CRF_SCALE) if name == "crf_norm" else (name, 1)
        for rows, sign, extreme, limit in ((above, ">", column.max(), high), (below, "<", column.min(), low)):
            if count := int(np.count_nonzero(rows)):
                part = "" if count == len(column) else f" ({count} of {len(column)} frames)"
                lines.append(f"{shown} {_compared(float(extreme) * scale, sign, limit * scale)}{part}")
    return lines


def rows_outside(
    ranges: Mapping[str, Sequence[float]], columns: Mapping[str, NDArray[np.float32]]
) -> NDArray[np.bool_]:
    """Return which rows have an input outside of its range: bool [n]."""
    both = [below | above for below, above in (_beyond(ranges[name], column) for name, column in columns.items())]
    found: NDArray[np.bool_] = np.any(both, axis=0)
    return found


def _beyond(limits: Sequence[float], column: NDArray[np.float32]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    low, high = limits
    return column < low - _ROUNDING * abs(low), column > high + _ROUNDING * abs(high)


def _compared(value: float, sign: str, limit: float) -> str:
    """Return two different numbers with as few digits as show it, at least three."""
    texts = ((f"{value:.{digits}g}", f"{limit:.{digits}g}") for digits in range(3, 18))
    return f" {sign} ".join(next(pair for pair in texts if pair[0] != pair[1]))
