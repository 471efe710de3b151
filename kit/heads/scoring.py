"""Score encodes with a model: the cells of a corpus, or one pair of clips."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kit.core import contract
from kit.models.model_file import ModelFile
from kit.models.runtime import Floats
from kit.models.shown import NUMBERS, columns_of, outside, rows_outside
from kit.training.codec_block import codec_block
from kit.training.table import Table, with_inputs
from kit.verdict.metrics import Pooled, agreement_as_json, pooled
from kit.video.scorers.log import Scores

#: Coverage of the intervals that are shown, as sidecars write it.
LEVEL = "0.95"
#: Encodes outside of the training range that are named.
_MOST_LINES = 8


@dataclass(frozen=True, kw_only=True)
class Encode:
    """How a distorted clip was made; None if not recorded, or not needed by the model."""

    encoder: str | None = None
    preset: str | None = None
    cq: int | None = None


@dataclass(frozen=True, kw_only=True)
class Scored:
    """The frames of one encode in order.

    Attributes:
        score: float32 [n], VMAF points; spread: float32 [n], or None for a single network.
        libvmaf: float64 [n], scores of libvmaf's own model, named by the caller.
        resolution: of the clip, such as ``640x360``; None if not recorded.
        outside: a line for each input with frames outside of its range in training; outside_rows: bool [n], whether a
            frame has such an input. Empty and all False for a model that records no ranges.
    """

    name: str
    encode: Encode
    score: Floats
    spread: Floats | None
    libvmaf: NDArray[np.float64]
    resolution: str | None
    outside: tuple[str, ...]
    outside_rows: NDArray[np.bool_]

    @property
    def pooled(self) -> Pooled:
        return pooled(self.score.astype(np.float64))

    @property
    def mean_spread(self) -> float | None:
        """Mean over frames of the spread over members; None for a single network."""
        return None if self.spread is None else float(self.spread.astype(np.float64).mean())


@dataclass(frozen=True, kw_only=True)
class Interval:
    """An interval around the mean score of a clip, inside the teacher's range, VMAF points."""

    low: float
    high: float


def half_width(model: ModelFile, unit: str) -> float | None:
    """Return the half-width at ``LEVEL`` for a ``frame`` or a ``clip``, VMAF points; None without one."""
    value = None if model.half_widths is None else model.half_widths[unit][LEVEL]["half_width"]
    return None if value is None else float(value)


def interval_of(model: ModelFile, cell: Scored) -> Interval | None:
    """Return the interval around a clip's mean score; None where the model has no calibrated half-width."""
    half = half_width(model, "clip")
    if half is None:
        return None
    low, high = contract.SCORE_RANGE
    return Interval(low=max(low, cell.pooled.mean - half), high=min(high, cell.pooled.mean + half))


def score_corpus(model: ModelFile, table: Table, resolutions: Mapping[str, str]) -> tuple[Scored, ...]:
    """Score every cell of a corpus; cells in order of source, encoder and quality point.

    Args:
        resolutions: of sources, as far as they are recorded.

    Raises:
        BadInput: the corpus lacks a feature of the model.
    """
    rows_of_model = with_inputs(table, model.inputs)
    score, spread = model.scores(rows_of_model.features, rows_of_model.codec)
    ends = np.cumsum([entry.rows for entry in table.cells])
    scored = []
    for entry, end in zip(table.cells, ends.tolist(), strict=True):
        rows = slice(end - entry.rows, end)
        encode = Encode(encoder=entry.encoder, preset=entry.preset, cq=entry.cq)
        lines, outside_rows = _outside(model, encode, rows_of_model.features[rows], rows_of_model.codec[rows])
        scored.append(
            Scored(
                name=str(entry.id),
                encode=encode,
                score=score[rows],
                spread=None if spread is None else spread[rows],
                libvmaf=table.target[rows].astype(np.float64),
                resolution=resolutions.get(entry.source),
                outside=lines,
                outside_rows=outside_rows,
            )
        )
    return tuple(sorted(scored, key=lambda cell: cell.name))


def _outside(
    model: ModelFile, encode: Encode, features: Floats, codec: Floats
) -> tuple[tuple[str, ...], NDArray[np.bool_]]:
    """Return what is outside of the model's ranges.

    The numbers of the codec block are compared for encoders in training only: of others the block says nothing.
    """
    inputs = (*model.inputs.features, *(NUMBERS if encode.encoder in model.trained_encoders else ()))
    names = [name for name in inputs if name in model.input_ranges]
    if not names:
        return (), np.zeros(len(features), dtype=np.bool_)
    columns = columns_of(names, features, codec, model.inputs)
    return tuple(outside(model.input_ranges, columns)), rows_outside(model.input_ranges, columns)


def score_pair(model: ModelFile, name: str, scores: Scores, encode: Encode, resolution: str) -> Scored:
    """Score one pair of clips from its features.

    Args:
        resolution: of the clips, such as ``640x360``.

    Raises:
        BadInput: the encoder has no such preset, or the scorer lacks a feature of the model.
    """
    block = codec_block(encode.encoder or "", encode.preset, encode.cq or 0, model.inputs.encoder_vocab)
    codec = np.tile(np.array(block, dtype=np.float32), (len(scores.vmaf), 1))
    features = scores.features.take(model.inputs.columns_of(contract.FEATURES), axis=1).astype(np.float32)
    score, spread = model.scores(features, codec)
    lines, outside_rows = _outside(model, encode, features, codec)
    return Scored(
        name=name,
        encode=encode,
        score=score,
        spread=spread,
        libvmaf=scores.vmaf,
        resolution=resolution,
        outside=lines,
        outside_rows=outside_rows,
    )


def agreement_of(scored: Sequence[Scored]) -> dict[str, object]:
    """Return the agreement of all frames with libvmaf's model, see :func:`kit.verdict.metrics.agreement_as_json`."""
    score = np.concatenate([cell.score for cell in scored]).astype(np.float64)
    return agreement_as_json(score, np.concatenate([cell.libvmaf for cell in scored]), what="scores")


def remarks(model: ModelFile, scored: Sequence[Scored], libvmaf: str) -> list[str]:
    """Return what limits the use of these scores, one line each.

    Args:
        libvmaf: the model that they are compared with.
    """
    encoders = {cell.encode.encoder for cell in scored if cell.encode.encoder} if model.codec_aware else set()
    unknown = sorted(encoders.difference(model.inputs.encoder_vocab))
    untrained = sorted(encoders.intersection(model.untrained))
    lines = []
    if model.teacher and model.teacher["id"] != libvmaf:
        lines.append(f"The model was trained on {model.teacher['id']}, not on {libvmaf}.")
    if half_width(model, "clip") is None:
        lines.append(f"There is no interval: {_why_no_interval(model)}.")
    if unknown:
        lines.append(f"{', '.join(unknown)}: not in the vocabulary; the model gets no encoder as input.")
    if untrained:
        how = "scores it like any unknown encoder" if model.knows_unknown else "extrapolates"
        lines.append(f"{', '.join(untrained)}: the model was not trained on it, and {how}.")
    if (unknown or untrained) and half_width(model, "clip") is not None:
        lines.append("The interval is for encoders in training.")
    return lines + _outside_lines(model, scored)


def _why_no_interval(model: ModelFile) -> str:
    sidecar = model.path.with_suffix(".json").name
    if model.sidecar is None:
        return f"{sidecar} is missing, which says how far off a score may be"
    if "half_widths" not in model.sidecar:
        return f"{sidecar} is of an earlier version or of a single head, and does not say how far off a score may be"
    return f"{sidecar} has too few content groups for one"


def _outside_lines(model: ModelFile, scored: Sequence[Scored]) -> list[str]:
    """Return what is outside of the model's training: ranges of inputs, each encode, and resolutions."""
    lines = [f"outside training range: {line}{_of(cell, scored)}" for cell in scored for line in cell.outside]
    if len(lines) > _MOST_LINES:
        encodes = sum(bool(cell.outside) for cell in scored)
        lines[_MOST_LINES:] = [f"outside training range: {encodes} of {len(scored)} encodes; --json has all"]
    known = model.resolutions
    others = sorted({cell.resolution for cell in scored if cell.resolution} - set(known)) if known else []
    if others:
        lines.append(f"outside training: resolution {', '.join(others)}; trained on {', '.join(known)}")
    return lines


def _of(cell: Scored, scored: Sequence[Scored]) -> str:
    return f" in {cell.name}" if len(scored) > 1 else ""


def csv_text(model: ModelFile, scored: Sequence[Scored], libvmaf: str) -> str:
    """Return one line per frame and a header; floats are written so that they read back exactly.

    ``low`` and ``high`` are the interval around the score of a frame, empty without one; ``outside`` is 1 for a
    frame with an input outside of its range in training.

    Args:
        libvmaf: name of the column with the scores of libvmaf's own model.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    spread = () if scored[0].spread is None else (contract.SPREAD_OUTPUT,)
    columns = ("name", "encoder", "preset", "cq", "frame_index", contract.SCORE_OUTPUT, *spread, libvmaf)
    writer.writerow((*columns, "low", "high", "outside"))
    for cell in scored:
        writer.writerows(_lines(cell, half_width(model, "frame")))
    return text.getvalue()


def _lines(cell: Scored, half: float | None) -> Iterator[tuple[object, ...]]:
    encode = (cell.name, cell.encode.encoder, cell.encode.preset, cell.encode.cq)
    columns = [column for column in (cell.score, cell.spread, cell.libvmaf) if column is not None]
    low, high = contract.SCORE_RANGE
    for index, values in enumerate(zip(*(column.tolist() for column in columns), strict=True)):
        ends = ("", "") if half is None else (max(low, values[0] - half), min(high, values[0] + half))
        yield *encode, index, *values, *ends, int(cell.outside_rows[index])
