"""Compare the ensemble with simpler models trained in the same folds, and with the shipped model. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from kit.core import contract
from kit.training.predictions import Predictions
from kit.verdict.intervals import ByGroup, Statistic, by_group, interval
from kit.verdict.metrics import Values
from kit.verdict.out_of_fold import CellFacts
from kit.video.fingerprints.fingerprint import Fingerprint

#: Description of each baseline.
DESCRIPTIONS = {
    "linear": "the least-squares line through the six features of the training rows, in the same folds",
    "mlp_small": "6-16-8-1 on the six features, trained in the same folds with the same seeds",
    contract.WITHOUT_BLOCK: "the same network without the codec block, trained in the same folds with the first seeds, "
    "with which alone the ensemble is compared here",
    contract.SHIPPED: "the model given with --baseline, as it is",
    contract.TEACHER_FORMULA: "the teacher's published formula of the six features, computed without training",
}
#: A training has converged if its loss fell by less than this share from the tenth of the epochs before the last to the
#: last one, measured in docs/adr/0026; with fewer epochs a tenth is too short to tell.
CONVERGED_BELOW, EPOCHS_TO_TELL = 0.05, 50
_NO_SIDECAR = "there is no sidecar that tells what it was trained on"
_FIGURES = ("mean_plcc", "srocc", "rmse")


@dataclass(frozen=True, kw_only=True)
class Convergence:
    """Mean training loss of the last tenth of the epochs and of the tenth before it, VMAF points squared.

    Both are None for fewer than ``EPOCHS_TO_TELL`` epochs.
    """

    last_tenth: float | None
    tenth_before: float | None

    @property
    def converged(self) -> bool:
        if self.last_tenth is None or self.tenth_before is None:
            return False
        return self.last_tenth > (1 - CONVERGED_BELOW) * self.tenth_before


def convergence(loss: Values) -> Convergence:
    """Return the convergence of a training.

    Args:
        loss: float64 [epochs], VMAF points squared, mean over members.
    """
    if len(loss) < EPOCHS_TO_TELL:
        return Convergence(last_tenth=None, tenth_before=None)
    tenth = len(loss) // 10
    return Convergence(last_tenth=float(loss[-tenth:].mean()), tenth_before=float(loss[-2 * tenth : -tenth].mean()))


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """A model that the ensemble is compared with.

    Attributes:
        predictions: its scores for the ensemble's rows; None where they cannot be used, see ``problems``.
        model: of the shipped one ``file``, ``sha256``, and the ``corpus_sha256`` and ``source_ids`` that it was trained
            on, null where they are unknown; None for a model trained in the same folds.
        convergence: of a training in epochs; None for a closed form, for a file, and where it was not recorded.
    """

    predictions: Predictions | None
    problems: tuple[str, ...]
    model: Mapping[str, Any] | None
    convergence: Convergence | None = None


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """The corpus of the verdict.

    Attributes:
        sha256, source_ids: its hash and the identities of its sources, which a shipped model may know.
        max_rows_per_source: most training rows of a source; None for no limit.
        fingerprints: of the sources that have one, by label.
    """

    sha256: str
    source_ids: Set[str]
    max_rows_per_source: int | None = None
    fingerprints: Mapping[str, Fingerprint] = field(default_factory=dict)


def expected_baselines(arch: str) -> tuple[str, ...]:
    """Name the baselines that are trained with an ensemble: all for the default architecture, none for others."""
    return contract.BASELINES if arch == contract.ARCH else ()


def unseen_archs(arch: str, encoders: Sequence[str]) -> tuple[str, ...] | None:
    """Name what is trained with each encoder held out: with and without the block; None if there is no block.

    Args:
        encoders: those that can be held out, see :func:`kit.training.folds.unseen_encoders`.
    """
    if not expected_baselines(arch):
        return None
    return (contract.ARCH, contract.WITHOUT_BLOCK) if encoders else ()


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
    *,
    version: int = contract.VERDICT_VERSION,
) -> dict[str, dict[str, Any]]:
    """Build the ``baselines`` of the evidence.

    Differences are the ensemble's figure minus the baseline's, with intervals of a paired bootstrap over groups: a
    resample takes the same groups from both.
    """
    own = by_group(predictions, cells)
    results: dict[str, dict[str, Any]] = {}
    for name in sorted(others):
        leak, reason = (False, "not trained") if name == contract.TEACHER_FORMULA else leaked(others[name], corpus)
        other, trend = others[name].predictions, others[name].convergence
        paired = own
        if name == contract.WITHOUT_BLOCK and other is not None:  # a mean over fewer seeds is farther off
            paired = by_group(of_seeds(predictions, {seed for seed, _ in other.seeds()}), cells)
        results[name] = {
            "what": DESCRIPTIONS[name],
            "model": others[name].model,
            "leaked": leak,
            "leaked_reason": reason,
            "problems": list(others[name].problems),
            "converged": None if trend is None else trend.converged,
            "convergence": None if trend is None or trend.last_tenth is None else asdict(trend),
            **_compared(paired, other, cells, version),
        }
    return results


def of_seeds(predictions: Predictions, seeds: Set[int]) -> Predictions:
    """Return the rows of some seeds."""
    rows = np.concatenate([np.arange(part.start, part.stop) for seed, part in predictions.seeds() if seed in seeds])
    columns = ("seed", "fold", "cell", "frame", "target", "prediction")
    return replace(predictions, **{name: getattr(predictions, name)[rows] for name in columns})


def _compared(
    own: ByGroup,
    predictions: Predictions | None,
    cells: Mapping[str, CellFacts],
    version: int,
) -> dict[str, Any]:
    """Compare the ensemble with one baseline: its figures and the differences."""
    if predictions is None:
        return {**dict.fromkeys(_FIGURES), "difference": None}
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
    }


def _minus(one: Statistic, two: Statistic) -> Statistic:
    return lambda index: one(index) - two(index)
