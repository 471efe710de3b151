"""Pictures made of integers: noise, shapes, lettering, a camera and grain.

Everything here is integer arithmetic on arrays whose width is stated, so the same call gives the same bytes
on every machine. Floating point would not: compilers may contract ``a*b + c`` into one rounding, and libraries
differ in the last bit of sines, powers and Fourier transforms. These operations are exact by definition:
``+ - *``, ``//``, comparisons, indexing, and ``>>``, which numpy defines as the floor of a division by a power of
two, for negative numbers too.

Random numbers are the raw 64-bit words of the counter-based generator Philox4x64-10 (Salmon, Moraes, Dror and
Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011). numpy keeps the stream of a bit generator, but
not that of the distributions on top of it (NEP 19); hence no ``Generator``.

A *canvas* is an int16 array of shape (4, rows, columns): luma above black, Cb and Cr about grey, in eighths of an
8-bit code value, and coverage, which is 0 or ``FULL``. Where coverage is 0, so are the others. A canvas has two
rows and two columns for each one of the picture. Shapes are painted on it without any blending, back to front, so
that their edges are true occlusions; the camera then averages over its aperture, as a real one does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from math import isqrt

import numpy as np
import numpy.typing as npt

WIDTH, HEIGHT = 640, 360
#: Canvas pixels for one pixel of the picture, in each direction.
SCALE = 2
#: Coverage of an opaque canvas pixel.
FULL = 1024
#: White above black, 235 - 16, and the largest distance from grey, (240 - 16) / 2, both in eighths.
WHITE, VIVID = 219 * 8, 112 * 8
#: One canvas pixel in the coordinates of shapes, and one in those of the camera.
PX, ONE = 16, 1 << 16
#: A full turn in the unit of every angle here, and the sine's amplitude as a power of two.
TURN, SINE_BITS = 1024, 14

I16 = npt.NDArray[np.int16]
I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]
Bits = npt.NDArray[np.bool_]
Rgb = tuple[int, int, int]


@cache
def sines() -> tuple[int, ...]:
    """Sine of every angle of a full turn, times 2**14 and rounded.

    The unit angle is a quarter turn halved eight times, ``cos(a/2) = sqrt((1 + cos a) / 2)``; the others follow by
    angle addition, in Python's exact integers with 160 fractional bits.
    """
    bits = 160
    one = 1 << bits
    cosine = 0
    for _ in range(8):
        cosine = isqrt((one + cosine) << (bits - 1))
    sine = isqrt((one << bits) - cosine * cosine)
    x, y, table = one, 0, []
    for _ in range(TURN):
        table.append((y + (1 << (bits - SINE_BITS - 1))) >> (bits - SINE_BITS))
        x, y = (x * cosine - y * sine) >> bits, (x * sine + y * cosine) >> bits
    return tuple(table)


def sin(angle: int) -> int:
    """Sine of ``angle``, times 2**14."""
    return sines()[angle % TURN]


def cos(angle: int) -> int:
    """Cosine of ``angle``, times 2**14."""
    return sines()[(angle + TURN // 4) % TURN]


def wave(phase: I32) -> I32:
    """Sine of each angle in ``phase``, times 2**14."""
    table: I32 = np.array(sines(), dtype=np.int32)
    values: I32 = table[phase & (TURN - 1)]
    return values


def random_bytes(seed: int, stream: int, count: int) -> npt.NDArray[np.uint8]:
    """``count`` bytes of one of a seed's streams, the lowest byte of each of Philox's words first."""
    philox = np.random.Philox(key=np.array([seed, stream], dtype=np.uint64))
    return philox.random_raw(-(-count // 8)).astype("<u8").view(np.uint8)[:count]


def dice(seed: int, rows: int, columns: int) -> list[list[int]]:
    """A table of random numbers in 0..65535."""
    low, high = random_bytes(seed, 0, rows * columns * 2).astype(np.int64).reshape(2, -1)
    table: list[list[int]] = (low + 256 * high).reshape(rows, columns).tolist()
    return table


def _double(field: I32) -> I32:
    """``field`` at twice the resolution, by Chaikin's corner cutting, which tends to a quadratic spline."""
    for _ in range(2):
        pair = np.stack((field[:-1] * 3 + field[1:], field[:-1] + field[1:] * 3), axis=1)
        field = pair.reshape(-1, field.shape[1]).T >> 2
    return field


def noise(seed: int, rows: int, columns: int, *, octaves: int = 7, gain: int = 230) -> I32:
    """Texture of shape (rows, columns), zero mean and standard deviation 256.

    It is a sum of lattice noise from ``2**octaves`` pixels a cell down to one. From an octave to the next finer one
    the amplitude changes by ``gain``/256. With 256 the amplitude spectrum falls as 1/f, as that of natural images
    does (Field, JOSA A 4, 1987): an octave's area in the frequency plane grows with f**2, so all octaves
    have one variance. A smaller gain falls more steeply.
    """
    field = np.zeros(((rows >> octaves) + 3, (columns >> octaves) + 3), dtype=np.int32)
    weight = 256
    for octave in range(octaves + 1):
        if octave:
            field = _double(field)
            weight = weight * gain >> 8
        fresh = random_bytes(seed, 1 + octave, field.size).astype(np.int32).reshape(field.shape) - 128
        # Doubling leaves a quarter of the variance of an octave; the last one is never doubled.
        field = field + fresh * (weight // 2 if octave == octaves else weight)
    deep = field[:rows, :columns].astype(np.int64)
    deep = deep - int(deep.sum(dtype=np.int64)) // deep.size
    deviation = isqrt(int((deep * deep).sum(dtype=np.int64)) // deep.size)
    return (deep * ((256 << 16) // deviation) >> 16).astype(np.int32)


def colour(rgb: Rgb) -> tuple[int, int, int]:
    """Luma above black, Cb and Cr about grey, in eighths, by BT.601, the default of untagged SD."""
    r, g, b = rgb
    luma = min((66 * r + 129 * g + 25 * b + 16) >> 5, WHITE)
    return luma, (-38 * r - 74 * g + 112 * b + 16) >> 5, (112 * r - 94 * g - 18 * b + 16) >> 5


def blank(rows: int, columns: int) -> I16:
    """A canvas with nothing on it."""
    return np.zeros((4, rows, columns), dtype=np.int16)


def gradient(rows: int, columns: int, stops: Sequence[tuple[int, Rgb]]) -> I16:
    """An opaque canvas whose rows blend from one stop, a row and its colour, to the next."""
    canvas = blank(rows, columns)
    canvas[3] = FULL
    for (top, first), (end, last) in pairwise(stops):
        at = np.arange(end - top, dtype=np.int32)[:, None]
        for plane, a, b in zip(canvas, colour(first), colour(last), strict=False):
            plane[top:end] = a + at * (b - a) // (end - top)
    return canvas


def lighten(canvas: I16, light: I32) -> None:
    """Add ``light`` to the luma of an opaque canvas."""
    canvas[0] = np.clip(canvas[0] + light, 0, WHITE)


def fill(canvas: I16, rgb: Rgb, where: Bits, light: I32 | int = 0) -> None:
    """Paint one colour ``where`` it is true, with ``light`` added to its luma."""
    luma, cb, cr = colour(rgb)
    lit = np.asarray(light + luma, dtype=np.int32).clip(0, WHITE).astype(np.int16)
    values: tuple[I16 | int, ...] = (lit, cb, cr, FULL)
    for plane, value in zip(canvas, values, strict=True):
        np.copyto(plane, value, where=where)


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """An ellipse or a rectangle: centre and half axes in 1/16 canvas pixels, turned clockwise by ``angle``."""

    x: int
    y: int
    a: int
    b: int
    angle: int = 0
    round: bool = True


def disc(x: int, y: int, radius: int) -> Shape:
    """A disc; all in canvas pixels."""
    return Shape(x=x * PX, y=y * PX, a=radius * PX, b=radius * PX)


def bar(left: int, top: int, width: int, height: int) -> Shape:
    """An upright rectangle; all in canvas pixels."""
    a, b = width * PX // 2, height * PX // 2
    return Shape(x=left * PX + a, y=top * PX + b, a=a - 1, b=b - 1, round=False)


def stamp(canvas: I16, shape: Shape, rgb: Rgb, *, texture: I32 | None = None, shade: int = 0) -> None:
    """Paint ``shape`` over ``canvas``; what falls outside is cut off.

    The first pixel of ``texture`` falls on the first of the shape's. ``shade`` is the luma, in eighths, that the
    upper left of the shape gains and its lower right loses.
    """
    rows, columns = canvas.shape[1:]
    c, s = cos(shape.angle), sin(shape.angle)
    wide, high = ((shape.a * abs(p) + shape.b * abs(q) >> SINE_BITS) + 1 for p, q in ((c, s), (s, c)))
    left, right = max((shape.x - wide) // PX, 0), min((shape.x + wide) // PX + 2, columns)
    top, end = max((shape.y - high) // PX, 0), min((shape.y + high) // PX + 2, rows)
    if left >= right or top >= end:
        return
    dx = np.arange(left, right, dtype=np.int64) * PX - shape.x
    dy = (np.arange(top, end, dtype=np.int64) * PX - shape.y)[:, None]
    aa, bb = shape.a**2, shape.b**2
    u, v = (dx * c + dy * s) >> SINE_BITS, (dy * c - dx * s) >> SINE_BITS
    inside = u * u * bb + v * v * aa <= aa * bb if shape.round else (u * u <= aa) & (v * v <= bb)
    light: I32 | int = 0 if texture is None else texture[: end - top, : right - left]
    if shade:
        light = light - ((dx + dy) * (shade * 4096 // max(shape.a, shape.b)) >> 12).astype(np.int32)
    fill(canvas[:, top:end, left:right], rgb, inside, light)


@dataclass(frozen=True, kw_only=True, slots=True)
class Litter:
    """Dead leaves: ``radii`` are the two cutoffs in canvas pixels, the rest is for ``stamp``."""

    count: int
    radii: tuple[int, int]
    palette: Sequence[Rgb]
    texture: I32
    shade: int = 120


def strew(canvas: I16, seed: int, litter: Litter) -> None:
    """Cover ``canvas`` with dead leaves, each with a texture of its own.

    Shapes that hide one another, with sizes r distributed as r**-3 between two cutoffs, have the scale-invariant
    statistics of natural images (Lee, Mumford and Huang, IJCV 41, 2001).
    """
    least, most = litter.radii
    rows, columns = canvas.shape[1:]
    room = min(litter.texture.shape) - 3 * most
    for x, y, chance, ratio, angle, pick, tx, ty in dice(seed, litter.count, 8):
        # r**-3 integrates to P(size > r) = (least / r)**2; solved for r.
        a = min(isqrt(((least * PX) ** 2 << 16) // (chance + 1)), most * PX)
        shape = Shape(
            x=x * columns * PX >> 16,
            y=y * rows * PX >> 16,
            a=a,
            b=a * (40960 + ratio * 3 // 8) >> 16,
            angle=angle * TURN >> 16,
        )
        skin = litter.texture[ty * room >> 16 :, tx * room >> 16 :]
        stamp(canvas, shape, litter.palette[pick * len(litter.palette) >> 16], texture=skin, shade=litter.shade)


#: Letters of 5 by 7 dots: for each row a base-32 digit, whose highest bit is the left dot.
_DOTS = (
    "ehhvhhh uhhuhhu ehggghe uhhhhhu vgguggv vgguggg ehgnhhf hhhvhhh e44444e 72222ic hikokih ggggggv hrllhhh "
    "hpljhhh ehhhhhe uhhuggg ehhhlid uhhukih fgge11u v444444 hhhhhhe hhhhha4 hhhllla hha4ahh hha4444 v1248gv "
    "ehjlphe 4c4444e eh1248v v2421he 26aiv22 vgu11he 68guhhe v124888 ehhehhe ehhf12c 0cc0cc0 00000cc 000v000 "
    "01248g0 0000000"
)
FONT = dict(zip("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:.-/ ", _DOTS.split(), strict=True))


def write(canvas: I16, text: str, at: tuple[int, int], size: int, rgb: Rgb) -> None:
    """Write one line with its upper left corner ``at`` (x, y); a letter takes 6 by 7 dots of ``size`` pixels."""
    dots = [
        [int(FONT[letter][row], 32) << 1 >> bit & 1 for letter in text for bit in range(5, -1, -1)] for row in range(7)
    ]
    ink = np.array(dots, dtype=np.bool_).repeat(size, axis=0).repeat(size, axis=1)
    x, y = at
    fill(canvas[:, y : y + ink.shape[0], x : x + ink.shape[1]], rgb, ink)


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """What the camera sees, in the units of a canvas.

    Attributes:
        luma: shape (2, 360, 640): luma and coverage.
        chroma: shape (3, 180, 320): Cb, Cr and coverage, on the even columns of luma, between two of its rows.
    """

    luma: I16
    chroma: I16

    def under(self, top: Picture) -> Picture:
        """The same picture, hidden where ``top`` covers it."""
        return Picture(luma=_hide(self.luma, top.luma), chroma=_hide(self.chroma, top.chroma))

    def dim(self, light: int) -> Picture:
        """The same picture, opaque, with ``light``/256 of its light."""
        return Picture(
            luma=(self.luma.astype(np.int32) * light + 128 >> 8).astype(np.int16),
            chroma=(self.chroma.astype(np.int32) * light + 128 >> 8).astype(np.int16),
        )


def _hide(below: I16, above: I16) -> I16:
    rest = FULL - above[-1].astype(np.int32)
    hidden: I16 = above + (below * rest + FULL // 2 >> 10).astype(np.int16)
    return hidden


def expose(canvas: I16) -> I16:
    """``canvas`` averaged over the camera's aperture, 2 by 2 canvas pixels; one row and one column smaller."""
    rows = canvas[:, :-1] + canvas[:, 1:]
    exposed: I16 = rows[:, :, :-1] + rows[:, :, 1:]
    exposed += 2
    exposed >>= 2
    return exposed


def _taps(start: int, step: int, count: int, size: int) -> tuple[slice | I64, slice | I64, I16]:
    """Return the indices of the samples before and after each of ``count`` points, and its position between, in 1/16.

    The first point and the distance of two are in 1/65536 of a sample. Whole distances give slices, which are views.
    A point outside of ``size`` samples is an error, as a negative index would wrap around.
    """
    last = (start + step * (count - 1) >> 16) + 1
    if start < 0 or last >= size:
        raise ValueError(f"the camera looks at {start >> 16}..{last} of {size} canvas pixels")
    at = start + step * np.arange(count, dtype=np.int64)
    way = (at >> 12 & 15).astype(np.int16)
    if step % ONE:
        return at >> 16, (at >> 16) + 1, way
    first, stride = start >> 16, step >> 16
    return slice(first, last, stride), slice(first + 1, last + 1, stride), way


def _mix(a: I16, b: I16, way: I16) -> I16:
    """``way``/16 of the way from ``a`` to ``b``; 16 times white still fits into 16 bits."""
    mixed = a * (16 - way)
    mixed += b * way
    mixed += 8
    mixed >>= 4
    return mixed


def _sample(planes: I16, start: tuple[int, int], step: int, size: tuple[int, int]) -> I16:
    above, below, down = _taps(start[1], step, size[1], planes.shape[1])
    before, after, along = _taps(start[0], step, size[0], planes.shape[2])
    lines = _mix(planes[:, above], planes[:, below], down[:, None])
    return _mix(lines[:, :, before], lines[:, :, after], along)


def look(canvas: I16, x: int, y: int, step: int = SCALE * ONE) -> Picture:
    """What a camera sees of an exposed canvas.

    The first sample is at (x, y) and the next one ``step`` away, in 1/65536 of a canvas pixel; a smaller step is
    a nearer camera.
    """
    return Picture(
        luma=_sample(canvas[::3], (x, y), step, (WIDTH, HEIGHT)),
        chroma=_sample(canvas[1:], (x, y + step // 2), 2 * step, (WIDTH // 2, HEIGHT // 2)),
    )


def _turned(plane: I16, x: I64, y: I64) -> I16:
    flat, columns = plane.reshape(-1), plane.shape[1]
    at = (y >> 16) * columns + (x >> 16)
    along, down = (x >> 12 & 15).astype(np.int16), (y >> 12 & 15).astype(np.int16)
    a, b, c, d = (flat.take(at + offset) for offset in (0, 1, columns, columns + 1))
    return _mix(_mix(a, b, along), _mix(c, d, along), down)


def turn(canvas: I16, angle: int, step: int) -> Picture:
    """What a camera turned by ``angle`` sees of the middle of an exposed, opaque canvas; ``step`` as for ``look``."""
    rows, columns = canvas.shape[1:]
    ux, uy = step * cos(angle) >> SINE_BITS, step * sin(angle) >> SINE_BITS
    halves = []
    for planes, every in ((canvas[:1], 1), (canvas[1:3], 2)):
        # Twice the distance from the middle of the picture, which is a whole number; chroma is half a row lower.
        i = np.arange(0, 2 * WIDTH, 2 * every, dtype=np.int64) - (WIDTH - 1)
        j = (np.arange(0, 2 * HEIGHT, 2 * every, dtype=np.int64) - (HEIGHT - every))[:, None]
        x, y = (columns << 15) + (i * ux - j * uy >> 1), (rows << 15) + (i * uy + j * ux >> 1)
        full = np.full(x.shape, FULL, dtype=np.int16)
        halves.append(np.stack([*(_turned(plane, x, y) for plane in planes), full]))
    return Picture(luma=halves[0], chroma=halves[1])


def _grain(seed: int, stream: int, rows: int, columns: int) -> I32:
    """Noise of zero mean and standard deviation 209, in specks of about 2 by 2 pixels."""
    count = (rows + 1) * (columns + 1)
    pair = random_bytes(seed, stream, 2 * count).astype(np.int16).reshape(2, rows + 1, columns + 1)
    speck: I16 = pair[0] - pair[1]
    speck = speck[:-1] + speck[1:]
    return (speck[:, :-1] + speck[:, 1:]).astype(np.int32)


def develop(picture: Picture, seed: int, grain: int) -> bytes:
    """An 8-bit planar 4:2:0 frame of limited range, with grain of its own for each ``seed``.

    ``grain`` is its standard deviation in mid-grey, in eighths of a code value. It falls to a quarter of that
    towards black and white, as grain depends on the signal (Norkin and Birkbeck, DCC 2018).
    """
    tone = np.arange(WHITE + 1, dtype=np.int32)
    strength = (64 + tone * (WHITE - tone) * 768 // WHITE**2) * grain * 256 // 209
    luma = np.clip(picture.luma[0].astype(np.int32), 0, WHITE)
    luma = luma + (_grain(seed, 100, HEIGHT, WIDTH) * strength[luma] >> 16)
    tint = _grain(seed, 101, HEIGHT, WIDTH // 2).reshape(2, HEIGHT // 2, WIDTH // 2)
    chroma = picture.chroma[:2] + (tint * grain >> 10)
    planes = (
        np.clip(luma + 4 >> 3, 0, WHITE >> 3) + 16,
        np.clip(chroma + 4 >> 3, -(VIVID >> 3), VIVID >> 3) + 128,
    )
    return b"".join(plane.astype(np.uint8).tobytes() for plane in planes)
