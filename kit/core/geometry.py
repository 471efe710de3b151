"""Geometry of clips: pixel formats, and parsers of file names, sidecars and Y4M headers. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction

from kit.core.canon import canonical_json
from kit.core.errors import BadInput
from kit.core.values import Geometry, SourceFile


@dataclass(frozen=True, kw_only=True)
class PixelFormat:
    """A planar YUV format: bits of a sample, and log2 of the chroma subsampling in both directions."""

    name: str
    bits: int
    chroma: int
    log2_w: int
    log2_h: int


def _formats() -> dict[str, PixelFormat]:
    shifts = {420: (1, 1), 422: (1, 0), 444: (0, 0)}
    table = {}
    for chroma, (log2_w, log2_h) in shifts.items():
        for bits in (8, 10, 12):
            name = f"yuv{chroma}p" + ("" if bits == 8 else f"{bits}le")
            table[name] = PixelFormat(name=name, bits=bits, chroma=chroma, log2_w=log2_w, log2_h=log2_h)
    return table


#: Every format a source may have, by ffmpeg's name.
PIXEL_FORMATS: Mapping[str, PixelFormat] = _formats()

#: Rates that file names and containers round; SMPTE's 1000/1001 family.
_NTSC = {
    "23.976": (24000, 1001),
    "23.98": (24000, 1001),
    "29.97": (30000, 1001),
    "47.952": (48000, 1001),
    "59.94": (60000, 1001),
    "119.88": (120000, 1001),
}

#: libvmaf ends in a segmentation fault below 17 samples; its pyramid needs about 32.
MIN_SIDE = 32
MAX_SIDE = 16384
MAX_FPS = 1000


@dataclass(frozen=True, kw_only=True)
class RawFormat:
    """A geometry without its number of frames."""

    width: int
    height: int
    pix_fmt: str
    fps: Fraction
    range: str = "tv"

    def with_frames(self, frames: int) -> Geometry:
        return Geometry(
            width=self.width,
            height=self.height,
            pix_fmt=self.pix_fmt,
            range=self.range,
            fps=self.fps,
            frames=frames,
        )


def frame_bytes(width: int, height: int, pix_fmt: str) -> int:
    """Return the bytes of one planar frame. Chroma planes of odd sizes are rounded up, as in ffmpeg."""
    fmt = PIXEL_FORMATS[pix_fmt]
    chroma_w = -(-width >> fmt.log2_w)
    chroma_h = -(-height >> fmt.log2_h)
    samples = width * height + 2 * chroma_w * chroma_h
    return samples * (1 if fmt.bits == 8 else 2)


def largest_frame(files: Iterable[SourceFile]) -> int:
    """Return the bytes of the largest frame of all clips."""
    return max(frame_bytes(f.geometry.width, f.geometry.height, f.geometry.pix_fmt) for f in files)


def identity_header(geometry: Geometry) -> bytes:
    """Return the canonical JSON that precedes the frames in the hash of a source.

    The frames alone do not identify a source: read as 640x360 and as 360x640 they have the same hash, and an encoder's
    rate control depends on the frame rate.
    """
    return canonical_json(
        {
            "width": geometry.width,
            "height": geometry.height,
            "pix_fmt": geometry.pix_fmt,
            "range": geometry.range,
            "fps": f"{geometry.fps.numerator}/{geometry.fps.denominator}",
            "frames": geometry.frames,
        }
    )


def parse_fps(text: str) -> Fraction:
    """Parse a frame rate such as ``25``, ``29.97``, ``30000/1001`` or ``30000:1001``.

    Rounded decimals of the 1000/1001 rates give the exact rate.

    Raises:
        BadInput: not a number above 0 and up to 1000.
    """
    spelled = text.strip().replace(":", "/")
    try:
        if not re.fullmatch(r"\d{1,9}(\.\d{1,9}|/\d{1,9})?", spelled):
            raise ValueError
        fps = Fraction(*_NTSC[spelled]) if spelled in _NTSC else Fraction(spelled)
    except (ValueError, ZeroDivisionError):
        raise BadInput(f"frame rate {text!r} is not a number", hint="Write 25, 29.97 or 30000/1001.") from None
    if not 0 < fps <= MAX_FPS:
        raise BadInput(f"frame rate {text!r} is outside 0 to {MAX_FPS}", hint="Convert or remove the clip.")
    return fps


def exact_rate(fps: Fraction) -> Fraction:
    """Return the exact 1000/1001 rate for the rounded one of a container, and any other rate unchanged.

    Matroska stores the duration of a frame in nanoseconds, and ffmpeg converts it to a fraction of numbers up to 30000:
    60000/1001 becomes 19001/317, off by 5e-8. Rates that really differ are off by 1e-3.
    """
    near = Fraction(round(fps * 1001 / 1000) * 1000, 1001)
    return near if abs(near - fps) <= fps / 1_000_000 else fps


def checked_format(*, width: int, height: int, pix_fmt: str, fps: Fraction, range_: str = "tv") -> RawFormat:
    """Check that the kit supports a format.

    Raises:
        BadInput: a side outside 32 to 16384 or odd with subsampled chroma, an unsupported pixel format, an unknown
            range.
    """
    if not (MIN_SIDE <= width <= MAX_SIDE and MIN_SIDE <= height <= MAX_SIDE):
        limits = f"{MIN_SIDE}x{MIN_SIDE} to {MAX_SIDE}x{MAX_SIDE}"
        raise BadInput(f"frame size {width}x{height} is outside {limits}", hint="Scale or remove the clip.")
    if pix_fmt not in PIXEL_FORMATS:
        raise BadInput(
            f"pixel format {pix_fmt!r} is not supported; expected one of {', '.join(PIXEL_FORMATS)}",
            hint="Convert the clip losslessly first, e.g. ffmpeg -i IN -pix_fmt yuv420p -c:v ffv1 OUT.mkv",
        )
    fmt = PIXEL_FORMATS[pix_fmt]
    if width % (1 << fmt.log2_w) or height % (1 << fmt.log2_h):
        raise BadInput(
            f"frame size {width}x{height} is odd; encoders refuse odd sizes with subsampled chroma ({pix_fmt})",
            hint="Crop it first, e.g. ffmpeg -i IN -vf crop=iw-mod(iw\\,2):ih-mod(ih\\,2) -c:v ffv1 OUT.mkv",
        )
    if range_ not in ("tv", "pc"):
        raise BadInput(f"range {range_!r} is unknown", hint="Use tv (limited) or pc (full).")
    return RawFormat(width=width, height=height, pix_fmt=pix_fmt, fps=fps, range=range_)


_NAME = re.compile(
    r"^(?P<name>.+?)_(?P<w>\d+)x(?P<h>\d+)_(?P<fps>\d+(?:\.\d+)?)fps_(?P<bits>\d+)bit_(?P<chroma>\d{3})$"
)
_SHORT_NAME = re.compile(r"^(?P<name>.+)_(?P<fps>\d+(?:\.\d+)?)fps$")


def parse_name(stem: str) -> tuple[str, RawFormat | None, Fraction | None]:
    """Parse ``Name_WxH_FPSfps_BITbit_420`` or ``Name_FPSfps``.

    Returns:
        The name; the format, if the stem has all of it; the frame rate, if the stem has it.

    Raises:
        BadInput: the stem has this form and an unsupported value.
    """
    if full := _NAME.match(stem):
        bits, chroma = int(full["bits"]), full["chroma"]
        fps = parse_fps(full["fps"])
        fmt = checked_format(
            width=int(full["w"]),
            height=int(full["h"]),
            fps=fps,
            pix_fmt=f"yuv{chroma}p" + ("" if bits == 8 else f"{bits}le"),
        )
        return full["name"], fmt, fps
    if short := _SHORT_NAME.match(stem):
        return short["name"], None, parse_fps(short["fps"])
    return stem, None, None


def parse_option(text: str) -> RawFormat:
    """Parse the ``--geometry`` option: ``WxH@FPS`` or ``WxH@FPS:PIXFMT`` (default ``yuv420p``).

    Raises:
        BadInput: another form, or an unsupported value.
    """
    match = re.fullmatch(r"(\d{1,6})x(\d{1,6})@([\d./]+)(?::(\w+))?", text.strip())
    if not match:
        raise BadInput(f"geometry {text!r} is not WxH@FPS[:PIXFMT]", hint="For example 1920x1080@25:yuv420p10le.")
    width, height, fps, pix_fmt = match.groups()
    return checked_format(width=int(width), height=int(height), fps=parse_fps(fps), pix_fmt=pix_fmt or "yuv420p")


_SIDECAR = 'Write {"width": …, "height": …, "fps": …}.'


def parse_sidecar(value: object, where: str) -> RawFormat:
    """Parse a ``.json`` sidecar: ``width``, ``height``, ``fps``; ``pix_fmt`` and ``range`` are optional.

    Args:
        where: the sidecar's name in errors.

    Raises:
        BadInput: a missing or unknown key, or an unsupported value.
    """
    if not isinstance(value, dict):
        raise BadInput(f"{where}: expected a JSON object, got {type(value).__name__}", hint=_SIDECAR)
    keys = set(value)
    required, known = {"width", "height", "fps"}, {"width", "height", "fps", "pix_fmt", "range"}
    if missing := sorted(required - keys):
        raise BadInput(f"{where}: missing {', '.join(missing)}", hint=_SIDECAR)
    if unknown := sorted(keys - known):
        raise BadInput(f"{where}: unknown {', '.join(unknown)}", hint=f"Use {', '.join(sorted(known))} only.")
    width, height = value["width"], value["height"]
    if not (type(width) is int and type(height) is int):
        raise BadInput(f"{where}: width and height must be whole numbers, got {width!r} and {height!r}", hint=_SIDECAR)
    return checked_format(
        width=width,
        height=height,
        fps=parse_fps(str(value["fps"])),
        pix_fmt=str(value.get("pix_fmt", "yuv420p")),
        range_=str(value.get("range", "tv")),
    )


_DAMAGED = "Copy the clip again, or remove it: it is damaged or not Y4M."
_Y4M_CHROMA = {"420": "yuv420p", "420jpeg": "yuv420p", "420mpeg2": "yuv420p", "420paldv": "yuv420p"}


def parse_y4m_header(line: bytes, where: str) -> RawFormat:
    """Parse the first line of a YUV4MPEG2 stream, without its newline.

    Args:
        where: the clip's name in errors.

    Raises:
        BadInput: not such a line, interlaced, or an unsupported format.
    """
    try:
        words = line.decode("ascii").split()
    except UnicodeDecodeError:
        words = []
    if not words or words[0] != "YUV4MPEG2":
        raise BadInput(f"{where}: does not start with YUV4MPEG2", hint=_DAMAGED)
    tags = {word[0]: word[1:] for word in words[1:] if word[0] != "X"}
    extra = dict(word[1:].split("=", 1) for word in words[1:] if word[0] == "X" and "=" in word)
    if missing := [tag for tag in "WHF" if tag not in tags]:
        raise BadInput(f"{where}: the Y4M header lacks {', '.join(missing)}", hint=_DAMAGED)
    if tags.get("I", "p") not in ("p", "?"):
        raise BadInput(
            f"{where}: interlaced (Y4M tag I{tags['I']}); VMAF compares progressive frames",
            hint="Deinterlace it first.",
        )
    if not (re.fullmatch(r"\d{1,6}", tags["W"]) and re.fullmatch(r"\d{1,6}", tags["H"])):
        raise BadInput(f"{where}: the Y4M size is W{tags['W']} H{tags['H']}", hint=_DAMAGED)
    colour = tags.get("C", "420")
    depth = re.fullmatch(r"(420|422|444)p(10|12)", colour)
    plain = _Y4M_CHROMA.get(colour, f"yuv{colour}p")
    return checked_format(
        width=int(tags["W"]),
        height=int(tags["H"]),
        fps=parse_fps(tags["F"]),
        pix_fmt=f"yuv{depth[1]}p{depth[2]}le" if depth else plain,
        range_="pc" if extra.get("COLORRANGE") == "FULL" else "tv",
    )
