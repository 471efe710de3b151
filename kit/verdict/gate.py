"""The gates: from figures to PROMOTE or HOLD. Pure, so that anyone can replay it.

PROMOTE when the mean over seeds of the mean-over-folds PLCC, its spread over seeds and every single seed pass; with
``--gate expert`` also what PLCC hides has to pass. A tie with a threshold passes.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from kit.core.canon import sha256_json
from kit.core.contract import EXPERT_THRESHOLDS, GATE_THRESHOLDS
from kit.core.errors import InvalidEvidence


@dataclass(frozen=True, kw_only=True)
class GateReport:
    """What the gate looked at and what it said; the ``gate`` object of a verdict."""

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
    """Hash of the thresholds, so that an altered gate shows."""
    return sha256_json(dict(thresholds))


def apply_gate(per_seed_plccs: Mapping[int, float], thresholds: Mapping[str, float] = GATE_THRESHOLDS) -> GateReport:
    """Decide on the mean-over-folds PLCC of each seed.

    Raises:
        InvalidEvidence: no seed at all, or a figure that is not finite or no correlation.
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
    """One line of the expert gate.

    Attributes:
        name: the threshold's.
        value: the worst figure; None where it is undefined, which does not pass.
        where: what it was found at: a source, an encoder, a seed, a baseline; None for a figure of everything.
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
    """Decide on a verdict's evidence; without evidence nothing is checked and nothing passed."""
    checks = () if evidence is None else tuple(_expert_checks(evidence, thresholds))
    return ExpertReport(
        name="expert",
        thresholds=dict(thresholds),
        thresholds_sha256=thresholds_sha256(thresholds),
        passed=bool(checks) and all(check.passed for check in checks),
        checks=checks,
        failing=tuple(check.name for check in checks if not check.passed),
    )


def _expert_checks(evidence: Mapping[str, Any], asked: Mapping[str, float]) -> Iterator[ExpertCheck]:
    frame = evidence["errors"]["frame"]
    worst = evidence["uncertainty"]["worst_group"]
    yield _least("mean_plcc_low_min", {None: evidence["uncertainty"]["mean_plcc"]["low"]}, asked)
    yield _least("group_plcc_min", {worst["group"]: worst["plcc"]}, asked)
    yield _most("ensemble_rmse_max", {None: frame["overall"]["rmse"]}, asked)
    yield _most("seed_rmse_max", {f"seed {seed}": found["rmse"] for seed, found in frame["per_seed"].items()}, asked)
    yield _most("source_bias_max", _biases(frame["per_source"]), asked)
    yield _most("encoder_bias_max", _biases(frame["per_encoder"]), asked)
    # a model that saw what is held out is no measure
    honest = {name: found for name, found in evidence["baselines"].items() if found["leaked"] is not True}
    if honest:
        yield _most("baseline_plcc_loss_max", {name: _loss(found) for name, found in honest.items()}, asked)
    pairs = evidence["coverage"]["near_duplicates"]["pairs"]
    alike = ", ".join(" and ".join(pair["sources"]) for pair in pairs) or None
    yield _most("near_duplicates_max", {alike: len(pairs)}, asked)


def _biases(parts: Mapping[str, Any]) -> dict[str | None, float | None]:
    return {name: abs(found["bias"]) for name, found in parts.items()}


def _loss(baseline: Mapping[str, Any]) -> float | None:
    """How much higher a baseline's mean PLCC is than the ensemble's."""
    value = None if baseline["difference"] is None else baseline["difference"]["mean_plcc"]["value"]
    return None if value is None else -value


def _least(name: str, values: Mapping[str | None, float | None], asked: Mapping[str, float]) -> ExpertCheck:
    where, value = _worst(values, -1)
    return ExpertCheck(
        name=name, value=value, threshold=asked[name], where=where, passed=value is not None and value >= asked[name]
    )


def _most(name: str, values: Mapping[Any, float | None], asked: Mapping[str, float]) -> ExpertCheck:
    where, value = _worst(values, 1)
    return ExpertCheck(
        name=name, value=value, threshold=asked[name], where=where, passed=value is not None and value <= asked[name]
    )


def _worst(values: Mapping[Any, float | None], sign: int) -> tuple[str | None, float | None]:
    """What is undefined is worse than anything."""
    where = max(values, key=lambda name: math.inf if (value := values[name]) is None else sign * value)
    return where, values[where]
