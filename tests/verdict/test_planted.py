"""A fault planted in a training is caught and named by one of the gates or by both.

The model here is a parabola of the quality point and a line through the features, fitted in the same folds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kit.core import contract
from kit.core.values import Cell
from kit.corpus.store.cellfile import CellRows
from kit.training import table
from kit.training.folds import by_group
from kit.training.predictions import Predictions
from kit.training.table import Table
from kit.verdict.baselines import Baseline
from kit.verdict.judge import Judgement, Training, document, judge
from tests.corpus.builders import plan, rows_of, shard_of
from tests.training.builders import from_columns

FRAMES = 40
SOURCES = ("Highway", "Park", "Tango", "Crowd", "River", "Night", "Bees", "Canal", "Dunes")
ENCODERS = ("libx264", "libx265", "libsvtav1")
SEEDS = (0, 1, 2)
#: Makes a cell's rows; changes the predictions of all seeds [seeds, rows].
Rows = Callable[[Cell], CellRows]
Change = Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]]


def honest(cell: Cell) -> CellRows:
    """Return rows of a clip with a motion of its own; the score falls faster at coarse quality points, with noise."""
    content = np.random.default_rng(int(cell.source.sha256[:8], 16))
    noise = np.random.default_rng(int(cell.key[:8], 16))
    motion = 12 + content.normal(0, 4) + content.normal(0, 1, FRAMES)
    detail = np.convolve(content.normal(0, 1, FRAMES + 4), np.ones(5) / 5, mode="valid")
    loss = (cell.settings.cq - 10) / 41
    features = np.stack(
        [0.98 - share * loss + 0.02 * detail + noise.normal(0, 0.003, FRAMES) for share in (0.15, 0.5, 0.35, 0.25, 0.2)]
        + [motion],
        axis=1,
    )
    vmaf = 92 - 20 * loss - 30 * loss**2 + 4 * detail - 0.8 * (motion - 12) + noise.normal(0, 0.4, FRAMES)
    return clipped(cell, features, vmaf)


def clipped(cell: Cell, features: np.ndarray[Any, Any], vmaf: np.ndarray[Any, Any]) -> CellRows:
    """Return rows as a scorer gives them, scores clipped to 0..100, with their hash."""
    rows = replace(rows_of(cell), features=features, vmaf=np.clip(vmaf, 0, 100))
    return replace(rows, facts={**rows.facts, "content_sha256": rows.content_sha256()})


def shuffled(cell: Cell) -> CellRows:
    """Give one source the scores of other frames and quality points."""
    rows = honest(cell)
    if cell.source.label != "Tango":
        return rows
    order = np.random.default_rng(int(cell.key[:8], 16))
    return clipped(cell, rows.features, order.uniform(55, 100, FRAMES))


def unseen_by_the_features(cell: Cell) -> CellRows:
    """Make one encoder worse by six points, which no input shows."""
    rows = honest(cell)
    return clipped(cell, rows.features, rows.vmaf - 6) if cell.settings.encoder == "libsvtav1" else rows


def same_content_twice(cell: Cell) -> CellRows:
    """Repeat Highway under another name: three frames later, graded and encoded again, so that no hash shows it."""
    if cell.source.label != "Autobahn":
        return honest(cell)
    other = honest(replace(cell, source=replace(cell.source, sha256=plan(("Highway",))[0].source.sha256)))
    noise = np.random.default_rng(5).normal(0, 0.004, other.features.shape)
    return clipped(cell, np.roll(other.features * 1.01 + noise, 3, axis=0), np.roll(other.vmaf, 3))


def unchanged(scores: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return scores


def collapsed(scores: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Make seed 1 predict little more than the mean: its order is right, its scale is not."""
    result = scores.copy()
    result[1] = result[1].mean() + 0.2 * (result[1] - result[1].mean())
    return result


def noise_only(scores: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    result = scores.copy()
    result[1] = np.random.default_rng(9).uniform(40, 100, scores.shape[1])
    return result


def off_by_five(scores: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Scale about 100, so that scores are five points too low in the mean."""
    lost = 100 - scores
    return 100 - lost * (1 + 5 / lost.mean())


def barely_trained(scores: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Keep the order and little else: as after one epoch, scores are near a constant that is far from their mean."""
    return 50 + 0.1 * (scores - scores.mean())


def everything(rows: Table) -> np.ndarray[Any, Any]:
    """Return the inputs of the learner: features, quality point and its square."""
    point = rows.codec[:, -1:].astype(np.float64)
    return np.concatenate([features_alone(rows), point, point**2], axis=1)


def features_alone(rows: Table) -> np.ndarray[Any, Any]:
    """Return the inputs of the least-squares line."""
    return np.concatenate([rows.features.astype(np.float64), np.ones((len(rows), 1))], axis=1)


def parabola_of_adm2(rows: Table) -> np.ndarray[Any, Any]:
    adm2 = rows.features[:, 0].astype(np.float64)
    return np.stack([np.ones(len(rows)), adm2, adm2**2], axis=1)


@dataclass(frozen=True, kw_only=True)
class Planted:
    """A planted fault and its expected result.

    Attributes:
        inputs: of the learner.
        default, expert: the word by each gate.
        named: failing checks of the expert gate, with their location.
        headline: a part of the headline.
    """

    sources: tuple[str, ...] = SOURCES
    rows: Rows = honest
    change: Change = unchanged
    inputs: Callable[[Table], np.ndarray[Any, Any]] = everything
    default: str
    expert: str
    named: Mapping[str, Any]
    headline: str = ""


PLANTED = {
    "nothing": Planted(default="PROMOTE", expert="PROMOTE", named={}),
    "shuffled-labels": Planted(rows=shuffled, default="HOLD", expert="HOLD", named={"source_rmse_max": "Tango"}),
    "a-source-under-two-names": Planted(
        sources=(*SOURCES, "Autobahn"),
        rows=same_content_twice,
        default="PROMOTE",
        expert="PROMOTE",  # without fingerprints a pair only warns
        named={},
        headline="by features alone: Autobahn and Highway",
    ),
    "a-bad-encoder": Planted(
        rows=unseen_by_the_features, default="PROMOTE", expert="HOLD", named={"encoder_bias_max": "libsvtav1"}
    ),
    "a-seed-collapsed": Planted(change=collapsed, default="PROMOTE", expert="HOLD", named={"seed_rmse_max": "seed 1"}),
    "a-seed-of-noise": Planted(change=noise_only, default="HOLD", expert="HOLD", named={"seed_rmse_max": "seed 1"}),
    "one-epoch": Planted(
        change=barely_trained,
        default="PROMOTE",
        expert="HOLD",
        named={"ensemble_rmse_max": None, "source_rmse_max": ..., "clip_p95_max": None, "linear_ratio_max": None},
        headline="PROMOTE, but do not ship: RMSE ",
    ),
    "a-parabola-of-adm2": Planted(
        inputs=parabola_of_adm2,
        default="PROMOTE",
        expert="HOLD",
        named={"ensemble_rmse_max": None, "source_rmse_max": ..., "clip_p95_max": None, "linear_ratio_max": None},
        headline="PROMOTE, but do not ship: RMSE ",
    ),
    "five-points-off": Planted(
        change=off_by_five,
        default="PROMOTE",
        expert="HOLD",
        named={"ensemble_rmse_max": None, "source_rmse_max": ..., "clip_p95_max": None},
    ),
}


def trained(rows: Table, corpus_sha256: str, change: Change, known: np.ndarray[Any, Any]) -> Predictions:
    """Return out-of-fold predictions of every seed, each trained on its own half of the training rows."""
    folds = by_group(rows)
    scores = np.empty((len(SEEDS), len(rows)))
    labels = np.empty(len(rows), dtype=object)
    for fold in folds:
        labels[fold.held] = fold.held_out
        for index, seed in enumerate(SEEDS):
            own = np.random.default_rng(seed).permutation(fold.train)[: len(fold.train) // 2]
            weights = np.linalg.lstsq(known[own], rows.target[own].astype(np.float64), rcond=None)[0]
            scores[index, fold.held] = known[fold.held] @ weights
    keys = np.array([entry.key for entry in rows.cells])[rows.cell]
    times = len(SEEDS)
    return from_columns(
        corpus_sha256,
        {
            "seed": np.repeat(np.array(SEEDS, dtype=np.int32), len(rows)),
            "fold": np.tile(labels.astype(np.str_), times),
            "cell_key": np.tile(keys, times),
            "frame_index": np.tile(rows.frame, times),
            "target": np.tile(rows.target, times),
            "prediction": np.clip(change(scores), 0, 100).astype(np.float32).ravel(),
        },
    )


def judged(folder: Path, planted: Planted) -> tuple[Judgement, dict[str, Any]]:
    """Return the judgement and the document by the default gate."""
    cells = plan(planted.sources, ENCODERS, (19, 31, 43), frames=FRAMES)
    shard = shard_of(folder, cells, rows=planted.rows)
    rows = table.load(shard)
    line = trained(rows, shard.corpus_sha256, unchanged, features_alone(rows))
    linear = Baseline(predictions=line, problems=(), model=None)
    own = trained(rows, shard.corpus_sha256, unchanged, everything(rows))
    held_out = Baseline(predictions=own, problems=(), model=None)
    training = Training(
        shard=shard,
        seeds=SEEDS,
        folds="loso",
        holdout=(),
        predictions=trained(rows, shard.corpus_sha256, planted.change, planted.inputs(rows)),
        problems=(),
        baselines={"linear": linear},
        unseen={contract.ARCH: held_out, contract.WITHOUT_BLOCK: held_out},
        rows=rows,
        formula=None,
    )
    judgement = judge(training, ())
    return judgement, document(training, judgement, "default")


@pytest.mark.parametrize("planted", PLANTED.values(), ids=PLANTED)
def test_a_planted_fault_is_caught_and_named(planted: Planted, tmp_path: Path) -> None:
    result, verdict = judged(tmp_path / "corpus", planted)
    assert result.evidence["problems"] == []
    failing = {check.name: check.where for check in result.expert.checks if not check.passed}
    assert (result.word("default"), result.word("expert")) == (planted.default, planted.expert)
    assert planted.named.keys() <= failing.keys()
    for name, where in planted.named.items():
        assert where is ... or failing[name] == where
    assert failing.keys() == set(result.expert.failing)
    assert planted.headline in verdict["headline"]
    assert verdict["may_ship"] == (planted.expert == "PROMOTE")
    if not planted.named:
        assert failing == {}
