"""The teacher's formula: Netflix's model file computed in numpy, compared with libvmaf's own scores."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from kit.core import contract
from kit.core.values import Teacher
from kit.video.scorers import formula as formulas
from kit.video.scorers.formula import MODEL, formula_of
from kit.video.scorers.teachers import CANONICAL

#: Rows of libvmaf 3.2.0's log with six digits: the features in the order of the contract, and its score.
LOGGED = (
    (0.864643, 0.382665, 0.651361, 0.75911, 0.833611, 2.11169, 52.321497),
    (0.924558, 0.336812, 0.704951, 0.820089, 0.887727, 3.203368, 70.717384),
    (0.938587, 0.401605, 0.79186, 0.878517, 0.925785, 10.158914, 85.248207),
    (0.976409, 0.591728, 0.928765, 0.966926, 0.982575, 1.131723, 90.863293),
    (0.978102, 0.701081, 0.969994, 0.986171, 0.992635, 1.912947, 93.871394),
    (0.988318, 0.731268, 0.972689, 0.987545, 0.993457, 1.93173, 96.238471),
    (0.973572, 0.530115, 0.910853, 0.956346, 0.975574, 10.479771, 99.999577),
    (0.977403, 0.561588, 0.930188, 0.967301, 0.981839, 9.744703, 100.0),
)
NETFLIX_SHA256 = "5950d61fa1f861bd45d8149d80539ed9f3376cfc2495b8f0fa8e9f57cb131ee3"


def test_the_score_of_logged_features_is_the_logged_score() -> None:
    table = np.array(LOGGED)
    formula = formula_of(CANONICAL)
    assert formula is not None
    assert np.abs(formula.scores(table[:, :-1]) - table[:, -1]).max() < 2e-4
    # stored as float32 as well
    assert np.abs(formula.scores(table[:, :-1].astype(np.float32)) - table[:, -1]).max() < 2e-4


def test_scores_are_clipped_and_do_not_depend_on_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    formula = formula_of(None)
    assert formula is not None
    features = np.random.default_rng(1).uniform(0, 1.2, (1000, 6)) * [1, 1, 1, 1, 1, 25]
    whole = formula.scores(features)
    assert (whole.min(), whole.max()) == (0, 100)
    monkeypatch.setattr(formulas, "_CHUNK", 7)
    np.testing.assert_allclose(formula.scores(features), whole, atol=1e-9)
    assert len(formula.scores(features[:0])) == 0


def test_only_the_published_model_has_the_formula() -> None:
    digest = hashlib.sha256(MODEL.read_bytes()).hexdigest()
    assert digest == NETFLIX_SHA256
    assert formula_of(Teacher(id="a-copy", sha256=digest)) is not None
    assert formula_of(Teacher(id="vmaf_v0.6.1neg")) is None
    # a file with the built-in model's name is another model
    assert formula_of(Teacher(id=contract.CANONICAL_MODEL, sha256="0" * 64)) is None
