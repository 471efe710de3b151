"""The gates: from figures to PROMOTE or HOLD. Pure, so that anyone can replay them.

The default gate passes when the mean over seeds of the mean-over-folds PLCC, its spread over seeds and every single
seed pass; it decides PROMOTE. The expert gate has conditions on errors that PLCC hides; models may ship only when it
passes too, and with ``--gate expert`` it also decides. A tie with a threshold passes.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from kit.core.canon import sha256_json
from kit.core.contract import EXPERT_THRESHOLDS, GATE_THRESHOLDS
from kit.core.errors import InvalidEvidence
from kit.verdict.out_of_fold import CellFacts, MemberAgreement, left_out_folds, mean_plccs


@dataclass(frozen=True, kw_only=True)
class GateReport:
    """The ``gate`` object of a verdict: figures, thresholds and results.

    Attributes:
        left_out_folds: folds without a correlation, with the reason; not in verdicts of version 1.
    """

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
    left_out_folds: Mapping[str, str] = field(default_factory=dict)
    thresholds_sha256: str


def thresholds_sha256(thresholds: Mapping[str, float]) -> str:
    """Hash the thresholds, so that an altered gate is noticed."""
    return sha256_json(dict(thresholds))


def seed_problems(seeds: int, thresholds: Mapping[str, float] = GATE_THRESHOLDS) -> list[str]:
    """Return why so many seeds are too few for a verdict, or nothing. Version 1 has no minimum."""
    needed = int(thresholds.get("seeds_min", 1))
    if seeds >= needed:
        return []
    counted = "1 seed" if seeds == 1 else f"{seeds} seeds"
    return [f"{counted}; a verdict needs at least {needed}: use --seeds 0,1,2"]


def gate_of(
    members: MemberAgreement, cells: Mapping[str, CellFacts], thresholds: Mapping[str, float] = GATE_THRESHOLDS
) -> GateReport:
    """Apply the default gate to the agreement of every member.

    Folds without a correlation (of a constant clip) are left out of the means.

    Raises:
        InvalidEvidence: too few seeds, groups or folds with a correlation.
    """
    left_out = left_out_folds(members)
    folds = {cell.fold for cell in cells.values()}
    groups = {cell.group for cell in cells.values() if cell.fold not in left_out}
    problems = seed_problems(len(members), thresholds)
    needed, share = int(thresholds["groups_min"]), thresholds.get("defined_folds_min", 1.0)
    # a share of a whole number is rounded: 0.9 of 10 folds are 9
    if left_out and (len(groups) < needed or len(folds) - len(left_out) < share * len(folds) - 1e-9):
        problems.append(
            f"{len(left_out)} of {len(folds)} folds have no correlation, at least {share:.0%} of the folds and "
            f"{needed} content groups must have one"
        )
        problems += [f"held out {fold}: {reason}" for fold, reason in left_out.items()]
    if problems:
        raise InvalidEvidence(problems)
    return apply_gate(mean_plccs(members), thresholds, left_out)


def apply_gate(
    per_seed_plccs: Mapping[int, float],
    thresholds: Mapping[str, float] = GATE_THRESHOLDS,
    left_out: Mapping[str, str] | None = None,
) -> GateReport:
    """Apply the default gate to the mean-over-folds PLCC of each seed.

    Args:
        left_out: folds without a correlation, with the reason.

    Raises:
        InvalidEvidence: too few seeds, or a figure that is not finite or not in -1 to 1.
    """
    if not per_seed_plccs:
        raise InvalidEvidence(["no seed has a result"])
    bad = [
        f"seed {seed}: mean PLCC is {value}"
        for seed, value in per_seed_plccs.items()
        if not (math.isfinite(value) and -1 <= value <= 1)
    ]
    if bad := bad + seed_problems(len(per_seed_plccs), thresholds):
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
        left_out_folds=dict(left_out or {}),
        thresholds_sha256=thresholds_sha256(thresholds),
    )


PASSED, FAILED, INSUFFICIENT = "passed", "failed", "insufficient evidence"
#: Pairs of near-duplicates that a check names; all are in the coverage.
_PAIRS_NAMED = 3
#: The check whose failure means that there is too little evidence, which is no failure of the models.
EVIDENCE_CHECK = "evidence_groups_min"


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
    """The ``expert_gate`` object of a verdict.

    Attributes:
        status: ``PASSED``, ``FAILED`` or ``INSUFFICIENT``; not in verdicts of version 1.
        failing: names of the checks that failed, without ``EVIDENCE_CHECK``.
    """

    name: str
    thresholds: Mapping[str, float]
    thresholds_sha256: str
    status: str
    passed: bool
    checks: tuple[ExpertCheck, ...]
    failing: tuple[str, ...]

    def check(self, name: str) -> ExpertCheck | None:
        """Return a check by its name; None where it does not apply."""
        return next((check for check in self.checks if check.name == name), None)


#: Applies the checks of a version to a verdict's evidence.
Checks = Callable[[Mapping[str, Any], Mapping[str, float]], Iterable[ExpertCheck]]


def apply_expert_gate(
    evidence: Mapping[str, Any] | None,
    thresholds: Mapping[str, float] = EXPERT_THRESHOLDS,
    checks_of: Checks | None = None,
) -> ExpertReport:
    """Apply the expert gate to a verdict's evidence; without evidence it fails with no checks.

    Args:
        checks_of: the checks of another version.
    """
    checks = () if evidence is None else tuple((checks_of or expert_checks)(evidence, thresholds))
    failing = tuple(check.name for check in checks if not check.passed and check.name != EVIDENCE_CHECK)
    enough = all(check.passed for check in checks if check.name == EVIDENCE_CHECK)
    status = FAILED if failing or not checks else PASSED if enough else INSUFFICIENT
    return ExpertReport(
        name="expert",
        thresholds=dict(thresholds),
        thresholds_sha256=thresholds_sha256(thresholds),
        status=status,
        passed=status == PASSED,
        checks=checks,
        failing=failing,
    )


def expert_checks(evidence: Mapping[str, Any], thresholds: Mapping[str, float]) -> Iterator[ExpertCheck]:
    """Yield the checks of the expert gate, the one that a reader should see first at the front."""

    def check(name: str, values: Mapping[Any, float | None]) -> ExpertCheck:
        return worst_check(name, values, thresholds[name])

    frame, clip = evidence["errors"]["frame"], evidence["errors"]["clip"]
    yield near_duplicates_check(evidence, thresholds, by_features=False)
    yield check("ensemble_rmse_max", {None: frame["overall"]["rmse"]})
    yield check("source_rmse_max", {name: figures["rmse"] for name, figures in frame["per_source"].items()})
    yield check("clip_p95_max", {None: clip["overall"]["p95"]})
    if len(frame["per_encoder"]) > 1:
        yield check("unseen_rmse_max", _unseen(evidence["codec_block"]))
    yield check("encoder_bias_max", {name: abs(figures["bias"]) for name, figures in frame["per_encoder"].items()})
    yield check("seed_rmse_max", {f"seed {seed}": figures["rmse"] for seed, figures in frame["per_seed"].items()})
    yield check("linear_ratio_max", {None: _ratio(frame["overall"]["rmse"], evidence["baselines"].get("linear"))})
    yield check(EVIDENCE_CHECK, {None: evidence["uncertainty"]["groups"]})


def near_duplicates_check(
    evidence: Mapping[str, Any], thresholds: Mapping[str, float], *, by_features: bool
) -> ExpertCheck:
    """Count the pairs of sources in different folds that look the same.

    Args:
        by_features: pairs that only their features show count too; else these only warn.
    """
    found = evidence["coverage"]["near_duplicates"]
    pairs = found["pairs"] if by_features or found.get("method") == "fingerprints" else []
    named = [" and ".join(pair["sources"]) for pair in pairs]
    if not by_features and len(named) > _PAIRS_NAMED:
        named = [*named[:_PAIRS_NAMED], f"{len(named) - _PAIRS_NAMED} more pairs"]
    names = ", ".join(named) or None
    return worst_check("near_duplicates_max", {names: len(pairs)}, thresholds["near_duplicates_max"])


def _unseen(codec_block: Mapping[str, Any] | None) -> dict[str | None, float | None]:
    """Return the RMSE, with the codec block, of each encoder that was held out; undefined where that was not measured.

    Args:
        codec_block: None for an architecture without the block, whose encoders are not held out.
    """
    if codec_block is None:
        return {None: None}
    return {name: figures["rmse_with"] for name, figures in codec_block["unseen"].items()} or {None: None}


def _ratio(rmse: float, linear: Mapping[str, Any] | None) -> float | None:
    """Return the ensemble's RMSE over that of the least-squares line; None where there is no line, or it has none or 0.

    Args:
        linear: None for an architecture without baselines.
    """
    other = None if linear is None else linear["rmse"]
    return rmse / other if other else None


def worst_check(name: str, values: Mapping[Any, float | None], threshold: float) -> ExpertCheck:
    """Compare the worst of the values with a threshold, a minimum or a maximum by its name; undefined is the worst."""
    sign = -1 if name.endswith("_min") else 1
    where = max(values, key=lambda key: math.inf if (value := values[key]) is None else sign * value)
    value = values[where]
    passed = value is not None and sign * value <= sign * threshold
    return ExpertCheck(name=name, value=value, threshold=threshold, passed=passed, where=where)
