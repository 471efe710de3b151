"""Feature tables from data sets, by real ffmpeg."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from kit.core import contract, exits
from kit.core.errors import BadInput
from kit.core.geometry import frame_bytes
from kit.core.values import Geometry, Scorer, Source, SourceFile, Teacher
from kit.features import extraction, table
from kit.features.extraction import Result
from kit.features.feature_cache import Cache
from kit.features.measuring import ClipPair, FrameScores, Instruments, cache_key
from kit.options.session import KIT_ROOT
from kit.platforms.detect import probe_host
from kit.system import validation
from kit.system.proc import Processes
from kit.video.ffmpeg import Ffmpeg
from kit.video.scorers import base, golden, log, pair, vmaf_tool
from kit.video.scorers.ffmpeg_filter import FilterScorer
from kit.video.sources.read import Tools
from kit.video.sources.scan import inspect
from tests.cli.builders import Ask, in_process
from tests.system.builders import parquet_problems
from tests.video.builders import PICTURES, MakeClip, write_tool

#: Sources of the mock ladder, scenes of one film, and how a rung is made worse.
LADDER = {"ElFuente1_30fps": "Bars", "ElFuente2_30fps": "Life"}
RUNGS = {"90_180_400": "boxblur=1", "50_180_200": "boxblur=4", "20_144_100": "scale=256:144:flags=bicubic"}
FLICKR = ("30151857", "30151858", "30151859")
RATE = Fraction(25)


@pytest.fixture(scope="module")
def ladder(tmp_path_factory: pytest.TempPathFactory, make_clip: MakeClip) -> Path:
    """``ref/`` and ``dis/`` as npd has them, small; one rung of three is stored at its own size."""
    folder = tmp_path_factory.mktemp("ladder")
    for place in ("ref", "dis"):
        (folder / place).mkdir()
    for stem, picture in LADDER.items():
        make_clip(folder / "ref" / f"{stem}.yuv", picture)
        for rung, filters in RUNGS.items():
            name = f"{stem.rpartition('_')[0]}_{rung}.yuv"
            make_clip(folder / "dis" / name, f"{PICTURES[picture]},{filters}")
    return folder


@pytest.fixture(scope="module")
def konvid(tmp_path_factory: pytest.TempPathFactory, make_clip: MakeClip) -> Path:
    """Three clips named by Flickr ids."""
    folder = tmp_path_factory.mktemp("konvid")
    for name, picture in zip(FLICKR, ("Bars", "Fractal", "Life"), strict=True):
        make_clip(folder / f"{name}.mp4", picture, "-c:v", "libx264", "-crf", "12")
    return folder


@pytest.fixture(scope="module")
def quick_golden() -> tuple[golden.GoldenPair, ...]:
    """One of the golden pairs, drawn once for all tests."""
    return tuple(made for made in golden.pairs() if made.name == "natural-8bit")


def settle(patch: pytest.MonkeyPatch, place: Path, quick: tuple[golden.GoldenPair, ...]) -> None:
    """Caches in a folder of their own, and a quick golden check."""
    patch.setattr(golden, "pairs", lambda: quick)
    patch.setenv("XDG_CACHE_HOME", str(place / "cache"))
    patch.setenv("VMAF_TINY_AI_CACHE", str(place / "kept"))
    for name in ("FFMPEG_BIN", "LIBVMAF_BIN"):
        patch.delenv(name, raising=False)


@pytest.fixture
def ask(ask: Ask, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, quick_golden: tuple[golden.GoldenPair, ...]) -> Ask:
    """``ask("extract-features", …, code=3)`` gives what a command prints as JSON, and what it says."""
    settle(monkeypatch, tmp_path, quick_golden)
    return lambda *argv, code=exits.OK: ask(*argv, "--json", code=code)


def npd(folder: Path, out: Path) -> tuple[str | Path, ...]:
    return ("extract-features", "--dataset", "npd", "--ref-dir", folder, "--out", out, "--assume-dims", "320x180")


@pytest.fixture(scope="module")
def extracted(
    ladder: Path, quick_golden: tuple[golden.GoldenPair, ...], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any], str]:
    """The table of the ladder, what the command printed as JSON, and what it stderr."""
    place = tmp_path_factory.mktemp("extracted")
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, in_process() as main:
        settle(patch, place, quick_golden)
        with redirect_stdout(out), redirect_stderr(err):
            code = main([*map(str, npd(ladder, place / "f.parquet")), "--json"])
    assert code == exits.OK, err.getvalue()
    return place / "f.parquet", json.loads(out.getvalue()), err.getvalue()


def entries(kept: Path) -> list[Path]:
    """What an extraction has kept, without what it is just writing."""
    return sorted(path for path in kept.rglob("*.npz") if not path.name.startswith("."))


@pytest.mark.essential
@pytest.mark.ffmpeg
def test_a_ladder_of_stored_clips(ladder: Path, extracted: tuple[Path, dict[str, Any], str]) -> None:
    path, found, stderr = extracted
    rows = pq.read_table(path).to_pandas()
    assert list(rows) == [
        "corpus",
        "source",
        "clip",
        "frame_index",
        "group",
        "src_sha256",
        "codec",
        "teacher",
        *contract.FEATURES,
        "vmaf",
    ]
    assert Counter(rows["source"]) == {"ElFuente1": 30, "ElFuente2": 30}
    assert set(rows["group"]) == {"ElFuente"}
    assert set(rows["clip"]) == {f"{stem.rpartition('_')[0]}_{rung}" for stem in LADDER for rung in RUNGS}
    assert set(rows["corpus"]) == {"npd"}
    assert rows["codec"].isna().all()
    assert set(rows["teacher"]) == {"vmaf_v0.6.1"}
    means = rows.groupby("clip")["vmaf"].mean()
    assert means["ElFuente1_90_180_400"] > means["ElFuente1_50_180_200"]
    assert found == json.loads(path.with_suffix(".json").read_text())
    assert validation.problems("feature_manifest", found) + parquet_problems("feature_table", path) == []
    assert found["counts"] == {"pairs": 6, "measured": 6, "kept": 0, "failed": 0}
    assert found["scaling"] == contract.CONVERT
    assert found["round_trip"] is None
    assert found["table_sha256"] == table.read(path).sha256
    assert found["run_provenance"]["schema"] == "ai-run-provenance-v1"
    assert str(ladder) not in json.dumps(found)
    args = found["run_provenance"]["args"]
    assert args.pop("out").endswith("f.parquet")
    assert args == {
        "dataset": "npd",
        "ref_dir": "<ref>",
        "teacher": "vmaf_v0.6.1",
        "feature_set": contract.FEATURE_SET,
        "assume_dims": "320x180",
    }
    assert "7 clips of npd" in stderr


def by_filter(ffmpeg: Ffmpeg, _folder: Path) -> base.CellScorer:
    return FilterScorer(ffmpeg=ffmpeg)


def by_tool(ffmpeg: Ffmpeg, folder: Path) -> base.CellScorer:
    path = write_tool(folder / "tool" / "vmaf", ffmpeg)
    return vmaf_tool.locate(path, origin="here", ffmpeg=ffmpeg, processes=Processes())


@pytest.mark.ffmpeg
@pytest.mark.parametrize("scorer_of", [by_filter, by_tool])
def test_scaling_while_scoring_is_scaling_to_a_file_first(
    scorer_of: Callable[[Ffmpeg, Path], base.CellScorer], ladder: Path, tmp_path: Path, ffmpeg: Ffmpeg
) -> None:
    geometry = Geometry(width=320, height=180, pix_fmt="yuv420p", range="tv", fps=RATE, frames=10)
    small = replace(geometry, width=256, height=144)
    reference = SourceFile(path=ladder / "ref" / "ElFuente1_30fps.yuv", kind="yuv", label="r", geometry=geometry)
    stored = ladder / "dis" / "ElFuente1_20_144_100.yuv"
    distorted = SourceFile(path=stored, kind="yuv", label="d", geometry=small)
    subprocess.run(
        [
            str(ffmpeg.path),
            "-loglevel",
            "error",
            "-f",
            "rawvideo",
            "-pixel_format",
            "yuv420p",
            "-video_size",
            "256x144",
            "-i",
            str(stored),
            "-vf",
            f"{contract.CONVERT}:w=320:h=180",
            "-f",
            "rawvideo",
            str(tmp_path / "large.yuv"),
        ],
        check=True,
        stdin=subprocess.DEVNULL,
    )
    large = SourceFile(path=tmp_path / "large.yuv", kind="yuv", label="d", geometry=geometry)
    scorer, processes = scorer_of(ffmpeg, tmp_path), Processes()
    slow = pair.extract(scorer, reference, large, processes=processes, threads=1)
    with pytest.raises(BadInput, match="256x144"):
        pair.extract(scorer, reference, distorted, processes=processes, threads=1)
    quick = pair.extract(scorer, reference, distorted, processes=processes, threads=1, scale=True)
    assert np.array_equal(quick.features, slow.features)
    assert np.array_equal(quick.vmaf, slow.vmaf)


@pytest.mark.ffmpeg
def test_clips_against_an_encode_of_their_own(
    konvid: Path, tmp_path: Path, ask: Ask, ffmpeg: Ffmpeg, tools: Tools
) -> None:
    folder = shutil.copytree(konvid, tmp_path / "clips")
    street = {f"{name}.mp4": "Street" for name in (FLICKR[0], FLICKR[2])}
    (folder / "groups.json").write_text(json.dumps({"schema_version": 1, "groups": street}))
    (folder / "30151860.mp4").write_bytes((konvid / f"{FLICKR[0]}.mp4").read_bytes()[:2000])
    argv = ("extract-features", "--dataset", "konvid-1k", "--ref-dir", folder, "--out", tmp_path / "f.parquet")
    found, stderr = ask(*argv, "--feature-set", "full", code=exits.INVALID)
    assert [one["clip"] for one in found["failed"]] == ["30151860.mp4"]
    assert "30151860.mp4" in stderr
    rows = pq.read_table(tmp_path / "f.parquet").to_pandas()
    assert set(rows["clip"]) == {f"{name}_libx264_crf35" for name in FLICKR}
    assert set(rows["codec"]) == {"libx264"}
    folds = rows.groupby("source")[["group", "fold"]].agg(["nunique", "first"]).to_numpy().tolist()
    assert folds == [[1, "Street", 1, "fold0"], [1, FLICKR[1], 1, "fold1"], [1, "Street", 1, "fold0"]]
    names = found["features"]
    assert names[:6] == list(contract.FEATURES)
    assert len(names) > 6
    assert not [name for name in names if "integer_" in name or name in ("teacher", "canonical", "vmaf")]
    assert np.isfinite(rows[names].to_numpy()).all()
    # the slow way: a file in between
    source, kept = folder / f"{FLICKR[2]}.mp4", tmp_path / "kept.mkv"
    subprocess.run(
        [
            str(ffmpeg.path),
            "-loglevel",
            "error",
            "-i",
            str(source),
            "-c:v",
            "libx264",
            "-preset",
            "medium",
            "-crf",
            "35",
            "-threads",
            "1",
            str(kept),
        ],
        check=True,
        stdin=subprocess.DEVNULL,
    )
    reference, distorted = (inspect(path, path.stem, assumed=None, tools=tools) for path in (source, kept))
    slow = pair.extract(FilterScorer(ffmpeg=ffmpeg), reference, distorted, processes=Processes(), threads=2)
    own = rows[rows["source"] == FLICKR[2]]
    assert np.array_equal(own[list(contract.FEATURES)].to_numpy(), slow.features)
    assert np.array_equal(own["vmaf"].to_numpy(), slow.vmaf)
    assert all(np.array_equal(own[name].to_numpy(), values) for name, values in slow.others.items())


@pytest.mark.ffmpeg
def test_scores_are_cached_and_a_damaged_entry_is_made_again(ladder: Path, tmp_path: Path, ask: Ask) -> None:
    first, _ = ask(*npd(ladder, tmp_path / "f.parquet"), "--max-pairs", "2")
    again, stderr = ask(*npd(ladder, tmp_path / "g.parquet"), "--max-pairs", "2")
    assert "2 of 2 clips" in stderr
    assert again["counts"]["kept"] == 2
    assert (tmp_path / "f.parquet").read_bytes() == (tmp_path / "g.parquet").read_bytes()
    entry, _other = entries(tmp_path / "kept")
    data = bytearray(entry.read_bytes())
    data[len(data) // 2] ^= 255
    entry.write_bytes(data)
    again, stderr = ask(*npd(ladder, tmp_path / "h.parquet"), "--max-pairs", "2")
    assert "damaged" in stderr
    assert again["counts"] == {"pairs": 2, "measured": 1, "kept": 1, "failed": 0}
    assert again["table_sha256"] == first["table_sha256"]
    other, _ = ask(*npd(ladder, tmp_path / "i.parquet"), "--max-pairs", "2", "--feature-set", "full")
    assert other["counts"]["kept"] == 0


@pytest.mark.parametrize(
    ("place", "reason"), [("/proc/tiny", ""), ("file", "File exists"), ("file/kept", "Not a directory")]
)
def test_a_cache_that_cannot_be_written_is_refused_before_the_work(
    place: str, reason: str, tmp_path: Path, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("VMAF_TINY_AI_CACHE", str(tmp_path / place))
    _, stderr = ask(*npd(tmp_path / "nowhere", tmp_path / "f.parquet"), code=exits.BAD_INPUT)
    assert all(part in stderr for part in ("VMAF_TINY_AI_CACHE", str(tmp_path / place), reason))


@pytest.mark.ffmpeg
def test_a_result_that_cannot_be_kept_is_used(
    ladder: Path, tmp_path: Path, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(256):
        (tmp_path / "kept").mkdir(exist_ok=True)
        (tmp_path / "kept" / f"{number:02x}").write_text("in the way")
    found, stderr = ask(*npd(ladder, tmp_path / "f.parquet"), "--max-pairs", "1")
    assert found["counts"] == {"pairs": 1, "measured": 1, "kept": 0, "failed": 0}
    assert "cannot be cached" in stderr


@pytest.mark.ffmpeg
def test_a_killed_extraction_goes_on(
    ladder: Path, extracted: tuple[Path, dict[str, Any], str], tmp_path: Path, home: dict[str, str], ask: Ask
) -> None:
    kept = tmp_path / "kept"
    environ = home | {"XDG_CACHE_HOME": str(tmp_path / "cache"), "VMAF_TINY_AI_CACHE": str(kept)}
    environ["PYTHONPATH"] = str(KIT_ROOT)
    start = "import sys; from kit.cli.main import main; sys.exit(main(sys.argv[1:]))"
    argv = [sys.executable, "-c", start, *map(str, npd(ladder, tmp_path / "f.parquet"))]
    running = subprocess.Popen(argv, cwd=tmp_path, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not entries(kept) and running.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    os.kill(running.pid, signal.SIGKILL)
    assert running.wait() == -signal.SIGKILL
    assert not (tmp_path / "f.parquet").exists()
    there = len(entries(kept))
    found, _ = ask(*npd(ladder, tmp_path / "f.parquet"))
    assert 1 <= there <= found["counts"]["kept"] < 6
    assert not list(kept.rglob(".tmp-*"))
    path, whole, _ = extracted
    assert whole["table_sha256"] == found["table_sha256"]
    assert path.read_bytes() == (tmp_path / "f.parquet").read_bytes()


@pytest.mark.ffmpeg
@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--dataset", "konvid-1k"), "1 of 1 clips"),
        (("--dataset", "npd"), "1 of 1 clips"),
        (("--dataset", "dir", "--assume-dims", "320"), "WxH"),
    ],
)
def test_nothing_to_be_done(options: Sequence[str], named: str, tmp_path: Path, ask: Ask) -> None:
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "30151860.mp4").write_bytes(b"no video")
    _, stderr = ask(
        "extract-features",
        *options,
        "--ref-dir",
        tmp_path / "clips",
        "--out",
        tmp_path / "f.parquet",
        code=exits.BAD_INPUT,
    )
    assert named in stderr
    assert not (tmp_path / "f.parquet").exists()


@pytest.mark.ffmpeg
def test_a_distorted_clip_that_fits_nothing_fails_alone(ladder: Path, tmp_path: Path, ask: Ask) -> None:
    folder = shutil.copytree(ladder, tmp_path / "npd")
    with (folder / "dis" / "ElFuente2_50_180_200.yuv").open("r+b") as file:
        file.truncate(1000)
    found, _ = ask(*npd(folder, tmp_path / "f.parquet"), code=exits.INVALID)
    (failure,) = found["failed"]
    assert failure["clip"] == "ElFuente2_50_180_200.yuv"
    assert "its 1000 bytes" in failure["reason"]
    assert found["counts"] == {"pairs": 5, "measured": 5, "kept": 0, "failed": 1}


@pytest.mark.ffmpeg
def test_a_distorted_clip_that_cannot_be_paired_has_failed(ladder: Path, tmp_path: Path, ask: Ask) -> None:
    folder = shutil.copytree(ladder, tmp_path / "npd")
    for name in ("ElFuente1_90_hd.yuv", "Tennis_90_1080_4300.yuv"):
        shutil.copy(folder / "dis" / "ElFuente1_90_180_400.yuv", folder / "dis" / name)
    found, stderr = ask(*npd(folder, tmp_path / "f.parquet"), "--max-pairs", "1", code=exits.INVALID)
    misnamed, alone = found["failed"]
    assert (misnamed["clip"], alone["clip"]) == ("ElFuente1_90_hd.yuv", "Tennis_90_1080_4300.yuv")
    assert "ElFuente1_90_hd.yuv" in misnamed["reason"]
    assert alone["reason"] == "dis/Tennis_90_1080_4300.yuv: its reference Tennis is missing"
    assert found["counts"] == {"pairs": 1, "measured": 1, "kept": 0, "failed": 2}
    assert not [line for line in found["wanting"] if "is missing" not in line or "Tennis_90_1080_4300" in line]
    assert "its reference Tennis is missing" in " ".join(stderr.split())


def results(groups: Sequence[str], identities: Sequence[str]) -> list[Result]:
    """FrameScores clips, each of a content group and with an identity."""
    geometry = Geometry(width=64, height=64, pix_fmt="yuv420p", range="tv", fps=RATE, frames=3)
    nothing = FrameScores(names=contract.FEATURES, features=np.zeros((3, 6)), vmaf=np.zeros(3))
    found = []
    for number, (group, identity) in enumerate(zip(groups, identities, strict=True)):
        file = SourceFile(path=Path("a.mkv"), kind="container", label=f"{number}", geometry=geometry, group=group)
        pair = ClipPair(source=file.label, clip=file.label, reference=file)
        found.append(Result(pair=pair, scores=nothing, identity=identity, cached=False))
    return found


def instruments(ffmpeg: Ffmpeg, folder: Path) -> Instruments:
    """ffmpeg's filter, not proven."""
    return Instruments(
        scorer=FilterScorer(ffmpeg=ffmpeg),
        encoding=ffmpeg,
        proof=Scorer(id="cpu/1", version="3.0", golden={}),
        teacher=Teacher(id="vmaf_v0.6.1"),
        feature_set=contract.FEATURE_SET,
        processes=Processes(),
        identities=folder,
    )


@pytest.mark.ffmpeg
def test_everything_that_decides_the_numbers_names_what_is_kept(ffmpeg: Ffmpeg, tmp_path: Path) -> None:
    geometry = Geometry(width=64, height=36, pix_fmt="yuv420p", range="tv", fps=RATE, frames=3)
    for name in ("a.yuv", "b.yuv", "ref.yuv"):
        (tmp_path / name).write_bytes(name.encode() * frame_bytes(64, 36, geometry.pix_fmt))
    stored = SourceFile(path=tmp_path / "a.yuv", kind="yuv", label="a", geometry=geometry)
    file = replace(stored, path=tmp_path / "ref.yuv", label="ref")
    reference = Source(file=file, sha256="a" * 64, group="g")
    base = instruments(ffmpeg, tmp_path)
    larger = replace(file, geometry=replace(geometry, width=128, height=72))
    found = [
        cache_key(reference, stored, base),
        cache_key(reference, None, base),
        cache_key(replace(reference, sha256="b" * 64), stored, base),
        cache_key(replace(reference, file=larger), stored, base),
        cache_key(reference, replace(stored, path=tmp_path / "b.yuv"), base),
        cache_key(reference, stored, replace(base, teacher=Teacher(id="vmaf_4k_v0.6.1"))),
        cache_key(reference, stored, replace(base, teacher=Teacher(id="vmaf_v0.6.1", sha256="c" * 64))),
        cache_key(reference, stored, replace(base, feature_set="full")),
        cache_key(reference, stored, replace(base, proof=replace(base.proof, version="3.1"))),
        cache_key(reference, stored, replace(base, proof=replace(base.proof, id="cpu/2"))),
        cache_key(reference, stored, replace(base, scorer=FilterScorer(ffmpeg=replace(ffmpeg, version="1")))),
        cache_key(reference, None, replace(base, encoding=replace(ffmpeg, version="1"))),
    ]
    assert len(set(found)) == len(found)
    assert cache_key(reference, replace(stored, label="other"), base) == found[0]


@pytest.mark.ffmpeg
@pytest.mark.parametrize(("cores", "threads"), [(1, 1), (6, 2)])
def test_every_core_has_work_and_the_longest_clip_is_first(
    cores: int,
    threads: int,
    *,
    make_clip: MakeClip,
    tools: Tools,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    files = [
        inspect(make_clip(tmp_path / f"{n}.mkv", "Bars", frames=n), f"{n}", assumed=None, tools=tools)
        for n in (8, 12, 10)
    ]
    pairs = [ClipPair(source=file.label, clip=file.label, reference=file) for file in files]
    facts = replace(probe_host(tools.processes), cores=cores)
    with caplog.at_level(logging.DEBUG, logger="kit.system.proc"):
        done, failed = extraction.extract(
            pairs, instruments(tools.ffmpeg, tmp_path), cache=Cache(folder=tmp_path / "k"), facts=facts
        )
    assert (len(done), failed) == (3, [])
    messages = [record.getMessage() for record in caplog.records]
    assert [line.count(f":n_threads={threads}:") for line in messages if "libvmaf=" in line] == [1, 1, 1]
    if cores == 1:
        hashed = [line for line in messages if "yuv4mpegpipe" in line]
        assert [re.findall(r"(\d+)\.mkv", line) for line in hashed] == [["12"], ["10"], ["8"]]


@pytest.mark.ffmpeg
def test_a_link_to_nothing_is_a_clip_that_failed(ladder: Path, tmp_path: Path, ask: Ask) -> None:
    shutil.copytree(ladder / "ref", tmp_path / "clips")
    (tmp_path / "clips" / "Gone.mkv").symlink_to(tmp_path / "nowhere.mkv")
    (tmp_path / "clips" / "notes.txt").write_text("taken in autumn")
    argv = ("extract-features", "--dataset", "dir", "--ref-dir", tmp_path / "clips", "--assume-dims", "320x180")
    found, stderr = ask(*argv, "--out", tmp_path / "f.parquet", code=exits.INVALID)
    assert [one["clip"] for one in found["failed"]] == ["Gone.mkv"]
    assert found["failed"][0]["reason"].startswith("Gone.mkv: ")
    assert found["ignored"] == ["notes.txt"]
    assert "notes.txt" in " ".join(stderr.split())


def konvid_of(groups: Sequence[str], identities: Sequence[str]) -> table.FeatureTable:
    return extraction.to_table(results(groups, identities), corpus="konvid-1k", teacher="t")


def test_folds_are_balanced_and_follow_from_the_clips() -> None:
    identities = [f"id-{n:02x}" for n in range(12)]
    found = extraction.folds(konvid_of([f"g{n}" for n in range(12)], identities))
    assert Counter(found.values()) == {"fold0": 3, "fold1": 3, "fold2": 2, "fold3": 2, "fold4": 2}
    turned = extraction.folds(konvid_of([f"g{n}" for n in range(12)][::-1], identities[::-1]))
    assert turned == found
    renamed = extraction.folds(konvid_of([f"h{n}" for n in range(12)], identities))
    assert renamed == {name.replace("g", "h"): fold for name, fold in found.items()}


def test_folds_keep_groups_whole_and_balance_their_clips() -> None:
    made = konvid_of(["street"] * 5 + [f"g{n}" for n in range(8)], [f"id-{n:02x}" for n in range(13)])
    clips = made.frame.drop_duplicates("clip")
    assert clips["fold"].value_counts().to_dict() == {"fold0": 5, "fold1": 2, "fold2": 2, "fold3": 2, "fold4": 2}
    assert clips[clips["group"] == "street"]["fold"].unique().tolist() == ["fold0"]


def test_groups_with_a_clip_in_common_are_one() -> None:
    made = konvid_of(["d", "c", "c", "b", "a"], ["id-0", "id-0", "id-1", "id-1", "id-2"])
    assert dict(zip(made.frame["group"], made.groups, strict=True)) == {"a": "a", "b": "b", "c": "b", "d": "b"}
    assert made.frame.groupby(made.groups)["fold"].nunique().to_dict() == {"a": 1, "b": 1}


def test_other_features_of_a_log() -> None:
    metrics = {f"integer_{name}": 0.5 for name in contract.FEATURES} | {"teacher": 50.0, "canonical": 40.0}
    metrics |= {"motion": 2.0, "psnr_y": 30.0, "VMAF_integer_feature_sad": 5.0}
    frames = [
        {"frameNum": n, "metrics": metrics | {"integer_motion": n} | ({"aim": 1.0} if n else {}) | {"note": "text"}}
        for n in range(2)
    ]
    found = log.parse(json.dumps({"version": "3", "frames": frames})).others
    assert {name: values.tolist() for name, values in found.items()} == {
        "motion": [0, 1],
        "float_motion": [2, 2],
        "psnr_y": [30, 30],
        "VMAF_feature_sad": [5, 5],
    }


def test_an_extraction_replaces_no_notes(tmp_path: Path, ask: Ask) -> None:
    (tmp_path / "f.json").write_text("{}")
    _, stderr = ask(*npd(tmp_path / "nowhere", tmp_path / "f.parquet"), code=exits.BAD_INPUT)
    assert "f.json" in stderr
