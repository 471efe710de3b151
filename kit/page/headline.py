"""The verdict in a few lines: the word, its reasons, five numbers, the worst source. Pure.

The page begins with it, and a run ends with it on the screen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One thing a gate asked for: figure and threshold in words."""

    name: str
    found: str
    wanted: str
    passed: bool


@dataclass(frozen=True, kw_only=True)
class Headline:
    """What a person has to see first.

    Attributes:
        reasons: why the word is what it is, a sentence each.
        asked: every condition of the gate; none of an INVALID verdict.
        expert: the same of the expert gate; ``decided``: whether the verdict asks for it.
        numbers: five figures by name; none of an INVALID verdict.
        worst: the source with the largest error, in one line; empty where there is none.
    """

    word: str
    recommendation: str
    reasons: tuple[str, ...]
    asked: tuple[Asked, ...]
    expert: tuple[Asked, ...]
    decided: bool
    numbers: tuple[tuple[str, str], ...]
    worst: str


def headline(verdict: Mapping[str, Any]) -> Headline:
    """The headline of a verdict document."""
    gate, evidence = verdict["gate"], verdict["evidence"]
    judged = gate["mean_plcc"] is not None
    asked = _asked(gate) if judged else ()
    expert = tuple(map(_checked, verdict.get("expert_gate", {}).get("checks", ())))
    decided = verdict.get("decided_by") == "expert"
    worst = evidence.get("worst_source")
    return Headline(
        word=verdict["verdict"],
        recommendation=verdict["recommendation"],
        reasons=tuple(_reasons(verdict, (*asked, *(expert if decided else ())))),
        asked=asked,
        expert=expert,
        decided=decided,
        numbers=_numbers(gate, evidence) if judged else (),
        worst=f"{worst['name']}: RMSE {worst['rmse']:.2f}, bias {worst['bias']:+.2f} VMAF points" if worst else "",
    )


def _asked(gate: Mapping[str, Any]) -> tuple[Asked, ...]:
    lowest = min(gate["per_seed_plccs"].values())
    return (
        Asked(
            name="mean PLCC over seeds and folds",
            found=f"{gate['mean_plcc']:.4f}",
            wanted=f"at least {gate['mean_plcc_threshold']:g}",
            passed=gate["mean_plcc_pass"],
        ),
        Asked(
            name="spread of PLCC over seeds",
            found=f"{gate['plcc_spread']:.4f}",
            wanted=f"at most {gate['plcc_spread_max']:g}",
            passed=gate["plcc_spread_pass"],
        ),
        Asked(
            name="PLCC of the lowest seed",
            found=f"{lowest:.4f}",
            wanted=f"at least {gate['per_seed_min']:g}",
            passed=gate["per_seed_pass"],
        ),
    )


#: What the checks of the expert gate are about; one that is not here is called by its own name.
_CHECKS = {
    "mean_plcc_low_min": "lower end of the interval of mean PLCC",
    "group_plcc_min": "PLCC of the worst content group",
    "ensemble_rmse_max": "RMSE of the ensemble mean",
    "seed_rmse_max": "largest RMSE of a seed",
    "source_bias_max": "largest bias of a source",
    "encoder_bias_max": "largest bias of an encoder",
    "baseline_plcc_loss_max": "how much higher the mean PLCC of a baseline is",
    "near_duplicates_max": "pairs of sources that show the same",
}


def _checked(check: Mapping[str, Any]) -> Asked:
    """A check of the expert gate."""
    name, value = str(check["name"]), check["value"]
    where = "" if check["where"] is None else f" ({check['where']})"
    return Asked(
        name=_CHECKS.get(name, name) + where,
        found="undefined" if value is None else _short(name, value),
        wanted=f"at {'least' if name.endswith('_min') else 'most'} {check['threshold']:g}",
        passed=check["passed"],
    )


def _short(name: str, value: float) -> str:
    """Correlations with four places, numbers of something with none, VMAF points with two."""
    return f"{value:.4f}" if "plcc" in name else f"{value:d}" if isinstance(value, int) else f"{value:.2f}"


def _reasons(verdict: Mapping[str, Any], asked: tuple[Asked, ...]) -> list[str]:
    problems = [str(problem) for problem in verdict["evidence"]["problems"]]
    failed = [f"{one.name} is {one.found}, wanted is {one.wanted}" for one in asked if not one.passed]
    reasons = [*problems, *failed]
    if asked and not reasons:
        reasons = [f"All {len(asked)} conditions are met."]
    if waived := verdict["corpus"]["waived_cells"]:
        reasons.append(f"{waived} failed cells were waived (--allow-partial).")
    return reasons


def _numbers(gate: Mapping[str, Any], evidence: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    mean = evidence["ensemble_mean"]
    if "errors" in evidence:
        last = ("95 % of errors below", f"{evidence['errors']['frame']['overall']['p95']:.2f}")
    else:
        last = ("MAE", f"{mean['mae']:.2f}")
    return (
        ("mean PLCC", f"{gate['mean_plcc']:.4f}"),
        ("spread over seeds", f"{gate['plcc_spread']:.4f}"),
        ("RMSE", f"{mean['rmse']:.2f}"),
        ("bias", f"{mean['bias']:+.2f}"),
        last,
    )
