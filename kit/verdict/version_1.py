"""The gates of verdicts of schema version 1, by which bundles of that version are judged. Pure; nothing new goes here.

A verdict of version 1 needs no minimum of seeds, every fold must have a correlation, and the expert gate takes
near-duplicates from features.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

from kit.core.contract import TEACHER_FORMULA
from kit.verdict.gate import ExpertCheck, near_duplicates_check, worst_check

GATE_THRESHOLDS = MappingProxyType(
    {"mean_plcc_min": 0.95, "plcc_spread_max": 0.005, "per_seed_plcc_min": 0.95, "groups_min": 3}
)
EXPERT_THRESHOLDS = MappingProxyType(
    {
        "mean_plcc_low_min": 0.95,
        "group_plcc_min": 0.90,
        "ensemble_rmse_max": 3.0,
        "seed_rmse_max": 3.0,
        "source_bias_max": 3.0,
        "encoder_bias_max": 3.0,
        "baseline_plcc_loss_max": 0.002,
        "near_duplicates_max": 0,
    }
)


def expert_checks(evidence: Mapping[str, Any], thresholds: Mapping[str, float]) -> Iterator[ExpertCheck]:
    """Yield the checks of the expert gate of version 1."""

    def check(name: str, values: Mapping[Any, float | None]) -> ExpertCheck:
        return worst_check(name, values, thresholds[name])

    frame, worst = evidence["errors"]["frame"], evidence["uncertainty"]["worst_group"]
    yield check("mean_plcc_low_min", {None: evidence["uncertainty"]["mean_plcc"]["low"]})
    yield check("group_plcc_min", {worst["group"]: worst["plcc"]})
    yield check("ensemble_rmse_max", {None: frame["overall"]["rmse"]})
    yield check("seed_rmse_max", {f"seed {seed}": figures["rmse"] for seed, figures in frame["per_seed"].items()})
    for kind in ("source", "encoder"):
        biases = {name: abs(figures["bias"]) for name, figures in frame[f"per_{kind}"].items()}
        yield check(f"{kind}_bias_max", biases)
    # a model that was trained on held-out sources is no measure, and the teacher's formula came with version 2
    honest = {
        name: baseline
        for name, baseline in evidence["baselines"].items()
        if baseline["leaked"] is not True and name != TEACHER_FORMULA
    }
    if honest:
        yield check("baseline_plcc_loss_max", {name: _loss(baseline) for name, baseline in honest.items()})
    yield near_duplicates_check(evidence, thresholds, by_features=True)


def _loss(baseline: Mapping[str, Any]) -> float | None:
    """Return how much higher a baseline's mean PLCC is than the ensemble's."""
    value = None if baseline["difference"] is None else baseline["difference"]["mean_plcc"]["value"]
    return None if value is None else -value
