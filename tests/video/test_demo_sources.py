"""The demo clips: bytes, statistics, and integer arithmetic only."""

from __future__ import annotations

import ast
import functools
import hashlib
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from kit.core.errors import BadInput, PrerequisiteFailed
from kit.video.sources import demo, scenes, synth

BY_NAME = {source.name: source for source in demo.DEMO_SOURCES}
PIXELS = synth.WIDTH * synth.HEIGHT
SHELF = BY_NAME["BookShelf"]

#: Exact integer functions of numpy; drawing may use no others.
EXACT_NUMPY = {
    "abs",
    "arange",
    "array",
    "asarray",
    "bool_",
    "clip",
    "copyto",
    "full",
    "int16",
    "int32",
    "int64",
    "random",
    "stack",
    "tile",
    "uint64",
    "uint8",
    "zeros",
}
INEXACT_METHODS = {"mean", "std", "var", "average", "dot", "fft", "linalg", "default_rng", "Generator", "hypot"}
MAKERS = {"arange", "array", "asarray", "full", "zeros"}


@pytest.fixture(scope="module")
def clips() -> Mapping[str, bytes]:
    return {name: b"".join(demo.render(source)) for name, source in BY_NAME.items()}


@pytest.fixture(params=list(BY_NAME))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def _planes(clip: bytes) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Luma of shape (frames, 360, 640) and chroma of shape (frames, 2, 180, 320)."""
    frames = np.frombuffer(clip, dtype=np.uint8).reshape(-1, PIXELS * 3 // 2)
    luma = frames[:, :PIXELS].reshape(-1, synth.HEIGHT, synth.WIDTH)
    return luma, frames[:, PIXELS:].reshape(-1, 2, synth.HEIGHT // 2, synth.WIDTH // 2)


def _changes(clip: bytes) -> npt.NDArray[np.float64]:
    """Mean absolute difference of luma between each frame and the next."""
    luma = _planes(clip)[0].astype(np.int16)
    return np.array([np.abs(b - a).mean() for a, b in pairwise(luma)])


def _spectral_slope(picture: npt.NDArray[np.uint8]) -> float:
    """Slope of log power over log frequency, radially averaged, from 1/90 to 1/4 cycles a pixel."""
    side = synth.HEIGHT
    edges = 4 * 2 ** (np.arange(19) / 4)
    y, x = np.indices((side, side)) - side // 2
    ring = np.digitize(np.hypot(y, x), edges) - 1
    window = np.outer(np.hanning(side), np.hanning(side))
    slopes = []
    for left in (0, 140, 280):
        part = picture[:, left : left + side].astype(np.float64)
        power = np.abs(np.fft.fftshift(np.fft.fft2((part - part.mean()) * window))) ** 2
        rings = [np.log(power[ring == band].mean()) for band in range(18)]
        slopes.append(np.polyfit(np.log(edges[:-1]), rings, 1)[0])
    return float(np.mean(slopes))


@pytest.mark.essential
def test_nine_different_clips_with_pinned_bytes(clips: Mapping[str, bytes]) -> None:
    digests = {name: hashlib.sha256(clip).hexdigest() for name, clip in clips.items()}
    assert digests == dict(demo.DEMO_SHA256)
    assert len(set(digests.values())) == len(demo.DEMO_SOURCES) == 9


def test_a_clip_has_the_size_it_states(clips: Mapping[str, bytes], name: str) -> None:
    source = BY_NAME[name]
    assert (source.width, source.height, source.frames) == (640, 360, 30)
    assert source.fps in {Fraction(24), Fraction(25), Fraction(30)}
    assert len(clips[name]) == source.size == 640 * 360 * 3 // 2 * 30
    assert source.content


def test_values_stay_in_the_limited_range(clips: Mapping[str, bytes], name: str) -> None:
    luma, chroma = _planes(clips[name])
    assert luma.min() >= 16
    assert luma.max() <= 235
    assert chroma.min() >= 16
    assert chroma.max() <= 240


def test_every_clip_has_colour(clips: Mapping[str, bytes], name: str) -> None:
    luma, chroma = _planes(clips[name])
    assert chroma[0].std(axis=(1, 2)).min() > 4
    assert luma[0].std() > 10


@pytest.mark.parametrize("name", ["Pebbles", "RoseWindow", "BirchesToSky", "BookShelf"])
def test_textured_clips_have_the_spectrum_of_natural_images(clips: Mapping[str, bytes], name: str) -> None:
    assert _spectral_slope(_planes(clips[name])[0][4]) == pytest.approx(-2, abs=0.5)


def test_every_frame_differs_from_the_one_before(clips: Mapping[str, bytes], name: str) -> None:
    least = 0.2 if name == SHELF.name else 1
    assert _changes(clips[name]).min() > least


def test_only_the_ladybird_moves_on_the_shelf(clips: Mapping[str, bytes]) -> None:
    luma = _planes(clips[SHELF.name])[0].astype(np.int16)
    moved = np.abs(luma[-1] - luma[0]) > 20
    assert 200 < moved.sum() < 3000
    assert moved.any(axis=1).nonzero()[0].min() > 300


def test_the_cut_is_at_frame_15(clips: Mapping[str, bytes]) -> None:
    changes = _changes(clips["BirchesToSky"])
    assert changes.argmax() == 14
    assert changes[14] > 2 * np.delete(changes, 14).max()


def test_the_fade_ends_near_black(clips: Mapping[str, bytes]) -> None:
    luma = _planes(clips["SunsetFade"])[0].astype(np.int16)
    means = luma.mean(axis=(1, 2))
    assert means[0] > 80
    assert luma[-1].max() < 32
    assert (np.diff(means)[5:] < 0).all()


def test_grain_is_new_in_each_frame_and_weaker_in_the_dark() -> None:
    def flat(tone: int, seed: int) -> npt.NDArray[np.int16]:
        planes = [np.zeros((3, rows, columns), dtype=np.int16) for rows, columns in ((360, 640), (180, 320))]
        planes[0][0] = tone
        picture = synth.Picture(luma=planes[0], chroma=planes[1])
        luma: npt.NDArray[np.int16] = _planes(synth.develop(picture, seed, 40))[0][0].astype(np.int16)
        return luma

    middle, another, dark = flat(synth.WHITE // 2, 1), flat(synth.WHITE // 2, 2), flat(300, 1)
    assert middle.std() == pytest.approx(5, abs=0.2)
    assert abs(np.corrcoef(middle.ravel(), another.ravel())[0, 1]) < 0.02
    assert dark.std() < 0.8 * middle.std()


def test_the_sine_table_is_the_rounded_sine() -> None:
    assert list(synth.sines()) == [round(math.sin(math.tau * i / 1024) * 2**14) for i in range(1024)]


def test_noise_has_the_deviation_it_states() -> None:
    field = synth.noise(7, 200, 300)
    assert field.shape == (200, 300)
    assert field.std() == pytest.approx(256, abs=2)
    assert abs(field.mean()) < 2


@pytest.mark.parametrize("step", [2 * synth.ONE, 2 * synth.ONE - 4321])
def test_the_camera_agrees_with_a_slow_one(step: int) -> None:
    planes = (synth.noise(8, 60, 70)[None] + 800).clip(0, synth.WHITE).astype(np.int16)
    x, y = 3 * synth.ONE + 40000, 5 * synth.ONE + 9999

    def between(a: int, b: int, way: int) -> int:
        return (a * (16 - way) + b * way + 8) // 16

    expected = []
    for row in range(20):
        (top, down), pixels = divmod((y + row * step) >> 12, 16), []
        for column in range(25):
            left, along = divmod((x + column * step) >> 12, 16)
            (a, b), (c, d) = planes[0, top : top + 2, left : left + 2].tolist()
            pixels.append(between(between(a, c, down), between(b, d, down), along))
        expected.append(pixels)
    assert synth._sample(planes, (x, y), step, (25, 20))[0].tolist() == expected


def test_a_turn_by_zero_is_a_plain_look() -> None:
    canvas = synth.gradient(800, 1400, [(0, (200, 30, 60)), (800, (20, 90, 240))])
    synth.lighten(canvas, synth.noise(9, 800, 1400))
    plain = synth.look(canvas, (1400 << 15) - 639 * synth.ONE, (800 << 15) - 359 * synth.ONE)
    turned = synth.turn(canvas, 0, 2 * synth.ONE)
    # The two interpolate rows and columns in the other order, which differs by a rounding.
    assert np.abs(plain.luma - turned.luma).max() <= 1
    assert np.abs(plain.chroma - turned.chroma).max() <= 1


def test_the_camera_does_not_look_beyond_its_canvas() -> None:
    with pytest.raises(ValueError, match="of 722 canvas pixels"):
        synth.look(synth.blank(722, 1282), 0, 4 * synth.ONE)


def test_a_clip_of_another_version_is_refused() -> None:
    with pytest.raises(BadInput, match="Pebbles"):
        next(demo.render(replace(BY_NAME["Pebbles"], frames=31)))


@pytest.mark.parametrize("module", [synth, scenes])
def test_the_code_has_no_floats(module: object) -> None:
    tree = ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8"))  # type: ignore[attr-defined]
    for node in ast.walk(tree):
        where = f"line {getattr(node, 'lineno', 0)}"
        if isinstance(node, ast.Constant):
            assert not isinstance(node.value, float | complex), where
        elif isinstance(node, ast.BinOp | ast.AugAssign):
            assert not isinstance(node.op, ast.Div), where
        elif isinstance(node, ast.ImportFrom) and node.module == "math":
            assert {alias.name for alias in node.names} <= {"isqrt"}, where
        elif isinstance(node, ast.Attribute):
            of_numpy = isinstance(node.value, ast.Name) and node.value.id == "np"
            assert node.attr in EXACT_NUMPY if of_numpy else node.attr not in INEXACT_METHODS, where
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in MAKERS:
            assert "dtype" in {keyword.arg for keyword in node.keywords}, where


def _arrays(value: object) -> Iterator[npt.NDArray[np.generic]]:
    if isinstance(value, np.ndarray):
        yield value
    elif isinstance(value, synth.Picture):
        yield from (value.luma, value.chroma)


def test_no_float_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    dtypes: set[np.dtype[np.generic]] = set()

    def watched(function: Callable[..., object]) -> Callable[..., object]:
        @functools.wraps(function)
        def call(*args: object, **keywords: object) -> object:
            result = function(*args, **keywords)
            dtypes.update(array.dtype for value in (*args, *keywords.values(), result) for array in _arrays(value))
            return result

        return call

    for attribute, function in list(vars(synth).items()):
        if (
            callable(function)
            and getattr(function, "__module__", "") == synth.__name__
            and not isinstance(function, type)
        ):
            monkeypatch.setattr(synth, attribute, watched(function))
    for scene in (scenes.sunset, scenes.rose):
        synth.develop(next(scene()), 1, 10)
    assert dtypes == {np.dtype(kind) for kind in (np.uint8, np.int16, np.int32, np.int64, np.bool_)}


@pytest.fixture
def quick(clips: Mapping[str, bytes], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the drawn clips, in order; drawing is replaced by a look-up."""
    drawn: list[str] = []

    def render(source: demo.DemoSource) -> Iterator[bytes]:
        drawn.append(source.name)
        yield clips[source.name]

    monkeypatch.setattr(demo, "render", render)
    return drawn


def test_all_files_are_written_and_then_kept(quick: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    paths = demo.write_demo_sources(folder)
    assert quick == list(BY_NAME)
    assert sorted(paths) == sorted(folder.iterdir())
    assert paths[0].name == "Pebbles_640x360_25fps_8bit_420.yuv"
    before = [(path.stat().st_ino, path.stat().st_mtime_ns) for path in paths]
    assert demo.write_demo_sources(folder) == paths
    assert [(path.stat().st_ino, path.stat().st_mtime_ns) for path in paths] == before
    assert quick == list(BY_NAME)


def test_a_damaged_a_short_and_a_missing_file_are_drawn_again(quick: list[str], tmp_path: Path) -> None:
    paths = demo.write_demo_sources(tmp_path)
    good = [path.read_bytes() for path in paths]
    quick.clear()
    paths[1].write_bytes(good[1][:-1] + bytes([good[1][-1] ^ 1]))
    paths[4].write_bytes(good[4][:1000])
    paths[8].unlink()
    demo.write_demo_sources(tmp_path)
    assert quick == [demo.DEMO_SOURCES[index].name for index in (1, 4, 8)]
    assert [path.read_bytes() for path in paths] == good
    assert sorted(tmp_path.iterdir()) == sorted(paths)


def test_other_bytes_than_expected_are_an_error_and_no_file(
    quick: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    actual = demo.DEMO_SHA256["Pebbles"]
    monkeypatch.setattr(demo, "DEMO_SHA256", {**demo.DEMO_SHA256, "Pebbles": "0" * 64})
    with pytest.raises(PrerequisiteFailed, match=f"(?s)Pebbles.*{actual}.*{'0' * 64}") as caught:
        demo.write_demo_sources(tmp_path)
    assert caught.value.hint
    assert list(tmp_path.iterdir()) == []
