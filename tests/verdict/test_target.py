"""The target of a corpus: the teacher's formula, as evidence and as a baseline."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from kit.core import contract
from kit.core.values import Teacher
from kit.training.folds import by_group
from kit.training.predictions import from_members
from kit.training.table import Table
from kit.verdict.target import formula_predictions, formula_scores, target
from kit.video.scorers.formula import Formula, formula_of
from kit.video.scorers.teachers import CANONICAL
from tests.training.builders import OTHER_INPUTS, make_table


@pytest.fixture
def formula() -> Formula:
    return formula_of(CANONICAL)


@pytest.fixture
def rows(formula: Formula) -> Table:
    """Rows whose target is the formula of their features."""
    made = make_table()
    return replace(made, target=formula.scores(made.features).astype(np.float32))


def test_a_target_that_follows_from_the_features_is_a_known_formula(rows: Table, formula: Formula) -> None:
    facts = target(rows, CANONICAL, formula_scores(rows, formula))
    assert (facts["teacher"], facts["formula_known"], facts["rows"]) == ("vmaf_v0.6.1", True, len(rows))
    assert facts["largest_difference"] < 1e-5
    # rows that do not name their teacher may be of the default one: the scores tell
    assert target(rows, None, formula_scores(rows, formula))["formula_known"]


def test_a_target_that_differs_from_the_formula_is_not(rows: Table, formula: Formula) -> None:
    shifted = rows.target.copy()
    shifted[7] -= 6
    facts = target(replace(rows, target=shifted), CANONICAL, formula_scores(rows, formula))
    assert not facts["formula_known"]
    assert facts["largest_difference"] == pytest.approx(6, abs=1e-4)


def test_another_teacher_or_other_inputs_have_no_formula(rows: Table, formula: Formula) -> None:
    assert formula_of(Teacher(id="vmaf_4k_v0.6.1")) is None
    assert formula_scores(rows, None) is None
    assert formula_scores(make_table(inputs=OTHER_INPUTS), formula) is None
    facts = target(rows, Teacher(id="vmaf_4k_v0.6.1"), None)
    assert (facts["formula_known"], facts["largest_difference"]) == (False, None)


def test_the_formula_predicts_each_row_of_the_ensemble_once(rows: Table, formula: Formula) -> None:
    folds = by_group(rows, contract.DEFAULT_FOLDS)
    members = [(seed, fold, np.zeros(len(fold.held), np.float32)) for seed in (0, 1) for fold in folds]
    ensemble = from_members("c", rows, members)
    scores = formula_scores(rows, formula)
    assert scores is not None
    result = formula_predictions(ensemble, rows, scores)
    assert len(result) == len(rows)
    np.testing.assert_allclose(result.prediction, result.target, atol=1e-5)
    (first, second) = (ensemble.part(part) for _, part in ensemble.seeds())
    assert result.same_rows(replace(first, seed=result.seed))
    assert result.same_rows(replace(second, seed=result.seed))
