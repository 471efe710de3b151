"""Every part of the evidence compared with arithmetic by hand, and where a figure does not exist."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import stats

from benchmarks import simulate_intervals
from kit.core import contract
from kit.core.errors import InvalidEvidence
from kit.training.folds import assign
from kit.training.predictions import Predictions
from kit.training.table import Table
from kit.verdict import calibration, coverage, half_widths, intervals, simulated
from kit.verdict.accuracy import RANGES, errors_by_level, figures, in_range
from kit.verdict.baselines import EPOCHS_TO_TELL, Baseline, Corpus, comparison, convergence, leaked
from kit.verdict.gate import apply_expert_gate, thresholds_sha256
from kit.verdict.out_of_fold import CellFacts
from kit.verdict.rules import RULES
from kit.video.fingerprints.fingerprint import Fingerprint
from tests.training.builders import from_columns, make_table
from tests.video.builders import made_fingerprint

FRAMES = 30
#: Figures with an interval.
FIGURES = ("mean_plcc", "srocc", "rmse")
GROUPS = 9


def facts(groups: int = GROUPS, folds: int | None = None) -> dict[str, CellFacts]:
    """Return cells of one source per group, two encodes each; ``folds`` joins groups."""
    return {
        f"c{number:02d}{encoder}": CellFacts(
            source=f"s{number:02d}",
            group=f"g{number:02d}",
            fold=f"f{number % (folds or groups):02d}",
            encoder=encoder,
            rows=FRAMES,
        )
        for number in range(groups)
        for encoder in ("libx264", "libx265")
    }


def predicted(
    cells: dict[str, CellFacts], off: Any = lambda _seed, _group, noise: noise, seeds: tuple[int, ...] = (0, 1, 2)
) -> Predictions:
    """Return predictions of all seeds with the error ``off(seed, number of the group, standard normal [FRAMES])``."""
    columns: dict[str, list[Any]] = {
        name: [] for name in ("seed", "fold", "cell_key", "frame_index", "target", "prediction")
    }
    for seed in seeds:
        for key, cell in cells.items():
            noise = np.random.default_rng([seed, *key.encode()]).normal(0, 1, FRAMES)
            target = np.random.default_rng(list(key.encode())).uniform(30, 99, FRAMES).astype(np.float32)
            result = target + off(seed, int(cell.group[1:]), noise)
            own = {
                "seed": [seed] * FRAMES,
                "fold": [cell.fold] * FRAMES,
                "cell_key": [key] * FRAMES,
                "frame_index": range(FRAMES),
                "target": target,
                "prediction": result,
            }
            for name, values in own.items():
                columns[name] += list(values)
    kinds = {"seed": np.int32, "frame_index": np.int32, "target": np.float32, "prediction": np.float32}
    return from_columns("0" * 64, {name: np.array(column, dtype=kinds.get(name)) for name, column in columns.items()})


# --------------------------------------------------------------------------------------------------------- errors


def test_errors_by_hand() -> None:
    result = figures(np.array([11.0, 18.0, 33.0, 40.0]), np.array([10.0, 20.0, 30.0, 40.0]), what="x")
    assert (result["count"], result["bias"], result["mae"], result["max"]) == (4, 0.5, 1.5, 3.0)
    assert result["rmse"] == pytest.approx(math.sqrt(14 / 4))
    # between the third and the fourth of 0, 1, 2, 3, at 0.95 of the way through three gaps
    assert result["p95"] == pytest.approx(2 + 0.85)


def test_every_score_is_in_one_range() -> None:
    scores = np.array([0, 59.999, 60, 79.999, 80, 95, 95.001, 100])
    masks = in_range(scores)
    assert tuple(masks) == RANGES
    assert [int(np.flatnonzero([mask[index] for mask in masks.values()])[0]) for index in range(8)] == [
        0,
        0,
        1,
        1,
        2,
        2,
        3,
        3,
    ]
    assert (sum(mask.astype(int) for mask in masks.values()) == 1).all()


def test_an_empty_slice_has_null_figures() -> None:
    result = figures(np.empty(0), np.empty(0), what="x")
    assert result == {
        "count": 0,
        **dict.fromkeys(("rmse", "mae", "bias", "p95", "max", "plcc", "srocc", "krocc")),
        "undefined": "no rows",
    }


def test_a_clip_counts_once_with_its_means() -> None:
    cells = facts(3)
    predictions = predicted(cells, lambda _s, group, noise: noise + 2 * group)
    result = errors_by_level(predictions, cells)
    assert set(result) == {"frame", "clip"}
    own = {}
    for key in cells:
        rows = [index for index, cell in enumerate(predictions.cell) if predictions.cells[cell] == key]
        by_frame = predictions.prediction[rows].astype(float).reshape(3, FRAMES).mean(axis=0)
        own[key] = (by_frame.mean(), predictions.target[rows].astype(float).mean())
    errors = np.array([prediction - target for prediction, target in own.values()])
    clip = result["clip"]
    assert clip["overall"]["count"] == 6
    assert clip["overall"]["rmse"] == pytest.approx(math.sqrt((errors**2).mean()), abs=1e-5)
    assert clip["per_source"]["s02"]["bias"] == pytest.approx(errors[-2:].mean(), abs=1e-5)
    assert "1 rows, a correlation needs at least 3" in clip["per_source_encoder"]["s02 x libx264"]["undefined"]
    assert result["frame"]["overall"]["count"] == 6 * FRAMES
    for level in result.values():
        for kind in ("per_source", "per_encoder", "per_source_encoder", "per_range"):
            assert sum(part["count"] for part in level[kind].values()) == level["overall"]["count"], kind


# ------------------------------------------------------------------------------------------------------ bootstrap


def test_the_figures_are_means_over_seeds_and_groups() -> None:
    cells = facts()
    predictions = predicted(cells, lambda _s, group, noise: noise * (1 + group))
    result: Any = intervals.uncertainty(intervals.by_group(predictions, cells))
    plccs, squares = np.empty((3, GROUPS)), []
    for place, (_, rows) in enumerate(predictions.seeds()):
        part = predictions.part(rows)
        for group in range(GROUPS):
            own = np.flatnonzero([cells[part.cells[cell]].group == f"g{group:02d}" for cell in part.cell])
            plccs[place, group] = np.corrcoef(part.prediction[own].astype(float), part.target[own].astype(float))[0, 1]
    assert result["mean_plcc"]["value"] == pytest.approx(plccs.mean(), abs=1e-12)
    by_group = plccs.mean(axis=0)
    assert result["worst_group"] == {"group": "g08", "plcc": pytest.approx(by_group[8], abs=1e-12)}
    without = [np.delete(by_group, index).mean() for index in range(GROUPS)]
    assert result["mean_plcc"]["without_one_min"] == {"group": "g00", "value": pytest.approx(min(without), abs=1e-12)}
    assert result["mean_plcc"]["without_one_max"] == {"group": "g08", "value": pytest.approx(max(without), abs=1e-12)}
    squares = [errors_by_level(predictions, cells)["frame"]["overall"]["rmse"]]
    assert result["rmse"]["value"] == pytest.approx(squares[0], rel=1e-12)
    assert result["resamples"] >= 2000
    for name in FIGURES:
        assert result[name]["low"] < result[name]["value"] < result[name]["high"]


def bca(values: np.ndarray[Any, Any], resampled: np.ndarray[Any, Any]) -> tuple[float, float]:
    """Compute the BCa interval (Efron 1987) of a mean from the resamples alone."""
    value = values.mean()
    ends = bca_levels(values, ((resampled < value).mean() + (resampled <= value).mean()) / 2)
    low, high = np.quantile(resampled, ends)
    return float(low), float(high)


def bca_levels(values: np.ndarray[Any, Any], below: float) -> list[float]:
    """Return the shares of resamples below the ends; ``below`` is the share below the mean."""
    bias = stats.norm.ppf(below)
    left = np.array([np.delete(values, index).mean() for index in range(len(values))])
    apart = left.mean() - left
    skew = (apart**3).sum() / (6 * (apart**2).sum() ** 1.5)
    return [float(stats.norm.cdf(bias + (bias + z) / (1 - skew * (bias + z)))) for z in stats.norm.ppf([0.025, 0.975])]


def test_an_interval_is_bca_over_groups() -> None:
    cells = facts()
    predictions = predicted(cells, lambda _s, group, noise: noise * (1 + group))
    result = intervals.by_group(predictions, cells)
    drawn = intervals.distribution(predictions, cells)
    assert {name: values.shape for name, values in drawn.items()} == dict.fromkeys(FIGURES, (intervals.RESAMPLES,))
    mean_plcc: Any = intervals.uncertainty(result)["mean_plcc"]
    assert (mean_plcc["low"], mean_plcc["high"]) == pytest.approx(bca(result.plcc, drawn["mean_plcc"]), abs=1e-12)
    # every resample is a mean of nine of the nine groups' figures, with replacement
    assert drawn["mean_plcc"].min() >= result.plcc.min()
    assert drawn["mean_plcc"].std() == pytest.approx(result.plcc.std() / 3, rel=0.1)
    assert intervals.uncertainty(result) == intervals.uncertainty(intervals.by_group(predictions, cells))


def test_groups_in_one_fold_still_count_alone() -> None:
    alone, together = facts(), facts(folds=3)
    both = [intervals.by_group(predicted(cells, lambda _s, g, noise: noise * g), cells) for cells in (alone, together)]
    assert both[0].groups == both[1].groups
    assert both[0].plcc.tolist() == both[1].plcc.tolist()


def test_equal_groups_have_no_interval() -> None:
    result = intervals.interval(lambda index: np.ones(index.shape).mean(axis=-1), 5)
    assert (result["value"], result["low"], result["high"]) == (1.0, None, None)
    assert "all groups have the same figure" in str(result["undefined"])


def constant_group(cells: dict[str, CellFacts], group: str = "g04") -> Predictions:
    """Return predictions of a corpus in which every score of one group is 100."""
    whole = predicted(cells)
    constant = np.array([cells[whole.cells[cell]].group == group for cell in whole.cell])
    return replace(whole, target=np.where(constant, np.float32(100), whole.target))


def test_a_group_without_a_correlation_is_left_out_of_the_means_and_named() -> None:
    cells = facts(folds=3)
    predictions = constant_group(cells)
    parts = intervals.by_group(predictions, cells)
    result: Any = intervals.uncertainty(parts)
    assert result["left_out"] == ["g04"]
    assert result["mean_plcc"]["value"] == pytest.approx(np.delete(parts.plcc, 4).mean())
    assert result["mean_plcc"]["low"] < result["mean_plcc"]["value"] < result["mean_plcc"]["high"]
    assert result["worst_group"]["group"] != "g04"
    # its errors count: the targets of the group are far from its predictions
    assert result["rmse"]["without_one_min"]["group"] == "g04"
    first: Any = intervals.uncertainty(parts, version=1)
    assert (first["mean_plcc"]["value"], first["mean_plcc"]["low"]) == (None, None)
    assert first["worst_group"] == {"group": "g04", "plcc": None}


@pytest.mark.parametrize("groups", [3, 5, 7])
def test_few_groups_are_resampled_in_every_way(groups: int) -> None:
    """Compare with every one of K^K resamples, which weigh alike."""
    values = np.random.default_rng(groups).lognormal(size=groups)
    result: Any = intervals.interval(lambda index: values[index].mean(axis=-1), groups)
    assert result["resamples"] == math.comb(2 * groups - 1, groups)
    grid = np.stack(np.meshgrid(*[np.arange(groups)] * groups), axis=-1).reshape(-1, groups)
    drawn = np.sort(values[np.sort(grid, axis=-1)].mean(axis=-1))
    value = values.mean()
    low, high = bca_levels(values, ((drawn < value).mean() + (drawn <= value).mean()) / 2)
    expected = [drawn[math.ceil(share * len(drawn) - 1e-6) - 1] for share in (low, high)]
    assert [result["low"], result["high"]] == pytest.approx(expected, abs=1e-12)


def test_more_is_drawn_where_an_end_is_near_the_extreme_of_the_resamples() -> None:
    even = np.random.default_rng(0).normal(size=30)
    skewed = np.append(np.zeros(29), 1.0) + even / 100
    counts = [
        intervals.interval(lambda index, of=of: of[index].mean(axis=-1), 30)["resamples"]  # type: ignore[misc]
        for of in (even, skewed)
    ]
    assert counts[0] == intervals.RESAMPLES
    assert intervals.RESAMPLES < counts[1] <= intervals.MOST_RESAMPLES  # type: ignore[operator]
    first: Any = intervals.interval(lambda index: skewed[index].mean(axis=-1), 30, version=1)
    again = stats.bootstrap((skewed,), np.mean, n_resamples=4000, rng=np.random.default_rng(intervals.SEED))
    assert (first["low"], first["high"]) == pytest.approx(tuple(again.confidence_interval), abs=1e-9)


# ------------------------------------------------------------------------------------------------------ baselines

CORPUS = Corpus(sha256="1" * 64, source_ids=frozenset({"a", "b"}))


@pytest.mark.parametrize(
    ("model", "expected", "reason"),
    [
        ({"corpus_sha256": "1" * 64, "source_ids": None}, True, "names this corpus"),
        ({"corpus_sha256": "2" * 64, "source_ids": ["b", "c"]}, True, "lists 1 of the 2 sources"),
        ({"corpus_sha256": "2" * 64, "source_ids": ["c"]}, False, "lists none"),
        ({"corpus_sha256": "2" * 64, "source_ids": None}, None, "another corpus and no sources"),
        ({"corpus_sha256": None, "source_ids": None}, None, "no sidecar"),
        (None, False, "in the same folds"),
    ],
)
def test_a_baseline_trained_on_held_out_sources_is_marked(model: Any, expected: Any, reason: str) -> None:
    result = leaked(Baseline(predictions=None, problems=(), model=model), CORPUS)
    assert result[0] is expected
    assert reason in result[1]


def against(cells: dict[str, CellFacts], own: Any, **others: Any) -> Any:
    named = {name: Baseline(predictions=predicted(cells, off), problems=(), model=None) for name, off in others.items()}
    return comparison(predicted(cells, own), cells, named, CORPUS)


def test_differences_are_the_ensembles_figure_minus_the_baselines() -> None:
    cells = facts()
    result = against(cells, lambda _s, g, noise: noise * (1 + g / 9), linear=lambda _s, g, noise: noise * (4 + g / 3))
    linear = result["linear"]
    own = intervals.by_group(predicted(cells, lambda _s, g, noise: noise * (1 + g / 9)), cells)
    other = intervals.by_group(predicted(cells, lambda _s, g, noise: noise * (4 + g / 3)), cells)
    assert linear["difference"]["mean_plcc"]["value"] == pytest.approx((own.plcc - other.plcc).mean(), abs=1e-12)
    assert linear["difference"]["mean_plcc"]["low"] > 0 > linear["difference"]["rmse"]["high"]
    assert linear["mean_plcc"] == pytest.approx(other.plcc.mean(), abs=1e-12)


def test_the_network_without_the_block_is_compared_with_the_same_seeds() -> None:
    cells = facts()
    own = predicted(cells, lambda seed, _g, noise: noise * (1 + 3 * seed))
    two = predicted(cells, seeds=(0, 1))
    line = predicted(cells, seeds=(0,))
    others = {
        name: Baseline(predictions=scores, problems=(), model=None)
        for name, scores in ((contract.WITHOUT_BLOCK, two), ("linear", line))
    }
    result: Any = comparison(own, cells, others, CORPUS)

    def rmse(predictions: Predictions) -> float:
        return float(intervals.by_group(predictions, cells).statistics()["rmse"](np.arange(GROUPS)))

    first = predicted(cells, lambda seed, _g, noise: noise * (1 + 3 * seed), seeds=(0, 1))
    expected = {contract.WITHOUT_BLOCK: rmse(first) - rmse(two), "linear": rmse(own) - rmse(line)}
    for name, difference in expected.items():
        assert result[name]["difference"]["rmse"]["value"] == pytest.approx(difference, abs=1e-12)


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (np.geomspace(100, 1, 80), False),
        (np.append(np.geomspace(100, 1, 20), np.ones(180)), True),
        (np.ones(EPOCHS_TO_TELL), True),
        (np.ones(EPOCHS_TO_TELL - 1), False),
    ],
)
def test_a_training_has_converged_when_its_loss_stays(loss: Any, expected: bool) -> None:
    assert convergence(loss).converged is expected


def test_a_baseline_says_whether_it_has_converged() -> None:
    cells = facts()
    trends = {"linear": None, "mlp_small": convergence(np.geomspace(100, 1, 80))}
    others = {
        name: Baseline(predictions=predicted(cells), problems=(), model=None, convergence=trend)
        for name, trend in trends.items()
    }
    result: Any = comparison(predicted(cells), cells, others, CORPUS)
    assert (result["linear"]["converged"], result["linear"]["convergence"]) == (None, None)
    assert result["mlp_small"]["converged"] is False
    assert result["mlp_small"]["convergence"]["last_tenth"] < result["mlp_small"]["convergence"]["tenth_before"]
    assert "p1401" not in result["linear"]


def test_a_baseline_without_predictions_has_no_figure() -> None:
    cells = facts()
    lost = Baseline(predictions=None, problems=("predictions are not finite",), model=None)
    result: Any = comparison(predicted(cells), cells, {"linear": lost}, CORPUS)
    assert result["linear"]["mean_plcc"] is None
    assert result["linear"]["problems"] == ["predictions are not finite"]


# ---------------------------------------------------------------------------------------------------- calibration


def calibrated(predictions: Predictions, cells: dict[str, CellFacts]) -> Any:
    errors = half_widths.errors_by_group(predictions, cells)["frame"]
    return calibration.calibration(predictions, cells, errors)


@pytest.mark.parametrize(("level", "groups"), [(0.5, 1), (0.8, 4), (0.9, 9), (0.95, 19)])
def test_levels_need_groups(level: float, groups: int) -> None:
    assert calibration.groups_needed(level) == groups
    # 1/(K+1) is at infinity: the quantile must be within the measured errors
    assert level <= groups / (groups + 1) + 1e-12
    assert groups == 1 or level > (groups - 1) / groups


def test_a_level_with_too_few_groups_has_a_reason_instead_of_numbers() -> None:
    cells = facts()
    predictions = predicted(cells)
    result = calibrated(predictions, cells)
    by_level = {level["level"]: level for level in result["levels"]}
    assert by_level[0.95] == {
        "level": 0.95,
        "too_few": "too few sources for 95 %: needs at least 19 content groups, there are 9",
    }
    # with nine groups the half-width at 90 % is the largest error
    mean = np.stack([predictions.prediction[rows].astype(float) for _, rows in predictions.seeds()]).mean(axis=0)
    target = predictions.target[: len(mean)].astype(float)
    assert by_level[0.9]["width"] == pytest.approx(2 * np.abs(mean - target).max(), abs=1e-4)
    assert by_level[0.5]["width"] < by_level[0.8]["width"] < by_level[0.9]["width"]
    assert by_level[0.8]["simulated_coverage"] == {
        "groups": 9,
        **dict(zip(("low", "high"), simulated.JACKKNIFE[0.8][9], strict=True)),
    }
    assert result["method"] == "grouped jackknife over content groups"


def test_with_kfold_it_is_called_cross_validation() -> None:
    cells = facts(folds=3)
    assert calibrated(predicted(cells), cells)["method"] == "grouped cross-validation over content groups"


def test_the_seeds_disagreement_leaves_out_what_clipping_hides() -> None:
    cells = facts()
    good = calibrated(predicted(cells, lambda _s, _g, noise: noise * np.linspace(0.1, 5, FRAMES)), cells)["spread"]
    # three seeds: the error of their mean is 1/√3 of one seed's
    assert good["error_over_spread"] == pytest.approx(1 / math.sqrt(3), rel=0.2)
    assert good["srocc_with_error"] > 0.3
    assert good["clipped"] < 0.03
    blind = calibrated(predicted(cells, lambda _s, _g, noise: 0.01 * noise + 4), cells)["spread"]
    assert blind["error_over_spread"] > 100
    half = predicted(cells, lambda _s, _g, noise: noise)
    at_the_top = np.arange(len(half) // 3) % 2 == 0
    clipped = replace(half, prediction=np.where(np.tile(at_the_top, 3), np.float32(100), half.prediction))
    result = calibrated(clipped, cells)["spread"]
    assert result["clipped"] == pytest.approx(0.5, abs=0.02)
    scores = half.prediction.reshape(3, -1).astype(float)[:, ~at_the_top]
    scores = scores[:, (scores < 100).all(axis=0)]
    assert result["mean"] == pytest.approx(scores.std(axis=0, ddof=1).mean())
    single = calibrated(predicted(cells, seeds=(4,)), cells)["spread"]
    assert (single["undefined"], single["mean"]) == ("one seed has no spread", None)


# ---------------------------------------------------------------------------------------------------- half-widths


def widths(groups: int, off: Any = lambda _s, _g, noise: noise) -> Any:
    cells = facts(groups)
    return half_widths.half_widths(half_widths.errors_by_group(predicted(cells, off), cells))


def test_with_few_groups_the_half_width_is_the_two_level_students_t_by_hand() -> None:
    cells = facts(9)
    predictions = predicted(cells, lambda _s, group, noise: noise + 9 * (group == 8))
    error = (
        np.mean([predictions.prediction[rows] for _, rows in predictions.seeds()], axis=0) - predictions.target[:540]
    )
    of_group = error.reshape(9, 2 * FRAMES)  # cells are in order of their groups
    for unit, errors in (("frame", of_group), ("clip", of_group.reshape(9, 2, FRAMES).mean(axis=2))):
        entry = widths(9, lambda _s, group, noise: noise + 9 * (group == 8))[unit]["0.9"]
        between = (errors.mean(axis=1) ** 2).sum() / 8
        within = errors.var(axis=1, ddof=1).mean()
        expected = stats.t.ppf(0.95, 8) * math.sqrt(between * (1 + 1 / 9) + within)
        assert entry["half_width"] == pytest.approx(expected, rel=1e-5)
        assert (entry["method"], entry["groups"]) == ("two-level Student-t", 9)
        assert entry["worst_group"]["name"] == "g08"
        assert entry["worst_group"]["coverage"] <= entry["coverage"] <= 1


def test_with_19_groups_the_half_width_is_conformal_and_at_95_percent_the_largest_error() -> None:
    result = widths(19)
    assert {entry["method"] for unit in result.values() for entry in unit.values()} == {"grouped conformal"}
    cells = facts(19)
    predictions = predicted(cells)
    error = np.mean([predictions.prediction[rows] for _, rows in predictions.seeds()], axis=0)
    error = np.abs(error - predictions.target[: len(error)])
    assert result["frame"]["0.95"]["half_width"] == pytest.approx(float(error.max()), abs=1e-4)
    assert result["clip"]["0.95"]["half_width"] < result["frame"]["0.95"]["half_width"]
    for unit in result.values():
        sizes = [unit[level]["half_width"] for level in ("0.5", "0.8", "0.9", "0.95")]
        assert sizes == sorted(sizes)


def test_a_conformal_half_width_covers_new_groups_as_often_as_requested() -> None:
    """Draw groups with errors of different sizes 300 times; the last one is new."""
    covered = []
    for trial in range(300):
        generator = np.random.default_rng(trial)
        off = [generator.normal(0, one, 40) for one in generator.gamma(2, 1, 20)]
        half = half_widths.conformal_half_width(0.8, off[:19], 19)
        covered.append(float((np.abs(off[19]) <= half).mean()))
    assert 0.77 <= np.mean(covered) <= 0.88


@pytest.mark.parametrize("groups", [3, 9])
def test_the_table_of_the_simulation_is_what_the_simulation_gives(groups: int) -> None:
    """Repeat some entries with fewer repetitions: within four standard errors."""
    repetitions = 300
    for (low, high), shares in (
        (simulated.BOOTSTRAP[groups], simulate_intervals.bootstrap(groups, repetitions).values()),
        (
            simulated.JACKKNIFE[0.5][groups],
            [
                share
                for method, _, level, share in simulate_intervals.score_intervals(groups, repetitions)
                if (method, level) == ("jackknife", 0.5)
            ],
        ),
    ):
        error = 4 * math.sqrt(0.25 / repetitions)
        assert low - error <= min(shares) <= max(shares) <= high + error


def test_the_entry_of_the_nearest_smaller_number_of_groups_is_taken() -> None:
    coverages = {3: (0.1, 0.2), 9: (0.3, 0.4)}
    assert [simulated.lookup(coverages, groups)["groups"] for groups in (2, 3, 8, 9, 500)] == [3, 3, 3, 9, 9]


# ------------------------------------------------------------------------------------------------------- coverage


def shown(table: Table, prints: Mapping[str, Fingerprint] | None = None) -> Any:
    folds = assign(table.cells, "loso")
    cells = {
        entry.key: CellFacts(
            source=entry.source, group=entry.group, fold=folds[entry.group], encoder=entry.encoder, rows=entry.rows
        )
        for entry in table.cells
    }
    return coverage.coverage(table, cells, replace(CORPUS, fingerprints=prints or {}))


def test_ranges_and_saturation() -> None:
    table = make_table(frames=30)
    table = replace(table, target=np.where(np.arange(len(table)) < 6, np.float32(100), table.target))
    result = shown(table)
    assert result["features"]["motion2"] == {
        "min": float(table.features[:, 5].min()),
        "max": float(table.features[:, 5].max()),
    }
    assert result["saturated"] == {"score": 100.0, "rows": 6, "share": 6 / len(table)}
    assert result["scores"]["max"] == 100.0


def test_cells_outside_the_training_range_of_their_fold_are_named() -> None:
    table = make_table(frames=30)
    features = np.clip(table.features, 0.4, 0.9)
    features[:, 5] = 5
    assert shown(replace(table, features=features))["outside_training"] == {"cells": 0, "rows": 0, "worst": []}
    place = [index for index, entry in enumerate(table.cells) if entry.source == "Tango"][1]
    features[np.flatnonzero(table.cell == place)[:3], 2] = 0.95
    assert shown(replace(table, features=features))["outside_training"] == {
        "cells": 1,
        "rows": 3,
        "worst": [{"cell": "Tango/libx264/cq37", "rows": 3, "share": 0.1, "features": ["vif_scale1"]}],
    }


def copied(table: Table, source: str, shift: int, noise: float) -> Table:
    """Copy the rows of Highway to another source, some frames later."""
    features = table.features.copy()
    generator = np.random.default_rng(1)
    of = {
        name: [index for index, entry in enumerate(table.cells) if entry.source == name] for name in ("Highway", source)
    }
    for one, two in zip(of["Highway"], of[source], strict=True):
        own = np.roll(features[table.cell == one], shift, axis=0)
        features[table.cell == two] = own * generator.normal(1, noise, own.shape)
    return replace(table, features=features)


@pytest.mark.parametrize("shift", [0, 4, -4])
def test_the_same_content_under_two_names_is_detected_across_folds(shift: int) -> None:
    table = make_table(frames=48)
    assert shown(table)["near_duplicates"]["pairs"] == []
    (pair,) = shown(copied(table, "Tango", shift, 0.02))["near_duplicates"]["pairs"]
    assert pair["sources"] == ["Highway", "Tango"]
    assert abs(pair["lag"]) == abs(shift)
    assert min(pair["motion2"], pair["others"]) > 0.9
    assert shown(copied(table, "Tango", shift, 0.7))["near_duplicates"]["pairs"] == []


def test_fingerprints_decide_where_sources_have_them() -> None:
    table = copied(make_table(frames=48), "Tango", 0, 0.02)
    sources = {entry.source for entry in table.cells}
    assert shown(table)["near_duplicates"]["method"] == "features"
    prints = {name: made_fingerprint(number) for number, name in enumerate(sorted(sources))}
    result = shown(table, prints)["near_duplicates"]  # features alone take Highway and Tango for one
    # five sources, two of them in one group
    assert (result["method"], result["compared"], result["pairs"]) == ("fingerprints", 9, [])
    assert (result["suspected"], result["without_fingerprint"]) == ([], [])
    alike = prints | {"Crowd": made_fingerprint(9), "Tango": made_fingerprint(9, changed=0.1)}
    (pair,) = shown(table, alike)["near_duplicates"]["pairs"]
    assert pair["sources"] == ["Crowd", "Tango"]
    assert 0.2 < pair["threshold"] < pair["similarity"] < 1


def test_a_source_without_a_fingerprint_is_compared_by_features_which_only_warn() -> None:
    table = copied(make_table(frames=48), "Tango", 0, 0.02)
    sources = sorted({entry.source for entry in table.cells})
    prints = {name: made_fingerprint(number) for number, name in enumerate(sources) if name != "Tango"}
    result = shown(table, prints)["near_duplicates"]
    assert (result["method"], result["pairs"], result["without_fingerprint"]) == ("fingerprints", [], ["Tango"])
    assert [pair["sources"] for pair in result["suspected"]] == [["Highway", "Tango"]]


def test_sources_of_one_group_and_short_ones_are_not_compared() -> None:
    result = shown(make_table(frames=20))["near_duplicates"]
    assert (result["compared"], result["pairs"]) == (0, [])
    # five sources, two of them in one group
    assert result["not_comparable"] == 9


def test_encoders_with_few_rows_are_listed() -> None:
    table = make_table(frames=30)
    entries = tuple(replace(entry, encoder="libx265") if entry.source == "Tango" else entry for entry in table.cells)
    assert shown(replace(table, cells=entries))["thin_encoders"]["encoders"] == {
        "libx265": {"groups": 1, "cells": 2, "rows": 60}
    }


@pytest.mark.parametrize(("frames", "most", "share", "warn"), [(30, None, 30 / 60, True), (30, 10, 10 / 40, False)])
def test_a_source_with_more_than_a_third_of_the_training_rows_is_a_warning(
    frames: int, most: int | None, share: float, warn: bool
) -> None:
    rows = {"long": frames, "a": 10, "b": 10, "c": 10}
    cells = [CellFacts(source=name, group=name, fold=name, encoder="e", rows=count) for name, count in rows.items()]
    result = coverage.rows_by_source(cells, most)
    assert (result["share"], result["warn"], result["share_of_all"]) == (share, warn, 0.5)
    assert result["largest"] == "long"
    assert ("--max-rows-per-source" in coverage.share_sentence(result)) == warn


# ---------------------------------------------------------------------------------------------------- expert gate


def evidence(groups: int = GROUPS, **changes: Any) -> Any:
    cells = facts(groups)
    predictions = predicted(cells)
    whole = {
        "errors": errors_by_level(predictions, cells),
        "uncertainty": intervals.uncertainty(intervals.by_group(predictions, cells)),
        "baselines": {"linear": {"leaked": False, "rmse": 3.0}},
        "codec_block": {"unseen": {"libx264": {"rmse_with": 1.0}, "libx265": {"rmse_with": 2.0}}},
        "coverage": {"near_duplicates": {"method": "fingerprints", "pairs": []}},
    }
    return whole | changes


def unseen(rmse: float | None) -> dict[str, Any]:
    return {"unseen": {"libx264": {"rmse_with": 1.0}, "libx265": {"rmse_with": rmse}}}


def duplicates(method: str) -> dict[str, Any]:
    return {"near_duplicates": {"method": method, "pairs": [{"sources": ["s00", "s01"]}]}}


def test_the_expert_gate_passes_a_good_training() -> None:
    result = apply_expert_gate(evidence())
    assert (result.status, result.passed, result.failing) == ("passed", True, ())
    assert {check.name for check in result.checks} == set(contract.EXPERT_THRESHOLDS)
    assert result.thresholds_sha256 == apply_expert_gate(None).thresholds_sha256
    assert (apply_expert_gate(None).status, apply_expert_gate(None).passed) == ("failed", False)


def test_fewer_than_nine_groups_are_insufficient_evidence_and_no_failure() -> None:
    result = apply_expert_gate(evidence(8))
    assert (result.status, result.passed, result.failing) == ("insufficient evidence", False, ())
    worse = apply_expert_gate(evidence(8, codec_block=unseen(4.1)))
    assert (worse.status, worse.failing) == ("failed", ("unseen_rmse_max",))


@pytest.mark.parametrize(
    ("changes", "failing", "where"),
    [
        ({"baselines": {"linear": {"rmse": 0.6}}}, ("linear_ratio_max",), None),
        ({"baselines": {"linear": {"rmse": None}}}, ("linear_ratio_max",), None),
        ({"baselines": {}}, ("linear_ratio_max",), None),
        ({"codec_block": unseen(3.01)}, ("unseen_rmse_max",), "libx265"),
        ({"codec_block": unseen(None)}, ("unseen_rmse_max",), "libx265"),
        ({"codec_block": {"unseen": {}}}, ("unseen_rmse_max",), None),
        ({"codec_block": None}, ("unseen_rmse_max",), None),
        ({"coverage": duplicates("fingerprints")}, ("near_duplicates_max",), "s00 and s01"),
        ({"coverage": duplicates("features")}, (), None),
    ],
)
def test_each_condition_fails_the_expert_gate(changes: Any, failing: tuple[str, ...], where: str | None) -> None:
    report = apply_expert_gate(evidence(**changes))
    assert report.failing == failing
    assert [check.where for check in report.checks if check.name in failing] == [where] * len(failing)


@pytest.mark.parametrize(
    ("path", "check"),
    [
        (("frame", "overall", "rmse"), "ensemble_rmse_max"),
        (("frame", "per_source", "s03", "rmse"), "source_rmse_max"),
        (("clip", "overall", "p95"), "clip_p95_max"),
        (("frame", "per_encoder", "libx265", "bias"), "encoder_bias_max"),
        (("frame", "per_seed", "1", "rmse"), "seed_rmse_max"),
    ],
)
def test_each_error_has_a_limit_that_a_tie_meets(path: tuple[str, ...], check: str) -> None:
    for value, failing in (
        (contract.EXPERT_THRESHOLDS[check], ()),
        (contract.EXPERT_THRESHOLDS[check] + 0.01, (check,)),
    ):
        result = evidence()
        result["baselines"] = {"linear": {"rmse": 100.0}}
        place = result["errors"]
        for name in path[:-1]:
            place = place[name]
        place[path[-1]] = value
        assert apply_expert_gate(result).failing == failing


def test_many_pairs_of_near_duplicates_are_counted() -> None:
    pairs = [{"sources": ["a", f"b{number}"]} for number in range(7)]
    found = {"near_duplicates": {"method": "fingerprints", "pairs": pairs}}
    (check,) = (one for one in apply_expert_gate(evidence(coverage=found)).checks if not one.passed)
    assert (check.value, check.where) == (7, "a and b0, a and b1, a and b2, 4 more pairs")


def test_version_1_keeps_its_thresholds_and_its_checks() -> None:
    rules = RULES[1]
    near = {"mean_plcc": {"value": -0.01, "low": None, "high": None, "undefined": "x"}}
    others = {name: {"leaked": name == "shipped", "difference": near} for name in ("linear", "shipped")}
    report = apply_expert_gate(evidence(baselines=others, coverage=duplicates("features")), rules.expert, rules.checks)
    assert {check.name for check in report.checks} == set(rules.expert)
    assert report.failing == ("baseline_plcc_loss_max", "near_duplicates_max")
    assert thresholds_sha256(rules.expert).startswith("f1f59318d03cd694")


def test_nan_is_invalid() -> None:
    cells = facts(4)
    whole = predicted(cells)
    bad = replace(whole, prediction=np.where(np.arange(len(whole)) == 7, np.float32(np.nan), whole.prediction))
    with pytest.raises(InvalidEvidence, match="not finite"):
        errors_by_level(bad, cells)
