"""The verdict in a few lines: the word with what fails, its reasons, five numbers, the worst source. Pure.

The report page begins with it, and a run ends with it on the screen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kit.core.texts import beside, correlation
from kit.page.next_steps import next_steps
from kit.verdict.coverage import share_sentence
from kit.verdict.gate import EVIDENCE_CHECK


@dataclass(frozen=True, kw_only=True)
class Condition:
    """One condition of a gate: the measured figure and the required one as texts.

    Attributes:
        enough: the evidence is enough to judge it; without that it does not fail.
    """

    name: str
    measured: str
    required: str
    passed: bool
    enough: bool = True

    @property
    def failed(self) -> bool:
        return self.enough and not self.passed

    @property
    def result(self) -> str:
        """The result as a word."""
        return "passed" if self.passed else "FAILED" if self.enough else "too little evidence"


@dataclass(frozen=True, kw_only=True)
class Headline:
    """The first things that a person has to see.

    Attributes:
        text: the word and what fails, in one line.
        tone: ``good`` where the models may ship, ``caution`` where not, ``neutral`` for demo clips that pass,
            ``bad`` for INVALID.
        target: what the figures are errors of; empty where that is unknown.
        reasons: reasons for the word, a sentence each; for INVALID everything that is missing.
        warnings: what is wrong with the evidence without deciding.
        next_steps: what to try next, from the evidence.
        conditions: caption and conditions of each gate; empty for INVALID.
        numbers: name and text of five figures; empty for INVALID.
        worst: the source with the largest error, in one line; empty for INVALID.
    """

    word: str
    text: str
    tone: str
    recommendation: str
    target: str
    reasons: tuple[str, ...]
    warnings: tuple[str, ...]
    next_steps: tuple[str, ...]
    conditions: tuple[tuple[str, tuple[Condition, ...]], ...]
    numbers: tuple[tuple[str, str], ...]
    worst: str


def headline(verdict: Mapping[str, Any], losses: Mapping[int, Sequence[float]] | None = None) -> Headline:
    """Return the headline of a verdict document.

    Args:
        losses: training loss of each seed by epoch, where known.
    """
    gate, evidence = verdict["gate"], verdict["evidence"]
    valid = gate["mean_plcc"] is not None
    default = _gate(gate) if valid else ()
    expert = tuple(map(_expert_condition, verdict.get("expert_gate", {}).get("checks", ())))
    expert_decides = verdict.get("decided_by") == "expert"
    captioned = (("Conditions of the gate", default), (_expert_caption(verdict, decides=expert_decides), expert))
    worst = evidence.get("worst_source")
    return Headline(
        word=verdict["verdict"],
        text=_text(verdict, expert),
        tone=_tone(verdict),
        recommendation=verdict["recommendation"],
        target="" if _contradicted(verdict) else (evidence.get("target") or {}).get("sentence") or "",
        reasons=tuple(_reasons(verdict, (*default, *(expert if expert_decides else ())))),
        warnings=tuple(_warnings(verdict)),
        next_steps=next_steps(verdict, losses or {}),
        conditions=tuple((caption, conditions) for caption, conditions in captioned if conditions),
        numbers=_numbers(gate, evidence) if valid else (),
        worst=f"{worst['name']}: RMSE {worst['rmse']:.2f}, bias {worst['bias']:+.2f} VMAF points" if worst else "",
    )


def _text(verdict: Mapping[str, Any], expert: Sequence[Condition]) -> str:
    """Return the line of the verdict; one of schema version 1 has none, so it is built from the expert gate."""
    if line := verdict.get("headline"):
        return str(line)
    word = str(verdict["verdict"])
    failing = [one for one in expert if one.failed]
    if word != "PROMOTE" or not failing:
        return word
    more = f" and {len(failing) - 1} more" if len(failing) > 1 else ""
    return f"{word}, but the expert gate fails: {failing[0].name} {failing[0].measured}{more}"


def _tone(verdict: Mapping[str, Any]) -> str:
    if verdict["verdict"] != "PROMOTE":
        return "bad" if verdict["verdict"] == "INVALID" else "caution"
    if verdict.get("demo"):
        return "neutral"
    ships = verdict.get("may_ship", verdict.get("expert_gate", {}).get("passed", True))
    return "good" if ships else "caution"


def _gate(gate: Mapping[str, Any]) -> tuple[Condition, ...]:
    lowest = min(gate["per_seed_plccs"].values())
    return (
        Condition(
            name="mean PLCC over seeds and folds",
            measured=_plcc(gate["mean_plcc"], gate["mean_plcc_threshold"]),
            required=f"at least {gate['mean_plcc_threshold']:g}",
            passed=gate["mean_plcc_pass"],
        ),
        Condition(
            name="spread of PLCC over seeds",
            measured=beside(gate["plcc_spread"], gate["plcc_spread_max"], 4),
            required=f"at most {gate['plcc_spread_max']:g}",
            passed=gate["plcc_spread_pass"],
        ),
        Condition(
            name="PLCC of the lowest seed",
            measured=_plcc(lowest, gate["per_seed_min"]),
            required=f"at least {gate['per_seed_min']:g}",
            passed=gate["per_seed_pass"],
        ),
    )


def _plcc(value: float, threshold: float) -> str:
    return max(correlation(value), beside(value, threshold, 4), key=len)


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
    "source_rmse_max": "RMSE of the worst source",
    "clip_p95_max": "95 % of the errors of clips",
    "unseen_rmse_max": "RMSE of an encoder that was not in training",
    "linear_ratio_max": "RMSE as a share of that of the least-squares line",
    EVIDENCE_CHECK: "content groups",
}


def _expert_caption(verdict: Mapping[str, Any], *, decides: bool) -> str:
    if decides:
        return "Conditions of the expert gate"
    if "may_ship" in verdict:
        return "Conditions to ship: the expert gate"
    return "Conditions of the expert gate, for information: it did not decide"


def _expert_condition(check: Mapping[str, Any]) -> Condition:
    name, value = str(check["name"]), check["value"]
    where = "" if check["where"] is None else f" ({check['where']})"
    return Condition(
        name=_EXPERT_NAMES.get(name, name) + where,
        measured="undefined" if value is None else _short(name, value, check["threshold"]),
        required=f"at {'least' if name.endswith('_min') else 'most'} {check['threshold']:g}",
        passed=check["passed"],
        enough=name != EVIDENCE_CHECK,
    )


def _short(name: str, value: float, threshold: float) -> str:
    """Format correlations with four places, counts with none, VMAF points with two; more beside their threshold."""
    if isinstance(value, int):
        return f"{value:d}"
    return _plcc(value, threshold) if "plcc" in name else beside(value, threshold, 2)


def _reasons(verdict: Mapping[str, Any], conditions: tuple[Condition, ...]) -> list[str]:
    reasons = [str(problem) for problem in verdict["evidence"]["problems"]]
    reasons += [f"{one.name}: {one.measured}, required: {one.required}" for one in conditions if one.failed]
    if conditions and not reasons:
        reasons = [f"All {len(conditions)} conditions of the gate are met."]
    if verdict["verdict"] == "PROMOTE":
        warnings = _warnings(verdict)
        reasons += [str(reason) for reason in verdict.get("ship_reasons", ()) if reason not in warnings]
    if waived := verdict["corpus"]["waived_cells"]:
        reasons.append(f"{waived} failed cells were waived (--allow-partial).")
    return reasons


def _contradicted(verdict: Mapping[str, Any]) -> bool:
    """Return whether the scores are not those of the teacher's formula, though the kit knows it."""
    target = verdict["evidence"].get("target") or {}
    return target.get("largest_difference") is not None and not target["formula_known"]


def _warnings(verdict: Mapping[str, Any]) -> list[str]:
    """Name what the gate does not see: other scores, sources in several folds, a source that outweighs the others."""
    found = [verdict["evidence"]["target"]["sentence"]] if _contradicted(verdict) else []
    coverage = verdict["evidence"].get("coverage", {})
    near = coverage.get("near_duplicates", {})
    sure = near.get("method") == "fingerprints"
    possible = near.get("suspected", ()) if sure else near.get("pairs", ())
    for kind, pairs in (
        ("Near-duplicates in different folds", near["pairs"] if sure else ()),
        ("Possible near-duplicates, by features alone", possible),
    ):
        names = [" and ".join(pair["sources"]) for pair in pairs]
        more = f"; and {len(names) - 3} more" if len(names) > 3 else ""
        found += [f"{kind}: {'; '.join(names[:3])}{more}."] if names else []
    if (share := coverage.get("rows_by_source")) and share["warn"]:
        found.append(share_sentence(share))
    return found


def _numbers(gate: Mapping[str, Any], evidence: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    mean = evidence["ensemble_mean"]
    if "errors" in evidence:
        last = ("95 % of errors below", f"{evidence['errors']['frame']['overall']['p95']:.2f}")
    else:
        last = ("MAE", f"{mean['mae']:.2f}")
    return (
        ("mean PLCC", correlation(gate["mean_plcc"])),
        ("spread over seeds", f"{gate['plcc_spread']:.4f}"),
        ("RMSE", f"{mean['rmse']:.2f}"),
        ("bias", f"{mean['bias']:+.2f}"),
        last,
    )
