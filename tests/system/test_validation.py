"""Where the validator is stricter than jsonschema's own, and what it prints of a file that the kit did not write."""

from __future__ import annotations

from typing import Any

import pytest

from kit.system import validation

REGISTRY = {
    "id": "fr_a",
    "kind": "fr",
    "onnx": "fr_a.onnx",
    "sha256": "a" * 64,
    "opset": 17,
    "description": "d",
    "notes": "",
    "smoke": False,
    "license": "BSD-2-Clause-Patent",
}


def problems(**change: Any) -> list[str]:
    return validation.problems("registry", {"schema_version": 1, "models": ({**REGISTRY, **change},)})


def test_tuples_are_arrays() -> None:
    assert problems() == []


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"opset": 17.0}, "$.models[0].opset: 17.0"),
        ({"opset": True}, "$.models[0].opset: True"),
        ({"id": "fr_a\n"}, "$.models[0].id: 'fr_a\\n'"),
        ({"id": "fr_ä"}, "$.models[0].id: 'fr_ä'"),
        ({"\x1b[2J": 1}, "\\x1b[2J"),
    ],
)
def test_a_problem_names_the_path_and_the_value(change: dict[str, Any], named: str) -> None:
    (problem,) = problems(**change)
    assert named in problem
    assert problem.isprintable()


def test_a_number_is_finite() -> None:
    assert any("nan" in line for line in validation.problems("merge", {"overlap": [{"vmaf": float("nan")}]}))


def test_a_number_is_one_that_a_double_can_hold() -> None:
    lines = validation.problems("merge", {"overlap": [{"vmaf": 10**400}]})
    assert any("000 is not of type 'number'" in line for line in lines)
    (line,) = problems(opset=1 << 63)
    assert "is not of type 'integer'" in line


def test_lines_and_their_number_are_limited() -> None:
    (problem,) = problems(description="x" * 100_000)
    assert len(problem) < 1000
    assert "too long" in problem
    assert len(validation.problems("registry", {"schema_version": 1, "models": [7] * 1000}, most=5)) == 5
