"""The gate: ties, spread, failing seeds, invalid figures, and the hash of the thresholds."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Mapping

import pytest

from kit.core.contract import GATE_THRESHOLDS
from kit.core.errors import InvalidEvidence
from kit.verdict.gate import GateReport, apply_gate, gate_of, thresholds_sha256
from kit.verdict.out_of_fold import CellFacts, FoldAgreement, MemberAgreement, left_out_folds, mean_plccs
from kit.verdict.rules import RULES

#: Thresholds that binary fractions meet exactly.
EXACT = {"mean_plcc_min": 0.9375, "plcc_spread_max": 0.03125, "per_seed_plcc_min": 0.875, "groups_min": 3}

GOOD = (0.99, 0.99, 0.99)


def gate(*values: float, thresholds: dict[str, float] | None = None) -> GateReport:
    return apply_gate(dict(enumerate(values)), thresholds or GATE_THRESHOLDS)


def test_the_thresholds_are_those_of_the_design() -> None:
    assert dict(GATE_THRESHOLDS) == {
        "mean_plcc_min": 0.95,
        "plcc_spread_max": 0.005,
        "per_seed_plcc_min": 0.95,
        "groups_min": 3,
        "seeds_min": 3,
        "defined_folds_min": 0.9,
    }


def test_a_good_ensemble_passes() -> None:
    report = gate(0.980, 0.981, 0.982, 0.983, 0.984)
    assert report.passed
    assert report.mean_plcc == pytest.approx(0.982, abs=1e-15)
    assert report.plcc_spread == 0.984 - 0.980
    assert report.per_seed_plccs == {"0": 0.980, "1": 0.981, "2": 0.982, "3": 0.983, "4": 0.984}
    assert (report.mean_plcc_pass, report.plcc_spread_pass, report.per_seed_pass) == (True, True, True)
    assert report.failing_seeds == ()


def test_the_fields_are_those_of_a_verdict() -> None:
    assert [field.name for field in dataclasses.fields(GateReport)] == [
        "passed",
        "mean_plcc",
        "mean_plcc_threshold",
        "mean_plcc_pass",
        "plcc_spread",
        "plcc_spread_max",
        "plcc_spread_pass",
        "per_seed_plccs",
        "per_seed_min",
        "per_seed_pass",
        "failing_seeds",
        "left_out_folds",
        "thresholds_sha256",
    ]


@pytest.mark.parametrize("seeds", range(3, 25))
def test_ties_with_mean_and_seed_thresholds_pass_for_any_number_of_seeds(seeds: int) -> None:
    report = gate(*[0.95] * seeds)
    assert (report.passed, report.mean_plcc_pass, report.failing_seeds) == (True, True, ())


def test_just_below_the_threshold_fails() -> None:
    low = math.nextafter(0.95, 0)
    report = gate(low, low, low)
    assert (report.passed, report.mean_plcc_pass, report.per_seed_pass) == (False, False, False)
    assert report.failing_seeds == (0, 1, 2)


def test_a_tie_with_the_spread_passes_and_a_little_more_fails() -> None:
    assert gate(0.96875, 0.9375, 0.953125, thresholds=EXACT).passed
    wider = gate(math.nextafter(0.96875, 1), 0.9375, 0.953125, thresholds=EXACT)
    assert (wider.passed, wider.plcc_spread_pass, wider.mean_plcc_pass, wider.per_seed_pass) == (
        False,
        False,
        True,
        True,
    )


def test_a_large_spread_fails_although_all_seeds_pass() -> None:
    report = gate(0.990, 0.984, 0.985, 0.986, 0.987)
    assert (report.passed, report.plcc_spread_pass, report.per_seed_pass) == (False, False, True)


def test_one_failing_seed_fails_although_mean_and_spread_pass() -> None:
    report = apply_gate({7: 0.9499, 3: 0.953, 5: 0.953, 1: 0.953})
    assert (report.mean_plcc_pass, report.plcc_spread_pass) == (True, True)
    assert (report.passed, report.per_seed_pass, report.failing_seeds) == (False, False, (7,))


def test_failing_seeds_are_all_named_in_order() -> None:
    assert apply_gate({9: 0.90, 2: 0.901, 4: 0.99}).failing_seeds == (2, 9)


def test_a_low_mean_alone_fails() -> None:
    report = gate(0.91, 0.92, 0.92, thresholds=EXACT)
    assert (report.passed, report.mean_plcc_pass, report.plcc_spread_pass, report.per_seed_pass) == (
        False,
        False,
        True,
        True,
    )


def test_the_order_of_the_seeds_changes_nothing() -> None:
    values = {0: 0.951, 1: 0.9525, 2: 0.9537, 3: 0.9501, 4: 0.9544}
    assert apply_gate(values) == apply_gate(dict(reversed(values.items())))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 1.0000001, -1.5])
def test_an_impossible_correlation_is_invalid_and_named(bad: float) -> None:
    with pytest.raises(InvalidEvidence) as error:
        apply_gate({0: 0.99, 3: bad, 4: math.nan})
    assert [problem.split(":")[0] for problem in error.value.problems] == ["seed 3", "seed 4"]
    assert error.value.exit_code == 3


def test_no_seed_is_invalid() -> None:
    with pytest.raises(InvalidEvidence, match="no seed"):
        apply_gate({})


@pytest.mark.parametrize("seeds", [1, 2])
def test_fewer_than_three_seeds_are_invalid_since_version_2(seeds: int) -> None:
    with pytest.raises(InvalidEvidence, match=rf"^{seeds} seeds?; .*at least 3"):
        gate(*GOOD[:seeds])
    assert gate(*GOOD[:seeds], thresholds=dict(RULES[1].gate)).passed


def members(folds: int, constant: Mapping[str, str], seeds: int = 3) -> MemberAgreement:
    """Return members whose PLCC is 0.97 plus a thousandth of the seed; constant folds have none and an RMSE of 9."""
    return {
        seed: {
            fold: FoldAgreement(
                n=5,
                **dict.fromkeys(("plcc", "srocc", "krocc"), None if fold in constant else 0.97 + seed / 1000),
                rmse=9.0,
                mae=9.0,
                bias=0.0,
                undefined=constant.get(fold),
            )
            for fold in (f"f{number}" for number in range(folds))
        }
        for seed in range(seeds)
    }


def cells(folds: int, groups_a_fold: int = 1) -> dict[str, CellFacts]:
    return {
        f"{fold}-{group}": CellFacts(source="s", group=f"{fold}-{group}", fold=f"f{fold}", encoder="libx264", rows=5)
        for fold in range(folds)
        for group in range(groups_a_fold)
    }


def test_one_constant_clip_of_ten_is_left_out_and_named() -> None:
    report = gate_of(members(10, {"f3": "the target is constant (100)"}), cells(10))
    assert report.passed
    assert report.mean_plcc == pytest.approx(0.971)
    assert report.left_out_folds == {"f3": "seed 0: the target is constant (100)"}


@pytest.mark.parametrize(("folds", "constant"), [(10, 2), (9, 1), (4, 1), (19, 2)])
def test_more_than_a_tenth_of_the_folds_without_a_correlation_is_invalid(folds: int, constant: int) -> None:
    left_out = {f"f{number}": "the target is constant" for number in range(constant)}
    with pytest.raises(InvalidEvidence) as error:
        gate_of(members(folds, left_out), cells(folds))
    assert error.value.problems[0].startswith(f"{constant} of {folds} folds")
    assert [problem.split(":")[0] for problem in error.value.problems[1:]] == [f"held out {fold}" for fold in left_out]


def test_by_the_rules_of_version_1_every_fold_needs_a_correlation() -> None:
    assert gate_of(members(30, {}), cells(30), RULES[1].gate).passed
    with pytest.raises(InvalidEvidence, match="1 of 30 folds"):
        gate_of(members(30, {"f3": "constant"}), cells(30), RULES[1].gate)


def test_a_fold_that_one_seed_has_no_correlation_in_is_left_out_of_every_mean() -> None:
    whole = members(20, {})
    one = {**whole, 2: members(20, {"f0": "the prediction is constant"})[2]}
    assert set(left_out_folds(one)) == {"f0"}
    assert mean_plccs(one) == pytest.approx({0: 0.97, 1: 0.971, 2: 0.972})


def test_no_fold_with_a_correlation_is_invalid() -> None:
    with pytest.raises(InvalidEvidence, match="no fold has a correlation"):
        mean_plccs(members(3, {f"f{number}": "x" for number in range(3)}))


def test_the_hash_of_the_thresholds_is_over_their_canonical_json() -> None:
    first = b'{"groups_min":3,"mean_plcc_min":0.95,"per_seed_plcc_min":0.95,"plcc_spread_max":0.005}'
    assert thresholds_sha256(RULES[1].gate) == hashlib.sha256(first).hexdigest()
    text = first.replace(b"{", b'{"defined_folds_min":0.9,').replace(b"}", b',"seeds_min":3}')
    assert thresholds_sha256(GATE_THRESHOLDS) == hashlib.sha256(text).hexdigest()
    assert gate(*GOOD).thresholds_sha256 == hashlib.sha256(text).hexdigest()


@pytest.mark.parametrize("name", sorted(GATE_THRESHOLDS))
def test_an_altered_threshold_changes_the_hash(name: str) -> None:
    altered = dict(GATE_THRESHOLDS) | {name: math.nextafter(GATE_THRESHOLDS[name], 0)}
    assert gate(*GOOD, thresholds=altered).thresholds_sha256 != thresholds_sha256(GATE_THRESHOLDS)


def test_a_missing_threshold_is_an_error() -> None:
    with pytest.raises(KeyError):
        gate(0.99, thresholds={"mean": 0.95})
