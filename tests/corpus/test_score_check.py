"""Scores that do not follow from their features by the teacher's formula are refused, and the cells named."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kit.core import contract, exits, layout
from kit.core.errors import BadInput, CheckFailed
from kit.core.values import Cell, CellId, Teacher
from kit.corpus.exchange.importing import import_rows
from kit.corpus.merge.merging import merge
from kit.corpus.store.cellfile import CellRows
from kit.corpus.store.score_check import ScoreCheck
from kit.steps import step_02_adopt
from kit.video.scorers.teachers import CANONICAL
from tests.cli.builders import Kit
from tests.corpus.builders import MADE, formula_rows, plan, rows, shard_of, write
from tests.options.builders import run_in

SHIFT = 6.0


def shifted(source: str) -> Callable[[Cell], CellRows]:
    """Rows of a shard in which one clip's scores are too high."""
    return lambda cell: formula_rows(cell, SHIFT if cell.source.label == source else 0.0)


def made(folder: Path, of: Callable[[Cell], CellRows] = formula_rows, teacher: Teacher = CANONICAL) -> Path:
    shard_of(folder, plan(("Highway", "Park", "Sea"), cqs=(31, 43), teacher=teacher), rows=of, teacher=teacher)
    return folder


def test_differences_are_counted_and_the_largest_cells_named() -> None:
    check = ScoreCheck(CANONICAL)
    for number, cell in enumerate(plan([f"Clip{n}" for n in range(9)], cqs=(43,), teacher=CANONICAL)):
        own = formula_rows(cell)
        off = np.zeros(len(own.vmaf))
        off[0] = -number
        check.add(cell.id, own.features, own.vmaf + off)
    assert [one.wrong for one in check.deviations] == [0] + [1] * 8
    assert check.problem is not None
    assert "8 of 45 scores in 8 of 9 cells" in check.problem
    lines = check.problem.splitlines()
    assert "Clip8/libx264/cq43: 1 of 5 rows, by up to 8, mean -1.6" in lines[1]
    assert "3 more cells" in lines[-1]


def test_a_difference_within_the_tolerance_is_none() -> None:
    (cell,) = plan(["Clip"], cqs=(43,), teacher=CANONICAL)
    own = formula_rows(cell)
    for share, passes in ((0.99, True), (1.01, False)):
        check = ScoreCheck(None)
        check.add(CellId(source="a", encoder="b", cq=1), own.features, own.vmaf + share * contract.FORMULA_TOLERANCE)
        assert (check.problem is None) is passes


def test_scores_of_another_teacher_are_said_to_be_unchecked() -> None:
    check = ScoreCheck(MADE)
    check.add(CellId(source="a", encoder="b", cq=1), np.zeros((3, 6)), np.full(3, 50.0))
    assert check.problem is None
    assert "unchecked" in check.agreed
    assert MADE.id in check.agreed


def test_a_merge_refuses_a_clip_whose_scores_are_shifted(tmp_path: Path, kit_here: Kit) -> None:
    honest, forged = made(tmp_path / "honest"), made(tmp_path / "forged", shifted("Park"))
    with pytest.raises(CheckFailed) as caught:
        merge([honest, forged], tmp_path / "m", drop=False, assumed=None, workers=2)
    assert "forged: 10 of 30 scores in 2 of 6 cells" in caught.value.message
    assert "Park/libx264/cq43: 5 of 5 rows, by up to 6, mean +6" in caught.value.message
    assert "honest:" not in caught.value.message
    assert not (tmp_path / "m").exists()
    done = kit_here("merge", str(honest), "--out", "m", "--json", cwd=tmp_path)
    assert done.returncode == exits.OK, done.stderr
    assert "30 scores follow" in json.loads(done.stdout)["scores"]
    done = kit_here("merge", str(made(tmp_path / "other", teacher=MADE)), "--out", "n", cwd=tmp_path)
    assert "unchecked" in done.stderr


def test_an_import_refuses_rows_whose_scores_are_shifted(tmp_path: Path, kit_here: Kit) -> None:
    lines = [row | ({"vmaf": max(0.0, row["vmaf"] - SHIFT)} if row["src"] == "Park" else {}) for row in rows()]
    path = write(tmp_path / "rows.jsonl", lines)
    with pytest.raises(BadInput) as caught:
        import_rows(path, tmp_path / "shard", groups_file=None)
    assert "Park/hevc_new/cq19" in caught.value.message
    assert not (tmp_path / "shard").exists()
    done = kit_here("corpus", "import", str(path), "--out", "shard", "--assume-teacher", "vmaf_4k_v0.6.1", cwd=tmp_path)
    assert done.returncode == exits.OK, done.stderr
    assert "unchecked" in done.stderr
    assert "--assume-teacher" in caught.value.hint


def test_a_run_refuses_a_given_corpus_whose_scores_are_shifted(tmp_path: Path) -> None:
    config, session = run_in(tmp_path / "run", corpus=made(tmp_path / "forged", shifted("Sea")))
    with pytest.raises(CheckFailed, match="Sea/libx264/cq43"):
        step_02_adopt.run(config, None, session)
    honest = replace(config, corpus=made(tmp_path / "honest"), out_dir=tmp_path / "again")
    assert step_02_adopt.run(honest, None, session).teacher == CANONICAL


def test_a_run_may_name_the_teacher_of_rows_that_name_none(tmp_path: Path) -> None:
    lines = [row | {"vmaf": 50.0} for row in rows()]
    import_rows(write(tmp_path / "rows.jsonl", lines), tmp_path / "shard", groups_file=None, check_scores=False)
    config, session = run_in(tmp_path / "run", corpus=tmp_path / "shard")
    with pytest.raises(CheckFailed):
        step_02_adopt.run(config, None, session)
    named = replace(
        config, teacher="vmaf_4k_v0.6.1", origins={**config.origins, "teacher": "--teacher"}, out_dir=tmp_path / "named"
    )
    shard = step_02_adopt.run(named, None, session)
    assert shard.teacher == Teacher(id="vmaf_4k_v0.6.1")
    assert (tmp_path / "named" / layout.CORPUS / "shard.json").is_file()


def test_features_that_are_too_large_for_the_formula_are_refused() -> None:
    check = ScoreCheck(CANONICAL)
    check.add(CellId(source="Sea", encoder="libx264", cq=19), np.full((2, 6), 1e308), np.array([50.0, 60.0]))
    assert check.problem is not None
    assert "2 of 2" in check.problem


def test_a_run_refuses_a_given_corpus_with_a_damaged_manifest(tmp_path: Path) -> None:
    config, session = run_in(tmp_path / "run", corpus=made(tmp_path / "given"))
    path = tmp_path / "given" / "shard.json"
    honest = json.loads(path.read_text())
    clip = {"width": 64, "height": 64, "pix_fmt": "yuv420p", "range": "tv", "fps": "25/1", "frames": 4}
    for fingerprint, error in (
        ({"version": 1, "every": 1, "hashes": "QUJD"}, CheckFailed),
        ({"version": 1, "every": 1}, BadInput),
    ):
        first = honest["sources"][0] | {"geometry": clip, "fingerprint": fingerprint}
        path.write_text(json.dumps(honest | {"sources": [first, *honest["sources"][1:]]}))
        with pytest.raises(error, match="fingerprint"):
            step_02_adopt.run(config, None, session)
