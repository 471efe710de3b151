"""Pixel formats, names, sidecars, Y4M headers and the header of a source's identity."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction

import pytest

from kit.core.errors import BadInput
from kit.core.geometry import (
    PIXEL_FORMATS,
    RawFormat,
    frame_bytes,
    identity_header,
    parse_fps,
    parse_name,
    parse_option,
    parse_sidecar,
    parse_y4m_header,
)
from kit.core.values import Geometry

NTSC_30 = Fraction(30000, 1001)
GEOMETRY = Geometry(width=640, height=360, pix_fmt="yuv420p", range="tv", fps=NTSC_30, frames=54)


def raw(width: int, height: int, fps: Fraction | int, pix_fmt: str = "yuv420p", range_: str = "tv") -> RawFormat:
    return RawFormat(width=width, height=height, pix_fmt=pix_fmt, fps=Fraction(fps), range=range_)


def test_the_formats_are_planar_yuv_of_8_10_and_12_bits() -> None:
    assert sorted(PIXEL_FORMATS) == sorted(
        f"yuv{chroma}p{depth}" for chroma in (420, 422, 444) for depth in ("", "10le", "12le")
    )
    assert {name: fmt.bits for name, fmt in PIXEL_FORMATS.items() if fmt.chroma == 422} == {
        "yuv422p": 8,
        "yuv422p10le": 10,
        "yuv422p12le": 12,
    }


@pytest.mark.parametrize(
    ("size", "by_chroma"),
    [
        ((16, 16), {420: 384, 422: 512, 444: 768}),
        # chroma planes of odd sizes are rounded up: 17x33 has 9x17, 9x33 and 17x33 chroma samples
        ((17, 33), {420: 561 + 2 * 9 * 17, 422: 561 + 2 * 9 * 33, 444: 3 * 561}),
        ((17, 16), {420: 272 + 2 * 9 * 8, 422: 272 + 2 * 9 * 16, 444: 3 * 272}),
        ((16, 17), {420: 272 + 2 * 8 * 9, 422: 272 + 2 * 8 * 17, 444: 3 * 272}),
        ((1920, 1080), {420: 3110400, 422: 4147200, 444: 6220800}),
    ],
)
@pytest.mark.parametrize(("depth", "factor"), [("", 1), ("10le", 2), ("12le", 2)])
def test_frame_bytes(size: tuple[int, int], by_chroma: dict[int, int], depth: str, factor: int) -> None:
    for chroma, samples in by_chroma.items():
        assert frame_bytes(*size, f"yuv{chroma}p{depth}") == samples * factor


def test_identity_header_is_canonical_json() -> None:
    assert identity_header(GEOMETRY) == (
        b'{"fps":"30000/1001","frames":54,"height":360,"pix_fmt":"yuv420p","range":"tv","width":640}'
    )
    whole = identity_header(replace(GEOMETRY, fps=Fraction(25)))
    assert json.loads(whole)["fps"] == "25/1"


def test_identity_header_differs_for_each_field() -> None:
    others = [
        replace(GEOMETRY, width=641),
        replace(GEOMETRY, height=361),
        replace(GEOMETRY, width=360, height=640),
        replace(GEOMETRY, pix_fmt="yuv422p"),
        replace(GEOMETRY, range="pc"),
        replace(GEOMETRY, fps=Fraction(30)),
        replace(GEOMETRY, frames=55),
    ]
    assert len({identity_header(geometry) for geometry in (GEOMETRY, *others)}) == len(others) + 1


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("25", Fraction(25)),
        (" 25 ", Fraction(25)),
        ("12.5", Fraction(25, 2)),
        ("50/2", Fraction(25)),
        ("30000/1001", NTSC_30),
        ("30000:1001", NTSC_30),
        ("23.976", Fraction(24000, 1001)),
        ("23.98", Fraction(24000, 1001)),
        ("29.97", NTSC_30),
        ("47.952", Fraction(48000, 1001)),
        ("59.94", Fraction(60000, 1001)),
        ("119.88", Fraction(120000, 1001)),
        ("29.98", Fraction(2998, 100)),
        ("1000", Fraction(1000)),
    ],
)
def test_rates(text: str, rate: Fraction) -> None:
    assert parse_fps(text) == rate


@pytest.mark.parametrize("text", ["", "x", "0", "-25", "25/0", "0:0", "1001", "1e3000", "nan", "inf", "25fps", "1/2/3"])
def test_invalid_rates(text: str) -> None:
    with pytest.raises(BadInput, match="frame rate"):
        parse_fps(text)


@pytest.mark.parametrize(
    ("stem", "expected"),
    [
        ("Highway_640x360_25fps_8bit_420", ("Highway", raw(640, 360, 25), Fraction(25))),
        (
            "El_Fuente_1920x1080_59.94fps_10bit_422",
            ("El_Fuente", raw(1920, 1080, Fraction(60000, 1001), "yuv422p10le"), Fraction(60000, 1001)),
        ),
        ("A_32x33_24fps_12bit_444", ("A", raw(32, 33, 24, "yuv444p12le"), Fraction(24))),
        ("OldTownCross_25fps", ("OldTownCross", None, Fraction(25))),
        ("Tango_29.97fps", ("Tango", None, NTSC_30)),
        ("Netflix_Crowd", ("Netflix_Crowd", None, None)),
        ("Clip_640x360", ("Clip_640x360", None, None)),
        ("25fps", ("25fps", None, None)),
        ("", ("", None, None)),
    ],
)
def test_names(stem: str, expected: tuple[str, RawFormat | None, Fraction | None]) -> None:
    assert parse_name(stem) == expected


@pytest.mark.parametrize(
    ("stem", "expected"),
    [
        ("A_15x360_25fps_8bit_420", "frame size 15x360"),
        ("A_640x16385_25fps_8bit_420", "frame size 640x16385"),
        ("A_640x360_0fps_8bit_420", "frame rate '0'"),
        ("A_640x360_25fps_9bit_420", "yuv420p9le"),
        ("A_640x360_25fps_16bit_420", "yuv420p16le"),
        ("A_640x360_25fps_8bit_411", "yuv411p"),
        ("A_0fps", "frame rate '0'"),
    ],
)
def test_names_whose_values_are_out_of_range(stem: str, expected: str) -> None:
    with pytest.raises(BadInput) as error:
        parse_name(stem)
    assert expected in error.value.message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("640x360@25", raw(640, 360, 25)),
        (" 640x360@25 ", raw(640, 360, 25)),
        ("640x360@29.97", raw(640, 360, NTSC_30)),
        ("640x360@30000/1001:yuv420p10le", raw(640, 360, NTSC_30, "yuv420p10le")),
        ("32x16384@1000:yuv444p", raw(32, 16384, 1000, "yuv444p")),
    ],
)
def test_options(text: str, expected: RawFormat) -> None:
    assert parse_option(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "640x360",
        "640x360@",
        "640@25",
        "640x360@0",
        "640x360@./.",
        "640x360@25:",
        "640x360@25:nv12",
        "-640x360@25",
        "8x8@25",
        "640x360@25:yuv420p:tv",
        pytest.param("9" * 5000 + "x360@25", id="5000-digits"),
    ],
)
def test_invalid_options(text: str) -> None:
    with pytest.raises(BadInput):
        parse_option(text)


SIDECAR = {"width": 640, "height": 360, "fps": 25}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (SIDECAR, raw(640, 360, 25)),
        (SIDECAR | {"fps": "30000/1001"}, raw(640, 360, NTSC_30)),
        (SIDECAR | {"fps": 29.97}, raw(640, 360, NTSC_30)),
        (SIDECAR | {"pix_fmt": "yuv444p12le", "range": "pc"}, raw(640, 360, 25, "yuv444p12le", "pc")),
    ],
)
def test_sidecars(value: object, expected: RawFormat) -> None:
    assert parse_sidecar(value, "a.json") == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ([], "list"),
        (None, "NoneType"),
        ({}, "a.json: missing fps, height, width"),
        ({"width": 640, "fps": 25}, "a.json: missing height"),
        (SIDECAR | {"pixfmt": "yuv420p"}, "a.json: unknown pixfmt"),
        (SIDECAR | {"width": "640"}, "a.json: width and height"),
        (SIDECAR | {"height": 360.0}, "a.json: width and height"),
        (SIDECAR | {"width": True}, "a.json: width and height"),
        (SIDECAR | {"fps": None}, "frame rate 'None'"),
        (SIDECAR | {"fps": []}, "frame rate"),
        (SIDECAR | {"pix_fmt": "yuv420p16le"}, "yuv420p16le"),
        (SIDECAR | {"range": "full"}, "range 'full'"),
        (SIDECAR | {"width": 15}, "frame size 15x360"),
    ],
)
def test_invalid_sidecars(value: object, expected: str) -> None:
    with pytest.raises(BadInput) as error:
        parse_sidecar(value, "a.json")
    assert expected in error.value.message


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"YUV4MPEG2 W640 H360 F25:1", raw(640, 360, 25)),
        (b"YUV4MPEG2 W640 H360 F30000:1001 Ip A1:1 C420jpeg", raw(640, 360, NTSC_30)),
        (b"YUV4MPEG2 C420mpeg2 F25:1 H360 W640 I?", raw(640, 360, 25)),
        (b"YUV4MPEG2 W640 H360 F25:1 C420paldv", raw(640, 360, 25)),
        (b"YUV4MPEG2 W640 H360 F25:1 C422", raw(640, 360, 25, "yuv422p")),
        (b"YUV4MPEG2 W640 H360 F25:1 C444", raw(640, 360, 25, "yuv444p")),
        (b"YUV4MPEG2 W640 H360 F25:1 C420p10 XYSCSS=420P10", raw(640, 360, 25, "yuv420p10le")),
        (b"YUV4MPEG2 W640 H360 F25:1 C422p12", raw(640, 360, 25, "yuv422p12le")),
        (b"YUV4MPEG2 W640 H360 F25:1 XCOLORRANGE=FULL", raw(640, 360, 25, range_="pc")),
        (b"YUV4MPEG2 W640 H360 F25:1 XCOLORRANGE=LIMITED X", raw(640, 360, 25)),
    ],
)
def test_y4m_headers(line: bytes, expected: RawFormat) -> None:
    assert parse_y4m_header(line, "a.y4m") == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"", "a.y4m"),
        (b"RIFF W640 H360 F25:1", "a.y4m"),
        (b"YUV4MPEG2X W640 H360 F25:1", "a.y4m"),
        (b"YUV4MPEG2 W640 H360 F25:1 \xff", "a.y4m"),
        (b"YUV4MPEG2 W640 F25:1", "a.y4m: the Y4M header lacks H"),
        (b"YUV4MPEG2", "a.y4m: the Y4M header lacks W, H, F"),
        (b"YUV4MPEG2 W640 H360 F25:1 It", "tag It"),
        (b"YUV4MPEG2 W640 H360 F25:1 Im", "tag Im"),
        (b"YUV4MPEG2 W-640 H360 F25:1", "W-640"),
        (b"YUV4MPEG2 W H360 F25:1", "a.y4m"),
        (b"YUV4MPEG2 W640 H360 F0:0", "frame rate '0:0'"),
        (b"YUV4MPEG2 W640 H360 F25:1 Cmono", "yuvmonop"),
        (b"YUV4MPEG2 W640 H360 F25:1 C444alpha", "yuv444alphap"),
        (b"YUV4MPEG2 W640 H360 F25:1 C420p16", "yuv420p16p"),
        pytest.param(b"YUV4MPEG2 W" + b"9" * 5000 + b" H360 F25:1", "size", id="5000-digits"),
    ],
)
def test_invalid_y4m_headers(line: bytes, expected: str) -> None:
    with pytest.raises(BadInput) as error:
        parse_y4m_header(line, "a.y4m")
    assert expected in error.value.message


def test_a_raw_format_becomes_a_geometry() -> None:
    assert raw(640, 360, NTSC_30).with_frames(54) == GEOMETRY
