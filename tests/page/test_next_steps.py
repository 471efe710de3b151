"""What a page and a run recommend to try next, from the figures of a verdict."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from kit.page.next_steps import MOST, next_steps

FLAT, FALLING = [4.0] * 50, [100.0 * 0.9**epoch for epoch in range(50)]


def verdict(word: str = "HOLD", *, evidence: Mapping[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    """Return a HOLD with mean PLCC 0.93, nine groups and nothing that stands out."""
    figures: dict[str, Any] = {
        "ensemble_mean": {"rmse": 4.0},
        "worst_source": {"name": "Park", "rmse": 4.4},
        "errors": {"frame": {"per_encoder": {"libx264": {"rmse": 4.0}, "libx265": {"rmse": 4.1}}}},
    }
    gate = {
        "mean_plcc": 0.93,
        "mean_plcc_threshold": 0.95,
        "mean_plcc_pass": False,
        "plcc_spread_pass": True,
        "per_seed_plccs": {"0": 0.93, "1": 0.931, "2": 0.929},
    }
    return {
        "verdict": word,
        "demo": False,
        "seeds": [0, 1, 2],
        "gate": gate,
        "corpus": {"groups": 9, "rows": 1000, "failed_cells": 0, "waived_cells": 0},
        "evidence": figures | dict(evidence or {}),
        **changes,
    }


def only(document: Mapping[str, Any], losses: Mapping[int, list[float]] | None = None) -> str:
    (step,) = next_steps(document, losses or {0: FLAT})
    return step


def test_training_that_still_improves_is_to_go_on() -> None:
    step = only(verdict(), {0: FLAT, 1: FALLING})
    # five epochs are a tenth: 0.9 to the fifth of the loss is left from one tenth to the next
    assert "--epochs 100" in step
    assert "41 %" in step
    assert "--epochs 100" in only(verdict(), {0: FLAT[:40]})


def test_a_better_line_means_that_the_networks_are_not_trained() -> None:
    step = only(verdict(evidence={"baselines": {"linear": {"rmse": 1.3}}}))
    assert "1.30" in step
    assert "4.00" in step


def test_the_source_without_which_the_gate_passes_is_named() -> None:
    figures = {"uncertainty": {"mean_plcc": {"without_one_max": {"group": "Snow", "value": 0.961}}}}
    assert "Snow" in only(verdict(evidence=figures))
    figures["uncertainty"]["mean_plcc"]["without_one_max"]["value"] = 0.949
    assert not next_steps(verdict(evidence=figures), {})


def test_a_source_and_an_encoder_that_stand_out_are_named() -> None:
    assert "Snow" in only(verdict(evidence={"worst_source": {"name": "Snow", "rmse": 6.1}}))
    encoders = {"libx264": {"rmse": 3.0}, "libsvtav1": {"rmse": 6.1}}
    assert "libsvtav1" in only(verdict(evidence={"errors": {"frame": {"per_encoder": encoders}}}))


@pytest.mark.parametrize(
    ("coverage", "words"),
    [
        ({"near_duplicates": {"pairs": [{"sources": ["A", "B"]}]}}, "A and B"),
        ({"rows_by_source": {"largest": "Long", "share": 0.92, "warn": True}}, "--max-rows-per-source"),
        ({"saturated": {"share": 0.6, "score": 100.0}}, "--cqs"),
        ({"thin_encoders": {"encoders": {"av1_qsv": {}}}}, "av1_qsv"),
        (
            {"outside_training": {"rows": 600, "worst": [{"cell": "Sea/libx264/cq25", "features": ["motion2"]}]}},
            "motion2",
        ),
    ],
)
def test_each_weakness_of_the_corpus_has_its_remedy(coverage: Mapping[str, Any], words: str) -> None:
    assert words in only(verdict(evidence={"coverage": coverage}))


def test_few_groups_and_a_wide_spread_are_named() -> None:
    few = verdict()
    few["corpus"]["groups"] = 6
    assert only(few).startswith("Add sources: 6 content groups")
    wide = verdict()
    wide["gate"] |= {"plcc_spread_pass": False, "per_seed_plccs": {"0": 0.93, "1": 0.96, "2": 0.95}}
    assert "seed 0 has a mean PLCC of 0.9300, seed 1 0.9600" in only(wide)


def test_an_encoder_that_is_bad_when_unseen_is_named() -> None:
    block = {"unseen": {"libx264": {"rmse_with": 4.0}, "libsvtav1": {"rmse_with": 14.0}}}
    assert "libsvtav1" in only(verdict(evidence={"codec_block": block}))
    assert not next_steps(verdict(evidence={"codec_block": "a sentence of version 1"}), {})


def test_models_that_may_ship_need_no_advice_and_others_do() -> None:
    figures = {"worst_source": {"name": "Snow", "rmse": 6.1}}
    assert next_steps(verdict("PROMOTE", may_ship=True, evidence=figures), {}) == ()
    assert next_steps(verdict("PROMOTE", may_ship=False, evidence=figures), {})
    assert next_steps(verdict("PROMOTE", expert_gate={"passed": False}, evidence=figures), {})
    assert next_steps(verdict(demo=True, evidence=figures), {}) == ()


def test_an_invalid_verdict_says_what_to_add() -> None:
    corpus = {"groups": 2, "failed_cells": 3, "waived_cells": 1, "rows": 0}
    steps = next_steps(verdict("INVALID", seeds=[0, 1], corpus=corpus), {})
    assert len(steps) == 3
    assert "the 2 failed ones" in steps[0]
    assert "2 content groups, at least 3" in steps[1]
    assert "--seeds 0,1,2" in steps[2]


def test_another_invalid_verdict_is_to_be_fixed_and_run_again() -> None:
    assert "run the same command again" in only(verdict("INVALID"))


def test_at_most_five_steps_are_shown() -> None:
    coverage = {
        "near_duplicates": {"pairs": [{"sources": ["A", "B"]}]},
        "rows_by_source": {"largest": "Long", "share": 0.92, "warn": True},
        "saturated": {"share": 0.6, "score": 100.0},
        "thin_encoders": {"encoders": {"av1_qsv": {}}},
    }
    figures = {"coverage": coverage, "worst_source": {"name": "Snow", "rmse": 6.1}}
    steps = next_steps(verdict(evidence=figures), {0: FALLING})
    assert len(steps) == MOST == 5
    assert steps[0].startswith("Train longer")
