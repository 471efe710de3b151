"""The verdict in a few lines: the word, its reasons, five numbers, the worst source. Pure.

The report page begins with it, and a run ends with it on the screen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Condition:
    """One condition of a gate: the measured figure and the required one as texts."""

    name: str
    measured: str
    required: str
    passed: bool


@dataclass(frozen=True, kw_only=True)
class Headline:
    """The first things that a person has to see.

    Attributes:
        reasons: reasons for the word, a sentence each.
        conditions: caption and conditions of each gate; empty for INVALID.
        numbers: name and text of five figures; empty for INVALID.
        worst: the source with the largest error, in one line; empty for INVALID.
    """

    word: str
    recommendation: str
    reasons: tuple[str, ...]
    conditions: tuple[tuple[str, tuple[Condition, ...]], ...]
    numbers: tuple[tuple[str, str], ...]
    worst: str


def headline(verdict: Mapping[str, Any]) -> Headline:
    """Return the headline of a verdict document."""
    gate, evidence = verdict["gate"], verdict["evidence"]
    valid = gate["mean_plcc"] is not None
    default = _gate(gate) if valid else ()
    expert = tuple(map(_expert_condition, verdict.get("expert_gate", {}).get("checks", ())))
    expert_decides = verdict.get("decided_by") == "expert"
    role = "" if expert_decides else ", for information: it did not decide"
    captioned = (("Conditions of the gate", default), (f"Conditions of the expert gate{role}", expert))
    worst = evidence.get("worst_source")
    return Headline(
        word=verdict["verdict"],
        recommendation=verdict["recommendation"],
        reasons=tuple(_reasons(verdict, (*default, *(expert if expert_decides else ())))),
        conditions=tuple((caption, conditions) for caption, conditions in captioned if conditions),
        numbers=_numbers(gate, evidence) if valid else (),
        worst=f"{worst['name']}: RMSE {worst['rmse']:.2f}, bias {worst['bias']:+.2f} VMAF points" if worst else "",
    )


def _gate(gate: Mapping[str, Any]) -> tuple[Condition, ...]:
    return (
        Condition(
            name="mean PLCC over seeds and folds",
            measured=f"{gate['mean_plcc']:.4f}",
            required=f"at least {gate['mean_plcc_threshold']:g}",
            passed=gate["mean_plcc_pass"],
        ),
        Condition(
            name="spread of PLCC over seeds",
            measured=f"{gate['plcc_spread']:.4f}",
            required=f"at most {gate['plcc_spread_max']:g}",
            passed=gate["plcc_spread_pass"],
        ),
        Condition(
            name="PLCC of the lowest seed",
            measured=f"{min(gate['per_seed_plccs'].values()):.4f}",
            required=f"at least {gate['per_seed_min']:g}",
            passed=gate["per_seed_pass"],
        ),
    )


#: Names of the expert gate's conditions; a condition of another version has its own name.
_EXPERT_NAMES = {
    "mean_plcc_low_min": "lower end of the interval of mean PLCC",
    "group_plcc_min": "PLCC of the worst content group",
    "ensemble_rmse_max": "RMSE of the ensemble mean",
    "seed_rmse_max": "largest RMSE of a seed",
    "source_bias_max": "largest bias of a source",
    "encoder_bias_max": "largest bias of an encoder",
    "baseline_plcc_loss_max": "lead of a baseline in mean PLCC",
    "near_duplicates_max": "pairs of sources with the same content",
}


def _expert_condition(check: Mapping[str, Any]) -> Condition:
    name, value = str(check["name"]), check["value"]
    where = "" if check["where"] is None else f" ({check['where']})"
    return Condition(
        name=_EXPERT_NAMES.get(name, name) + where,
        measured="undefined" if value is None else _short(name, value),
        required=f"at {'least' if name.endswith('_min') else 'most'} {check['threshold']:g}",
        passed=check["passed"],
    )


def _short(name: str, value: float) -> str:
    """Format correlations with four places, counts with none, VMAF points with two."""
    return f"{value:.4f}" if "plcc" in name else f"{value:d}" if isinstance(value, int) else f"{value:.2f}"


def _reasons(verdict: Mapping[str, Any], conditions: tuple[Condition, ...]) -> list[str]:
    reasons = [str(problem) for problem in verdict["evidence"]["problems"]]
    reasons += [f"{one.name}: {one.measured}, required: {one.required}" for one in conditions if not one.passed]
    if conditions and not reasons:
        reasons = [f"All {len(conditions)} conditions are met."]
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
