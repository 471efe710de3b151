"""Compare the ensemble with simpler models trained in the same folds, and with the shipped model. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import Any

import numpy as np

from kit.core import contract
from kit.training.predictions import Predictions
from kit.verdict.intervals import ByGroup, Statistic, by_group, interval
from kit.verdict.metrics import Values, pearson
from kit.verdict.out_of_fold import CellFacts, columns, ensemble_mean

#: Description of each baseline.
DESCRIPTIONS = {
    "linear": "a line through the six features, trained in the same folds with the same seeds",
    "mlp_small": "6-16-8-1 on the six features, trained in the same folds with the same seeds",
    "no_codec_block": "the same network without the codec block, trained in the same folds with the same seeds",
    contract.SHIPPED: "the model given with --baseline, as it is",
    contract.TEACHER_FORMULA: "the teacher's published formula of the six features, computed without training",
}
#: Family-wise significance level of the tests.
SIGNIFICANCE = 0.05
ASSUMPTIONS = (
    "clips are independent (several encodes of one source are not)",
    "the two models are taken as independent samples, although both score the same clips",
    "scores and errors are normally distributed",
    "no mapping is fitted: N degrees of freedom for the RMSE",
)
_NO_SIDECAR = "there is no sidecar that tells what it was trained on"
_FIGURES = ("mean_plcc", "srocc", "rmse")


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """A model that the ensemble is compared with.

    Attributes:
        predictions: its scores for the ensemble's rows; None where they cannot be used, see ``problems``.
        model: of the shipped one ``file``, ``sha256``, and the ``corpus_sha256`` and ``source_ids`` that it was trained
            on, null where they are unknown; None for a model trained in the same folds.
    """

    predictions: Predictions | None
    problems: tuple[str, ...]
    model: Mapping[str, Any] | None


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """The corpus of the verdict.

    Attributes:
        sha256, source_ids: its hash and the identities of its sources, which a shipped model may know.
        max_rows_per_source: most training rows of a source; None for no limit.
    """

    sha256: str
    source_ids: Set[str]
    max_rows_per_source: int | None = None


def expected_baselines(arch: str) -> tuple[str, ...]:
    """Name the baselines that are trained with an ensemble: all for the default architecture, none for others."""
    return contract.BASELINES if arch == contract.ARCH else ()


def formula_baseline(scores: Predictions) -> Baseline:
    """Return the teacher's formula as a baseline; no model can be closer to the target."""
    return Baseline(predictions=scores, problems=(), model=None)


def leaked(baseline: Baseline, corpus: Corpus) -> tuple[bool | None, str]:
    """Return whether a model was trained on sources held out here, None where that is unknown, and the reason."""
    if baseline.model is None:
        return False, "trained in the same folds"
    if baseline.model["corpus_sha256"] == corpus.sha256:
        return True, "its sidecar names this corpus: it was trained on every held-out source"
    if baseline.model["source_ids"] is None:
        another = "its sidecar names another corpus and no sources"
        return None, _NO_SIDECAR if baseline.model["corpus_sha256"] is None else another
    known = set(baseline.model["source_ids"]) & corpus.source_ids
    if known:
        return True, f"its sidecar lists {len(known)} of the {len(corpus.source_ids)} sources held out here"
    return False, "its sidecar lists none of the sources held out here"


def comparison(
    predictions: Predictions,
    cells: Mapping[str, CellFacts],
    others: Mapping[str, Baseline],
    corpus: Corpus,
    codec_width: int,
    *,
    version: int = contract.VERDICT_VERSION,
) -> dict[str, object]:
    """Build the ``baselines`` and ``codec_block`` of the evidence.

    Differences are the ensemble's figure minus the baseline's, with intervals of a paired bootstrap over groups: a
    resample takes the same groups from both.
    """
    own = by_group(predictions, cells)
    clips = _clip_means(predictions)
    results: dict[str, dict[str, Any]] = {}
    for name in sorted(others):
        leak, reason = (False, "not trained") if name == contract.TEACHER_FORMULA else leaked(others[name], corpus)
        results[name] = {
            "what": DESCRIPTIONS[name],
            "model": others[name].model,
            "leaked": leak,
            "leaked_reason": reason,
            "problems": list(others[name].problems),
            **_compared(own, clips, others[name].predictions, cells, version),
        }
    _correct([result["p1401"] for result in results.values() if result["p1401"] is not None])
    return {"baselines": results, "codec_block": _codec_block(results.get("no_codec_block"), codec_width)}


def _compared(
    own: ByGroup,
    clips: tuple[Values, Values],
    predictions: Predictions | None,
    cells: Mapping[str, CellFacts],
    version: int,
) -> dict[str, Any]:
    """Compare the ensemble with one baseline: its figures, the differences and the tests."""
    if predictions is None:
        return {**dict.fromkeys(_FIGURES), "difference": None, "p1401": None}
    other = by_group(predictions, cells)
    every = np.arange(len(other.groups))
    figures = {name: float(figure(every)) for name, figure in other.statistics(version=version).items()}
    return {
        **{name: value if np.isfinite(value) else None for name, value in figures.items()},
        "difference": {
            name: interval(_minus(figure, other.statistics(version=version)[name]), len(every), version=version)
            for name, figure in own.statistics(version=version).items()
            if name in ("mean_plcc", "rmse")
        },
        "p1401": _p1401(clips, _clip_means(predictions)),
    }


def _minus(one: Statistic, two: Statistic) -> Statistic:
    return lambda index: one(index) - two(index)


def _clip_means(predictions: Predictions) -> tuple[Values, Values]:
    """Average the ensemble mean and the target over the frames of each cell: float64 [cells] each."""
    average, (_, target) = ensemble_mean(predictions), columns(predictions)
    frames = np.bincount(average.cell)
    return (
        np.bincount(average.cell, weights=average.prediction.astype(np.float64)) / frames,
        np.bincount(average.cell, weights=target) / frames,
    )


def _p1401(own: tuple[Values, Values], other: tuple[Values, Values]) -> dict[str, Any] | None:
    """Test the difference as in ITU-T P.1401 (2020), 7.6.1 and 7.6.4, at clip level, two-sided.

    None for fewer than four clips or without a correlation.
    """
    from scipy import stats

    clips = len(own[0])
    if clips < 4 or any(np.ptp(values) == 0 for values in (*own, *other)):
        return None
    # a correlation of 1 has no finite z; this close to 1 the difference is a rounding error
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


def _correct(baselines: list[dict[str, Any]]) -> None:
    """Add ``p_holm`` and ``significant`` to every test (Holm 1979)."""
    tests = [tests[name] for tests in baselines for name in ("fisher_z", "rmse") if tests[name] is not None]
    reached = 0.0
    for rank, test in enumerate(sorted(tests, key=lambda test: float(test["p"]))):
        reached = max(reached, min(1.0, (len(tests) - rank) * test["p"]))
        test |= {"p_holm": reached, "significant": reached < SIGNIFICANCE}


def _codec_block(without: Mapping[str, Any] | None, codec_width: int) -> str | None:
    """Conclude in one line whether the block is worth its inputs; None where nothing was trained without it."""
    if without is None or without["difference"] is None:
        return None
    plcc, rmse = without["difference"]["mean_plcc"], without["difference"]["rmse"]
    if None in (plcc["low"], rmse["low"]):
        return "Nothing can be said of the codec block: all groups differ alike, or a correlation does not exist."
    differences = (
        f"with it mean PLCC differs by {plcc['value']:+.4f} ({plcc['low']:+.4f} to {plcc['high']:+.4f}) and RMSE "
        f"by {rmse['value']:+.2f} VMAF points ({rmse['low']:+.2f} to {rmse['high']:+.2f})"
    )
    inputs = f"the codec block's {codec_width} inputs"
    better, worse = plcc["low"] > 0 or rmse["high"] < 0, plcc["high"] < 0 or rmse["low"] > 0
    if better and not worse:
        return f"Worth it: {inputs} help; {differences}."
    if worse and not better:
        return f"Not worth it: {inputs} do harm; {differences}."
    effect = "help one figure and harm the other" if better else "make no clear difference"
    return f"Not shown: {inputs} {effect}; {differences}."
