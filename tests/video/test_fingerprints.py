"""Fingerprints: copies of a clip match, other clips do not, and what cannot be compared is counted."""

from __future__ import annotations

import base64
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kit.core.canon import canonical_json
from kit.core.errors import CheckFailed
from kit.core.values import Geometry
from kit.system import validation
from kit.video.ffmpeg import Ffmpeg
from kit.video.fingerprints.compare import LEAST_FRAMES, find_pairs
from kit.video.fingerprints.fingerprint import (
    GRID,
    HASH_BYTES,
    MOST,
    Fingerprint,
    Fingerprinter,
    fingerprint_of,
    fingerprints_of,
    frame_hash,
    read_fingerprint,
    spacing,
)
from kit.video.sources import identity
from kit.video.sources.read import Tools
from tests.sharing import shared
from tests.video.builders import MakeClip, scan

#: Scenes that differ; the last two are of one kind.
SCENES = {
    "Fractal": "mandelbrot=size=320x180:rate=25:start_scale=2.5",
    "Pattern": "testsrc2=size=320x180:rate=25",
    "Clock": "testsrc=size=320x180:rate=25",
    "Life": "life=size=320x180:rate=25:seed=7:mold=10:ratio=0.2,boxblur=3",
    "OtherLife": "life=size=320x180:rate=25:seed=8:mold=10:ratio=0.2,boxblur=3",
}
#: What is done to a clip of which a copy is made.
COPIES = {
    "Compressed": ("null", ("-c:v", "libx264", "-crf", "42")),
    "Graded": ("eq=brightness=0.1:contrast=0.7:gamma=1.5:saturation=2", ()),
    "Larger": ("scale=480:270", ()),
    "Narrow": ("scale=240:180", ()),
    "Cropped": ("crop=iw*0.9:ih*0.9", ()),
    "CroppedLeft": ("crop=iw*0.9:ih:iw*0.1:0", ()),
    "Mirrored": ("hflip", ()),
    "Later": ("trim=start_frame=8,setpts=PTS-STARTPTS", ()),
    "HalfRate": ("fps=12.5", ()),
    "All": (
        "trim=start_frame=5,setpts=PTS-STARTPTS,fps=12.5,hflip,crop=iw*0.9:ih*0.9,eq=gamma=1.3,scale=240:136",
        ("-c:v", "libx264", "-crf", "32"),
    ),
}
FRAMES = 40


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory, ffmpeg: Ffmpeg) -> Path:
    """A folder with every scene, and every copy of the first and the second."""

    def make(folder: Path) -> None:
        def write(name: str, *argv: str) -> None:
            command = [str(ffmpeg.path), "-v", "error", *argv, "-pix_fmt", "yuv420p", str(folder / f"{name}.mkv")]
            subprocess.run(command, check=True, timeout=60)

        for name, picture in SCENES.items():
            write(name, "-f", "lavfi", "-i", picture, "-frames:v", str(FRAMES), "-c:v", "ffv1")
        for scene in ("Fractal", "Pattern"):
            for name, (filters, encoder) in COPIES.items():
                write(
                    f"{scene}-{name}", "-i", str(folder / f"{scene}.mkv"), "-vf", filters, *(encoder or ("-crf", "18"))
                )

    return shared(tmp_path_factory, "fingerprints", make)


@pytest.fixture(scope="module")
def prints(clips: Path, ffmpeg: Ffmpeg, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Fingerprint]:
    from kit.system.proc import Processes

    tools, cache = Tools(ffmpeg=ffmpeg, processes=Processes()), tmp_path_factory.mktemp("cache")
    sources = [identity.identify(file, tools, cache) for file in scan(clips, tools)]
    return fingerprints_of([described(source) for source in sources])


def described(source: Any) -> dict[str, Any]:
    fps, frames = source.geometry.fps, source.geometry.frames
    geometry = {"fps": f"{fps.numerator}/{fps.denominator}", "frames": frames}
    return {"label": source.label, "fingerprint": source.fingerprint, "geometry": geometry}


def pairs_of(prints: Mapping[str, Fingerprint]) -> Any:
    return find_pairs(prints, {name: name for name in prints})


@pytest.mark.ffmpeg
def test_different_scenes_do_not_match(prints: Mapping[str, Fingerprint]) -> None:
    result = pairs_of({name: prints[name] for name in SCENES})
    assert (result.compared, result.not_comparable, result.pairs) == (10, 0, ())


@pytest.mark.ffmpeg
@pytest.mark.parametrize("copy", COPIES)
@pytest.mark.parametrize("scene", ["Fractal", "Pattern"])
def test_a_copy_matches_its_original_alone(prints: Mapping[str, Fingerprint], scene: str, copy: str) -> None:
    name = f"{scene}-{copy}"
    result = pairs_of({one: prints[one] for one in (*SCENES, name)})
    (pair,) = result.pairs
    assert set(pair.labels) == {scene, name}
    assert pair.threshold <= pair.similarity <= 1
    if copy in ("Mirrored", "All"):
        assert pair.mirrored
    if scene == "Pattern" and copy == "Later":  # its content moves enough to tell by how much
        assert abs(pair.shift) == pytest.approx(8 / 25, abs=2 / 25)


@pytest.mark.ffmpeg
def test_sources_of_one_group_are_not_compared(prints: Mapping[str, Fingerprint]) -> None:
    two = {name: prints[name] for name in ("Fractal", "Fractal-Graded")}
    result = find_pairs(two, dict.fromkeys(two, "one"))
    assert (result.compared, result.not_comparable, result.pairs) == (0, 0, ())


@pytest.mark.ffmpeg
def test_a_long_clip_with_fewer_hashes_still_matches(
    prints: Mapping[str, Fingerprint],
) -> None:
    every = {name: replace(one, every=4, hashes=one.hashes[::4]) for name, one in prints.items()}
    for copy in ("Pattern", "Pattern-Later", "Pattern-HalfRate"):
        result = pairs_of({"Long": every["Pattern"], "Copy": prints[copy], "Life": every["Life"]})
        assert [pair.labels for pair in result.pairs] == [("Copy", "Long")]


def made(hashes: Any, fps: int = 25) -> Fingerprint:
    return Fingerprint(fps=Fraction(fps), every=1, hashes=np.asarray(hashes, dtype=np.int8))


def test_frames_without_contrast_are_not_comparable() -> None:
    flat = np.full((90, 160), 40, dtype=np.uint8)
    noisy = flat + np.random.default_rng(0).integers(0, 3, flat.shape, dtype=np.uint8)
    fade = np.add.outer(np.arange(90), np.arange(160)).astype(np.uint8)
    hashes = [frame_hash(picture) for picture in (flat, noisy, fade)]
    assert not hashes[0].any()
    assert not hashes[1].any()
    assert hashes[2].any()
    black = made([hashes[0]] * 40)
    nearly = made([hashes[0]] * (41 - LEAST_FRAMES) + [hashes[2]] * (LEAST_FRAMES - 1))
    result = pairs_of({"Black": black, "Black2": black, "Nearly": nearly, "Nearly2": nearly})
    assert (result.compared, result.not_comparable, result.pairs) == (0, 6, ())


def test_brightness_and_depth_change_no_sign() -> None:
    picture = np.random.default_rng(1).integers(16, 120, (12, 20)).repeat(15, axis=0).repeat(16, axis=1)
    expected = frame_hash(picture.astype(np.uint8))
    assert expected.any()
    assert np.array_equal(frame_hash((2 * picture + 5).astype(np.uint8)), expected)
    assert np.array_equal(frame_hash((4 * picture).astype("<u2"), levels=4), expected)


@pytest.mark.parametrize("frames", [3, MOST, MOST + 1, 1_000, 4_000_000])
def test_the_size_is_bounded(frames: int) -> None:
    count = -(-frames // spacing(frames))
    assert count <= MOST
    text = made(np.ones((count, GRID, GRID))).as_dict()["hashes"]
    assert len(str(text)) < 20_000
    schema = validation.problems("shard", shard_with({"version": 1, "every": spacing(frames), "hashes": text}))
    assert schema == []


def shard_with(fingerprint: Any) -> dict[str, Any]:
    """Return a manifest without cells."""
    geometry = {"width": 64, "height": 64, "pix_fmt": "yuv420p", "range": "tv", "fps": "25/1", "frames": 4}
    source = {"label": "a", "sha256": "0" * 64, "group": "a", "geometry": geometry, "fingerprint": fingerprint}
    names = ("boxes", "cells", "failed", "dropped")
    return {
        "schema_version": 1,
        "kit_version": "0",
        "demo": False,
        "feature_set": "canonical-6",
        "teacher": None,
        "sources": [source],
        "allow_partial": False,
        "corpus_sha256": "0" * 64,
        **{name: [] for name in names},
    }


def test_a_fingerprint_is_read_as_it_was_written() -> None:
    hashes = np.random.default_rng(2).integers(-1, 2, (4, GRID, GRID), dtype=np.int8)
    written = made(hashes).as_dict()
    again = read_fingerprint(written, {"fps": "25/1", "frames": 4})
    assert again is not None
    assert np.array_equal(again.hashes, hashes)
    assert read_fingerprint({**written, "version": 2}, {"fps": "25/1", "frames": 4}) is None
    assert fingerprint_of({"geometry": None, "fingerprint": written}) is None
    assert len(canonical_json(written)) < 4 * HASH_BYTES * 4 / 3 + 100


@pytest.mark.parametrize(
    "change",
    [
        {"every": 2},
        {"hashes": ""},
        {"hashes": "QUJD"},
        {"hashes": "A" * 7},
        {"hashes": base64.b64encode(bytes([255]) * 4 * HASH_BYTES).decode()},
    ],
    ids=["every", "empty", "short", "not base64", "no signs"],
)
def test_a_damaged_fingerprint_is_refused(change: dict[str, Any]) -> None:
    written = made(np.ones((4, GRID, GRID))).as_dict()
    with pytest.raises(CheckFailed):
        read_fingerprint({**written, **change}, {"fps": "25/1", "frames": 4})


@pytest.mark.parametrize("fps", ["25/0", "0/1"])
def test_a_fingerprint_of_no_frames_per_second_is_refused(fps: str) -> None:
    with pytest.raises(CheckFailed, match=fps):
        read_fingerprint(made(np.ones((4, GRID, GRID))).as_dict(), {"fps": fps, "frames": 4})


def test_only_the_frames_that_are_kept_are_hashed() -> None:
    frames = 3 * MOST
    geometry = Geometry(width=64, height=64, pix_fmt="yuv420p10le", range="tv", fps=Fraction(50), frames=frames)
    fingerprinter = Fingerprinter(geometry)
    for _ in range(frames):
        fingerprinter.add(bytes(64 * 64 * 3))
    result = fingerprinter.result()
    assert (result.every, len(result.hashes)) == (4, frames // 4)


@pytest.mark.ffmpeg
def test_the_cache_keeps_the_fingerprint(tmp_path: Path, make_clip: MakeClip, tools: Tools) -> None:
    (tmp_path / "ref").mkdir()
    make_clip(tmp_path / "ref" / "a.mkv", SCENES["Pattern"], "-c:v", "ffv1", frames=12)
    (file,) = scan(tmp_path / "ref", tools)
    first = identity.identify(file, tools, tmp_path / "cache")
    again = identity.identify(file, tools, tmp_path / "cache")
    assert first.fingerprint is not None
    assert again.fingerprint == first.fingerprint
    assert again == first


@pytest.mark.parametrize("level", [0, 16])
def test_bars_do_not_make_clips_alike(level: int) -> None:
    generator = np.random.default_rng(3)

    def letterboxed() -> Fingerprint:
        picture = generator.integers(60, 200, (12, 20)).repeat(15, axis=0).repeat(16, axis=1)
        frame = np.full((180 + 2 * 45, 320 + 2 * 40), level)
        frame[45:-45, 40:-40] = picture
        signs = frame_hash(frame.astype(np.uint8))
        assert not signs[:4].any()
        assert not signs[-4:].any()
        assert not signs[:, :2].any()
        assert signs[6:-6, 6:-6].any()
        return made([signs] * 30)

    prints = {name: letterboxed() for name in "abcd"}
    assert pairs_of(prints).pairs == ()
    assert len(pairs_of(prints | {"copy of a": prints["a"]}).pairs) == 1
