"""``kit corpus info``: a corpus in figures, and cells that a person should look at."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kit.core.errors import BadInput, CheckFailed, Missing
from kit.core.values import Cell
from kit.corpus.inspect.summary import summarise
from kit.corpus.store.cellfile import CellRows
from kit.corpus.store.shard import Shard, cell_path, entry_for, write_cell, write_manifest
from tests.cli.builders import Kit
from tests.corpus.builders import plan, rows_of, shard_of

Change = Callable[[Cell, CellRows], CellRows]


def changed(folder: Path, change: Change, cells: tuple[Cell, ...] | None = None) -> Shard:
    """Write a shard with changed rows."""
    cells = cells or plan(["A"], cqs=[19, 31, 43])
    shard, entries = shard_of(folder, cells), []
    for cell in cells:
        rows = change(cell, rows_of(cell))
        rows = replace(rows, facts={**rows.facts, "content_sha256": rows.content_sha256()})
        write_cell(folder, cell_path(cell), rows, [])
        entries.append(entry_for(cell, rows))
    shard = replace(shard, cells=tuple(entries))
    write_manifest(shard)
    return shard


def test_figures_are_over_all_rows(tmp_path: Path) -> None:
    cells = plan(["A", "B"], ["libx264", "libx265"], [19, 31])
    shard_of(tmp_path, cells)
    summary = summarise(tmp_path)
    features = np.concatenate([rows_of(cell).features for cell in cells])
    vmaf = np.concatenate([rows_of(cell).vmaf for cell in cells])
    assert summary.ranges["vif_scale0"].lowest == features[:, 1].min()
    assert summary.ranges["vmaf"].highest == vmaf.max()
    assert summary.ranges["vmaf"].mean == pytest.approx(vmaf.mean(), abs=1e-12)
    assert (summary.sources["A"].cells, summary.sources["B"].rows) == (4, 20)
    assert summary.encoders["libx265"].cqs == (19, 31)
    assert (summary.saturated, summary.suspicious) == (0.0, ())


def test_the_saturated_share_is_reported_for_each_encoder(tmp_path: Path) -> None:
    def change(cell: Cell, rows: CellRows) -> CellRows:
        saturated = cell.settings.encoder == "libx264" and cell.settings.cq == 19
        return replace(rows, vmaf=np.r_[[100.0] * 4, rows.vmaf[4:]]) if saturated else rows

    changed(tmp_path, change, plan(["A"], ["libx264", "libx265"], [19, 31]))
    summary = summarise(tmp_path)
    assert summary.saturated == 4 / 20
    assert {name: share.saturated for name, share in summary.encoders.items()} == {"libx264": 0.4, "libx265": 0.0}


def only(cq: int, change: Callable[[CellRows], CellRows]) -> Change:
    return lambda cell, rows: change(rows) if cell.settings.cq == cq else rows


def constant(rows: CellRows) -> CellRows:
    features = rows.features.copy()
    features[:, 2] = 0.25
    return replace(rows, features=features)


def shorter(rows: CellRows) -> CellRows:
    return replace(rows, features=rows.features[:-1], vmaf=rows.vmaf[:-1])


def same_numbers(cell: Cell, rows: CellRows) -> CellRows:
    return replace(rows, features=np.tile(np.arange(1, 6)[:, None], 6) / 7, vmaf=np.arange(50.0, 55.0))


@pytest.mark.parametrize(
    ("change", "cell", "reason"),
    [
        (only(31, lambda rows: replace(rows, vmaf=rows.vmaf + 20)), "A/libx264/cq31", "mean vmaf"),
        (only(19, lambda rows: replace(rows, vmaf=np.full(5, 100.0))), "A/libx264/cq19", "vmaf 100"),
        (only(43, lambda rows: replace(rows, vmaf=np.r_[rows.vmaf[:4], 0.5])), "A/libx264/cq43", "vmaf 0.50"),
        (only(31, constant), "A/libx264/cq31", "every frame: vif_scale1"),
        (only(31, shorter), "A/libx264/cq31", "4 frames"),
        (
            only(31, lambda rows: replace(rows, facts={**rows.facts, "encoded_bytes": 8_300})),
            "A/libx264/cq31",
            "8300 encoded bytes",
        ),
        (same_numbers, "A/libx264/cq43", "same numbers as at cq 31"),
    ],
)
def test_suspicious_cells_are_named_with_the_reason(change: Change, cell: str, reason: str, tmp_path: Path) -> None:
    changed(tmp_path, change)
    suspicious = summarise(tmp_path).suspicious
    assert [text for name, text in suspicious if name == cell and reason in text], suspicious
    others = {name for name, _ in suspicious} - {cell}
    assert not others or change is same_numbers


def test_unknown_sizes_are_not_compared(tmp_path: Path) -> None:
    shard = changed(tmp_path, only(31, lambda rows: replace(rows, facts={**rows.facts, "encoded_bytes": 8_300})))
    assert len(summarise(tmp_path).suspicious) == 1
    write_manifest(replace(shard, cells=tuple(replace(entry, encoded_bytes=None) for entry in shard.cells)))
    assert summarise(tmp_path).suspicious == ()


def test_a_missing_or_damaged_corpus_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Missing, match="shard"):
        summarise(tmp_path)
    shard = shard_of(tmp_path, plan())
    (tmp_path / shard.cells[0].path).write_bytes(b"PAR1")
    with pytest.raises(CheckFailed, match=Path(shard.cells[0].path).name):
        summarise(tmp_path)
    write_manifest(replace(shard, cells=()))
    with pytest.raises(BadInput, match=str(tmp_path)):
        summarise(tmp_path)


def test_the_command_shows_a_run(finished: Path, kit: Kit) -> None:
    done = kit("corpus", "info", str(finished), "--json", cwd=finished.parent)
    assert done.returncode == 0, done.stderr
    value = json.loads(done.stdout)
    assert (value["cells"], value["rows"], len(value["sources"])) == (12, 120, 4)
    assert value["encoders"]["libx264"]["builds"][0].startswith("x264 - core")
    assert value["ranges"].keys() == {"adm2", "vif_scale0", "vif_scale1", "vif_scale2", "vif_scale3", "motion2", "vmaf"}
    assert "Saturated (vmaf = 100): " in done.stderr
