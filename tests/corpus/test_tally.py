"""Progress of a corpus from finished cells and from the reports of running ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from kit.core.values import Cell
from kit.corpus.make.tally import Tally, frames_in
from tests.corpus.builders import planned

REPORT = "frame={}\nfps=9.30\nstream_0_0_q=37.0\ntotal_size=598\nspeed=0.3x\nprogress={}\n"


def cost(cell: Cell) -> float:
    return float(cell.source.geometry.frames)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_frames_are_those_of_the_last_report(tmp_path: Path) -> None:
    path = tmp_path / "frames"
    assert frames_in(path) == 0
    path.write_text("")
    assert frames_in(path) == 0
    path.write_text("".join(REPORT.format(n, "continue") for n in range(0, 3000, 7)) + "frame=5")
    assert frames_in(path) == 5
    path.write_text("".join(REPORT.format(n, "continue") for n in range(0, 3000, 7)))
    assert frames_in(path) == 2996


def test_the_time_left_follows_from_the_share_that_is_done(tmp_path: Path) -> None:
    clock, cells = Clock(), [planned("a", 300), planned("b", 100)]
    tally = Tally(cells, cost, clock=clock)
    assert tally.progress() == (0.0, "0/2 cells, 0/400 frames")
    with tally.running(cells[0], tmp_path / "a"):
        (tmp_path / "a").write_text(REPORT.format(100, "continue"))
        clock.now += 10
        assert tally.progress() == (0.25, "0/2 cells, 100/400 frames, 10.0 frames/s, 30 s left")
        clock.now += 20
    tally.finish(cells[0])
    assert tally.progress() == (0.75, "1/2 cells, 300/400 frames, 10.0 frames/s, 10 s left")
    with tally.running(cells[1], tmp_path / "b"):
        clock.now += 5
    tally.finish(cells[1])
    assert tally.progress() == (1.0, "2/2 cells, 400/400 frames, 11.4 frames/s, 35 s in total")
    assert tally.slowest(1) == [(30.0, "a/libx264/cq31")]
    assert [seconds for seconds, _ in tally.slowest(9)] == [30.0, 5.0]


def test_a_failed_try_counts_nothing_until_the_cell_is_finished(tmp_path: Path) -> None:
    clock, cells = Clock(), [planned("a", 100)]
    tally = Tally(cells, cost, clock=clock)

    def attempt() -> None:
        with tally.running(cells[0], tmp_path / "a"):
            (tmp_path / "a").write_text(REPORT.format(60, "continue"))
            clock.now += 6
            assert tally.progress()[0] == pytest.approx(0.6)
            raise OSError("planted")

    for _ in range(2):
        with pytest.raises(OSError, match="planted"):
            attempt()
        assert tally.progress() == (0.0, "0/1 cells, 0/100 frames")
    tally.finish(cells[0])
    assert tally.progress()[0] == 1.0


def test_surplus_frames_are_not_counted(tmp_path: Path) -> None:
    cell = planned("a", 100)
    tally = Tally([cell], cost)
    (tmp_path / "a").write_text(REPORT.format(101, "continue"))
    with tally.running(cell, tmp_path / "a"):
        assert "100/100 frames" in tally.progress()[1]
