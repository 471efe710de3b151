"""What the evidence says of the codec block for encoders that were not in training."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import stats

from benchmarks.simulate_codec_block import SHAPES, concluded
from kit.core import contract
from kit.training.predictions import Predictions
from kit.verdict.baselines import Baseline
from kit.verdict.codec_block import SIGNIFICANCE, SMALLEST_EFFECT, codec_block, effect
from kit.verdict.out_of_fold import CellFacts
from tests.training.builders import from_columns

ENCODERS = ("libx264", "libx265")
SETS, ROWS = 4, 16


def facts(groups: int = 8, encoders: tuple[str, ...] = ENCODERS) -> dict[str, CellFacts]:
    return {
        f"{number:02d}-{encoder}": CellFacts(
            source=f"s{number}", group=f"g{number:02d}", fold=f"f{number}", encoder=encoder, rows=ROWS
        )
        for number in range(groups)
        for encoder in encoders
    }


def predicted(cells: dict[str, CellFacts], rmse: Any) -> Predictions:
    """Return scores of two seeds whose RMSE in a cell is ``rmse(encoder, number of the group, seed)``."""
    columns: dict[str, list[Any]] = {
        name: [] for name in ("seed", "fold", "cell_key", "frame_index", "target", "prediction")
    }
    signs = np.where(np.arange(ROWS) % 2, 1, -1)
    for seed in (0, 1):
        for key, cell in cells.items():
            number = int(cell.group[1:])
            columns["seed"] += [seed] * ROWS
            columns["fold"] += [f"{cell.encoder}/fold{number % SETS}"] * ROWS
            columns["cell_key"] += [key] * ROWS
            columns["frame_index"] += range(ROWS)
            columns["target"] += [50.0] * ROWS
            columns["prediction"] += (50 + signs * rmse(cell.encoder, number, seed)).tolist()
    return from_columns("1" * 64, {name: np.array(values) for name, values in columns.items()})


def judged(with_block: Any, without: Any = lambda _e, _g, _s: 1.0, cells: dict[str, CellFacts] | None = None) -> Any:
    cells = cells or facts()
    parts = {
        arch: Baseline(predictions=predicted(cells, rmse), problems=(), model=None)
        for arch, rmse in ((contract.ARCH, with_block), (contract.WITHOUT_BLOCK, without))
    }
    return codec_block(parts, cells)


def noise(number: int) -> float:
    return float(np.random.default_rng(number).normal(0, 0.02))


@pytest.mark.parametrize(
    ("shift", "word"),
    [
        (-0.4, "helps for libx264, libx265"),
        (0.4, "harms for libx264, libx265"),
        (0.0, f"no difference of {SMALLEST_EFFECT:g} VMAF points or more"),
        (0.6 * SMALLEST_EFFECT, "no difference"),
    ],
)
def test_the_conclusion_names_a_clear_effect_only(shift: float, word: str) -> None:
    block = judged(lambda encoder, number, _seed: 1 + shift + noise(number + 100 * (encoder == "libx265")))
    assert word in block["conclusion"]


def test_one_encoder_may_gain_and_another_lose() -> None:
    block = judged(lambda encoder, number, _seed: 1 + (0.4 if encoder == "libx264" else -0.4) + noise(number))
    assert "helps for libx265 and harms for libx264" in block["conclusion"]


def test_few_noisy_clips_show_nothing() -> None:
    block = judged(lambda _encoder, number, _seed: 1 + 0.5 * (-1) ** (number // 2) + 0.1)
    assert "these clips show" in block["conclusion"]


def test_the_figures_by_hand() -> None:
    def rmse(encoder: str, number: int, seed: int) -> float:
        return 1 + 0.1 * number + 0.02 * seed + (encoder == "libx265")

    block = judged(rmse)
    assert block["groups"] == 8
    one = block["unseen"]["libx264"]
    assert one["rmse_with"] == pytest.approx(1.36, abs=1e-5)
    assert (one["rmse_without"], one["ratio"]) == (pytest.approx(1), pytest.approx(1.36, abs=1e-5))
    assert block["unseen_rmse"] == pytest.approx(2.36, abs=1e-5)
    # two groups in each of four sets: the interval is that of the four means
    means = [1.01 + 0.1 * np.mean([number, number + 4]) - 1 for number in range(4)]
    half = stats.t.isf(SIGNIFICANCE / 2 / 2, 3) * np.std(means, ddof=1) / 2
    assert one["difference"]["value"] == pytest.approx(0.36, abs=1e-5)
    assert one["difference"]["high"] == pytest.approx(0.36 + half, abs=1e-4)
    assert one["difference"]["low"] == pytest.approx(0.36 - half, abs=1e-4)


def test_groups_that_share_networks_count_as_one() -> None:
    off = np.repeat(np.random.default_rng(1).normal(size=4), 25)
    shared = effect(1 + off, np.ones(100), [str(number // 25) for number in range(100)], 1)
    alone = effect(1 + off, np.ones(100), [str(number) for number in range(100)], 1)
    assert shared.low is not None
    assert alone.low is not None
    assert shared.difference - shared.low > 5 * (alone.difference - alone.low)


def test_without_two_encoders_or_predictions_nothing_is_said() -> None:
    cells = facts(encoders=("libx264",))
    block: Any = codec_block({}, cells)
    assert "libx264 only" in block["conclusion"]
    assert (block["unseen"], block["unseen_rmse"], block["groups"]) == ({}, None, 8)
    lost = Baseline(predictions=None, problems=("seed 0: predictions are not finite",), model=None)
    sound = replace(lost, predictions=predicted(facts(), lambda _e, _g, _s: 1.0), problems=())
    block = codec_block({contract.ARCH: lost, contract.WITHOUT_BLOCK: sound}, facts())
    assert "not finite" in block["conclusion"]
    assert block["unseen"] == {}
    assert codec_block(None, cells) is None


@pytest.mark.parametrize("groups", [3, 9, 19])
@pytest.mark.parametrize("shape", SHAPES)
def test_without_an_effect_few_conclusions_name_one(groups: int, shape: str) -> None:
    """At most 5 % in the long run: of 400 corpora 33 or more have a chance below 1 in 400 then."""
    assert concluded(groups, 3, shape, shift=0.0, draws=400) * 400 < 33


def test_a_large_effect_is_named() -> None:
    assert concluded(19, 3, "normal", shift=0.6, draws=200) > 0.8
