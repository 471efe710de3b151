"""Completeness of predictions, agreement of every member, and the figures a verdict shows."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from kit.core.errors import InvalidEvidence
from kit.training.predictions import Predictions
from kit.verdict.accuracy import per_source_encoder
from kit.verdict.evidence import summary
from kit.verdict.metrics import agreement
from kit.verdict.out_of_fold import CellFacts, completeness_problems, ensemble_mean, mean_plccs, member_agreement
from tests.training.builders import from_columns

ROWS = 6
SEEDS = (0, 1)
#: Three groups; the first has two sources, and every source two encoders.
CELLS = {
    f"{source}-{encoder}": CellFacts(source=source, group=group, fold=group, encoder=encoder, rows=ROWS)
    for source, group in (("Fuente1", "Fuente"), ("Fuente2", "Fuente"), ("Highway", "Highway"), ("Tango", "Tango"))
    for encoder in ("libx264", "libx265")
}

Row = tuple[int, str, str, int, float, float]


def rows(seeds: tuple[int, ...] = SEEDS) -> list[Row]:
    """(seed, fold, cell, frame, target, prediction) of complete predictions, different for each seed."""
    result: list[Row] = []
    for seed in seeds:
        for number, (key, cell) in enumerate(CELLS.items()):
            for frame in range(cell.rows):
                target = 20.0 + 9 * number + 2 * frame
                result.append((seed, cell.group, key, frame, target, target + (frame % 3) - seed + number / 4))
    return result


def table(content: list[Row]) -> Predictions:
    seed, fold, cell, frame, target, prediction = map(list, zip(*content, strict=True))
    return from_columns(
        "0" * 64,
        {
            "seed": np.array(seed, dtype=np.int32),
            "fold": np.array(fold),
            "cell_key": np.array(cell),
            "frame_index": np.array(frame, dtype=np.int32),
            "target": np.array(target, dtype=np.float32),
            "prediction": np.array(prediction, dtype=np.float32),
        },
    )


def problems(content: list[Row], seeds: tuple[int, ...] = SEEDS) -> list[str]:
    return completeness_problems(table(content), CELLS, seeds)


def test_complete_predictions_have_no_problem() -> None:
    assert problems(rows()) == []
    assert problems(list(reversed(rows()))) == []


def keep(test: Callable[[Row], bool]) -> list[Row]:
    return [row for row in rows() if test(row)]


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        (keep(lambda row: not (row[0] == 1 and row[1] == "Tango")), ["seed 1: fold Tango lacks predictions"]),
        (keep(lambda row: row[0] == 0), ["seed 1 has no prediction"]),
        (
            keep(lambda row: row[:4] != (0, "Fuente", "Fuente2-libx265", 3)),
            ["seed 0: fold Fuente lacks predictions"],
        ),
        (
            keep(lambda row: row[1] not in ("Highway", "Tango")),
            [f"seed {seed}: fold {fold} lacks predictions" for seed in SEEDS for fold in ("Highway", "Tango")],
        ),
        ([*rows(), rows()[-1]], ["seed 1: rows are predicted more than once"]),
        (
            [*rows(), (0, "Tango", "Tango-libx264", ROWS, 50.0, 50.0), (0, "Tango", "other", 0, 50.0, 50.0)],
            ["seed 0: 2 predictions belong to no row of the corpus"],
        ),
        (
            [*rows(), *[(7, *row[1:]) for row in rows((0,))]],
            ["predictions of seeds that were not requested: [7]"],
        ),
    ],
    ids=["fold", "seed", "row", "two-folds", "twice", "foreign", "other-seed"],
)
def test_each_gap_is_named(content: list[Row], lines: list[str]) -> None:
    assert problems(content) == lines


def test_a_row_replaced_by_its_neighbour_is_both_lacking_and_doubled() -> None:
    content = rows()
    content[0] = content[1]
    assert problems(content) == [
        "seed 0: fold Fuente lacks predictions",
        "seed 0: rows are predicted more than once",
    ]


def test_a_cell_predicted_by_a_member_trained_on_its_group_is_named() -> None:
    content = [(s, "Highway" if cell == "Tango-libx264" else fold, cell, *rest) for s, fold, cell, *rest in rows()]
    assert problems(content) == ["1 cells are predicted in a fold that does not hold out their group"]  # type: ignore[arg-type]


def test_one_seed_alone_may_be_requested() -> None:
    assert problems(rows((3,)), (3,)) == []


def test_loso_is_the_agreement_of_each_member_and_its_mean_over_folds() -> None:
    result = member_agreement(table(rows()))
    assert {seed: list(folds) for seed, folds in result.items()} == {
        seed: ["Fuente", "Highway", "Tango"] for seed in SEEDS
    }
    for seed in SEEDS:
        plccs = []
        for fold, member in result[seed].items():
            own = [row for row in rows() if row[0] == seed and row[1] == fold]
            target = np.array([row[4] for row in own], dtype=np.float32).astype(np.float64)
            prediction = np.array([row[5] for row in own], dtype=np.float32).astype(np.float64)
            assert vars(member) == {**agreement(prediction, target, what="x").as_dict(), "undefined": None}
            assert member.n == (24 if fold == "Fuente" else 12)
            plccs.append(float(np.corrcoef(prediction, target)[0, 1]))
        assert mean_plccs(result)[seed] == pytest.approx(math.fsum(plccs) / 3, abs=1e-12)


def test_folds_count_alike_whatever_their_number_of_rows() -> None:
    content = [
        (s, fold, cell, frame, target, 100 - prediction if fold == "Fuente" else prediction)
        for s, fold, cell, frame, target, prediction in rows((0,))
    ]
    members = member_agreement(table(content))[0]
    assert members["Fuente"].plcc < 0 < members["Tango"].plcc
    assert mean_plccs(member_agreement(table(content)))[0] == pytest.approx(
        sum(m.plcc for m in members.values()) / 3, abs=1e-15
    )


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_planted_value_is_invalid_and_its_members_are_all_named(bad: float) -> None:
    content = [
        (*row[:5], bad if row[:2] in ((0, "Tango"), (1, "Highway")) and row[3] == 2 else row[5]) for row in rows()
    ]
    with pytest.raises(InvalidEvidence) as error:
        member_agreement(table(content))
    assert error.value.problems == (
        "seed 0, held out Tango: 2 of 12 prediction values are not finite",
        "seed 1, held out Highway: 2 of 12 prediction values are not finite",
    )


def test_a_constant_member_has_errors_and_no_correlation() -> None:
    content = [(*row[:5], 50.0 if row[:2] == (1, "Fuente") else row[5]) for row in rows()]
    member = member_agreement(table(content))[1]["Fuente"]
    assert (member.plcc, member.srocc, member.krocc) == (None, None, None)
    assert member.undefined == "the prediction is constant (50), its correlation is undefined"
    assert member.rmse == pytest.approx(
        np.sqrt(np.mean([(50 - row[4]) ** 2 for row in rows((0,)) if row[1] == "Fuente"]))
    )


def test_the_ensemble_mean_is_taken_row_by_row() -> None:
    whole = table(rows((0, 1, 5)))
    mean = ensemble_mean(whole)
    by_row = {(row[2], row[3]): row for row in rows((0,))}
    assert len(mean) == len(CELLS) * ROWS
    assert set(mean.seed.tolist()) == {-1}
    for cell, frame, fold, target, prediction in zip(
        mean.cell, mean.frame, mean.fold, mean.target, mean.prediction, strict=True
    ):
        row = by_row[(mean.cells[cell], int(frame))]
        assert (mean.folds[fold], target) == (row[1], np.float32(row[4]))
        # seeds 0, 1 and 5 are off by 0, -1 and -5
        assert prediction == pytest.approx(row[5] - 2, abs=1e-5)
    assert mean.prediction.dtype == np.float32


def errors(key: str) -> list[float]:
    """Errors of the ensemble mean in one cell, by hand."""
    return [row[5] - 0.5 - row[4] for row in rows((0,)) if row[2] == key]


def test_the_summary_by_hand() -> None:
    result = summary(table(rows()), CELLS)
    assert set(result) == {
        "ensemble_mean",
        "per_seed",
        "per_source",
        "worst_source",
        "worst_source_encoder",
        "errors",
        "uncertainty",
        "calibration",
        "half_widths",
    }
    per_source = result["per_source"]
    assert isinstance(per_source, dict)
    assert list(per_source) == ["Fuente1", "Fuente2", "Highway", "Tango"]
    for source, figures in per_source.items():
        own = errors(f"{source}-libx264") + errors(f"{source}-libx265")
        assert {name: figures[name] for name in ("n", "rmse", "mae", "bias")} == pytest.approx(
            {
                "n": 12,
                "rmse": math.sqrt(sum(e * e for e in own) / 12),
                "mae": sum(map(abs, own)) / 12,
                "bias": sum(own) / 12,
            },
            abs=1e-5,
        )
        assert figures["undefined"] is None
    # the error grows from cell to cell, so the last source and its last encoder are worst
    assert result["worst_source"] == {"name": "Tango", **per_source["Tango"]}
    worst = result["worst_source_encoder"]
    assert isinstance(worst, dict)
    assert worst["name"] == "Tango x libx265"
    assert worst["rmse"] == pytest.approx(math.sqrt(sum(e * e for e in errors("Tango-libx265")) / 6), abs=1e-5)
    per_seed = result["per_seed"]
    assert isinstance(per_seed, dict)
    assert list(per_seed) == ["0", "1"]
    assert per_seed["0"]["bias"] - per_seed["1"]["bias"] == pytest.approx(1, abs=1e-5)
    whole = result["ensemble_mean"]
    assert isinstance(whole, dict)
    assert whole["bias"] == pytest.approx(sum(sum(errors(key)) for key in CELLS) / 48, abs=1e-5)


def test_the_worst_source_is_found_by_its_error_not_by_its_place() -> None:
    content = [(*row[:5], row[5] + 30 if row[2].startswith("Fuente2") else row[5]) for row in rows()]
    worst = summary(table(content), CELLS)["worst_source"]
    assert isinstance(worst, dict)
    assert worst["name"] == "Fuente2"
    assert worst["bias"] > 29


def test_a_source_whose_teacher_never_changes_still_has_its_errors() -> None:
    content = [(*row[:4], 97.0 if row[2].startswith("Tango") else row[4], row[5]) for row in rows()]
    per_source = summary(table(content), CELLS)["per_source"]
    assert isinstance(per_source, dict)
    assert math.isfinite(per_source["Tango"]["rmse"])
    assert (per_source["Tango"]["plcc"], per_source["Tango"]["srocc"], per_source["Tango"]["krocc"]) == (None,) * 3
    assert per_source["Tango"]["undefined"] == "the target is constant (97), its correlation is undefined"
    assert per_source["Highway"]["undefined"] is None


def test_figures_by_source_and_encoder_by_hand() -> None:
    for seed in SEEDS:
        result = per_source_encoder(table(rows((seed,))), CELLS)
        assert list(result) == sorted(f"{cell.source} x {cell.encoder}" for cell in CELLS.values())
        for key, cell in CELLS.items():
            own = [row for row in rows((seed,)) if row[2] == key]
            target = np.array([row[4] for row in own], dtype=np.float32).astype(np.float64)
            prediction = np.array([row[5] for row in own], dtype=np.float32).astype(np.float64)
            expected = agreement(prediction, target, what="x").as_dict()
            assert result[f"{cell.source} x {cell.encoder}"] == {**expected, "undefined": None}


def test_nan_in_the_summary_is_invalid() -> None:
    result = table(rows())
    result = replace(result, prediction=np.where(np.arange(len(result)) == 5, np.float32(np.nan), result.prediction))
    with pytest.raises(InvalidEvidence, match="ensemble mean: 1 of 48 prediction values are not finite"):
        summary(result, CELLS)
