"""Identities of cells and teachers."""

from __future__ import annotations

import pytest

from kit.core.values import CellId, Teacher


@pytest.mark.parametrize(
    ("cq", "text"), [(0, "Highway/libx264/cq00"), (7, "Highway/libx264/cq07"), (51, "Highway/libx264/cq51")]
)
def test_a_cell_id_as_text(cq: int, text: str) -> None:
    assert str(CellId(source="Highway", encoder="libx264", cq=cq)) == text


@pytest.mark.parametrize("teacher", [Teacher(id="vmaf_v0.6.1"), Teacher(id="a@b"), Teacher(id="own", sha256="0" * 64)])
def test_the_text_of_a_teacher_is_parsed(teacher: Teacher) -> None:
    assert Teacher.of_text(teacher.text) == teacher
