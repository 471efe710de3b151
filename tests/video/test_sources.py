"""Clips in all kinds of files: geometry and identity do not depend on the file."""

from __future__ import annotations

import json
import subprocess
import threading
from fractions import Fraction
from pathlib import Path

import pytest

from kit.core.errors import Several
from kit.core.geometry import PIXEL_FORMATS, parse_option
from kit.core.values import Cell, Source
from kit.corpus.make.produce import Bench, produce
from kit.corpus.plan import plan_cells
from kit.corpus.store.shard import FailedCell, observed_path
from kit.platforms.registry import settings_for
from kit.system.proc import Processes
from kit.video.ffmpeg import Ffmpeg, fused_command
from kit.video.scorers import log
from kit.video.scorers.ffmpeg_filter import model_option
from kit.video.scorers.teachers import CANONICAL
from kit.video.sources.identity import identify, identify_all
from kit.video.sources.read import Tools, frames_of
from kit.video.sources.scan import list_folder
from tests.platforms.builders import ready
from tests.video.builders import MakeClip, scan

pytestmark = pytest.mark.ffmpeg


def sources_in(folder: Path, tools: Tools, cache: Path) -> tuple[Source, ...]:
    return tuple(identify(file, tools, cache) for file in scan(folder, tools))


def cells_of(sources: tuple[Source, ...], cq: int = 31, encoder: str = "libx264") -> tuple[Cell, ...]:
    return plan_cells(
        sources,
        [(encoder, cq)],
        encoders=[ready(encoder)],
        settings_for=settings_for,
        architecture="x86_64",
        teacher=CANONICAL,
        scorer_id="cpu/golden-1",
    )


def bench_in(folder: Path, ffmpeg: Ffmpeg) -> Bench:
    folder.mkdir(exist_ok=True)
    return Bench(ffmpeg=ffmpeg, processes=Processes(), folder=folder, box="b", platform="p", corpus="c")


def test_one_source_in_six_kinds_of_file(tmp_path: Path, make_clip: MakeClip, tools: Tools, ffmpeg: Ffmpeg) -> None:
    """Same identity, same cell key, same encoded stream, same scores to the last digit."""
    ntsc = "testsrc2=size=320x180:rate=30000/1001"
    folder = tmp_path / "ref"
    folder.mkdir()
    make_clip(folder / "raw_320x180_29.97fps_8bit_420.yuv", ntsc)
    make_clip(folder / "y4m.y4m", ntsc)
    make_clip(folder / "ffv1.mkv", ntsc)
    # rounded time stamps; tags for colour, aspect and chroma position
    tagged = ntsc + ",format=yuv420p,setparams=color_primaries=bt709:color_trc=bt709:colorspace=bt709"
    make_clip(folder / "tagged.mkv", tagged + ":chroma_location=topleft,setsar=4/3", "-c:v", "ffv1")
    make_clip(folder / "x264.mp4", ntsc, "-c:v", "libx264", "-qp", "0", "-bf", "3")
    make_clip(folder / "nut.nut", ntsc, "-c:v", "rawvideo")
    sources = sources_in(folder, tools, tmp_path / "cache")
    assert len(sources) == 6
    assert {source.geometry.fps for source in sources} == {Fraction(30000, 1001)}
    assert len({source.sha256 for source in sources}) == 1
    cells = cells_of(sources)
    assert len({cell.key for cell in cells}) == 1
    streams, contents = set(), set()
    for number, cell in enumerate(cells):
        bench = bench_in(tmp_path / f"bench{number}", ffmpeg)
        rows = produce(cell, bench)
        assert not isinstance(rows, FailedCell), rows
        contents.add(rows.content_sha256())
        (observed,) = bench.folder.rglob("*.observed.json")
        streams.add(json.loads(observed.read_text())["observations"][0]["stream_sha256"])
    assert len(streams) == 1
    assert len(contents) == 1


@pytest.mark.parametrize("pix_fmt", list(PIXEL_FORMATS))
def test_every_pixel_format_in_every_kind_of_file(
    pix_fmt: str, tmp_path: Path, make_clip: MakeClip, tools: Tools, ffmpeg: Ffmpeg
) -> None:
    fmt = PIXEL_FORMATS[pix_fmt]
    folder = tmp_path / "ref"
    folder.mkdir()
    args = ("-pix_fmt", pix_fmt, "-strict", "-1")
    make_clip(folder / f"raw_320x180_25fps_{fmt.bits}bit_{fmt.chroma}.yuv", "Bars", *args)
    make_clip(folder / "y4m.y4m", "Bars", *args)
    make_clip(folder / "ffv1.mkv", "Bars", *args, "-c:v", "ffv1")
    sources = sources_in(folder, tools, tmp_path / "cache")
    assert {source.geometry.pix_fmt for source in sources} == {pix_fmt}
    assert len({source.sha256 for source in sources}) == 1
    cell = cells_of(sources)[0]
    rows = produce(cell, bench_in(tmp_path / "bench", ffmpeg))
    assert not isinstance(rows, FailedCell), rows
    assert len(rows.vmaf) == 10
    # x264 supports 8 and 10 bits with any chroma; 12 bits are converted
    assert cell.settings.score_pix_fmt == pix_fmt.replace("12le", "10le")
    assert rows.facts["converted"] is (fmt.bits == 12)


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv422p", "yuv444p", "yuv420p10le"])
@pytest.mark.parametrize("encoder", ["libx264", "libsvtav1"])
def test_full_range_in_every_kind_of_file(  # noqa: PLR0917 - fixtures
    pix_fmt: str, encoder: str, tmp_path: Path, make_clip: MakeClip, tools: Tools, ffmpeg: Ffmpeg
) -> None:
    folder = tmp_path / "ref"
    folder.mkdir()
    full = f"testsrc2=size=320x180:rate=25,scale=out_range=pc,format={pix_fmt}"
    args = ("-pix_fmt", pix_fmt, "-strict", "-1", "-color_range", "pc")
    make_clip(folder / "ffv1.mkv", full, *args, "-c:v", "ffv1")
    make_clip(folder / "y4m.y4m", full, *args)
    make_clip(folder / "raw.yuv", full, *args)
    (folder / "raw.json").write_text(
        json.dumps({"width": 320, "height": 180, "fps": 25, "pix_fmt": pix_fmt, "range": "pc"})
    )
    sources = sources_in(folder, tools, tmp_path / "cache")
    assert {source.geometry.range for source in sources} == {"pc"}
    assert len({source.sha256 for source in sources}) == 1
    contents = set()
    for number, cell in enumerate(cells_of(sources, encoder=encoder)):
        rows = produce(cell, bench_in(tmp_path / f"bench{number}", ffmpeg))
        assert not isinstance(rows, FailedCell), rows
        contents.add(rows.content_sha256())
    assert len(contents) == 1


def test_motion_jpeg_is_full_range(tmp_path: Path, make_clip: MakeClip, tools: Tools, ffmpeg: Ffmpeg) -> None:
    (tmp_path / "ref").mkdir()
    make_clip(tmp_path / "ref" / "a.mkv", "Bars", "-pix_fmt", "yuvj420p", "-c:v", "mjpeg", "-q:v", "2")
    (source,) = sources_in(tmp_path / "ref", tools, tmp_path / "cache")
    assert (source.geometry.pix_fmt, source.geometry.range) == ("yuv420p", "pc")
    rows = produce(cells_of((source,))[0], bench_in(tmp_path / "bench", ffmpeg))
    assert not isinstance(rows, FailedCell), rows


def test_an_undeclared_conversion_is_an_error(
    tmp_path: Path, make_clip: MakeClip, tools: Tools, ffmpeg: Ffmpeg
) -> None:
    """libsvtav1 would convert 4:4:4 to 4:2:0 silently; the command has to prevent that."""
    (tmp_path / "ref").mkdir()
    make_clip(tmp_path / "ref" / "a.mkv", "Bars", "-pix_fmt", "yuv444p12le")
    (source,) = sources_in(tmp_path / "ref", tools, tmp_path / "cache")
    (cell,) = cells_of((source,), encoder="libsvtav1")
    assert cell.settings.score_pix_fmt == "yuv420p10le"
    silent = {**vars(cell.settings), "score_pix_fmt": "yuv444p12le", "encode_pix_fmt": "yuv444p12le"}
    argv = fused_command(ffmpeg, source.file, type(cell.settings)(**silent), model=model_option(CANONICAL))
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "do not have a common format" in done.stderr


def test_the_fused_command_scores_like_separate_commands(
    tmp_path: Path, make_clip: MakeClip, tools: Tools, ffmpeg: Ffmpeg
) -> None:
    """Encode to a file, decode to .yuv, score the two .yuv: the same rows to the last digit."""
    (tmp_path / "ref").mkdir()
    raw = make_clip(tmp_path / "ref" / "raw_320x180_25fps_8bit_420.yuv", "Life", frames=20)
    (source,) = sources_in(tmp_path / "ref", tools, tmp_path / "cache")
    (cell,) = cells_of((source,))
    rows = produce(cell, bench_in(tmp_path / "bench", ffmpeg))
    assert not isinstance(rows, FailedCell), rows
    read = ["-f", "rawvideo", "-pixel_format", "yuv420p", "-video_size", "320x180", "-framerate", "25", "-i"]
    base = [str(ffmpeg.path), "-loglevel", "error", "-y"]
    for argv in (
        [*base, *read, str(raw), *cell.settings.argv, "out.mkv"],
        [*base, "-i", "out.mkv", "-f", "rawvideo", "-fps_mode", "passthrough", "dis.yuv"],
        [
            *base,
            *read,
            "dis.yuv",
            *read,
            str(raw),
            "-filter_complex",
            "[0:v][1:v]libvmaf=log_fmt=json:log_path=slow.json:model='version=vmaf_v0.6.1\\:name=teacher'",
            "-f",
            "null",
            "-",
        ],
    ):
        subprocess.run(argv, cwd=tmp_path, check=True)
    slow = log.parse((tmp_path / "slow.json").read_text())
    assert (slow.vmaf == rows.vmaf).all()
    assert (slow.features == rows.features).all()


def test_no_raw_or_encoded_video_is_written_to_disk(
    tmp_path: Path, make_clip: MakeClip, tools: Tools, ffmpeg: Ffmpeg
) -> None:
    (tmp_path / "ref").mkdir()
    make_clip(tmp_path / "ref" / "a.mkv", "Fractal", frames=40)
    (source,) = sources_in(tmp_path / "ref", tools, tmp_path / "cache")
    (cell,) = cells_of((source,))
    bench = bench_in(tmp_path / "bench", ffmpeg)
    largest, stop = [0], threading.Event()

    def watch() -> None:
        while not stop.wait(0.002):
            sizes = [path.stat().st_size for path in bench.folder.rglob("*") if path.is_file()]
            largest[0] = max([largest[0], sum(sizes)])

    watcher = threading.Thread(target=watch)
    watcher.start()
    produce(cell, bench)
    stop.set()
    watcher.join()
    assert {path.suffix for path in bench.folder.rglob("*") if path.is_file()} == {".parquet", ".json"}
    assert 0 < largest[0] < 320 * 180 * 1.5  # less than a single raw frame


def test_the_identity_includes_the_geometry(tmp_path: Path, make_clip: MakeClip, tools: Tools) -> None:
    """The same bytes with another size, rate or range are another source."""
    raw = make_clip(tmp_path / "a.yuv", "Bars").read_bytes()
    hashes = set()
    for number, format_ in enumerate(
        (
            {"width": 320, "height": 180, "fps": 25},
            {"width": 180, "height": 320, "fps": 25},
            {"width": 320, "height": 180, "fps": 50},
            {"width": 320, "height": 180, "fps": 25, "range": "pc"},
        )
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "a.yuv").write_bytes(raw)
        (folder / "a.json").write_text(json.dumps(format_))
        hashes.update(source.sha256 for source in sources_in(folder, tools, tmp_path / "cache"))
    assert len(hashes) == 4


def test_hashes_are_cached_by_path_size_and_time(tmp_path: Path, make_clip: MakeClip, tools: Tools) -> None:
    (tmp_path / "ref").mkdir()
    path = make_clip(tmp_path / "ref" / "a.mkv", "Bars")
    (first,) = sources_in(tmp_path / "ref", tools, tmp_path / "cache")
    (entry,) = (tmp_path / "cache").rglob("*.json")
    planted = json.loads(entry.read_text()) | {"digest": "planted"}
    entry.write_text(json.dumps(planted))
    assert sources_in(tmp_path / "ref", tools, tmp_path / "cache")[0].sha256 == "planted"
    make_clip(path, "Fractal")
    (second,) = sources_in(tmp_path / "ref", tools, tmp_path / "cache")
    assert second.sha256 not in ("planted", first.sha256)


def test_the_default_geometry_needs_a_size_that_divides(tmp_path: Path, make_clip: MakeClip, tools: Tools) -> None:
    small = make_clip(tmp_path / "small_25fps.yuv", "Bars")
    with pytest.raises(Several, match=r"small_25fps\.yuv.*1920x1080"):
        scan(tmp_path, tools)
    (clip,) = scan(tmp_path, tools, parse_option("320x180@25"))
    assert (clip.label, clip.geometry.frames) == ("small", 10)
    small.unlink()
    make_clip(tmp_path / "Large_25fps.yuv", "testsrc2=size=1920x1080:rate=25", frames=3)
    (clip,) = scan(tmp_path, tools)
    assert (clip.geometry.width, clip.geometry.height, clip.geometry.frames) == (1920, 1080, 3)


def test_labels_are_unique_and_short(tmp_path: Path, make_clip: MakeClip, tools: Tools) -> None:
    for name in ("a/Clip.mkv", "b/Clip.mkv", "Other_320x180_25fps_8bit_420.yuv", "b/Höhe und Tiefe.mkv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        make_clip(tmp_path / name, "Bars")
    (tmp_path / "notes.txt").write_text("x")
    labels = sorted(file.label for file in scan(tmp_path, tools))
    assert labels == ["H_he_und_Tiefe", "Other", "a_Clip.mkv", "b_Clip.mkv"]
    assert list_folder(tmp_path).others == (tmp_path / "notes.txt",)


def test_names_that_a_shell_or_a_filter_would_misread(
    tmp_path: Path, make_clip: MakeClip, tools: Tools, ffmpeg: Ffmpeg
) -> None:
    folder = tmp_path / "it's a:[strange], folder;=|"
    folder.mkdir()
    make_clip(tmp_path / "a.mkv", "Bars").rename(folder / "concat:a, 'b' [c];=.mkv")
    (source,) = sources_in(folder, tools, tmp_path / "cache")
    bench = bench_in(folder / "bench", ffmpeg)
    (cell,) = cells_of((source,))
    rows = produce(cell, bench)
    assert not isinstance(rows, FailedCell), rows
    assert observed_path(bench.folder, f"cells/{source.label}/libx264/cq31-{cell.key[:12]}.parquet").is_file()


def test_links_are_followed_once_and_broken_ones_refused(tmp_path: Path, make_clip: MakeClip, tools: Tools) -> None:
    folder, outside = tmp_path / "ref", tmp_path / "outside"
    folder.mkdir()
    outside.mkdir()
    make_clip(outside / "a.mkv", "Bars")
    (folder / "linked").symlink_to(outside)
    (outside / "loop").symlink_to(folder)
    (folder / "gone.txt").symlink_to(tmp_path / "nowhere.txt")
    assert [file.label for file in scan(folder, tools)] == ["a"]
    assert list_folder(folder).others == (folder / "gone.txt",)
    (folder / "gone.mkv").symlink_to(tmp_path / "nowhere.mkv")
    with pytest.raises(Several, match=r"gone\.mkv"):
        scan(folder, tools)


def test_a_long_name_becomes_a_short_label(tmp_path: Path, make_clip: MakeClip, tools: Tools) -> None:
    for end in "xy":
        make_clip(tmp_path / f"{'long' * 40}{end}.mkv", "Bars")
    labels = {file.label for file in scan(tmp_path, tools)}
    assert len(labels) == 2
    assert all(len(label) <= 60 for label in labels)


def test_an_edit_list_hides_frames_from_the_count(tmp_path: Path, make_clip: MakeClip, tools: Tools) -> None:
    """More packets than decoded frames; the source has the decoded number."""
    whole = make_clip(tmp_path / "whole.mp4", "Bars", "-c:v", "libx264", "-qp", "0", "-g", "5", "-bf", "0", frames=20)
    folder = tmp_path / "ref"
    folder.mkdir()
    subprocess.run(
        [
            str(tools.ffmpeg.path),
            "-loglevel",
            "error",
            "-ss",
            "0.28",
            "-i",
            str(whole),
            "-c",
            "copy",
            folder / "cut.mp4",
        ],
        check=True,
    )
    (file,) = scan(folder, tools)
    source = identify(file, tools, tmp_path / "cache")
    assert source.geometry.frames == len(list(frames_of(source.file, tools))) < file.geometry.frames


def test_all_duplicates_are_named(tmp_path: Path, make_clip: MakeClip, tools: Tools) -> None:
    for name in ("a.mkv", "b.y4m", "c_320x180_25fps_8bit_420.yuv"):
        make_clip(tmp_path / name, "Bars")
    files = scan(tmp_path, tools)
    with pytest.raises(Several, match=r"a\.mkv and b\.y4m and c_320x180_25fps_8bit_420\.yuv"):
        identify_all(files, tools, tmp_path / "cache", workers=2)


def test_frames_come_in_presentation_order(tmp_path: Path, make_clip: MakeClip, tools: Tools) -> None:
    make_clip(tmp_path / "a.y4m", "Bars")
    make_clip(tmp_path / "b.mp4", "Bars", "-c:v", "libx264", "-qp", "0", "-bf", "3")
    one, two = (list(frames_of(file, tools)) for file in scan(tmp_path, tools))
    assert len(one) == 10
    assert one == two
