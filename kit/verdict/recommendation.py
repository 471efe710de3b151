"""What a verdict recommends: may the models ship, why, and for which encoders. Pure.

PROMOTE is the contract's gate; models may ship only when the expert gate passes too, and never from demo clips.
``verify`` computes these texts again, so that nobody can write another headline into a bundle: a change of wording
needs a new version of the verdict, or bundles made before it are refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kit.core.texts import beside
from kit.verdict.coverage import share_sentence
from kit.verdict.gate import EVIDENCE_CHECK, INSUFFICIENT

#: Checks of the expert gate whose failure is in the headline whichever gate decided.
_EVERYWHERE = ("near_duplicates_max",)
#: Failures that the headline names; the rest is counted.
_NAMED = 3


@dataclass(frozen=True, kw_only=True)
class Recommendation:
    """The fields of a verdict that say what to do.

    Attributes:
        may_ship: PROMOTE, the expert gate passed, the scores follow from the teacher's formula if it is known, and no
            demo.
        headline: verdict and recommendation in one line, with what fails.
        ship_reasons: why the models may be shipped, or not; a sentence each.
        ship_encoders: that the recommendation is about; empty where nothing may be shipped.
        recommendation: what to do, in a sentence or two.
    """

    may_ship: bool
    headline: str
    ship_reasons: tuple[str, ...]
    ship_encoders: tuple[str, ...]
    recommendation: str


def recommended(verdict: Mapping[str, Any]) -> Recommendation:
    """Return the recommendation of a verdict document, which has everything but its recommendation."""
    word, expert = verdict["verdict"], verdict["expert_gate"]
    contradicted = _contradicted(verdict["evidence"])
    may_ship = word == "PROMOTE" and expert["passed"] and not contradicted and not verdict["demo"]
    encoders = tuple(verdict["corpus"]["encoders"]) if may_ship else ()
    failures = [*_gate_failures(verdict["gate"]), *_expert_failures(expert), *contradicted]
    # a HOLD is explained by the gate that decided; near-duplicates are in every headline
    deciding = [*_gate_failures(verdict["gate"]), *_expert_failures(expert, _EVERYWHERE)]
    named = deciding if word == "HOLD" and verdict["decided_by"] != expert["name"] else failures
    warnings = [*_left_out(verdict["gate"]), *_warnings(verdict["evidence"])]
    headline, advice = _headline(verdict, named, encoders)
    if duplicates := _possible_duplicates(verdict["evidence"]):
        headline = f"{headline}; {duplicates}"
    reasons = [*verdict["evidence"]["problems"], *map(_sentence, failures)] if word != "PROMOTE" or failures else []
    if verdict["demo"]:
        reasons.append("The clips are the built-in demo: the run shows that the kit works.")
    if expert["status"] == INSUFFICIENT:
        reasons.append(_sentence(_insufficient(expert)))
    if may_ship:
        reasons.append("Both gates passed.")
        reasons += [_one_encoder(encoders[0])] if len(encoders) == 1 else []
    return Recommendation(
        may_ship=may_ship,
        headline=headline,
        ship_reasons=(*reasons, *warnings),
        ship_encoders=encoders,
        recommendation=advice,
    )


def _headline(verdict: Mapping[str, Any], failures: Sequence[str], encoders: Sequence[str]) -> tuple[str, str]:
    """Return the headline and the advice."""
    word, expert, demo = verdict["verdict"], verdict["expert_gate"], verdict["demo"]
    named = _listed(failures)
    if word == "INVALID":
        problems = verdict["evidence"]["problems"]
        return (
            f"INVALID: {_listed(problems, 1) or 'no evidence'}",
            "The evidence is not valid, so no gate was applied: fix the problems listed and run again.",
        )
    if word == "HOLD":
        if not failures:  # only where the expert gate decides
            return f"HOLD, {_insufficient(expert)}", "Do not ship yet: add sources, or merge the shards of other boxes."
        return f"HOLD: {named}", "A gate did not pass: do not ship the ensemble."
    if demo:
        return (
            "PROMOTE on demo clips, nothing to ship" + (f": {named}" if failures else ""),
            "Built-in demo clips: the run shows that the kit works, it is no recommendation.",
        )
    if failures:
        against = "the scores are in doubt" if expert["passed"] else "the expert gate did not"
        return (
            f"PROMOTE, but do not ship: {named}",
            f"The contract's gate passed, {against}: do not ship the ensemble.",
        )
    if expert["status"] == INSUFFICIENT:
        return (
            f"PROMOTE, {_insufficient(expert)}",
            "Do not ship yet: add sources, or merge the shards of other boxes.",
        )
    after = "after the lead has verified the bundle"
    if len(encoders) == 1:
        only = encoders[0]
        return f"PROMOTE: may ship, for {only} only", f"Ship the ensemble {after}, for {only} alone."
    return "PROMOTE: may ship", f"Ship the ensemble {after}."


def _one_encoder(name: str) -> str:
    return f"The corpus has one encoder: nothing is known of the models for another one than {name}."


def _insufficient(expert: Mapping[str, Any]) -> str:
    check = next(check for check in expert["checks"] if check["name"] == EVIDENCE_CHECK)
    groups = "1 content group" if check["value"] == 1 else f"{check['value']} content groups"
    return f"insufficient evidence to ship: {groups}, {check['threshold']:g} needed"


def _gate_failures(gate: Mapping[str, Any]) -> Iterator[str]:
    """Yield a phrase for each condition of the default gate that is not met."""
    if gate["mean_plcc"] is None:
        return
    if not gate["mean_plcc_pass"]:
        yield f"mean PLCC {beside(gate['mean_plcc'], gate['mean_plcc_threshold'], 4)} < {gate['mean_plcc_threshold']:g}"
    if not gate["plcc_spread_pass"]:
        limit = gate["plcc_spread_max"]
        yield f"spread of PLCC over seeds {beside(gate['plcc_spread'], limit, 4)} > {limit:g}"
    for seed in gate["failing_seeds"]:
        limit = gate["per_seed_min"]
        yield f"PLCC of seed {seed} {beside(gate['per_seed_plccs'][str(seed)], limit, 4)} < {limit:g}"


def _expert_failures(expert: Mapping[str, Any], only: Sequence[str] | None = None) -> Iterator[str]:
    """Yield a phrase for each check of the expert gate, or for some of them, that failed."""
    phrases = {
        "near_duplicates_max": "near-duplicates in different folds: {where}",
        "ensemble_rmse_max": "RMSE {value} > {limit}",
        "source_rmse_max": "RMSE of source {where} {value} > {limit}",
        "clip_p95_max": "95th percentile of clip errors {value} > {limit}",
        "unseen_rmse_max": "RMSE of an unseen encoder {value} > {limit} ({where})",
        "encoder_bias_max": "bias of {where} {value} > {limit}",
        "seed_rmse_max": "RMSE of {where} {value} > {limit}",
        "linear_ratio_max": "RMSE {value} times that of the least-squares line > {limit}",
    }
    undefined = {
        "unseen_rmse_max": "RMSE of an unseen encoder was not measured",
        "linear_ratio_max": "RMSE was not compared with a least-squares line",
    }
    for check in expert["checks"]:
        if check["name"] in expert["failing"] and (only is None or check["name"] in only):
            if check["value"] is None and check["name"] in undefined:
                yield undefined[check["name"]]
                continue
            value = "undefined" if check["value"] is None else beside(check["value"], check["threshold"])
            phrase = phrases.get(check["name"], check["name"] + " {value}, limit {limit}")
            yield phrase.format(value=value, limit=f"{check['threshold']:g}", where=check["where"])


def _contradicted(evidence: Mapping[str, Any]) -> list[str]:
    """Return a phrase if the scores are not those of the teacher's formula, though the kit knows it."""
    target = evidence.get("target")
    if target is None or target["formula_known"] or target["largest_difference"] is None:
        return []
    return [f"scores differ from the teacher's formula by up to {target['largest_difference']:.3g} points"]


def _left_out(gate: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each fold without a correlation."""
    return [
        f"{fold} has no correlation and is left out of the mean PLCC; its errors count ({reason})."
        for fold, reason in gate["left_out_folds"].items()
    ]


def _possible_duplicates(evidence: Mapping[str, Any]) -> str:
    """Return a warning of pairs that only their features show; empty without one."""
    found = evidence.get("coverage", {}).get("near_duplicates", {})
    pairs = found.get("suspected" if found.get("method") == "fingerprints" else "pairs", ())
    if not pairs:
        return ""
    return "possible near-duplicates, by features alone: " + _listed([" and ".join(pair["sources"]) for pair in pairs])


def _warnings(evidence: Mapping[str, Any]) -> list[str]:
    """Return what a reader should know before shipping, and no gate decides; a sentence each."""
    lines = [_sentence(one) for one in (_possible_duplicates(evidence),) if one]
    thin = evidence.get("coverage", {}).get("thin_encoders", {}).get("encoders", {})
    lines += [
        f"Little is known of {name}: {count['rows']} rows of {count['groups']} content groups."
        for name, count in thin.items()
    ]
    rows = evidence.get("coverage", {}).get("rows_by_source", {})
    if rows.get("warn"):
        lines.append(share_sentence(rows))
    return lines


def _listed(phrases: Sequence[str], most: int = _NAMED) -> str:
    more = len(phrases) - most
    return "; ".join(phrases[:most]) + (f"; and {more} more" if more > 0 else "")


def _sentence(phrase: str) -> str:
    return phrase[:1].upper() + phrase[1:] + ("" if phrase.endswith(".") else ".")
