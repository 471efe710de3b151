"""Everything a page shows, read once from a run folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kit.core import layout
from kit.core.errors import BadInput, Missing
from kit.corpus.store import received
from kit.corpus.store import shard as shards
from kit.corpus.store.shard import CellEntry, FailedCell, Shard
from kit.system.fsio import read_json
from kit.training import predictions as prediction_file
from kit.training.predictions import Predictions
from kit.verdict import out_of_fold

#: Where a cell's time stands in what was observed, and how many of these are a second.
_TIMES = (("seconds", 1.0), ("enc_time_ms", 1000.0))


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Rows of one seed or of the ensemble mean: VMAF points, float64 [n]."""

    target: NDArray[np.float64]
    prediction: NDArray[np.float64]

    @property
    def error(self) -> NDArray[np.float64]:
        """Prediction minus target."""
        return self.prediction - self.target

    @property
    def rmse(self) -> float:
        return float(np.sqrt(np.mean(self.error**2)))

    @property
    def bias(self) -> float:
        return float(np.mean(self.error))


@dataclass(frozen=True, kw_only=True)
class PageCell:
    """A cell with what the ensemble predicts of it.

    Attributes:
        rows: out-of-fold, of the ensemble mean.
        rate: kbit/s where the frame rate is known, else kbit a frame; None where the size is not known.
    """

    entry: CellEntry
    rows: Rows
    rate: float | None

    @property
    def name(self) -> str:
        return str(self.entry.id)


@dataclass(frozen=True, kw_only=True)
class Taken:
    """How long a cell took, in seconds, and where."""

    name: str
    seconds: float
    frames: int
    box: str


@dataclass(frozen=True, kw_only=True)
class Facts:
    """A run as its folder tells it.

    Attributes:
        cells: with predictions, sorted by source, encoder and quality point; none where the verdict is INVALID.
        reports: of the seeds by number, and of the ensemble mean by ``out_of_fold.ENSEMBLE``; none where INVALID.
        timed_rates: rates are in kbit/s.
        taken: cells with a time, longest first.
        training, prereqs: the documents of these names; empty where they are not there.
    """

    verdict: Mapping[str, Any]
    shard: Shard
    predictions: Predictions | None
    cells: tuple[PageCell, ...]
    reports: Mapping[int, Mapping[str, Any]]
    timed_rates: bool
    taken: tuple[Taken, ...]
    training: Mapping[str, Any]
    prereqs: Mapping[str, Any]

    @property
    def evidence(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.verdict["evidence"]
        return found

    @property
    def failed(self) -> Sequence[FailedCell]:
        return self.shard.failed

    @property
    def encoders(self) -> tuple[str, ...]:
        return tuple(sorted({entry.encoder for entry in self.shard.cells}))

    @property
    def sources(self) -> tuple[str, ...]:
        """Labels of those with predictions, largest RMSE first."""
        parts = {label: together(self.of_source(label)) for label in {cell.entry.source for cell in self.cells}}
        return tuple(sorted(parts, key=lambda label: (-parts[label].rmse, label)))

    def of_source(self, label: str) -> list[PageCell]:
        """The cells of a source."""
        return [cell for cell in self.cells if cell.entry.source == label]


def together(cells: Sequence[PageCell]) -> Rows:
    """The rows of several cells."""
    return Rows(
        target=np.concatenate([cell.rows.target for cell in cells]),
        prediction=np.concatenate([cell.rows.prediction for cell in cells]),
    )


def gather(folder: Path) -> Facts:
    """Read a run folder, one's own or one that came out of a verified bundle.

    Raises:
        Missing: it has no verdict, or lacks what its verdict is about.
        BadInput, CheckFailed: a file cannot be read.
    """
    words = layout.verdicts_in(folder)
    if not words:
        raise Missing("there is no verdict, so there is nothing to show", hint="Run `verdict` first.")
    if len(words) > 1:
        raise BadInput(f"there are {' and '.join(words)}", hint="Run `verdict` again.")
    verdict: Any = read_json(folder / layout.verdict_file(words[0]))
    shard = received.read_shard(folder / layout.CORPUS, layout.CORPUS)
    judged = words[0] != "INVALID"
    found = prediction_file.read(folder / layout.PREDICTIONS) if judged else None
    geometries: list[Any] = [source["geometry"] or {} for source in shard.sources]
    timed = all("fps" in geometry for geometry in geometries)
    return Facts(
        verdict=verdict,
        shard=shard,
        predictions=found,
        timed_rates=timed,
        cells=_cells(shard, found, timed=timed) if found is not None else (),
        reports=_reports(folder, verdict["seeds"]) if judged else {},
        taken=_taken(shard),
        training=_told(folder / layout.TRAINING),
        prereqs=_told(folder / layout.PREREQS),
    )


def _told(path: Path) -> Mapping[str, Any]:
    """A document that not every run has."""
    value: Any = read_json(path) if path.is_file() else {}
    return value if isinstance(value, dict) else {}


def _reports(folder: Path, seeds: Sequence[int]) -> dict[int, Mapping[str, Any]]:
    names = {seed: layout.seed_report(seed) for seed in seeds} | {out_of_fold.ENSEMBLE: layout.ENSEMBLE_REPORT}
    return {seed: _told(folder / name) for seed, name in names.items() if (folder / name).is_file()}


def _cells(shard: Shard, found: Predictions, *, timed: bool) -> tuple[PageCell, ...]:
    mean = out_of_fold.ensemble_mean(found)
    order = np.argsort(mean.cell, kind="stable")
    ends = np.cumsum(np.bincount(mean.cell, minlength=len(mean.cells)))
    target, prediction = (column.astype(np.float64)[order] for column in (mean.target, mean.prediction))
    rows = {
        key: Rows(target=target[begin:end], prediction=prediction[begin:end])
        for key, begin, end in zip(mean.cells, [0, *ends[:-1].tolist()], ends.tolist(), strict=True)
    }
    geometry = {str(source["label"]): source["geometry"] for source in shard.sources}
    cells = [
        PageCell(entry=entry, rows=rows[entry.key], rate=_rate(entry, geometry[entry.source] if timed else None))
        for entry in shard.cells
        if entry.key in rows
    ]
    return tuple(sorted(cells, key=lambda cell: (cell.entry.source, cell.entry.encoder, cell.entry.cq, cell.entry.key)))


def _rate(entry: CellEntry, geometry: Any) -> float | None:
    if entry.encoded_bytes is None:
        return None
    a_frame = entry.encoded_bytes * 8 / 1000 / entry.rows
    return a_frame if geometry is None else a_frame * float(Fraction(geometry["fps"]))


def _taken(shard: Shard) -> tuple[Taken, ...]:
    found = []
    for entry in shard.cells:
        if not shards.observed_path(shard.folder, entry.path).is_file():
            continue
        for seen in shards.observations(shard, entry):
            times = [seen[name] / unit for name, unit in _TIMES if isinstance(seen.get(name), int | float)]
            found += [
                Taken(name=str(entry.id), seconds=time, frames=entry.rows, box=str(seen.get("box") or "not told"))
                for time in times[:1]
            ]
    return tuple(sorted(found, key=lambda one: (-one.seconds, one.name, one.box)))
