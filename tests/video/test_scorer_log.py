"""libvmaf's JSON log: a valid one is parsed, every other one is a LogError."""

from __future__ import annotations

import copy
import json
from typing import Any

import numpy as np
import pytest

from kit.video.scorers.log import LogError, parse

#: A log of libvmaf 3: metrics in its own order, more of them than needed.
LOG: dict[str, Any] = {
    "version": "3.0.0",
    "params": {"qualityLayout": ""},
    "fps": 41.5,
    "frames": [
        {
            "frameNum": number,
            "metrics": {
                "integer_motion2": 0.5 * number,
                "integer_motion": 9.0,
                "integer_adm2": 0.9 + number / 100,
                "integer_adm_scale0": 0.1,
                "integer_vif_scale0": 0.4,
                "integer_vif_scale1": 0.5,
                "integer_vif_scale2": 0.6,
                "integer_vif_scale3": 0.7,
                "canonical": 1.0,
                "teacher": 80.0 + number,
            },
        }
        for number in range(3)
    ],
    "pooled_metrics": {"teacher": {"mean": 81.0}},
    "aggregate_metrics": {},
}
TEXT = json.dumps(LOG, indent=2)


def test_a_valid_log() -> None:
    scores = parse(TEXT)
    assert scores.version == "3.0.0"
    assert scores.vmaf.tolist() == [80.0, 81.0, 82.0]
    # adm2, vif_scale0 to 3, motion2
    assert scores.features.tolist() == [[0.9 + n / 100, 0.4, 0.5, 0.6, 0.7, 0.5 * n] for n in range(3)]
    assert (scores.features.dtype, scores.vmaf.dtype) == (np.float64, np.float64)


@pytest.mark.parametrize("end", [*range(0, len(TEXT) - 1, 17), len(TEXT) - 1])
def test_a_truncated_log(end: int) -> None:
    with pytest.raises(LogError):
        parse(TEXT[:end])


@pytest.mark.parametrize("name", ["teacher", "integer_adm2", "integer_vif_scale3", "integer_motion2"])
def test_a_missing_metric_is_named_with_its_frame(name: str) -> None:
    log = copy.deepcopy(LOG)
    del log["frames"][1]["metrics"][name]
    with pytest.raises(LogError, match=f"frame 1 .*'{name}'"):
        parse(json.dumps(log))


@pytest.mark.parametrize("name", ["teacher", "integer_adm2", "integer_motion2"])
@pytest.mark.parametrize(
    "token",
    [
        "NaN",
        "Infinity",
        "-Infinity",
        "1e999",
        "nan",
        "null",
        '"88"',
        "true",
        "[1]",
        "{}",
        pytest.param("1" + "0" * 400, id="400-digits"),
    ],
)
def test_a_metric_that_is_not_a_finite_number(name: str, token: str) -> None:
    log = copy.deepcopy(LOG)
    log["frames"][2]["metrics"][name] = "HERE"
    with pytest.raises(LogError):
        parse(json.dumps(log).replace('"HERE"', token))


def test_a_value_that_is_not_finite_is_named() -> None:
    log = copy.deepcopy(LOG)
    log["frames"][2]["metrics"]["integer_vif_scale1"] = float("nan")
    with pytest.raises(LogError, match="frame 2: integer_vif_scale1 is nan"):
        parse(json.dumps(log))


@pytest.mark.parametrize("score", [140.0, 100.0001, -0.0001, -3])
def test_a_score_outside_the_range(score: float) -> None:
    log = copy.deepcopy(LOG)
    log["frames"][0]["metrics"]["teacher"] = score
    with pytest.raises(LogError, match=r"0\.0 to 100\.0"):
        parse(json.dumps(log))


@pytest.mark.parametrize("score", [0, 100])
def test_the_ends_of_the_range_are_scores(score: int) -> None:
    log = copy.deepcopy(LOG)
    log["frames"][0]["metrics"]["teacher"] = score
    assert parse(json.dumps(log)).vmaf[0] == score


@pytest.mark.parametrize(
    ("order", "values"),
    [
        ([1, 0, 2], ("frame 0", "number 1")),
        ([0, 2], ("frame 1", "number 2")),
        ([1, 2], ("frame 0", "number 1")),
        ([0, 1, 1], ("frame 2", "number 1")),
        ([], ("no frames",)),
    ],
)
def test_frames_missing_or_out_of_order(order: list[int], values: tuple[str, ...]) -> None:
    log = LOG | {"frames": [LOG["frames"][number] for number in order]}
    with pytest.raises(LogError) as error:
        parse(json.dumps(log))
    assert all(value in error.value.message for value in values)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "3",
        '"frames"',
        "{}",
        '{"frames": []}',
        '{"version": "3"}',
        '{"version": "3", "frames": null}',
        '{"version": "3", "frames": 5}',
        '{"version": "3", "frames": {"0": {}}}',
        '{"version": "3", "frames": "abc"}',
        '{"version": "3", "frames": [null]}',
        '{"version": "3", "frames": [[]]}',
        '{"version": "3", "frames": [{}]}',
        '{"version": "3", "frames": [{"frameNum": 0}]}',
        '{"version": "3", "frames": [{"frameNum": 0, "metrics": null}]}',
        '{"version": "3", "frames": [{"frameNum": 0, "metrics": []}]}',
        '{"version": "3", "frames": [{"frameNum": "0", "metrics": {}}]}',
        TEXT + "}",
        TEXT + TEXT,
        pytest.param("[" * 100_000, id="deep"),
    ],
)
def test_other_texts(text: str) -> None:
    with pytest.raises(LogError):
        parse(text)


def test_parsing_twice_gives_separate_arrays() -> None:
    parse(TEXT).features.fill(0)
    assert parse(TEXT).features[0, 0] == 0.9
