"""The gates: from figures to PROMOTE or HOLD. Pure, so that anyone can replay them.

The default gate passes when the mean over seeds of the mean-over-folds PLCC, its spread over seeds and every single
seed pass. The expert gate (``--gate expert``) adds conditions on errors that PLCC hides. A tie with a threshold passes.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from kit.core.canon import sha256_json
from kit.core.contract import EXPERT_THRESHOLDS, GATE_THRESHOLDS, TEACHER_FORMULA
from kit.core.errors import InvalidEvidence


@dataclass(frozen=True, kw_only=True)
class GateReport:
    """The ``gate`` object of a verdict: figures, thresholds and results."""

    passed: bool
    mean_plcc: float
    mean_plcc_threshold: float
    mean_plcc_pass: bool
    plcc_spread: float
    plcc_spread_max: float
    plcc_spread_pass: bool
    per_seed_plccs: Mapping[str, float]
    per_seed_min: float
    per_seed_pass: bool
    failing_seeds: tuple[int, ...]
    thresholds_sha256: str


def thresholds_sha256(thresholds: Mapping[str, float]) -> str:
    """Hash the thresholds, so that an altered gate is noticed."""
    return sha256_json(dict(thresholds))


def apply_gate(per_seed_plccs: Mapping[int, float], thresholds: Mapping[str, float] = GATE_THRESHOLDS) -> GateReport:
    """Apply the default gate to the mean-over-folds PLCC of each seed.

    Raises:
        InvalidEvidence: no seed, or a figure that is not finite or not in -1 to 1.
    """
    if not per_seed_plccs:
        raise InvalidEvidence(["no seed has a result"])
    bad = [
        f"seed {seed}: mean PLCC is {value}"
        for seed, value in per_seed_plccs.items()
        if not (math.isfinite(value) and -1 <= value <= 1)
    ]
    if bad:
        raise InvalidEvidence(bad)
    values = list(per_seed_plccs.values())
    # exact: a sum rounded before the division can push a tie below its threshold
    mean = statistics.mean(values)
    spread = max(values) - min(values)
    failing = tuple(s for s, v in sorted(per_seed_plccs.items()) if v < thresholds["per_seed_plcc_min"])
    mean_pass = mean >= thresholds["mean_plcc_min"]
    spread_pass = spread <= thresholds["plcc_spread_max"]
    return GateReport(
        passed=mean_pass and spread_pass and not failing,
        mean_plcc=mean,
        mean_plcc_threshold=thresholds["mean_plcc_min"],
        mean_plcc_pass=mean_pass,
        plcc_spread=spread,
        plcc_spread_max=thresholds["plcc_spread_max"],
        plcc_spread_pass=spread_pass,
        per_seed_plccs={str(seed): value for seed, value in sorted(per_seed_plccs.items())},
        per_seed_min=thresholds["per_seed_plcc_min"],
        per_seed_pass=not failing,
        failing_seeds=failing,
        thresholds_sha256=thresholds_sha256(thresholds),
    )


@dataclass(frozen=True, kw_only=True)
class ExpertCheck:
    """One condition of the expert gate.

    Attributes:
        name: the threshold's.
        value: the worst figure; None where it is undefined, which fails.
        where: source, encoder, seed or baseline of the worst figure; None for a figure of everything.
    """

    name: str
    value: float | None
    threshold: float
    passed: bool
    where: str | None


@dataclass(frozen=True, kw_only=True)
class ExpertReport:
    """The ``expert_gate`` object of a verdict."""

    name: str
    thresholds: Mapping[str, float]
    thresholds_sha256: str
    passed: bool
    checks: tuple[ExpertCheck, ...]
    failing: tuple[str, ...]


def apply_expert_gate(
    evidence: Mapping[str, Any] | None, thresholds: Mapping[str, float] = EXPERT_THRESHOLDS
) -> ExpertReport:
    """Apply the expert gate to a verdict's evidence; without evidence it fails with no checks."""
    checks = () if evidence is None else tuple(_expert_checks(evidence, thresholds))
    return ExpertReport(
        name="expert",
        thresholds=dict(thresholds),
        thresholds_sha256=thresholds_sha256(thresholds),
        passed=bool(checks) and all(check.passed for check in checks),
        checks=checks,
        failing=tuple(check.name for check in checks if not check.passed),
    )


def _expert_checks(evidence: Mapping[str, Any], thresholds: Mapping[str, float]) -> Iterator[ExpertCheck]:
    def check(name: str, values: Mapping[Any, float | None]) -> ExpertCheck:
        return _check(name, values, thresholds[name])

    frame = evidence["errors"]["frame"]
    worst = evidence["uncertainty"]["worst_group"]
    yield check("mean_plcc_low_min", {None: evidence["uncertainty"]["mean_plcc"]["low"]})
    yield check("group_plcc_min", {worst["group"]: worst["plcc"]})
    yield check("ensemble_rmse_max", {None: frame["overall"]["rmse"]})
    yield check("seed_rmse_max", {f"seed {seed}": figures["rmse"] for seed, figures in frame["per_seed"].items()})
    yield check("source_bias_max", _biases(frame["per_source"]))
    yield check("encoder_bias_max", _biases(frame["per_encoder"]))
    # a model that was trained on held-out sources is no measure, and no student is better than its teacher's formula
    honest = {
        name: baseline
        for name, baseline in evidence["baselines"].items()
        if baseline["leaked"] is not True and name != TEACHER_FORMULA
    }
    if honest:
        yield check("baseline_plcc_loss_max", {name: _loss(baseline) for name, baseline in honest.items()})
    pairs = evidence["coverage"]["near_duplicates"]["pairs"]
    names = ", ".join(" and ".join(pair["sources"]) for pair in pairs) or None
    yield check("near_duplicates_max", {names: len(pairs)})


def _biases(slices: Mapping[str, Any]) -> dict[str, float]:
    return {name: abs(figures["bias"]) for name, figures in slices.items()}


def _loss(baseline: Mapping[str, Any]) -> float | None:
    """Return how much higher a baseline's mean PLCC is than the ensemble's."""
    value = None if baseline["difference"] is None else baseline["difference"]["mean_plcc"]["value"]
    return None if value is None else -value


def _check(name: str, values: Mapping[Any, float | None], threshold: float) -> ExpertCheck:
    """Compare the worst of the values with a threshold, a minimum or a maximum by its name; undefined is the worst."""
    sign = -1 if name.endswith("_min") else 1
    where = max(values, key=lambda key: math.inf if (value := values[key]) is None else sign * value)
    value = values[where]
    passed = value is not None and sign * value <= sign * threshold
    return ExpertCheck(name=name, value=value, threshold=threshold, passed=passed, where=where)
