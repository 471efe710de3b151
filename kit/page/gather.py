"""Read everything that a page shows from a run folder, once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kit.core import contract, layout
from kit.core.errors import BadInput, Missing
from kit.corpus.store import received
from kit.corpus.store import shard as shards
from kit.corpus.store.shard import CellEntry, Shard
from kit.system.fsio import read_json
from kit.training import predictions as prediction_file
from kit.training.predictions import Predictions
from kit.verdict.out_of_fold import ENSEMBLE, ensemble_mean
from kit.verdict.seed_report import report_file

#: Keys of a cell's time in its observations, and how many of the unit make a second.
_TIMES = (("seconds", 1.0), ("enc_time_ms", 1000.0))


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Scores of one seed or of the ensemble mean: VMAF points, float64 [n]."""

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
class ScoredCell:
    """A cell with the ensemble's predictions.

    Attributes:
        scores: out-of-fold, of the ensemble mean; frames: int32 [n], the number of each frame in its clip.
        rate: kbit/s where the frame rate is known, else kbit per frame; None where the size is unknown.
    """

    entry: CellEntry
    scores: Scores
    frames: NDArray[np.int32]
    rate: float | None


@dataclass(frozen=True, kw_only=True)
class CellTime:
    """Seconds that a box took for a cell."""

    cell: str
    seconds: float
    frames: int
    box: str


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """A run as its folder describes it.

    Attributes:
        cells: with predictions, sorted by source, encoder and quality point; empty for INVALID.
        reports: of the seeds by number, and of the ensemble mean by ``ENSEMBLE``; empty for INVALID.
        holdouts: reports of ``--holdout`` by what was held out.
        timed_rates: rates are in kbit/s.
        times: of the cells that have one, longest first.
        training, prereqs: the documents of these names; empty where there are none.
    """

    verdict: Mapping[str, Any]
    shard: Shard
    predictions: Predictions | None
    cells: tuple[ScoredCell, ...]
    reports: Mapping[int, Mapping[str, Any]]
    holdouts: Mapping[str, Mapping[str, Any]]
    timed_rates: bool
    times: tuple[CellTime, ...]
    training: Mapping[str, Any]
    prereqs: Mapping[str, Any]

    @property
    def evidence(self) -> Mapping[str, Any]:
        evidence: Mapping[str, Any] = self.verdict["evidence"]
        return evidence

    @property
    def seed_reports(self) -> dict[int, Mapping[str, Any]]:
        """The reports of the seeds alone."""
        return {seed: report for seed, report in self.reports.items() if seed != ENSEMBLE}

    @property
    def losses(self) -> dict[int, Sequence[float]]:
        """The training loss of each seed by epoch, of reports that have it."""
        return _by_epoch(self.seed_reports)

    @property
    def encoders(self) -> tuple[str, ...]:
        return tuple(sorted({entry.encoder for entry in self.shard.cells}))

    @cached_property
    def sources(self) -> tuple[str, ...]:
        """Labels of the sources with predictions, largest RMSE first."""
        rmse = {label: joined(cells).rmse for label, cells in self._by_source.items()}
        return tuple(sorted(rmse, key=lambda label: (-rmse[label], label)))

    @cached_property
    def _by_source(self) -> dict[str, list[ScoredCell]]:
        sources: dict[str, list[ScoredCell]] = {}
        for cell in self.cells:
            sources.setdefault(cell.entry.source, []).append(cell)
        return sources

    @cached_property
    def geometry(self) -> dict[str, Mapping[str, Any]]:
        """The geometry of each source by its label; empty where imported rows do not give it."""
        geometries: dict[str, Any] = {str(source["label"]): source["geometry"] for source in self.shard.sources}
        return {label: geometry or {} for label, geometry in geometries.items()}

    def resolution(self, label: str) -> str:
        """The resolution of a source, e.g. ``640x360``."""
        geometry = self.geometry[label]
        return f"{geometry['width']}x{geometry['height']}" if "width" in geometry else "unknown"

    def fps(self, label: str) -> float | None:
        """Frames per second of a source; None where they are unknown."""
        rate = self.geometry[label].get("fps")
        return None if rate is None else float(Fraction(rate))

    def of_source(self, label: str) -> list[ScoredCell]:
        return self._by_source[label]

    def by_point(self) -> dict[tuple[str, int], list[ScoredCell]]:
        """Cells by encoder and quality point, in order."""
        points: dict[tuple[str, int], list[ScoredCell]] = {}
        for cell in sorted(self.cells, key=lambda cell: (cell.entry.encoder, cell.entry.cq)):
            points.setdefault((cell.entry.encoder, cell.entry.cq), []).append(cell)
        return points


def joined(cells: Sequence[ScoredCell]) -> Scores:
    """Concatenate the scores of several cells."""
    return Scores(
        target=np.concatenate([cell.scores.target for cell in cells]),
        prediction=np.concatenate([cell.scores.prediction for cell in cells]),
    )


def losses(folder: Path, seeds: Sequence[int]) -> dict[int, Sequence[float]]:
    """Read the training loss of each seed by epoch from a run folder; of the seeds that have one.

    Raises:
        BadInput: a report cannot be read.
    """
    reports = {seed: _optional(folder / report_file(seed)) for seed in seeds}
    return _by_epoch(reports)


def _by_epoch(reports: Mapping[int, Mapping[str, Any]]) -> dict[int, Sequence[float]]:
    """Return the losses of trainings in epochs: least squares have a single one."""
    losses = {seed: report["training_loss"] for seed, report in reports.items() if report.get("training_loss")}
    return {seed: loss for seed, loss in losses.items() if len(loss) == reports[seed]["epochs"]}


def gather(folder: Path) -> RunFacts:
    """Read a run folder, made here or unpacked from a verified bundle.

    Raises:
        Missing: it has no verdict, or lacks a file that its verdict depends on.
        BadInput, CheckFailed: a file cannot be read.
    """
    words = layout.verdicts_in(folder)
    if not words:
        raise Missing(f"{folder} has no verdict, so a page has nothing to show", hint="Run `verdict` first.")
    if len(words) > 1:
        raise BadInput(f"{folder} has several verdicts: {', '.join(words)}", hint="Run `verdict` again.")
    verdict: Any = read_json(folder / layout.verdict_file(words[0]))
    shard = received.read_shard(folder / layout.CORPUS, layout.CORPUS)
    valid = words[0] != "INVALID"
    predictions = prediction_file.read(folder / layout.PREDICTIONS) if valid else None
    geometries: list[Any] = [source["geometry"] or {} for source in shard.sources]
    timed = all("fps" in geometry for geometry in geometries)
    reports = {seed: _optional(folder / report_file(seed)) for seed in (*verdict["seeds"], ENSEMBLE)} if valid else {}
    holdouts = {by: _optional(folder / layout.holdout_report(by)) for by in contract.HOLDOUTS} if valid else {}
    return RunFacts(
        verdict=verdict,
        shard=shard,
        predictions=predictions,
        timed_rates=timed,
        cells=_cells(shard, predictions, timed=timed) if predictions is not None else (),
        reports={seed: report for seed, report in reports.items() if report},
        holdouts={by: report for by, report in holdouts.items() if report},
        times=_times(shard),
        training=_optional(folder / layout.TRAINING),
        prereqs=_optional(folder / layout.PREREQS),
    )


def _optional(path: Path) -> Mapping[str, Any]:
    """Read a document that not every run has; empty where it does not exist."""
    value: Any = read_json(path) if path.is_file() else {}
    return value if isinstance(value, dict) else {}


def _cells(shard: Shard, predictions: Predictions, *, timed: bool) -> tuple[ScoredCell, ...]:
    mean = ensemble_mean(predictions)
    order = np.argsort(mean.cell, kind="stable")
    ends = np.cumsum(np.bincount(mean.cell, minlength=len(mean.cells)))
    target, prediction = (column.astype(np.float64)[order] for column in (mean.target, mean.prediction))
    parts = {
        key: slice(begin, end)
        for key, begin, end in zip(mean.cells, [0, *ends[:-1].tolist()], ends.tolist(), strict=True)
    }
    frames = mean.frame[order]
    geometry = {str(source["label"]): source["geometry"] for source in shard.sources}
    cells = [
        ScoredCell(
            entry=entry,
            scores=Scores(target=target[rows], prediction=prediction[rows]),
            frames=frames[rows],
            rate=_rate(entry, geometry[entry.source] if timed else None),
        )
        for entry in shard.cells
        if (rows := parts.get(entry.key)) is not None
    ]
    return tuple(sorted(cells, key=lambda cell: (cell.entry.source, cell.entry.encoder, cell.entry.cq, cell.entry.key)))


def _rate(entry: CellEntry, geometry: Any) -> float | None:
    if entry.encoded_bytes is None:
        return None
    per_frame = entry.encoded_bytes * 8 / 1000 / entry.rows
    return per_frame if geometry is None else per_frame * float(Fraction(geometry["fps"]))


def _times(shard: Shard) -> tuple[CellTime, ...]:
    times = []
    for entry in shard.cells:
        if not shards.observed_path(shard.folder, entry.path).is_file():
            continue
        for observed in shards.observations(shard, entry):
            seconds = [observed[key] / unit for key, unit in _TIMES if isinstance(observed.get(key), int | float)]
            box = str(observed.get("box") or "unknown")
            times += [CellTime(cell=str(entry.id), seconds=one, frames=entry.rows, box=box) for one in seconds[:1]]
    return tuple(sorted(times, key=lambda one: (-one.seconds, one.cell, one.box)))
