"""Against what else could have been used: simpler models trained in the same folds, and the shipped one. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import Any

import numpy as np

from kit.core import contract
from kit.training.predictions import Predictions
from kit.verdict.base import CellFacts, columns, ensemble_mean
from kit.verdict.intervals import ByGroup, Statistic, by_group, interval
from kit.verdict.metrics import Values, pearson

#: What each of them is.
WHAT = {
    "linear": "a line through the six features, trained in the same folds with the same seeds",
    "mlp_small": "6-16-8-1 on the six features, trained in the same folds with the same seeds",
    "no_codec_block": "the same network without the codec block, trained in the same folds with the same seeds",
    contract.SHIPPED: "the model given with --baseline, as it is",
}
#: Family-wise level of the tests.
SIGNIFICANCE = 0.05
ASSUMPTIONS = (
    "clips are independent (several encodes of one source are not)",
    "the two models are taken as independent samples, although both score the same clips",
    "scores and errors are normally distributed",
    "no mapping is fitted: N degrees of freedom for the RMSE",
)
_UNTOLD = "there is no sidecar that tells what it was trained on"


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """What the ensemble is compared with.

    Attributes:
        predictions: the ensemble's rows with its scores; None where it has none that can be used.
        problems: why.
        model: of the shipped one ``file``, ``sha256``, ``corpus_sha256`` and ``source_ids`` that it was trained on, the
            last two null where nothing tells.
    """

    predictions: Predictions | None
    problems: tuple[str, ...]
    model: Mapping[str, Any] | None


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """What a model may have been trained on: hash of this corpus, and identities of its sources."""

    sha256: str
    source_ids: Set[str]


def expected_baselines(arch: str) -> tuple[str, ...]:
    """What an ensemble of an architecture is compared with besides a shipped model: the default one with all, others
    with nothing.
    """
    return contract.BASELINES if arch == contract.ARCH else ()


def leaked(baseline: Baseline, corpus: Corpus) -> tuple[bool | None, str]:
    """Whether a model was trained on what is held out here, and why that is said; None where nothing tells."""
    if baseline.model is None:
        return False, "trained in the same folds"
    if baseline.model["corpus_sha256"] == corpus.sha256:
        return True, "its sidecar names this corpus: it was trained on every held-out source"
    if baseline.model["source_ids"] is None:
        another = "its sidecar names another corpus and no sources"
        return None, _UNTOLD if baseline.model["corpus_sha256"] is None else another
    known = set(baseline.model["source_ids"]) & corpus.source_ids
    if known:
        return True, f"its sidecar lists {len(known)} of the {len(corpus.source_ids)} sources held out here"
    return False, "its sidecar lists none of the sources held out here"


def compared(
    predictions: Predictions, cells: Mapping[str, CellFacts], others: Mapping[str, Baseline], corpus: Corpus
) -> dict[str, object]:
    """The ``baselines`` and ``codec_block`` of the evidence.

    Differences are the ensemble's figure minus the baseline's, with intervals of a paired bootstrap over groups: a
    resample takes the same groups from both.
    """
    own = by_group(predictions, cells)
    clips = _clips(predictions)
    found: dict[str, dict[str, Any]] = {}
    for name in sorted(others):
        leak, why = leaked(others[name], corpus)
        found[name] = {
            "what": WHAT[name],
            "model": others[name].model,
            "leaked": leak,
            "leaked_reason": why,
            "problems": list(others[name].problems),
            **_compared(own, clips, others[name].predictions, cells),
        }
    _correct([found[name]["p1401"] for name in found if found[name]["p1401"] is not None])
    return {"baselines": found, "codec_block": _codec_block(found.get("no_codec_block"))}


_NAMES = ("mean_plcc", "srocc", "rmse")


def _compared(
    own: ByGroup, clips: tuple[Values, Values], other: Predictions | None, cells: Mapping[str, CellFacts]
) -> dict[str, Any]:
    if other is None:
        return {**dict.fromkeys(_NAMES), "difference": None, "p1401": None}
    seen = by_group(other, cells)
    every = np.arange(len(seen.groups))
    figures = {name: float(figure(every)) for name, figure in seen.statistics().items()}
    return {
        **{name: value if np.isfinite(value) else None for name, value in figures.items()},
        "difference": {
            name: interval(_minus(own.statistics()[name], seen.statistics()[name]), len(every))
            for name in ("mean_plcc", "rmse")
        },
        "p1401": _p1401(clips, _clips(other)),
    }


def _minus(one: Statistic, two: Statistic) -> Statistic:
    return lambda index: one(index) - two(index)


def _clips(predictions: Predictions) -> tuple[Values, Values]:
    """Mean over frames of each cell: of the ensemble mean and of the target."""
    averaged, (_, target) = ensemble_mean(predictions), columns(predictions)
    frames = np.bincount(averaged.cell)
    return (
        np.bincount(averaged.cell, weights=averaged.prediction.astype(np.float64)) / frames,
        np.bincount(averaged.cell, weights=target) / frames,
    )


def _p1401(own: tuple[Values, Values], other: tuple[Values, Values]) -> dict[str, Any] | None:
    """ITU-T P.1401 (2020), 7.6.1 and 7.6.4, at clip level; both tests two-sided. None below four clips or without a
    correlation.
    """
    from scipy import stats

    clips = len(own[0])
    if clips < 4 or any(np.ptp(values) == 0 for values in (*own, *other)):
        return None
    # a correlation of 1 has no finite z; so close to it two clips differ by a rounding
    fisher = [float(np.arctanh(min(pearson(*pair), 1 - 1e-12))) for pair in (own, other)]
    z = (fisher[0] - fisher[1]) / float(np.sqrt(2 / (clips - 3)))
    squares = [float(np.mean((prediction - target) ** 2)) for prediction, target in (own, other)]
    tests: dict[str, Any] = {"fisher_z": {"z": z, "p": float(2 * stats.norm.sf(abs(z)))}, "rmse": None}
    if min(squares) > 0:
        f = max(squares) / min(squares)
        tests["rmse"] = {"f": f, "p": min(1.0, float(2 * stats.f.sf(f, clips, clips)))}
    return {
        "clips": clips,
        **tests,
        "level": SIGNIFICANCE,
        "correction": "Holm, over all baselines and both tests",
        "assumptions": list(ASSUMPTIONS),
    }


def _correct(compared: list[dict[str, Any]]) -> None:
    """Add ``p_holm`` and ``significant`` to every test (Holm 1979)."""
    tests = [found[name] for found in compared for name in ("fisher_z", "rmse") if found[name] is not None]
    reached = 0.0
    for rank, test in enumerate(sorted(tests, key=lambda test: float(test["p"]))):
        reached = max(reached, min(1.0, (len(tests) - rank) * test["p"]))
        test |= {"p_holm": reached, "significant": reached < SIGNIFICANCE}


def _codec_block(without: Mapping[str, Any] | None) -> str | None:
    """Whether the block is worth its inputs, in one line; None where nothing was trained without it."""
    if without is None or without["difference"] is None:
        return None
    plcc, rmse = without["difference"]["mean_plcc"], without["difference"]["rmse"]
    if None in (plcc["low"], rmse["low"]):
        return "Nothing can be said of the codec block: all groups differ alike, or a correlation does not exist."
    said = (
        f"with it mean PLCC differs by {plcc['value']:+.4f} ({plcc['low']:+.4f} to {plcc['high']:+.4f}) and RMSE "
        f"by {rmse['value']:+.2f} VMAF points ({rmse['low']:+.2f} to {rmse['high']:+.2f})"
    )
    inputs = f"the codec block's {contract.CODEC_DIM} inputs"
    better, worse = plcc["low"] > 0 or rmse["high"] < 0, plcc["high"] < 0 or rmse["low"] > 0
    if better and not worse:
        return f"Worth it: {inputs} help; {said}."
    if worse and not better:
        return f"Not worth it: {inputs} do harm; {said}."
    return (
        f"Not shown: {inputs} {'help one figure and harm the other' if better else 'make no clear difference'}; {said}."
    )
