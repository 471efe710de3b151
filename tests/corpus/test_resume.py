"""Resume: finished cells are recognised without reading rows, damaged ones are made again with a reason."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kit.core.canon import sha256_json
from kit.core.errors import BadInput, CheckFailed, Missing
from kit.core.values import EncodeSettings, ReadyEncoder, Teacher
from kit.corpus.make import resume
from kit.corpus.store import cellfile, planned
from kit.corpus.store.planned import from_cell
from kit.corpus.store.shard import cell_path, entry_for, observed_path
from tests.corpus.builders import plan, rows_of, write_all


def test_finished_cells_are_done_and_the_others_missing(tmp_path: Path) -> None:
    cells = plan()
    entries = write_all(tmp_path, cells[:3])
    assert resume.split_plan(cells, tmp_path) == (entries, [(cells[3], "")])


def test_a_footer_has_all_keyed_facts(tmp_path: Path) -> None:
    (cell,) = plan(["Highway"], cqs=[25])
    write_all(tmp_path, [cell])
    facts = cellfile.read_facts(tmp_path / cell_path(cell))
    assert sha256_json({name: facts[name] for name in cell.keyed}) == cell.key


def test_every_flipped_byte_is_detected(tmp_path: Path) -> None:
    (cell,) = plan(["Highway"], cqs=[25])
    write_all(tmp_path, [cell])
    path = tmp_path / cell_path(cell)
    data = path.read_bytes()
    for position in range(0, len(data), 97):
        path.write_bytes(data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :])
        with pytest.raises(CheckFailed, match="damaged"):
            resume.finished_entry(tmp_path, from_cell(cell))
    path.write_bytes(data)
    assert resume.finished_entry(tmp_path, from_cell(cell)) == entry_for(cell, rows_of(cell))


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def change(edit: Callable[[Any], object]) -> Callable[[Path], None]:
    def apply(path: Path) -> None:
        observed = path.with_suffix(".observed.json")
        value = json.loads(observed.read_text())
        edit(value)
        observed.write_text(json.dumps(value))

    return apply


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (truncate, "SHA-256"),
        (lambda path: path.write_bytes(b""), "SHA-256"),
        (lambda path: (path.unlink(), path.mkdir()), "cannot be read"),
        (lambda path: path.unlink(), "its file is missing"),
        (lambda path: path.with_suffix(".observed.json").unlink(), ".observed.json, are missing"),
        (lambda path: path.with_suffix(".observed.json").write_text("{"), "cannot be used"),
        (lambda path: path.with_suffix(".observed.json").write_text("[]"), "cannot be used"),
        (change(lambda value: value.pop("file")), "'file'"),
        (change(lambda value: value["file"].update(rows="5")), "another type"),
        (change(lambda value: value["file"].update(sha256=None)), "another type"),
        (change(lambda value: value["file"].update(rows=4)), "4 rows, expected 5"),
        (change(lambda value: value.update(cell_key="0" * 64)), "cell 000000000000, expected"),
    ],
    ids=[
        "truncated",
        "empty",
        "folder",
        "gone",
        "unobserved",
        "half",
        "list",
        "no-file",
        "text",
        "null",
        "rows",
        "key",
    ],
)
def test_a_damaged_cell_is_made_again_with_the_reason(
    damage: Callable[[Path], object], reason: str, tmp_path: Path
) -> None:
    cells = plan()
    entries = write_all(tmp_path, cells)
    damage(tmp_path / entries[0].path)
    done, ((cell, text),) = resume.split_plan(cells, tmp_path)
    assert (done, cell) == (entries[1:], cells[0])
    assert reason in text


def test_swapped_files_are_detected(tmp_path: Path) -> None:
    cells = plan()[:2]
    first, second = (tmp_path / cell_path(cell) for cell in cells)
    write_all(tmp_path, cells)
    first.rename(tmp_path / "x")
    second.rename(first)
    (tmp_path / "x").rename(second)
    _, missing = resume.split_plan(cells, tmp_path)
    assert [cell for cell, _ in missing] == list(cells)


def slower(encoder: ReadyEncoder, cq: int, pix_fmt: str) -> EncodeSettings:
    argv = ("-c:v", encoder.name, "-preset", "slow", "-crf", str(cq), "-threads", "1")
    return EncodeSettings(
        encoder=encoder.name, preset="slow", cq=cq, argv=argv, encode_pix_fmt=pix_fmt, score_pix_fmt=pix_fmt
    )


def other_crf(encoder: ReadyEncoder, cq: int, pix_fmt: str) -> EncodeSettings:
    argv = ("-c:v", encoder.name, "-preset", "medium", "-crf", str(cq + 1), "-threads", "1")
    return EncodeSettings(
        encoder=encoder.name, preset="medium", cq=cq, argv=argv, encode_pix_fmt="yuv420p10le", score_pix_fmt=pix_fmt
    )


@pytest.mark.parametrize(
    ("facts", "changes"),
    [
        ({"build": "x264 - core 165"}, "encoder build changed: x264 - core 164 → x264 - core 165"),
        ({"scorer_id": "cuda/golden-1"}, "scorer changed: cpu/golden-1 → cuda/golden-1"),
        ({"teacher": Teacher(id="vmaf_v0.6.1neg")}, "teacher changed: vmaf_made → vmaf_v0.6.1neg"),
        ({"architecture": "aarch64"}, "CPU architecture changed: x86_64 → aarch64"),
        ({"content": "else"}, f"source changed: {sha256_json('Highway')[:12]} → {sha256_json('Highwayelse')[:12]}"),
        ({"settings_for": slower}, "preset changed: medium → slow; arguments changed: -preset medium → -preset slow"),
        (
            {"settings_for": other_crf},
            "arguments changed: -crf 25 → -crf 26; pixel format changed: yuv420p → yuv420p10le",
        ),
        (
            {"build": "b", "architecture": "a"},
            "encoder build changed: x264 - core 164 → b; CPU architecture changed: x86_64 → a",
        ),
    ],
)
def test_another_key_is_explained_fact_by_fact(facts: dict[str, Any], changes: str, tmp_path: Path) -> None:
    write_all(tmp_path, plan(["Highway"], cqs=[25]))
    now = plan(["Highway"], cqs=[25], **facts)
    assert resume.split_plan(now, tmp_path) == ([], [(now[0], changes)])


def test_a_cell_of_another_key_is_kept_and_used_again_when_its_conditions_are_back(tmp_path: Path) -> None:
    before, now = plan(["Highway"], cqs=[25]), plan(["Highway"], cqs=[25], build="x264 - core 165")
    entries = write_all(tmp_path, before)
    write_all(tmp_path, now)
    assert resume.split_plan(before, tmp_path) == (entries, [])
    # of several, the one with the fewest changes
    third = plan(["Highway"], cqs=[25], build="x264 - core 165", architecture="aarch64")
    assert resume.outdated(tmp_path, from_cell(third[0])) == "CPU architecture changed: x86_64 → aarch64"


def test_an_unreadable_older_cell_is_reported(tmp_path: Path) -> None:
    (entry,) = write_all(tmp_path, plan(["Highway"], cqs=[25]))
    truncate(tmp_path / entry.path)
    (cell,) = plan(["Highway"], cqs=[25], build="b")
    assert Path(entry.path).name in resume.outdated(tmp_path, from_cell(cell))


def test_an_unknown_fact_counts_as_changed() -> None:
    now = {"scorer_id": "cpu/golden-1", "teacher": {"id": None, "sha256": "b" * 64}}
    assert resume.differences({"teacher": {"id": "v", "sha256": None}}, now) == [
        f"teacher changed: v → file {'b' * 12}",
        "scorer changed: unknown → cpu/golden-1",
    ]


def test_the_plan_has_one_line_per_cell_and_reads_back(tmp_path: Path) -> None:
    cells = plan()
    planned.write(tmp_path, cells)
    assert planned.read(tmp_path) == planned.Plan(
        cells=tuple(sorted(map(from_cell, cells), key=lambda cell: cell.key)), elsewhere=False
    )
    assert len((tmp_path / "plan.json").read_text().splitlines()) == len(cells) + 4
    first = (tmp_path / "plan.json").read_bytes()
    planned.write(tmp_path, tuple(reversed(cells)))
    assert (tmp_path / "plan.json").read_bytes() == first


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "{",
        '{"schema_version": 1}',
        '{"schema_version": 1, "cells": []}',
        '{"schema_version": 2, "cells": [], "elsewhere": false}',
        '{"schema_version": 1, "cells": [{"key": "k"}], "elsewhere": false}',
    ],
)
def test_an_invalid_plan_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text(text)
    with pytest.raises(BadInput, match=r"plan\.json"):
        planned.read(tmp_path)
    (tmp_path / "plan.json").unlink()
    with pytest.raises(Missing):
        planned.read(tmp_path)


def test_every_cell_has_observations(tmp_path: Path) -> None:
    (cell,) = plan(["Highway"], cqs=[25])
    write_all(tmp_path, [cell])
    value = json.loads(observed_path(tmp_path, cell_path(cell)).read_text())
    assert value.keys() == {"schema_version", "cell_key", "file", "observations"}
    assert value["file"].keys() == {"sha256", "rows", "encoded_bytes", "content_sha256"}
