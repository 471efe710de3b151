"""What the codec block does for an encoder that was not in training: one figure, one interval, one sentence. Pure.

Each encoder is held out together with a set of content groups, with the block and without it. The interval is Student's
t over these sets, since the groups of a set share their networks, and Bonferroni's correction makes it hold for all
encoders together. A bootstrap over groups would be too narrow for so few; docs/statistics.md has the simulation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from kit.core import contract
from kit.training.predictions import Predictions
from kit.verdict.baselines import Baseline
from kit.verdict.metrics import Values
from kit.verdict.out_of_fold import CellFacts

#: Smallest difference of RMSE that the conclusion names, in VMAF points.
SMALLEST_EFFECT = 0.05
#: Share of corpora without any effect in which one of the intervals leaves out 0 if the differences are normal. Skewed
#: differences double it, and at most 5 % of them may read "helps" or "harms" (benchmarks/simulate_codec_block.py).
SIGNIFICANCE = 0.02


@dataclass(frozen=True, kw_only=True)
class Effect:
    """The RMSE with the block minus that without it for one held-out encoder, in VMAF points; below 0 the block helps.

    Attributes:
        rmse_with, rmse_without: mean over content groups of the RMSE of a group, which is a mean over seeds.
        low, high: ends of the interval; None with fewer than two sets of groups.
    """

    rmse_with: float
    rmse_without: float
    low: float | None
    high: float | None

    @property
    def difference(self) -> float:
        return self.rmse_with - self.rmse_without

    @property
    def direction(self) -> int:
        """-1 if the block helps, 1 if it harms, 0 where the interval has 0 or the difference is not worth naming."""
        if self.low is None or self.high is None or abs(self.difference) < SMALLEST_EFFECT:
            return 0
        return -1 if self.high < 0 else int(self.low > 0)

    @property
    def negligible(self) -> bool:
        """Whether the interval has only differences that are not worth naming."""
        return self.low is not None and self.high is not None and max(-self.low, self.high) < SMALLEST_EFFECT

    def as_dict(self) -> dict[str, object]:
        return {
            "rmse_with": self.rmse_with,
            "rmse_without": self.rmse_without,
            "ratio": self.rmse_with / self.rmse_without if self.rmse_without > 0 else None,
            "difference": {"value": self.difference, "low": self.low, "high": self.high},
        }


def effect(with_block: Values, without: Values, sets: Sequence[str], encoders: int) -> Effect:
    """Compare the RMSE of each content group, float64 [groups] each.

    The variance of the mean over groups is that of sums over sets (Liang, Zeger 1986) with K/(K-1) for K sets, and the
    interval has K-1 degrees of freedom (Cameron, Gelbach, Miller 2008).

    Args:
        sets: of each group, the set that it was held out with.
        encoders: number of encoders that are compared, for the correction.
    """
    off = with_block - without
    names, of_group = np.unique(np.array(sets, dtype=np.str_), return_inverse=True)
    ends: tuple[float | None, float | None] = (None, None)
    if (count := len(names)) > 1:
        sums = np.bincount(of_group, weights=off - off.mean(), minlength=count)
        deviation = float(np.sqrt(count / (count - 1) * np.sum(sums**2))) / len(off)
        half = _quantile(SIGNIFICANCE / 2 / encoders, count - 1) * deviation
        ends = (float(off.mean()) - half, float(off.mean()) + half)
    return Effect(rmse_with=float(with_block.mean()), rmse_without=float(without.mean()), low=ends[0], high=ends[1])


@cache
def _quantile(above: float, freedom: int) -> float:
    """Return the value that Student's t exceeds with this probability; scipy takes as long as the rest of an effect."""
    from scipy import stats

    return float(stats.t.isf(above, freedom))


def conclusion(effects: Mapping[str, Effect]) -> str:
    """Say in one sentence what the block does for an encoder that was not in training."""
    helps = [name for name, one in effects.items() if one.direction < 0]
    harms = [name for name, one in effects.items() if one.direction > 0]
    figures = "; ".join(f"{name} {_figures(one)}" for name, one in effects.items())
    if helps and harms:
        effect_of = f"helps for {_names(helps)} and harms for {_names(harms)}"
    elif helps or harms:
        effect_of = f"{'helps' if helps else 'harms'} for {_names(helps or harms)}"
    elif all(one.negligible for one in effects.values()):
        effect_of = f"makes no difference of {SMALLEST_EFFECT:g} VMAF points or more"
    else:
        effect_of = "makes no difference that these clips show"
    return f"For an encoder that was not in training, the codec block {effect_of}. RMSE with it and without: {figures}."


def _names(names: Sequence[str]) -> str:
    return ", ".join(names)


def _figures(one: Effect) -> str:
    if one.low is None or one.high is None:
        return f"{one.rmse_with:.2f} and {one.rmse_without:.2f}"
    interval = f"{one.difference:+.2f}, interval {one.low:+.2f} to {one.high:+.2f}"
    return f"{one.rmse_with:.2f} and {one.rmse_without:.2f} ({interval})"


def codec_block(unseen: Mapping[str, Baseline] | None, cells: Mapping[str, CellFacts]) -> dict[str, object] | None:
    """Build the ``codec_block`` of the evidence; None for an architecture without the block.

    Args:
        unseen: predictions for held-out encoders by architecture, with the block and without; empty where no encoder
            can be held out.
    """
    if unseen is None:
        return None
    encoders = sorted({cell.encoder for cell in cells.values()})
    effects: dict[str, Effect] = {}
    if not unseen:
        text = "Nothing can be said of an encoder that was not in training: " + (
            f"the corpus has {_names(encoders)} only."
            if len(encoders) < 2
            else "without one of them and its content groups no rows are left."
        )
    else:
        parts = [unseen[arch].predictions for arch in (contract.ARCH, contract.WITHOUT_BLOCK)]
        problems = [line for arch in unseen for line in unseen[arch].problems]
        text = f"Nothing can be said of an encoder that was not in training: {'; '.join(problems)}."
        if parts[0] is not None and parts[1] is not None:
            effects = _effects(parts[0], parts[1], cells)
            text = conclusion(effects)
    return {
        "conclusion": text,
        "unseen": {name: one.as_dict() for name, one in effects.items()},
        "unseen_rmse": max((one.rmse_with for one in effects.values()), default=None),
        "smallest_effect": SMALLEST_EFFECT,
        "groups": len({cell.group for cell in cells.values()}),
    }


def _effects(with_block: Predictions, without: Predictions, cells: Mapping[str, CellFacts]) -> dict[str, Effect]:
    errors = [_group_errors(predictions, cells) for predictions in (with_block, without)]
    encoders = sorted({encoder for encoder, _ in errors[0]})
    sets = _sets(with_block, cells)
    effects = {}
    for name in encoders:
        groups = sorted(group for encoder, group in errors[0] if encoder == name)
        one, two = (np.array([error[name, group] for group in groups]) for error in errors)
        effects[name] = effect(one, two, [sets[name, group] for group in groups], len(encoders))
    return effects


def _group_errors(predictions: Predictions, cells: Mapping[str, CellFacts]) -> dict[tuple[str, str], float]:
    """Return the RMSE of each encoder and content group, mean over seeds, VMAF points."""
    pairs = [(cells[key].encoder, cells[key].group) for key in predictions.cells]
    names = sorted({pairs[cell] for cell in np.unique(predictions.cell).tolist()})
    index = {pair: number for number, pair in enumerate(names)}
    of_cell = np.array([index.get(pair, -1) for pair in pairs], dtype=np.int64)
    squares = (predictions.prediction.astype(np.float64) - predictions.target.astype(np.float64)) ** 2
    rmse = []
    for _, rows in predictions.seeds():
        part = of_cell[predictions.cell[rows]]
        sums = np.bincount(part, weights=squares[rows], minlength=len(names))
        rmse.append(np.sqrt(sums / np.bincount(part, minlength=len(names))))
    return dict(zip(names, np.mean(rmse, axis=0).tolist(), strict=True))


def _sets(predictions: Predictions, cells: Mapping[str, CellFacts]) -> dict[tuple[str, str], str]:
    """Return the fold that predicted each encoder and content group."""
    pairs = np.unique(predictions.cell.astype(np.int64) * len(predictions.folds) + predictions.fold)
    sets = {}
    for cell, fold in (divmod(pair, len(predictions.folds)) for pair in pairs.tolist()):
        facts = cells[predictions.cells[cell]]
        sets[facts.encoder, facts.group] = predictions.folds[fold]
    return sets
