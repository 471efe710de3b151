"""Agreement compared with scipy and with arithmetic by hand; an undefined figure is an error that names it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from kit.core.errors import InvalidEvidence
from kit.verdict.metrics import Agreement, agreement, agreement_as_json


def vector(*values: float) -> NDArray[np.float64]:
    return np.array(values, dtype=np.float64)


def test_by_hand() -> None:
    result = agreement(vector(1, 2, 3, 5), vector(1, 3, 2, 4), what="x")
    # deviations from the means 2.75 and 2.5: sums of squares 8.75 and 5, of products 5.5
    assert result.n == 4
    assert result.plcc == pytest.approx(5.5 / math.sqrt(8.75 * 5), abs=1e-15)
    assert result.srocc == pytest.approx(1 - 6 * 2 / (4 * 15), abs=1e-15)
    assert result.krocc == pytest.approx((5 - 1) / 6, abs=1e-15)
    assert result.rmse == pytest.approx(math.sqrt(3 / 4), abs=1e-15)
    assert result.mae == 0.75
    assert result.bias == 0.25


def test_bias_is_prediction_minus_target() -> None:
    result = agreement(vector(12, 22, 33), vector(10, 20, 30), what="x")
    assert result.bias == pytest.approx(7 / 3, abs=1e-15)


def pearson(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    da, db = a - a.mean(), b - b.mean()
    return float((da * db).sum() / math.sqrt((da**2).sum() * (db**2).sum()))


def tau_b(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Kendall 1945, over all pairs."""
    first, second = np.triu_indices(len(a), k=1)
    sa, sb = np.sign(a[first] - a[second]), np.sign(b[first] - b[second])
    return float((sa * sb).sum() / math.sqrt((sa != 0).sum() * (sb != 0).sum()))


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("count", [4, 20, 128, 129, 150])
def test_random_vectors(count: int, ties: bool) -> None:
    generator = np.random.default_rng(count)
    target = generator.uniform(0, 100, count)
    prediction = target + generator.normal(0, 15, count)
    if ties:
        target, prediction = target.round(-1), prediction.round(-1)
    result = agreement(prediction, target, what="x")
    ranks = stats.rankdata(prediction), stats.rankdata(target)
    assert result.plcc == pytest.approx(pearson(prediction, target), abs=1e-12)
    assert result.srocc == pytest.approx(pearson(*ranks), abs=1e-12)
    assert result.krocc == pytest.approx(tau_b(prediction, target), abs=1e-12)
    assert result.plcc == pytest.approx(stats.pearsonr(prediction, target)[0], abs=1e-15)
    assert result.srocc == pytest.approx(stats.spearmanr(prediction, target)[0], abs=1e-15)
    assert result.krocc == pytest.approx(stats.kendalltau(prediction, target)[0], abs=1e-15)
    assert result.rmse == pytest.approx(math.sqrt(np.square(prediction - target).mean()), abs=1e-12)
    assert result.mae == pytest.approx(np.abs(prediction - target).mean(), abs=1e-12)
    assert result.bias == pytest.approx(prediction.mean() - target.mean(), abs=1e-12)


@pytest.mark.parametrize(("sign", "expected"), [(1.0, 1.0), (-1.0, -1.0)])
def test_a_line_correlates_fully_with_any_error(sign: float, expected: float) -> None:
    target = np.linspace(10, 90, 40)
    result = agreement(sign * 0.1 * target + 50, target, what="x")
    assert (result.plcc, result.srocc, result.krocc) == pytest.approx((expected, expected, expected), abs=1e-15)
    assert result.rmse > 20


def test_figures_are_plain_numbers() -> None:
    result = agreement(vector(1, 2, 4), vector(1, 3, 4), what="x")
    assert isinstance(result, Agreement)
    assert {name: type(value) for name, value in result.as_dict().items()} == {
        "n": int,
        "plcc": float,
        "srocc": float,
        "krocc": float,
        "rmse": float,
        "mae": float,
        "bias": float,
    }


GOOD = (1.0, 2.0, 4.0, 3.0)


@pytest.mark.parametrize(
    ("prediction", "target", "reason"),
    [
        ((1, math.nan, 3, 4), GOOD, "1 of 4 prediction values are not finite"),
        ((1, math.inf, -math.inf, 4), GOOD, "2 of 4 prediction values are not finite"),
        (GOOD, (math.nan,) * 4, "4 of 4 target values are not finite"),
        ((50, 50, 50, 50), GOOD, "the prediction is constant (50)"),
        (GOOD, (97.4,) * 4, "the target is constant (97.4)"),
        ((1, 2), (2, 1), "2 rows, a correlation needs at least 3"),
        ((), (), "0 rows, a correlation needs at least 3"),
    ],
)
def test_an_undefined_figure_is_named(prediction: tuple[float, ...], target: tuple[float, ...], reason: str) -> None:
    with pytest.raises(InvalidEvidence) as error:
        agreement(vector(*prediction), vector(*target), what="seed 3, held out Highway")
    assert any(reason in problem for problem in error.value.problems)
    assert all(problem.startswith("seed 3, held out Highway: ") for problem in error.value.problems)


def test_every_problem_is_named() -> None:
    with pytest.raises(InvalidEvidence) as error:
        agreement(vector(math.nan, 1, 2), vector(5, 5, 5), what="x")
    assert len(error.value.problems) == 2


@pytest.mark.parametrize("shapes", [((3,), (4,)), ((3, 1), (3, 1)), ((), ())])
def test_other_shapes_raise_a_value_error(shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    with pytest.raises(ValueError, match="shapes"):
        agreement(np.zeros(shapes[0]), np.zeros(shapes[1]), what="x")


@pytest.mark.parametrize(
    ("prediction", "target", "reason"),
    [
        (vector(99, 100, 98), vector(100, 100, 100), "the target is constant (100), its correlation is undefined"),
        (vector(100, 100, 100), vector(99, 100, 98), "the prediction is constant (100), its correlation is undefined"),
        (vector(3, 1), vector(1, 2), "2 rows, a correlation needs at least 3"),
    ],
    ids=["target", "prediction", "few"],
)
def test_a_slice_without_a_correlation_has_errors_and_the_reason(
    prediction: NDArray[np.float64], target: NDArray[np.float64], reason: str
) -> None:
    result = agreement_as_json(prediction, target, what="Tango x libx264")
    assert (result["plcc"], result["srocc"], result["krocc"], result["undefined"]) == (None, None, None, reason)
    assert result["bias"] == float((prediction - target).mean())
    assert result["rmse"] == math.sqrt(float(((prediction - target) ** 2).mean()))


@pytest.mark.parametrize(
    "values", [vector(), vector(1, math.nan, 2), vector(math.inf, 1, 2)], ids=["none", "nan", "inf"]
)
def test_a_slice_without_any_figure_is_an_error(values: tuple[float, ...]) -> None:
    with pytest.raises(InvalidEvidence, match="Tango x libx264"):
        agreement_as_json(vector(*values), np.arange(len(values), dtype=np.float64), what="Tango x libx264")
