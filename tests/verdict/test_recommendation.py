"""What a verdict recommends: the headline, its reasons, and the encoders it is about."""

from __future__ import annotations

from typing import Any

import pytest

from kit.verdict.recommendation import recommended

GATE = {
    "mean_plcc": 0.99,
    "mean_plcc_threshold": 0.95,
    "mean_plcc_pass": True,
    "plcc_spread": 0.001,
    "plcc_spread_max": 0.005,
    "plcc_spread_pass": True,
    "per_seed_plccs": {"0": 0.99, "1": 0.94},
    "per_seed_min": 0.95,
    "failing_seeds": [],
    "left_out_folds": {},
}
PAIR = {"pairs": [{"sources": ["bear", "blocks"]}]}


def check(name: str, value: float | None, threshold: float, where: str | None = None) -> dict[str, Any]:
    return {"name": name, "value": value, "threshold": threshold, "passed": False, "where": where}


def verdict(*failed: dict[str, Any], groups: int = 9, **changes: Any) -> dict[str, Any]:
    """Return a verdict, PROMOTE by default, whose expert gate has these failed checks."""
    enough = {**check("evidence_groups_min", groups, 9), "passed": groups >= 9}
    status = "failed" if failed else "passed" if groups >= 9 else "insufficient evidence"
    return {
        "verdict": "PROMOTE",
        "decided_by": "default",
        "gate": GATE,
        "expert_gate": {
            "name": "expert",
            "status": status,
            "passed": status == "passed",
            "checks": [*failed, enough],
            "failing": [one["name"] for one in failed],
        },
        "corpus": {"encoders": {"libx264": 4, "libx265": 4}},
        "evidence": {"problems": []},
        "demo": False,
    } | changes


UNSEEN = check("unseen_rmse_max", 4.1, 3.0, "libx265")
DUPLICATES = check("near_duplicates_max", 1, 0, "a and b")


def test_both_gates_allow_to_ship() -> None:
    result = recommended(verdict())
    assert (result.may_ship, result.headline, result.ship_encoders) == (
        True,
        "PROMOTE: may ship",
        ("libx264", "libx265"),
    )


def test_with_one_encoder_it_is_for_that_one_alone() -> None:
    result = recommended(verdict(corpus={"encoders": {"libx264": 4}}))
    assert (result.may_ship, result.ship_encoders) == (True, ("libx264",))
    assert result.headline == "PROMOTE: may ship, for libx264 only"
    assert any("one encoder" in reason for reason in result.ship_reasons)
    assert "libx264 alone" in result.recommendation


def test_what_the_expert_gate_fails_is_in_the_line_of_the_word() -> None:
    result = recommended(verdict(UNSEEN))
    assert result.headline == "PROMOTE, but do not ship: RMSE of an unseen encoder 4.10 > 3 (libx265)"
    assert (result.may_ship, result.ship_encoders) == (False, ())
    assert result.ship_reasons == ("RMSE of an unseen encoder 4.10 > 3 (libx265).",)


def test_many_failures_are_counted_in_the_headline_and_all_in_the_reasons() -> None:
    names = ("ensemble_rmse_max", "source_rmse_max", "clip_p95_max", "seed_rmse_max", "linear_ratio_max")
    result = recommended(verdict(*(check(name, 9.0, 2.0, "x") for name in names)))
    assert result.headline.endswith("; and 2 more")
    assert len(result.ship_reasons) == len(names)
    assert "undefined" in recommended(verdict(check("source_rmse_max", None, 3.0, "x"))).headline


@pytest.mark.parametrize(("name", "text"), [("linear_ratio_max", "not compared"), ("unseen_rmse_max", "not measured")])
def test_what_was_not_measured_is_said_so(name: str, text: str) -> None:
    assert text in recommended(verdict(check(name, None, 0.9))).headline


@pytest.mark.parametrize(("difference", "known"), [(6.0, False), (1e-4, True), (None, False)])
def test_scores_that_contradict_the_formula_of_their_teacher_do_not_ship(difference: float | None, known: bool) -> None:
    target = {"formula_known": known, "largest_difference": difference}
    result = recommended(verdict(evidence={"problems": [], "target": target}))
    assert result.may_ship == (difference != 6.0)
    assert ("by up to 6 points" in result.headline) == (difference == 6.0)


def test_too_few_groups_are_insufficient_evidence() -> None:
    result = recommended(verdict(groups=6))
    assert result.headline == "PROMOTE, insufficient evidence to ship: 6 content groups, 9 needed"
    assert not result.may_ship
    worse = recommended(verdict(UNSEEN, groups=6))
    assert worse.headline.startswith("PROMOTE, but do not ship: RMSE of an unseen encoder")


def test_demo_clips_recommend_nothing() -> None:
    result = recommended(verdict(demo=True))
    assert (result.may_ship, result.ship_encoders) == (False, ())
    assert result.headline.startswith("PROMOTE on demo clips")
    assert "no recommendation" in result.recommendation


def test_a_hold_names_what_its_gate_failed() -> None:
    gate = GATE | {"mean_plcc": 0.931, "mean_plcc_pass": False, "failing_seeds": [1]}
    result = recommended(verdict(UNSEEN, verdict="HOLD", gate=gate))
    assert result.headline == "HOLD: mean PLCC 0.9310 < 0.95; PLCC of seed 1 0.9400 < 0.95"
    assert len(result.ship_reasons) == 3
    wide = recommended(verdict(verdict="HOLD", gate=GATE | {"plcc_spread": 0.0132, "plcc_spread_pass": False}))
    assert wide.headline == "HOLD: spread of PLCC over seeds 0.0132 > 0.005"


def test_a_hold_by_the_expert_gate_names_its_checks() -> None:
    by_expert = {"verdict": "HOLD", "decided_by": "expert"}
    assert recommended(verdict(UNSEEN, **by_expert)).headline.startswith("HOLD: RMSE of an unseen encoder 4.10 > 3")
    few = recommended(verdict(groups=3, **by_expert))
    assert few.headline == "HOLD, insufficient evidence to ship: 3 content groups, 9 needed"


@pytest.mark.parametrize("decided_by", ["default", "expert"])
@pytest.mark.parametrize("word", ["PROMOTE", "HOLD"])
def test_near_duplicates_are_in_every_headline(word: str, decided_by: str) -> None:
    gate = GATE | ({} if word == "PROMOTE" else {"mean_plcc": 0.93, "mean_plcc_pass": False})
    made = verdict(DUPLICATES, verdict=word, decided_by=decided_by, gate=gate)
    assert "near-duplicates in different folds: a and b" in recommended(made).headline
    by_features = verdict(
        verdict=word,
        decided_by=decided_by,
        gate=gate,
        evidence={"problems": [], "coverage": {"near_duplicates": {"method": "features", **PAIR}}},
    )
    result = recommended(by_features)
    assert result.headline.endswith("; possible near-duplicates, by features alone: bear and blocks")
    assert result.may_ship == (word == "PROMOTE")


def test_pairs_of_which_one_has_no_fingerprint_warn_too() -> None:
    near = {"method": "fingerprints", "pairs": [], "suspected": PAIR["pairs"]}
    result = recommended(verdict(evidence={"problems": [], "coverage": {"near_duplicates": near}}))
    assert result.headline.endswith("; possible near-duplicates, by features alone: bear and blocks")
    assert result.may_ship


def test_an_invalid_verdict_names_its_first_problem() -> None:
    made = verdict(
        verdict="INVALID",
        gate=dict.fromkeys(GATE) | {"left_out_folds": {}},
        evidence={"problems": ["2 seeds; a verdict needs at least 3", "another"]},
    )
    made["expert_gate"] |= {"status": "failed", "passed": False, "checks": [], "failing": []}
    result = recommended(made)
    assert result.headline == "INVALID: 2 seeds; a verdict needs at least 3; and 1 more"
    assert result.ship_reasons == ("2 seeds; a verdict needs at least 3", "another")
    assert not result.may_ship


def test_one_long_source_is_a_reason_to_look_twice() -> None:
    share = {"largest": "long", "share": 0.92, "warn_above": 1 / 3, "warn": True, "max_rows_per_source": None}
    result = recommended(verdict(evidence={"problems": [], "coverage": {"rows_by_source": share}}))
    assert result.may_ship
    assert any("long" in reason and "92%" in reason for reason in result.ship_reasons)


def test_an_encoder_with_few_rows_is_a_reason_to_look_twice() -> None:
    thin = {"encoders": {"libx265": {"groups": 2, "cells": 2, "rows": 60}}}
    result = recommended(verdict(evidence={"problems": [], "coverage": {"thin_encoders": thin}}))
    assert any(reason.startswith("Little is known of libx265: 60 rows of 2") for reason in result.ship_reasons)
