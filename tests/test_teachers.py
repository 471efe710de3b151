"""Whatever the teacher, the six features stay those of vmaf_v0.6.1."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support import MakeClip
from test_relay import bench, cell_of

from kit.corpus.cellfile import CellRows
from kit.corpus.produce import produce
from kit.sources.read import Tools

pytestmark = pytest.mark.ffmpeg


def test_the_features_do_not_depend_on_the_teacher(tmp_path: Path, make_clip: MakeClip, tools: Tools) -> None:
    (tmp_path / "ref").mkdir()
    cell = cell_of(make_clip(tmp_path / "ref" / "a.mkv", "Life"), tools)
    found = {}
    for teacher in ("vmaf_v0.6.1", "vmaf_v0.6.1neg", "vmaf_4k_v0.6.1", "vmaf_v1.0.16_3d0h"):
        place = bench(tmp_path / teacher, tools.ffmpeg, tools.ffmpeg)
        rows = produce(replace(cell, teacher=teacher), place)
        assert isinstance(rows, CellRows), rows
        found[teacher] = rows
    first = found["vmaf_v0.6.1"]
    assert all(np.array_equal(rows.features, first.features) for rows in found.values())
    means = {round(float(rows.vmaf.mean()), 3) for rows in found.values()}
    assert len(means) == len(found), "four teachers, four opinions"
