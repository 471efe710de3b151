"""Two ffmpegs with a pipe give the same rows as one process, and clear errors."""

from __future__ import annotations

import json
import shutil
import stat
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kit.core.errors import ToolFailed
from kit.corpus.make.produce import produce
from kit.corpus.store.shard import FailedCell
from kit.options.resolve import complete
from kit.options.session import open_session
from kit.platforms.detect import classify, probe_host
from kit.prereqs.examine import Examined, check_encoders
from kit.system.proc import Command, Processes
from kit.system.stall import TimeLimits
from kit.system.ui import Ui
from kit.video import ffmpeg as ffmpeg_module
from kit.video.ffmpeg import Ffmpeg, locate
from kit.video.sources.read import Tools
from tests.cli.builders import Kit
from tests.video.builders import MakeClip, bench, cell_of, produced

pytestmark = pytest.mark.ffmpeg


@pytest.fixture(scope="module")
def old() -> Ffmpeg:
    """An ffmpeg on PATH that cannot score, e.g. Debian's 5.1."""
    path = shutil.which("ffmpeg")
    if path is None:
        pytest.skip("no ffmpeg on PATH: `apt-get install ffmpeg` gives one")
    located = locate(Path(path), origin="PATH", processes=Processes())
    if not located.lacks:
        pytest.skip(f"ffmpeg {located.version} on PATH can score; needs one before 7.1 or without libvmaf")
    return located


@pytest.mark.essential
@pytest.mark.parametrize(
    ("encoder", "args", "frames"),
    [
        ("libx264", (), 30),
        ("libx265", (), 30),
        ("libsvtav1", (), 30),
        ("libaom-av1", (), 12),
        ("libvvenc", (), 12),  # slow ones
        ("libx264", ("-pix_fmt", "yuv422p10le"), 30),
        ("libx264", ("-color_range", "pc"), 30),
        ("libsvtav1", ("-pix_fmt", "yuv444p"), 30),
    ],
)
def test_both_paths_agree_to_the_last_digit(  # noqa: PLR0917 - fixtures
    encoder: str, args: tuple[str, ...], frames: int, tmp_path: Path, make_clip: MakeClip, tools: Tools, ffmpeg: Ffmpeg
) -> None:
    (tmp_path / "ref").mkdir()
    cell = cell_of(make_clip(tmp_path / "ref" / "a.mkv", "Life", *args, frames=frames), tools, encoder)
    one, one_stream = produced(cell, bench(tmp_path / "one", ffmpeg, ffmpeg))
    two, two_stream = produced(cell, bench(tmp_path / "two", ffmpeg, ffmpeg, fused=False))
    assert np.array_equal(one.features, two.features)
    assert np.array_equal(one.vmaf, two.vmaf)
    assert one.facts == two.facts
    assert one_stream == two_stream
    assert len(one_stream) == 64


def test_an_ffmpeg_that_cannot_score_encodes(
    tmp_path: Path, make_clip: MakeClip, tools: Tools, ffmpeg: Ffmpeg, old: Ffmpeg
) -> None:
    """The stream does not depend on tags and container of the source."""
    streams = {}
    for name, args in (("raw_320x180_25fps_8bit_420.yuv", ()), ("a.mkv", ("-chroma_sample_location", "topleft"))):
        (tmp_path / name).mkdir()
        cell = cell_of(make_clip(tmp_path / name / name, "Life", *args, frames=30), tools)
        rows, streams[name] = produced(cell, bench(tmp_path / f"out-{name}", old, ffmpeg))
        assert rows.vmaf.shape == (30,)
        assert rows.vmaf.min() > 30
    assert len(set(streams.values())) == 1


def test_missing_abilities(ffmpeg: Ffmpeg, old: Ffmpeg) -> None:
    assert ffmpeg.lacks == ()
    assert set(old.lacks) <= set(ffmpeg_module.FUSED_NEEDS)
    assert ffmpeg_module.scoring_partner(old, Processes()).path == ffmpeg.path
    assert ffmpeg_module.scoring_partner(ffmpeg, Processes()) is ffmpeg


def wrapped(folder: Path, ffmpeg: Ffmpeg, program: str) -> Ffmpeg:
    """Return an ffmpeg that is a script; ``$FF`` is the real one."""
    folder.mkdir(exist_ok=True)
    script = folder / "ffmpeg"
    script.write_text(f'#!/bin/sh\nFF="{ffmpeg.path}"\n{program}\n')
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    return replace(ffmpeg, path=script)


@pytest.mark.parametrize(
    ("encoding", "scoring", "reason"),
    [
        ("echo '[x] [error] no such device' >&2; exit 3", "", "exit status 3: no such device"),
        ("", "echo '[x] [error] no such model' >&2; exit 4", "exit status 4: no such model"),
        ('"$FF" "$@" && sed -i.bak "\\$d" packets.crc', "", "encoded 9, decoded 10, scored 10"),
        ('"$FF" "$@" | head -c 20000', "", "scored"),
        ('"$FF" "$@" && rm stream.sha256', "", "stream.sha256 is missing"),
        ('"$FF" "$@"; kill -9 $$', "", "exit status -9"),
    ],
)
def test_a_fault_of_either_is_reported(  # noqa: PLR0917 - fixtures
    encoding: str, scoring: str, reason: str, tmp_path: Path, make_clip: MakeClip, tools: Tools, ffmpeg: Ffmpeg
) -> None:
    (tmp_path / "ref").mkdir()
    cell = cell_of(make_clip(tmp_path / "ref" / "a.mkv", "Life"), tools)
    whole = 'exec "$FF" "$@"'
    place = bench(
        tmp_path / "out",
        wrapped(tmp_path / "e", ffmpeg, encoding or whole),
        wrapped(tmp_path / "s", ffmpeg, scoring or whole),
    )
    result = produce(cell, place)
    assert isinstance(result, FailedCell)
    assert reason in result.reason
    assert list(place.folder.iterdir()) == []


def test_a_failed_reader_is_the_cause_not_its_writer(tmp_path: Path) -> None:
    writer = [sys.executable, "-c", "import sys\nwhile True: sys.stdout.write('x' * 65536)"]
    reader = [sys.executable, "-c", "import sys; sys.stdin.read(10); sys.exit('out of memory')"]
    with pytest.raises(ToolFailed, match="out of memory") as error:
        Processes().run_together(
            [Command(argv=writer, feeds=True), Command(argv=reader)],
            tried="x",
            limit=TimeLimits(total=20),
            cwd=tmp_path,
        )
    assert error.value.returncode == 1


def test_the_time_limit_ends_both() -> None:
    processes = Processes()
    with pytest.raises(ToolFailed) as error:
        processes.run_together(
            [Command(argv=["sleep", "60"], feeds=True), Command(argv=["cat"])], tried="x", limit=TimeLimits(total=0.5)
        )
    assert error.value.status == "stopped after 0.5 s"
    assert processes._live == set()


#: Accepts the arguments of h264_nvenc and encodes with libx264.
PRETENDS = """#!{python}
import os, sys
words = sys.argv[1:]
if "h264_nvenc" in words:
    at = words.index("h264_nvenc")
    cq = words[at + 4]
    words[at : at + 9] = ["libx264", "-preset", "veryfast", "-crf", cq]
os.execv({ffmpeg!r}, [{ffmpeg!r}, *words])
"""


def test_the_ffmpeg_on_path_replaces_a_bundled_one_without_the_encoder(
    tmp_path: Path, ffmpeg: Ffmpeg, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bin").mkdir()
    script = tmp_path / "bin" / "ffmpeg"
    script.write_text(PRETENDS.format(python=sys.executable, ffmpeg=str(ffmpeg.path)))
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
    config = complete({"encoders": ("h264_nvenc",)}, {}, out_dir=tmp_path / "run", box="b", box_origin="x")
    session = open_session(config, ui=Ui(), cache=tmp_path / "cache", argv=[])
    facts = probe_host(session.processes)
    seen = Examined(config=config, session=session, facts=facts, platform=classify(facts), ffmpeg=ffmpeg)
    seen.encoding = ffmpeg
    check_encoders(seen, ffmpeg)
    by_name = {encoder.name: encoder for encoder in seen.encoders}
    assert not seen.failed, seen.findings
    assert by_name["h264_nvenc"].on_path
    assert not by_name["libx264"].on_path
    assert seen.path_ffmpeg is not None
    assert seen.path_ffmpeg.path == script
    (text,) = [finding.found for finding in seen.findings if finding.check == "encoder h264_nvenc"]
    assert "Cannot load libcuda.so.1" in text


def test_a_run_with_an_ffmpeg_that_cannot_score(tmp_path: Path, kit_here: Kit, clips: Path, old: Ffmpeg) -> None:
    done = kit_here(
        "run",
        "--ref-dir",
        str(clips),
        "--out-dir",
        str(tmp_path / "run"),
        "--ffmpeg",
        str(old.path),
        "--cqs",
        "31",
        "--shard-only",
        "--box",
        "b",
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    prereqs = json.loads((tmp_path / "run" / "prereqs.json").read_text())
    assert prereqs["encoding_ffmpeg"]["lacks"] == list(old.lacks)
    assert prereqs["ffmpeg"]["origin"] == "imageio-ffmpeg wheel"
    shard = json.loads((tmp_path / "run" / "corpus" / "shard.json").read_text())
    assert len(shard["cells"]) == 4
    again = kit_here("corpus", "--out-dir", str(tmp_path / "run"), cwd=tmp_path)
    assert "4 of 4 cells" in again.stderr
