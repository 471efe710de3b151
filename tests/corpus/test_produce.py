"""Make one cell with the real ffmpeg: its output is checked, and faults are reported.

A script plants the faults: it runs the real ffmpeg and then changes its output, since ffmpeg itself cannot be made to
fail in these ways.
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
from kit.corpus.make.attempts import produce_with_retries
from kit.corpus.make.diskwait import DiskWait
from kit.corpus.make.produce import Bench, produce
from kit.corpus.make.schedule import Schedule, Slot
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
    (result,) = plan_cells(
        [identify(file, tools, folder / "cache")],
        [("libx264", 31)],
        encoders=[encoder],
        settings_for=settings_for,
        architecture="x86_64",
        teacher=CANONICAL,
        scorer_id="cpu/golden-1",
    )
    return result


def bench(folder: Path, ffmpeg: Ffmpeg, then: str = "") -> Bench:
    """Return a bench whose ffmpeg runs the shell code ``then`` in the scratch folder at its end."""
    folder.mkdir()
    if then:
        script = folder.parent / "ffmpeg"
        script.write_text(f'#!/bin/sh\n"{ffmpeg.path}" "$@" || exit $?\n{then}\n')
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
        ffmpeg = replace(ffmpeg, path=script)
    processes = Processes(Redactor(folders={folder: "<out>"}))
    return Bench(ffmpeg=ffmpeg, processes=processes, folder=folder, box="b", platform="p", corpus="c")


@pytest.mark.essential
def test_encoded_bytes_are_those_of_the_stream(cell: Cell, tmp_path: Path, ffmpeg: Ffmpeg) -> None:
    result = produce(cell, bench(tmp_path / "out", ffmpeg))
    assert isinstance(result, CellRows)
    # the same encode into a file without a container: the packets one after another
    argv = ffmpeg_module.fused_command(
        ffmpeg,
        cell.source.file,
        cell.settings,
        model="model=version=vmaf_v0.6.1",
        encoded_to=("-f", "h264", "stream.264"),
    )
    Processes().run(argv, tried="x", timeout=60, cwd=tmp_path)
    assert result.facts["encoded_bytes"] == (tmp_path / "stream.264").stat().st_size > 1000


@pytest.mark.essential
@pytest.mark.parametrize(
    ("then", "reason"),
    [
        ("sed -i.bak 1d encoded.txt", "encoded 9, decoded 10, scored 10"),
        ("sed -i.bak 1d decoded.txt", "encoded 10, decoded 9, scored 10"),
        ("echo 10 >> decoded.txt", "encoded 10, decoded 11, scored 10"),
        ("head -c 900 vmaf.json > x; mv x vmaf.json", "log"),
        ('sed -i.bak \'s/"integer_adm2": 0/"integer_adm2": NaN, "x": 0/\' vmaf.json', "integer_adm2 is nan"),
        ("rm vmaf.json", "vmaf.json"),
        ("rm encoded.txt", "encoded.txt"),
        ("echo one >> encoded.txt", "exit status 0"),
        ("echo '-foo has not been used for any stream' >&2", "foo"),
        ("echo '[x @ 0x1] [error] out of luck' >&2; exit 9", "exit status 9: out of luck"),
    ],
)
def test_a_planted_fault_fails_the_cell(then: str, reason: str, cell: Cell, tmp_path: Path, ffmpeg: Ffmpeg) -> None:
    workbench = bench(tmp_path / "out", ffmpeg, then)
    result = produce(cell, workbench)
    assert isinstance(result, FailedCell)
    assert reason in result.reason
    assert str(tmp_path / "out") not in json.dumps(vars(result))
    assert result.command.startswith("'<path>/ffmpeg'")
    assert list(workbench.folder.rglob("*.parquet")) == []
    assert list(workbench.folder.iterdir()) == []


def test_a_surplus_of_decoded_frames_fails_the_cell(cell: Cell, tmp_path: Path, ffmpeg: Ffmpeg) -> None:
    """Frames are never dropped or repeated to make source and encode equally long."""
    longer = replace(
        cell,
        source=replace(cell.source, file=replace(cell.source.file, geometry=replace(cell.source.geometry, frames=8))),
    )
    result = produce(longer, bench(tmp_path / "out", ffmpeg))
    assert isinstance(result, FailedCell)
    assert "source 8, encoded 10, decoded 10, scored 10" in result.reason


@pytest.mark.parametrize("message", ["No space left on device", "Disk quota exceeded"])
def test_a_full_disk_does_not_fail_the_cell(message: str, cell: Cell, tmp_path: Path, ffmpeg: Ffmpeg) -> None:
    with pytest.raises(DiskFull):
        produce(cell, bench(tmp_path / "out", ffmpeg, f"echo '[out @ 0x1] [error] {message}' >&2; exit 1"))


def test_no_free_space_is_a_full_disk_with_any_message_of_ffmpeg(
    cell: Cell, tmp_path: Path, ffmpeg: Ffmpeg, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(produce_module, "free_bytes", lambda _folder: 1000)
    with pytest.raises(DiskFull):
        produce(cell, bench(tmp_path / "out", ffmpeg, "rm vmaf.json"))


def wait(workbench: Bench, patience: float = 0.0) -> DiskWait:
    return DiskWait(workbench.folder, say=lambda _text: None, pause=workbench.processes.pause, patience=patience)


def schedule_for(*cells: Cell, workers: int = 1) -> Schedule:
    """Return a schedule for cells of one family, limited by the workers only."""
    return Schedule(cells, cost=lambda _cell: 1.0, limits={"software": None}, workers=workers, cores=2)


def slot_for(cell: Cell) -> Slot:
    return schedule_for(cell).take()


FULL = "OpenEncodeSessionEx failed: out of memory (10): (no details)"


def sessions(folder: Path, most: int) -> str:
    """Return shell code that fails with NVENC's message when more than ``most`` of its kind run at once."""
    return (
        f'mkdir -p "{folder}"; touch "{folder}/$$"; sleep 0.2; '
        f'if [ $(ls "{folder}" | wc -l) -gt {most} ]; then rm "{folder}/$$"; '
        f'echo "[h264_nvenc @ 0x1] [error] {FULL}" >&2; exit 187; fi; sleep 0.3; rm "{folder}/$$"'
    )


def test_a_full_device_gets_fewer_encodes_at_once(cell: Cell, tmp_path: Path, ffmpeg: Ffmpeg) -> None:
    workbench = bench(tmp_path / "out", ffmpeg, sessions(tmp_path / "sessions", 2))
    schedule = schedule_for(*(replace(cell, key=f"{number}" * 64) for number in range(6)), workers=4)

    def make(_turn: int) -> CellRows | FailedCell:
        with schedule.take() as slot:
            return produce_with_retries(slot, workbench, family_of("h264_nvenc").busy, disk=wait(workbench), pause=0.3)

    results = run_many(make, range(6), workers=4, stop=workbench.processes.stop)
    assert [result for result in results if isinstance(result, FailedCell)] == []
    assert 1 <= schedule.limits["software"] <= 2


def test_a_device_that_stays_full_fails_the_cell(cell: Cell, tmp_path: Path, ffmpeg: Ffmpeg) -> None:
    workbench = bench(tmp_path / "out", ffmpeg, sessions(tmp_path / "sessions", 0))
    result = produce_with_retries(
        slot_for(cell), workbench, family_of("h264_nvenc").busy, disk=wait(workbench), pause=0.01
    )
    assert isinstance(result, FailedCell)
    assert FULL in result.reason


def test_a_failed_cell_is_tried_again_and_finally_with_one_thread(cell: Cell, tmp_path: Path, ffmpeg: Ffmpeg) -> None:
    calls = tmp_path / "calls"
    fails = (
        f'echo "$@" >> "{calls}"; [ $(wc -l < "{calls}") = 4 ] || {{ echo "[x @ 0x1] [error] bad luck" >&2; exit 9; }}'
    )
    workbench = bench(tmp_path / "out", ffmpeg, fails)
    result = produce_with_retries(slot_for(cell), workbench, (), disk=wait(workbench))
    assert isinstance(result, CellRows)
    words = [line.split() for line in calls.read_text().splitlines()]
    assert words[0] == words[1] == words[2]
    # the third option is the encoder's own
    assert words[0].count("-threads") == 1
    assert words[3].count("-threads") == 3
    assert [words[3][words[3].index(name) + 1] for name in ("-filter_threads", "-filter_complex_threads")] == ["1", "1"]
    once = bench(tmp_path / "once", ffmpeg)
    assert isinstance(produce(cell, once), CellRows)
    assert (workbench.folder / cell_path(cell)).read_bytes() == (once.folder / cell_path(cell)).read_bytes()


def test_a_cell_that_always_fails_is_recorded_with_its_tries(cell: Cell, tmp_path: Path, ffmpeg: Ffmpeg) -> None:
    count = tmp_path / "count"
    workbench = bench(tmp_path / "out", ffmpeg, f"echo x >> '{count}'; echo '[x @ 0x1] [error] bad luck' >&2; exit 9")
    schedule = schedule_for(cell, cell, cell, workers=3)
    result = produce_with_retries(
        schedule.take(), workbench, family_of("h264_nvenc").busy, disk=wait(workbench), pause=60
    )
    assert isinstance(result, FailedCell)
    assert (result.tries, count.read_text()) == (4, "x\n" * 4)
    assert "-filter_complex_threads 1" in result.command
    assert "bad luck" in result.stderr_tail
    # such a failure does not lower the limit of the device
    assert schedule.limits == {"software": 3}
    assert list(workbench.folder.rglob("*")) == []


def test_a_full_device_is_not_counted_as_a_failure(cell: Cell, tmp_path: Path, ffmpeg: Ffmpeg) -> None:
    """Refusals and failures alternate; each kind has its own number of tries."""
    count = tmp_path / "count"
    program = (
        f"echo x >> '{count}'; n=$(wc -l < '{count}'); [ $n -ge 7 ] && exit 0; "
        f"[ $((n % 2)) = 1 ] && echo '[x @ 0x1] [error] {FULL}' >&2; exit 9"
    )
    workbench = bench(tmp_path / "out", ffmpeg, program)
    result = produce_with_retries(
        slot_for(cell), workbench, family_of("h264_nvenc").busy, disk=wait(workbench), pause=0.01
    )
    assert isinstance(result, CellRows)
    assert count.read_text() == "x\n" * 7


def test_a_stopped_run_does_not_retry(cell: Cell, tmp_path: Path, ffmpeg: Ffmpeg) -> None:
    count = tmp_path / "count"
    workbench = bench(tmp_path / "out", ffmpeg, f"echo x >> '{count}'; exec sleep 60")
    stopper = threading.Timer(1.5, workbench.processes.stop)
    stopper.start()
    with pytest.raises(Stopped):
        produce_with_retries(slot_for(cell), workbench, (), disk=wait(workbench))
    stopper.join()
    assert count.read_text() == "x\n"
    assert list(workbench.folder.iterdir()) == []


@pytest.fixture(scope="module")
def long_cell(cell: Cell, tmp_path_factory: pytest.TempPathFactory, make_clip: MakeClip, tools: Tools) -> Cell:
    """A cell whose ffmpeg runs long enough to be interrupted."""
    folder = tmp_path_factory.mktemp("long")
    make_clip(folder / "a.mkv", "Bars", frames=300)
    (file,) = scan(folder, tools)
    return replace(cell, source=identify(file, tools, folder / "cache"))


def test_a_stalled_ffmpeg_is_ended_and_reported(long_cell: Cell, tmp_path: Path, ffmpeg: Ffmpeg) -> None:
    script = tmp_path / "ffmpeg"
    script.write_text(
        f'#!/bin/sh\n"{ffmpeg.path}" "$@" & child=$!\nuntil [ -s decoded.txt ]; do sleep 0.01; done\n'
        f"kill -STOP $child; echo $child >> '{tmp_path}/stopped'; wait $child\n"
    )
    script.chmod(0o755)
    workbench = replace(bench(tmp_path / "out", ffmpeg), ffmpeg=replace(ffmpeg, path=script), stall_timeout=1.0)
    begin = time.monotonic()
    result = produce(long_cell, workbench)
    assert time.monotonic() - begin < 6
    assert isinstance(result, FailedCell)
    assert "no progress for 1 s" in result.reason
    assert "<path>/ffmpeg" in result.command
    assert list(workbench.folder.iterdir()) == []
    stopped = int((tmp_path / "stopped").read_text())
    end = time.monotonic() + 5
    while Path(f"/proc/{stopped}").exists() and time.monotonic() < end:
        time.sleep(0.01)
    with pytest.raises(ProcessLookupError):
        os.kill(stopped, 0)


# ------------------------------------------------------------------------------------------- a full disk


def test_a_cell_that_filled_the_disk_is_made_when_space_is_free(
    cell: Cell, small_disk: Path, tmp_path: Path, ffmpeg: Ffmpeg
) -> None:
    """If space is freed in time, no cell is lost; until then no other cell starts."""
    out = small_disk / "out"
    calls, ballast = tmp_path / "calls", small_disk / "ballast"
    script = tmp_path / "ffmpeg"
    script.write_text(
        f"#!/bin/sh\necho x >> '{calls}'\n"
        f"[ $(wc -l < '{calls}') = 1 ] && cat /dev/zero > '{ballast}' 2>/dev/null\n\"{ffmpeg.path}\" \"$@\"\n"
    )
    script.chmod(0o755)
    workbench = replace(bench(out, ffmpeg), ffmpeg=replace(ffmpeg, path=script))
    lines: list[str] = []
    disk = DiskWait(out, say=lines.append, pause=workbench.processes.pause, patience=30)
    other = threading.Thread(target=disk.wait_for, args=(1000,))

    def free_space() -> None:
        other.start()
        assert "Paused" in lines[0]
        waiting.append(other.is_alive())
        ballast.unlink()

    waiting: list[bool] = []
    maker = threading.Thread(target=lambda: (wait_until(lines), time.sleep(0.5), free_space()))
    maker.start()
    result = produce_with_retries(slot_for(cell), workbench, (), disk=disk)
    maker.join()
    other.join(10)
    assert isinstance(result, CellRows)
    assert waiting == [True]
    assert len(lines) == 2
    assert calls.read_text() == "x\nx\n"
    assert list(out.rglob(TEMPORARY_PREFIX + "*")) == []


def wait_until(lines: list[str]) -> None:
    end = time.monotonic() + 20
    while not lines:
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_disk_that_stays_full_ends_the_wait_for_all(cell: Cell, small_disk: Path, ffmpeg: Ffmpeg) -> None:
    workbench = bench(small_disk / "out", ffmpeg)
    with contextlib.suppress(OSError), (small_disk / "ballast").open("wb", buffering=0) as ballast:
        while True:
            ballast.write(bytes(4096))
    lines: list[str] = []
    disk = DiskWait(workbench.folder, say=lines.append, pause=workbench.processes.pause, patience=1.2)
    begin = time.monotonic()
    for _ in range(2):
        with pytest.raises(DiskFull):
            produce_with_retries(slot_for(cell), workbench, (), disk=disk)
    # the second one does not wait again, nor is it lines twice
    assert 1.2 <= time.monotonic() - begin < 2.2
    assert len(lines) == 1
    assert list(workbench.folder.iterdir()) == []


def test_a_stop_ends_the_wait_for_space(cell: Cell, small_disk: Path, ffmpeg: Ffmpeg) -> None:
    workbench = bench(small_disk / "out", ffmpeg)
    disk = DiskWait(
        workbench.folder, say=lambda _text: workbench.processes.stop(), pause=workbench.processes.pause, patience=60
    )
    begin = time.monotonic()
    with pytest.raises(Stopped):
        disk.wait_for(1 << 30)
    assert time.monotonic() - begin < 1


def test_a_disk_that_is_reported_full_and_is_not_is_given_up(cell: Cell, tmp_path: Path, ffmpeg: Ffmpeg) -> None:
    count = tmp_path / "count"
    workbench = bench(
        tmp_path / "out", ffmpeg, f"echo x >> '{count}'; echo '[x] [error] No space left on device' >&2; exit 1"
    )
    with pytest.raises(DiskFull, match=str(cell.id)):
        produce_with_retries(slot_for(cell), workbench, (), disk=wait(workbench, 60))
    assert count.read_text() == "x\n" * 3
