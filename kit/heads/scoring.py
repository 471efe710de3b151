"""Score encodes with a model: the cells of a corpus, or one pair of clips."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kit.core import contract
from kit.models.model_file import ModelFile
from kit.models.runtime import Floats
from kit.training.codec_block import codec_block
from kit.training.table import Table, with_inputs
from kit.verdict.metrics import Pooled, agreement_as_json, pooled
from kit.video.scorers.log import Scores


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
    """

    name: str
    encode: Encode
    score: Floats
    spread: Floats | None
    libvmaf: NDArray[np.float64]

    @property
    def pooled(self) -> Pooled:
        return pooled(self.score.astype(np.float64))

    @property
    def mean_spread(self) -> float | None:
        """Mean over frames of the spread over members; None for a single network."""
        return None if self.spread is None else float(self.spread.astype(np.float64).mean())


def score_corpus(model: ModelFile, table: Table) -> tuple[Scored, ...]:
    """Score every cell of a corpus; cells in order of source, encoder and quality point.

    Raises:
        BadInput: the corpus lacks a feature of the model.
    """
    rows_of_model = with_inputs(table, model.inputs)
    score, spread = model.scores(rows_of_model.features, rows_of_model.codec)
    ends = np.cumsum([entry.rows for entry in table.cells])
    scored = []
    for entry, end in zip(table.cells, ends.tolist(), strict=True):
        rows = slice(end - entry.rows, end)
        scored.append(
            Scored(
                name=str(entry.id),
                encode=Encode(encoder=entry.encoder, preset=entry.preset, cq=entry.cq),
                score=score[rows],
                spread=None if spread is None else spread[rows],
                libvmaf=table.target[rows].astype(np.float64),
            )
        )
    return tuple(sorted(scored, key=lambda cell: cell.name))


def score_pair(model: ModelFile, name: str, scores: Scores, encode: Encode) -> Scored:
    """Score one pair of clips from its features.

    Raises:
        BadInput: the encoder has no such preset, or the scorer lacks a feature of the model.
    """
    block = codec_block(encode.encoder or "", encode.preset, encode.cq or 0, model.inputs.encoder_vocab)
    codec = np.tile(np.array(block, dtype=np.float32), (len(scores.vmaf), 1))
    features = scores.features.take(model.inputs.columns_of(contract.FEATURES), axis=1)
    score, spread = model.scores(features.astype(np.float32), codec)
    return Scored(name=name, encode=encode, score=score, spread=spread, libvmaf=scores.vmaf)


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
    outside = sorted(encoders.difference(model.inputs.encoder_vocab))
    untrained = sorted(encoders.intersection(model.untrained))
    lines = []
    if model.teacher and model.teacher["id"] != libvmaf:
        lines.append(f"The model was trained on {model.teacher['id']}, not on {libvmaf}.")
    if outside:
        lines.append(f"{', '.join(outside)}: not in the vocabulary; the model gets no encoder as input.")
    if untrained:
        lines.append(f"{', '.join(untrained)}: the model was not trained on it; its scores are extrapolated.")
    return lines


def csv_text(scored: Sequence[Scored], libvmaf: str) -> str:
    """Return one line per frame and a header; floats are written so that they read back exactly.

    Args:
        libvmaf: name of the column with the scores of libvmaf's own model.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    spread = () if scored[0].spread is None else (contract.SPREAD_OUTPUT,)
    writer.writerow(("name", "encoder", "preset", "cq", "frame_index", contract.SCORE_OUTPUT, *spread, libvmaf))
    for cell in scored:
        writer.writerows(_lines(cell))
    return text.getvalue()


def _lines(cell: Scored) -> Iterator[tuple[object, ...]]:
    encode = (cell.name, cell.encode.encoder, cell.encode.preset, cell.encode.cq)
    columns = [column for column in (cell.score, cell.spread, cell.libvmaf) if column is not None]
    for index, values in enumerate(zip(*(column.tolist() for column in columns), strict=True)):
        yield *encode, index, *values
