"""The gate: from per-seed figures to PROMOTE or HOLD. Pure, so that anyone can replay it.

PROMOTE when the mean over seeds of the mean-over-folds PLCC, its spread over seeds and every single seed pass.
A tie with a threshold passes.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass

from kit.canon import sha256_json
from kit.contract import GATE_THRESHOLDS
from kit.errors import InvalidEvidence


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
    bad = [f"seed {seed}: mean PLCC is {value}" for seed, value in per_seed_plccs.items()
           if not (math.isfinite(value) and -1 <= value <= 1)]  # fmt: skip
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
