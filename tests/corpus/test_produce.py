"""One cell: what the real ffmpeg leaves is held against what it should have left.

The faults are planted by a script that runs the real ffmpeg and then changes its results, since ffmpeg itself cannot be
made to do these things.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from kit.core.errors import DiskFull
from kit.core.values import Cell
from kit.corpus.make import produce as produce_module
from kit.corpus.make.attempts import produce_at
from kit.corpus.make.diskwait import DiskWait
from kit.corpus.make.produce import Bench, produce
from kit.corpus.make.schedule import Place, Schedule
from kit.corpus.plan import plan_cells
from kit.corpus.store.cellfile import CellRows
from kit.corpus.store.shard import FailedCell, cell_path
from kit.platforms.registry import family_of, settings_for
from kit.system.fsio import TEMPORARY_PREFIX
from kit.system.pool import run_many
from kit.system.privacy import Redactor
from kit.system.proc import Processes, Stopped
from kit.video import ffmpeg as ffmpeg_module
from kit.video.ffmpeg import Ffmpeg
from kit.video.scorers.teachers import CANONICAL
from kit.video.sources.identity import identify
from kit.video.sources.read import Tools
from tests.platforms.builders import ready
from tests.video.builders import MakeClip, scan

pytestmark = pytest.mark.ffmpeg


@pytest.fixture(scope="module")
def cell(tmp_path_factory: pytest.TempPathFactory, make_clip: MakeClip, tools: Tools) -> Cell:
    folder = tmp_path_factory.mktemp("produce")
    make_clip(folder / "a.mkv", "Bars")
    (file,) = scan(folder, tools)
    encoder = ready(build="x264")
    (found,) = plan_cells(
        [identify(file, tools, folder / "cache")],
        [("libx264", 31)],
        encoders=[encoder],
        settings_for=settings_for,
        architecture="x86_64",
        teacher=CANONICAL,
        scorer_id="cpu/golden-1",
    )
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
        ffmpeg,
        cell.source.file,
        cell.settings,
        model="model=version=vmaf_v0.6.1",
        encoded_to=("-f", "h264", "stream.264"),
    )
    Processes().run(argv, tried="x", timeout=60, cwd=tmp_path)
    assert found.facts["encoded_bytes"] == (tmp_path / "stream.264").stat().st_size > 1000


@pytest.mark.parametrize(
    ("then", "told"),
    [
        ("sed -i.bak 1d encoded.txt", "source 10, encoded 9, decoded 10, scored 10"),
        ("sed -i.bak 1d decoded.txt", "source 10, encoded 10, decoded 9, scored 10"),
        ("echo 10 >> decoded.txt", "source 10, encoded 10, decoded 11, scored 10"),
        ("head -c 900 vmaf.json > x; mv x vmaf.json", "libvmaf's log is incomplete"),
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
    longer = replace(
        cell,
        source=replace(cell.source, file=replace(cell.source.file, geometry=replace(cell.source.geometry, frames=8))),
    )
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


def place_for(*cells: Cell, workers: int = 1) -> Schedule:
    """Places for cells of one family, as many as there are workers."""
    return Schedule(cells, cost=lambda _cell: 1.0, places={"software": None}, workers=workers, cores=2)


def alone(cell: Cell) -> Place:
    return place_for(cell).take()


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
    plan = place_for(*(replace(cell, key=f"{number}" * 64) for number in range(6)), workers=4)

    def make(_turn: int) -> CellRows | FailedCell:
        with plan.take() as one:
            return produce_at(one, place, family_of("h264_nvenc").busy, disk=wait(place), pause=0.3)

    results = run_many(make, range(6), workers=4, stop=place.processes.stop)
    assert [result for result in results if isinstance(result, FailedCell)] == []
    assert 1 <= plan.places["software"] <= 2


def test_a_device_that_stays_full_fails_the_cell_in_the_end(cell: Cell, tmp_path: Path, ffmpeg: Ffmpeg) -> None:
    place = bench(tmp_path / "out", ffmpeg, sessions(tmp_path / "sessions", 0))
    result = produce_at(alone(cell), place, family_of("h264_nvenc").busy, disk=wait(place), pause=0.01)
    assert isinstance(result, FailedCell)
    assert FULL in result.reason


def test_a_cell_that_fails_is_tried_again_and_at_last_with_one_thread(
    cell: Cell, tmp_path: Path, ffmpeg: Ffmpeg
) -> None:
    calls = tmp_path / "calls"
    fails = (
        f'echo "$@" >> "{calls}"; [ $(wc -l < "{calls}") = 4 ] || {{ echo "[x @ 0x1] [error] bad luck" >&2; exit 9; }}'
    )
    place = bench(tmp_path / "out", ffmpeg, fails)
    found = produce_at(alone(cell), place, (), disk=wait(place))
    assert isinstance(found, CellRows)
    words = [line.split() for line in calls.read_text().splitlines()]
    assert words[0] == words[1] == words[2]
    # the third pair is the encoder's own
    assert words[0].count("-threads") == 1
    assert words[3].count("-threads") == 3
    assert [words[3][words[3].index(name) + 1] for name in ("-filter_threads", "-filter_complex_threads")] == ["1", "1"]
    once = bench(tmp_path / "once", ffmpeg)
    assert isinstance(produce(cell, once), CellRows)
    assert (place.folder / cell_path(cell)).read_bytes() == (once.folder / cell_path(cell)).read_bytes()


def test_a_cell_that_always_fails_is_recorded_with_its_tries(cell: Cell, tmp_path: Path, ffmpeg: Ffmpeg) -> None:
    count = tmp_path / "count"
    place = bench(tmp_path / "out", ffmpeg, f"echo x >> '{count}'; echo '[x @ 0x1] [error] bad luck' >&2; exit 9")
    plan = place_for(cell, cell, cell, workers=3)
    found = produce_at(plan.take(), place, family_of("h264_nvenc").busy, disk=wait(place), pause=60)
    assert isinstance(found, FailedCell)
    assert (found.tries, count.read_text()) == (4, "x\n" * 4)
    assert "-filter_complex_threads 1" in found.command
    assert "bad luck" in found.stderr_tail
    # such a failure says nothing about the device
    assert plan.places == {"software": 3}
    assert list(place.folder.rglob("*")) == []


def test_a_full_device_counts_apart_from_failures(cell: Cell, tmp_path: Path, ffmpeg: Ffmpeg) -> None:
    """Full, failed, full, failed, …: neither kind uses up the tries of the other."""
    count = tmp_path / "count"
    program = (
        f"echo x >> '{count}'; n=$(wc -l < '{count}'); [ $n -ge 7 ] && exit 0; "
        f"[ $((n % 2)) = 1 ] && echo '[x @ 0x1] [error] {FULL}' >&2; exit 9"
    )
    place = bench(tmp_path / "out", ffmpeg, program)
    found = produce_at(alone(cell), place, family_of("h264_nvenc").busy, disk=wait(place), pause=0.01)
    assert isinstance(found, CellRows)
    assert count.read_text() == "x\n" * 7


def test_a_run_that_is_stopped_tries_nothing_again(cell: Cell, tmp_path: Path, ffmpeg: Ffmpeg) -> None:
    count = tmp_path / "count"
    place = bench(tmp_path / "out", ffmpeg, f"echo x >> '{count}'; exec sleep 60")
    stopper = threading.Timer(1.5, place.processes.stop)
    stopper.start()
    with pytest.raises(Stopped):
        produce_at(alone(cell), place, (), disk=wait(place))
    stopper.join()
    assert count.read_text() == "x\n"
    assert list(place.folder.iterdir()) == []


@pytest.fixture(scope="module")
def long_cell(cell: Cell, tmp_path_factory: pytest.TempPathFactory, make_clip: MakeClip, tools: Tools) -> Cell:
    """A cell whose ffmpeg runs long enough to be met at work."""
    folder = tmp_path_factory.mktemp("long")
    make_clip(folder / "a.mkv", "Bars", frames=300)
    (file,) = scan(folder, tools)
    return replace(cell, source=identify(file, tools, folder / "cache"))


def test_an_ffmpeg_stopped_at_work_is_ended_and_told(long_cell: Cell, tmp_path: Path, ffmpeg: Ffmpeg) -> None:
    script = tmp_path / "ffmpeg"
    script.write_text(
        f'#!/bin/sh\n"{ffmpeg.path}" "$@" & child=$!\nuntil [ -s decoded.txt ]; do sleep 0.01; done\n'
        f"kill -STOP $child; echo $child >> '{tmp_path}/stopped'; wait $child\n"
    )
    script.chmod(0o755)
    place = replace(bench(tmp_path / "out", ffmpeg), ffmpeg=replace(ffmpeg, path=script), stall_timeout=1.0)
    begin = time.monotonic()
    found = produce(long_cell, place)
    assert time.monotonic() - begin < 6
    assert isinstance(found, FailedCell)
    assert found.reason.endswith("no progress for 1 s")
    assert "<path>/ffmpeg" in found.command
    assert list(place.folder.iterdir()) == []
    stopped = int((tmp_path / "stopped").read_text())
    end = time.monotonic() + 5
    while Path(f"/proc/{stopped}").exists() and time.monotonic() < end:
        time.sleep(0.01)
    with pytest.raises(ProcessLookupError):
        os.kill(stopped, 0)


# ------------------------------------------------------------------------------------------- a full disk


def test_a_cell_that_filled_the_disk_is_made_once_there_is_room(
    cell: Cell, small_disk: Path, tmp_path: Path, ffmpeg: Ffmpeg
) -> None:
    """The real ffmpeg on a disk that is full; whoever makes room in time loses nothing, and nothing else starts."""
    out = small_disk / "out"
    calls, ballast = tmp_path / "calls", small_disk / "ballast"
    script = tmp_path / "ffmpeg"
    script.write_text(
        f"#!/bin/sh\necho x >> '{calls}'\n"
        f"[ $(wc -l < '{calls}') = 1 ] && cat /dev/zero > '{ballast}' 2>/dev/null\n\"{ffmpeg.path}\" \"$@\"\n"
    )
    script.chmod(0o755)
    place = replace(bench(out, ffmpeg), ffmpeg=replace(ffmpeg, path=script))
    said: list[str] = []
    disk = DiskWait(out, say=said.append, pause=place.processes.pause, patience=30)
    other = threading.Thread(target=disk.hold, args=(1000,))

    def make_room() -> None:
        other.start()
        assert "Paused" in said[0]
        held.append(other.is_alive())
        ballast.unlink()

    held: list[bool] = []
    maker = threading.Thread(target=lambda: (wait_until(said), time.sleep(0.5), make_room()))
    maker.start()
    found = produce_at(alone(cell), place, (), disk=disk)
    maker.join()
    other.join(10)
    assert isinstance(found, CellRows)
    assert held == [True]
    assert said[-1] == "There is room again; going on."
    assert calls.read_text() == "x\nx\n"
    assert list(out.rglob(TEMPORARY_PREFIX + "*")) == []


def wait_until(said: list[str]) -> None:
    end = time.monotonic() + 20
    while not said:
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_disk_that_stays_full_ends_the_wait_for_all(cell: Cell, small_disk: Path, ffmpeg: Ffmpeg) -> None:
    place = bench(small_disk / "out", ffmpeg)
    with contextlib.suppress(OSError), (small_disk / "ballast").open("wb", buffering=0) as ballast:
        while True:
            ballast.write(bytes(4096))
    said: list[str] = []
    disk = DiskWait(place.folder, say=said.append, pause=place.processes.pause, patience=1.2)
    begin = time.monotonic()
    for _ in range(2):
        with pytest.raises(DiskFull, match="the disk is full"):
            produce_at(alone(cell), place, (), disk=disk)
    # the second one does not wait again, nor is it said twice
    assert 1.2 <= time.monotonic() - begin < 2.2
    assert len(said) == 1
    assert list(place.folder.iterdir()) == []


def test_a_stop_ends_the_wait_for_room(cell: Cell, small_disk: Path, ffmpeg: Ffmpeg) -> None:
    place = bench(small_disk / "out", ffmpeg)
    disk = DiskWait(place.folder, say=lambda _text: place.processes.stop(), pause=place.processes.pause, patience=60)
    begin = time.monotonic()
    with pytest.raises(Stopped):
        disk.hold(1 << 30)
    assert time.monotonic() - begin < 1


def test_what_seems_full_and_is_not_is_given_up(cell: Cell, tmp_path: Path, ffmpeg: Ffmpeg) -> None:
    count = tmp_path / "count"
    place = bench(
        tmp_path / "out", ffmpeg, f"echo x >> '{count}'; echo '[x] [error] No space left on device' >&2; exit 1"
    )
    with pytest.raises(DiskFull, match="filled up"):
        produce_at(alone(cell), place, (), disk=wait(place, 60))
    assert count.read_text() == "x\n" * 3
