"""One cell: what the real ffmpeg leaves is held against what it should have left.

The faults are planted by a script that runs the real ffmpeg and then changes its results, since ffmpeg itself cannot be
made to do these things.
"""

from __future__ import annotations

import json
import stat
from dataclasses import replace
from pathlib import Path

import pytest
from support import MakeClip, ready

from kit import ffmpeg as ffmpeg_module
from kit.corpus import produce as produce_module
from kit.corpus.cellfile import CellRows
from kit.corpus.diskwait import DiskWait
from kit.corpus.limit import Limit, produce_within
from kit.corpus.produce import Bench, produce
from kit.corpus.shard import FailedCell
from kit.errors import DiskFull
from kit.ffmpeg import Ffmpeg
from kit.plan import plan_cells
from kit.platforms.registry import family_of, settings_for
from kit.pool import Lane, run_lanes
from kit.privacy import Redactor
from kit.proc import Processes
from kit.scorers.teachers import CANONICAL
from kit.sources.identity import identify
from kit.sources.read import Tools
from kit.sources.scan import scan
from kit.types import Cell

pytestmark = pytest.mark.ffmpeg


@pytest.fixture(scope="module")
def cell(tmp_path_factory: pytest.TempPathFactory, make_clip: MakeClip, tools: Tools) -> Cell:
    folder = tmp_path_factory.mktemp("produce")
    make_clip(folder / "a.mkv", "Bars")
    (file,) = scan(folder, assumed=None, tools=tools).files
    encoder = ready(build="x264")
    (found,) = plan_cells(
        [identify(file, tools, folder / "cache")], [("libx264", 31)], encoders=[encoder], settings_for=settings_for,
        architecture="x86_64", teacher=CANONICAL, scorer_id="cpu/golden-1",
    )  # fmt: skip
    return found


def bench(folder: Path, ffmpeg: Ffmpeg, then: str = "") -> Bench:
    """A bench whose ffmpeg runs ``then`` in the scratch folder after it has done its work."""
    folder.mkdir()
    if then:
        script = folder.parent / "ffmpeg"
        script.write_text(f'#!/bin/sh\n"{ffmpeg.path}" "$@" || exit $?\n{then}\n')
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
        ffmpeg = replace(ffmpeg, path=script)
    processes = Processes(Redactor(folders={folder: "<out>"}))
    return Bench(ffmpeg=ffmpeg, processes=processes, folder=folder, box="b", platform="p", corpus="c")


def test_encoded_bytes_are_those_of_the_stream(cell: Cell, tmp_path: Path, ffmpeg: Ffmpeg) -> None:
    found = produce(cell, bench(tmp_path / "out", ffmpeg))
    assert isinstance(found, CellRows)
    # the same encode into a file without a container: the packets one after another
    argv = ffmpeg_module.fused_command(
        ffmpeg, cell.source.file, cell.settings, model="model=version=vmaf_v0.6.1",
        encoded_to=("-f", "h264", "stream.264"),
    )  # fmt: skip
    Processes().run(argv, tried="x", timeout=60, cwd=tmp_path)
    assert found.facts["encoded_bytes"] == (tmp_path / "stream.264").stat().st_size > 1000


@pytest.mark.parametrize(
    ("then", "told"),
    [
        ("sed -i.bak 1d encoded.txt", "source 10, encoded 9, decoded 10, scored 10"),
        ("sed -i.bak 1d decoded.txt", "source 10, encoded 10, decoded 9, scored 10"),
        ("echo 10 >> decoded.txt", "source 10, encoded 10, decoded 11, scored 10"),
        ("head -c 900 vmaf.json > x; mv x vmaf.json", "libvmaf's log is not complete"),
        ('sed -i.bak \'s/"integer_adm2": 0/"integer_adm2": NaN, "x": 0/\' vmaf.json', "integer_adm2 is nan"),
        ("rm vmaf.json", "vmaf.json is missing"),
        ("rm encoded.txt", "encoded.txt is missing"),
        ("echo one >> encoded.txt", "its results cannot be used"),
        ("echo '-foo has not been used for any stream' >&2", "ffmpeg ignored an option"),
        ("echo '[x @ 0x1] [error] out of luck' >&2; exit 9", "exit status 9: out of luck"),
    ],
)
def test_a_planted_fault_fails_the_cell(then: str, told: str, cell: Cell, tmp_path: Path, ffmpeg: Ffmpeg) -> None:
    place = bench(tmp_path / "out", ffmpeg, then)
    found = produce(cell, place)
    assert isinstance(found, FailedCell)
    assert told in found.reason
    assert str(tmp_path / "out") not in json.dumps(vars(found))
    assert found.command.startswith("'<path>/ffmpeg'")
    assert list(place.folder.rglob("*.parquet")) == []
    assert list(place.folder.iterdir()) == []


def test_a_surplus_of_decoded_frames_is_not_scored_away(cell: Cell, tmp_path: Path, ffmpeg: Ffmpeg) -> None:
    """The log of an encode that is longer than its source must not be stretched to it, nor the other way round."""
    longer = replace(cell, source=replace(cell.source, file=replace(
        cell.source.file, geometry=replace(cell.source.geometry, frames=8))))  # fmt: skip
    found = produce(longer, bench(tmp_path / "out", ffmpeg))
    assert isinstance(found, FailedCell)
    assert "source 8, encoded 10, decoded 10, scored 10" in found.reason


@pytest.mark.parametrize("says", ["No space left on device", "Disk quota exceeded"])
def test_a_full_disk_is_no_failed_cell(says: str, cell: Cell, tmp_path: Path, ffmpeg: Ffmpeg) -> None:
    with pytest.raises(DiskFull):
        produce(cell, bench(tmp_path / "out", ffmpeg, f"echo '[out @ 0x1] [error] {says}' >&2; exit 1"))


def test_no_room_left_is_a_full_disk_whatever_ffmpeg_said(
    cell: Cell, tmp_path: Path, ffmpeg: Ffmpeg, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(produce_module, "free_bytes", lambda _folder: 1000)
    with pytest.raises(DiskFull):
        produce(cell, bench(tmp_path / "out", ffmpeg, "rm vmaf.json"))


def wait(place: Bench, patience: float = 0.0) -> DiskWait:
    return DiskWait(place.folder, say=lambda _text: None, pause=place.processes.pause, patience=patience)


FULL = "OpenEncodeSessionEx failed: out of memory (10): (no details)"


def sessions(folder: Path, most: int) -> str:
    """Shell that refuses, in NVENC's words, when more than ``most`` of its kind run at once."""
    return (
        f'mkdir -p "{folder}"; touch "{folder}/$$"; sleep 0.2; '
        f'if [ $(ls "{folder}" | wc -l) -gt {most} ]; then rm "{folder}/$$"; '
        f'echo "[h264_nvenc @ 0x1] [error] {FULL}" >&2; exit 187; fi; sleep 0.3; rm "{folder}/$$"'
    )


def test_a_full_device_is_met_with_fewer_at_once(cell: Cell, tmp_path: Path, ffmpeg: Ffmpeg) -> None:
    place = bench(tmp_path / "out", ffmpeg, sessions(tmp_path / "sessions", 2))
    limit = Limit(4)
    cells = [replace(cell, key=f"{number}" * 64) for number in range(6)]
    results = run_lanes(
        lambda one: produce_within(one, place, limit, family_of("h264_nvenc").busy, disk=wait(place), pause=0.3),
        [Lane(workers=4, items=cells)],
        stop=place.processes.stop,
    )
    assert [result for result in results if isinstance(result, FailedCell)] == []
    assert 1 <= limit.places <= 2


def test_a_device_that_stays_full_fails_the_cell_in_the_end(cell: Cell, tmp_path: Path, ffmpeg: Ffmpeg) -> None:
    place = bench(tmp_path / "out", ffmpeg, sessions(tmp_path / "sessions", 0))
    result = produce_within(cell, place, Limit(3), family_of("h264_nvenc").busy, disk=wait(place), pause=0.01)
    assert isinstance(result, FailedCell)
    assert FULL in result.reason
