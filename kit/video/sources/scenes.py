"""The nine scenes of the demo clips: each is a function that yields what the camera sees, frame by frame.

A scene paints its canvases once, back to front, and then moves a camera over them. Canvases that move at
different speeds are what gives parallax and lets near things uncover far ones. Luma, positions and angles are in the
units of ``kit.video.sources.synth``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from kit.video.sources import synth
from kit.video.sources.synth import HEIGHT, ONE, PX, TURN, WIDTH, Litter, Picture, Rgb, Shape

FRAMES = 30
#: A canvas that fills the picture, with room for the aperture.
ROWS, COLUMNS = synth.SCALE * HEIGHT + 2, synth.SCALE * WIDTH + 2

STONES = ((150, 140, 125), (96, 104, 112), (178, 160, 130), (120, 92, 72), (82, 96, 80), (200, 192, 178), (70, 66, 70))
BLADES = ((52, 92, 30), (88, 128, 44), (34, 66, 30), (120, 150, 62))
NEEDLES = ((26, 50, 40), (34, 62, 44), (44, 70, 46))
FOLIAGE = ((196, 150, 40), (120, 140, 50), (214, 110, 36), (80, 100, 44), (150, 70, 30), (230, 190, 80))
SILKS = (((200, 40, 40), (240, 200, 60)), ((40, 80, 170), (240, 240, 240)), ((40, 140, 90), (240, 140, 40)))
LAMPS = ((255, 214, 140), (255, 236, 190), (200, 220, 255), (255, 180, 90))
PAPERS = ((240, 200, 40), (40, 160, 220), (240, 240, 240), (230, 80, 150), (70, 190, 90), (250, 130, 40))
CLOTHS = (
    (120, 40, 36),
    (36, 66, 96),
    (60, 90, 60),
    (170, 140, 80),
    (90, 60, 100),
    (190, 180, 160),
    (50, 50, 56),
    (180, 90, 40),
)
WORDS = ("GRAIN", "CODEC", "PIXEL", "LUMA", "MOTION", "EDGES")
#: Middle, size and silk of each balloon, in canvas pixels.
BALLOONS = ((330, 420, 150, 0), (820, 300, 90, 1), (1080, 640, 120, 2))
#: Radius, panes, half length and half width of the rose window's rings, in canvas pixels.
RINGS = ((690, 36, 60, 56), (556, 30, 76, 50), (418, 24, 66, 50), (296, 16, 66, 52), (176, 10, 62, 50), (88, 6, 34, 30))
#: Size of a dot in canvas pixels, and a line of the titles; every size has its colour.
TITLES = (
    (6, "A FILM ABOUT BITS"),
    (4, "REFERENCE ... 4:2:0"),
    (4, "DISTORTED ... CRF 37"),
    (4, "MOTION ... 1.7 PIXELS"),
    (5, "DETAIL LOSS"),
    (4, "STARRING THE WAVELETS"),
    (4, "AND VISUAL INFORMATION"),
    (5, "BLOCKS"),
    (4, "16 X 16 / 8 X 8 / 4 X 4"),
    (4, "SKIP - MERGE - INTRA"),
    (5, "FILMED WITHOUT LIGHT"),
    (4, "NO PIXEL WAS HARMED"),
    (4, "IN THIS COMPRESSION"),
)
INKS = {6: (255, 210, 90), 5: (120, 210, 230), 4: (210, 210, 204)}
GLASS = ((190, 30, 40), (30, 60, 170), (220, 160, 40), (40, 130, 80), (120, 50, 150), (220, 100, 40), (60, 150, 190))


def _texture(seed: int, deviation: int, gain: int = 230, size: int = 512) -> synth.I32:
    """A square texture whose standard deviation is given in code values."""
    return synth.noise(seed, size, size, gain=gain) * (8 * deviation) >> 8


def pebbles() -> Iterator[Picture]:
    """Stones on a river bed, the camera moving past grass that stands close to it."""
    bed = synth.gradient(ROWS + 30, COLUMNS + 80, [(0, (40, 44, 40)), (ROWS + 30, (30, 30, 28))])
    litter = Litter(count=5200, radii=(7, 110), palette=STONES, texture=_texture(11, 14, 290), shade=190)
    synth.strew(bed, 12, litter)
    grass = synth.blank(ROWS + 20, COLUMNS + 240)
    skin = _texture(13, 7, size=800)
    for x, y, size, tilt, pick in synth.dice(14, 90, 5):
        at = (x * 5 >> 16) * 430 + (y * 190 >> 16) - 60
        blade = Shape(
            x=at * PX,
            y=(ROWS + 40) * PX,
            a=(150 + (size * 260 >> 16)) * PX,
            b=(6 + (size * 8 >> 16)) * PX,
            angle=TURN // 4 + (tilt * 120 >> 16) - 60,
        )
        synth.stamp(grass, blade, BLADES[pick * 4 >> 16], texture=skin, shade=160)
    bed, grass = synth.expose(bed), synth.expose(grass)
    for t in range(FRAMES):
        yield synth.look(bed, t * 9 * ONE // 5, t * 2 * ONE // 5).under(
            synth.look(grass, t * 31 * ONE // 5, t * 3 * ONE // 5)
        )


def rose() -> Iterator[Picture]:
    """A rose window of coloured glass, the camera turning and closing in."""
    side, middle = 1480, 740
    wall = synth.gradient(side, side, [(0, (70, 62, 58)), (side, (56, 50, 52))])
    skin = _texture(21, 13, 290)
    synth.lighten(wall, np.tile(skin, (3, 3))[:side, :side])
    rolls = iter(synth.dice(23, 200, 3))
    lead = (18, 18, 22)
    for ring, (radius, count, length, width) in enumerate(RINGS):
        for petal in range(count):
            angle = TURN * petal // count + ring * 16
            x = middle * PX + (radius * PX * synth.cos(angle) >> synth.SINE_BITS)
            y = middle * PX + (radius * PX * synth.sin(angle) >> synth.SINE_BITS)
            pick, tx, ty = next(rolls)
            frame = Shape(x=x, y=y, a=length * PX, b=width * PX, angle=angle, round=ring != 1)
            synth.stamp(wall, frame, lead)
            pane = replace(frame, a=(length - 7) * PX, b=(width - 7) * PX)
            rgb = GLASS[(petal * 3 + ring + (pick & 1)) % len(GLASS)]
            synth.stamp(wall, pane, rgb, texture=skin[tx >> 8 :, ty >> 8 :] * 2, shade=120)
    synth.stamp(wall, synth.disc(middle, middle, 52), lead)
    synth.stamp(wall, synth.disc(middle, middle, 44), (240, 200, 90), texture=skin, shade=200)
    wall = synth.expose(wall)
    for t in range(FRAMES):
        yield synth.turn(wall, 40 + t, 2 * ONE - t * ONE // 120)


def _ridge(line: synth.I32, top: int, height: int) -> synth.Bits:
    """Return the pixels of a mountain ridge; its line is about ``top`` with a standard deviation of ``height``/2."""
    return np.arange(ROWS, dtype=np.int32)[:, None] >= top + (line * height >> 9)


def _pine(canvas: synth.I16, foot: tuple[int, int], tall: int, rgb: Rgb, skin: synth.I32) -> None:
    x, y = foot
    for step in range(0, tall, 3):
        half = 2 + step % (tall // 3) // 2 + step // 6
        synth.stamp(canvas, synth.bar(x - half, y - tall + step, 2 * half, 4), rgb, texture=skin[step:, 300 - half :])


def ridges() -> Iterator[Picture]:
    """Ridges one behind the other at dawn, the camera closing in on the farthest."""
    sky = synth.gradient(
        ROWS, COLUMNS, [(0, (86, 122, 176)), (260, (236, 190, 160)), (400, (250, 214, 160)), (ROWS, (200, 170, 150))]
    )
    lines = synth.noise(31, ROWS, COLUMNS, octaves=9, gain=140)
    rough = synth.noise(32, ROWS, COLUMNS, gain=290)
    synth.lighten(sky, np.clip(lines[::-1], 0, 700) >> 1)
    synth.stamp(sky, synth.disc(760, 300, 44), (255, 240, 200))
    synth.fill(sky, (150, 150, 176), _ridge(lines[60], 390, 60), rough >> 3)
    synth.fill(sky, (112, 122, 148), _ridge(lines[240], 450, 60), rough >> 2)
    middle, near = synth.blank(ROWS, COLUMNS), synth.blank(ROWS, COLUMNS)
    synth.fill(middle, (70, 92, 100), _ridge(lines[420], 510, 70), rough[:, ::-1] >> 1)
    ground = _ridge(lines[620], 620, 40)
    for x, size, pick in synth.dice(37, 110, 3):
        column = x * COLUMNS >> 16
        foot = column, int(ground[:, column].argmax()) + 24
        _pine(near, foot, 60 + (size * 110 >> 16), NEEDLES[pick * 3 >> 16], rough[size >> 8 :] >> 1)
    synth.fill(near, (38, 58, 40), ground, rough >> 1)
    sky, middle, near = (synth.expose(canvas) for canvas in (sky, middle, near))

    def nearer(canvas: synth.I16, pace: int) -> Picture:
        return synth.look(canvas, 330 * pace, 210 * pace, 2 * ONE - pace)

    for t in range(FRAMES):
        yield nearer(sky, 300 * t).under(nearer(middle, 700 * t)).under(nearer(near, 1500 * t))


def _house(canvas: synth.I16, seed: int, wall: synth.Shape, rgb: Rgb, lit: int) -> None:
    r, g, b = rgb
    synth.stamp(canvas, wall, rgb)
    left, top = (wall.x - wall.a) // PX + 8, (wall.y - wall.b) // PX + 14
    wide, rolls = 2 * wall.a // PX, synth.dice(seed, 240, 2)
    pitch = 13 + rolls[0][0] * 8 // 65536
    across = (wide - 8) // pitch
    for window, (on, lamp) in enumerate(rolls):
        x, y = left + window % across * pitch, top + window // across * (pitch + 6)
        light = LAMPS[lamp * 4 >> 16] if on < lit else (r // 2, g // 2, b // 2 + 8)
        if y < canvas.shape[1]:
            synth.stamp(canvas, synth.bar(x, y, pitch - 6, pitch - 3), light)


def _street(canvas: synth.I16, seed: int, ground: int, wall: Rgb, lit: int) -> None:
    """Houses from the left end to the right, ``lit``/65536 of their windows with the light on."""
    x, (r, g, b) = -20, wall
    for number, (width, height, tone) in enumerate(synth.dice(seed, 60, 3)):
        wide, tall = 80 + (width * 110 >> 16), ground // 4 + (height * ground >> 17)
        dim = 190 + (tone * 110 >> 16)
        house = synth.bar(x, ground - tall, wide, tall + 200)
        _house(canvas, 1000 * seed + number, house, (r * dim >> 8, g * dim >> 8, b * dim >> 8), lit)
        x += wide + (tone & 15)
        if x > canvas.shape[2]:
            break


def city() -> Iterator[Picture]:
    """A city at night on grainy film, the camera moving along slowly."""
    sky = synth.gradient(ROWS, COLUMNS + 60, [(0, (10, 14, 40)), (420, (60, 44, 84)), (ROWS, (150, 84, 70))])
    synth.lighten(sky, np.clip(synth.noise(41, ROWS, COLUMNS + 60, octaves=8, gain=150), -300, 600) >> 2)
    synth.stamp(sky, synth.disc(980, 130, 52), (236, 230, 206), texture=_texture(42, 8, 190))
    _street(sky, 43, 640, (44, 40, 70), 14000)
    near = synth.blank(ROWS, COLUMNS + 140)
    _street(near, 44, 760, (30, 26, 40), 24000)
    sky, near = synth.expose(sky), synth.expose(near)
    for t in range(FRAMES):
        yield synth.look(sky, t * 4 * ONE // 5, 0).under(synth.look(near, t * 11 * ONE // 5, 0))


def _birches(frames: range) -> Iterator[Picture]:
    """Birches before a wood, the camera moving sideways."""
    wood = synth.gradient(ROWS, COLUMNS + 120, [(0, (70, 96, 40)), (ROWS, (40, 44, 20))])
    synth.strew(wood, 52, Litter(count=3600, radii=(6, 70), palette=FOLIAGE, texture=_texture(51, 11, 280), shade=110))
    trunks = synth.blank(ROWS, COLUMNS + 330)
    bark = _texture(53, 12, size=800)
    for number, (place, girth) in enumerate(synth.dice(54, 9, 2)):
        left, width = number * 178 + (place * 90 >> 16), 34 + (girth * 50 >> 16)
        synth.stamp(trunks, synth.bar(left, -10, width, ROWS + 20), (214, 208, 196), texture=bark[:, ::4])
        for x, y, long, thick in synth.dice(60 + number, 26, 4):
            mark = Shape(
                x=(left + (x * width >> 16)) * PX,
                y=(y * ROWS >> 16) * PX,
                a=(5 + (long * 14 >> 16)) * PX,
                b=(2 + (thick * 4 >> 16)) * PX,
            )
            synth.stamp(trunks, mark, (52, 46, 42))
    wood, trunks = synth.expose(wood), synth.expose(trunks)
    for t in frames:
        yield synth.look(wood, t * 19 * ONE // 5, 0).under(synth.look(trunks, t * 54 * ONE // 5, 0))


def _balloons(frames: range) -> Iterator[Picture]:
    """Balloons rising before clouds."""
    sky = synth.gradient(ROWS, COLUMNS, [(0, (60, 120, 200)), (ROWS, (190, 220, 240))])
    clouds = synth.noise(71, ROWS, COLUMNS, octaves=8, gain=165)
    synth.fill(sky, (236, 238, 244), clouds > 120, np.clip(clouds - 400, -400, 300) >> 1)
    near = synth.blank(ROWS + 260, COLUMNS)
    skin = _texture(72, 5)
    for x, y, size, silk in BALLOONS:
        for gore in range(5):
            envelope = Shape(x=x * PX, y=y * PX, a=size * (5 - gore) * PX // 5, b=size * PX * 9 // 8)
            synth.stamp(near, envelope, SILKS[silk][gore & 1], texture=skin, shade=160)
        basket = synth.bar(x - size // 6, y + size * 5 // 4, size // 3, size // 4)
        synth.stamp(near, basket, (110, 76, 40), texture=skin * 2)
    sky, near = synth.expose(sky), synth.expose(near)
    for t in frames:
        yield synth.look(sky, 0, 0).under(synth.look(near, 0, 60 * ONE + t * 23 * ONE // 5))


def cut() -> Iterator[Picture]:
    """A walk past birches, then, from one frame to the next, balloons in the sky."""
    yield from _birches(range(FRAMES // 2))
    yield from _balloons(range(FRAMES // 2, FRAMES))


def titles() -> Iterator[Picture]:
    """Closing titles rolling over a dark wall."""
    wall = synth.gradient(ROWS, COLUMNS, [(0, (16, 40, 52)), (ROWS, (54, 20, 48))])
    synth.lighten(wall, synth.noise(61, ROWS, COLUMNS, gain=235) >> 2)
    roll = synth.blank(ROWS + 320, COLUMNS)
    y = 24
    for size, text in TITLES:
        y += 0 if size == 4 else 16
        synth.write(roll, text, ((COLUMNS - 6 * size * len(text)) // 2, y), size, INKS[size])
        y += 9 * size + 16
    wall, roll = synth.expose(wall), synth.expose(roll)
    for t in range(FRAMES):
        yield synth.look(wall, 0, 0).under(synth.look(roll, 0, t * 17 * ONE // 5))


def _sails(boat: synth.I16) -> None:
    dark, cloth = (30, 20, 26), (84, 46, 50)
    for i in range(48):
        synth.stamp(boat, synth.bar(474, 312 + 2 * i, 4 + i, 3), cloth)
        synth.stamp(boat, synth.bar(462 - i // 2, 322 + 2 * i, i // 2 + 2, 3), cloth)
    synth.stamp(boat, synth.bar(466, 300, 6, 130), dark)
    synth.stamp(boat[:, 420:], Shape(x=484 * PX, y=-4 * PX, a=76 * PX, b=24 * PX), dark)


def sunset() -> Iterator[Picture]:
    """The sun over the sea and a boat, fading to near black."""
    shore, horizon = 400, 200
    glow = [
        (0, (50, 44, 104)),
        (250, (220, 110, 96)),
        (shore, (255, 196, 96)),
        (shore + 1, (120, 70, 84)),
        (ROWS, (22, 34, 76)),
    ]
    sea = synth.gradient(ROWS, COLUMNS, glow)
    clouds = synth.noise(81, 3 * shore, COLUMNS, octaves=8, gain=160)[::3]
    synth.lighten(sea[:, :shore], np.clip(clouds - 60, -300, 300) >> 1)
    synth.stamp(sea[:, :shore], synth.disc(640, 356, 70), (255, 182, 72))
    boat = synth.blank(ROWS, COLUMNS + 160)
    _sails(boat)
    sea, boat = synth.expose(sea), synth.expose(boat)
    rows = np.arange(1, HEIGHT - horizon, dtype=np.int32)[:, None]
    depth = 90000 // (rows + 12)
    swell, ripple = (synth.noise(seed, 4 * (HEIGHT - horizon), WIDTH, octaves=6, gain=200)[4::4] for seed in (82, 83))
    aside = np.abs(np.arange(WIDTH, dtype=np.int32) - WIDTH // 2)
    lit = np.clip(620 - aside * 420 // (50 + rows), 70, 620)
    for t in range(FRAMES):
        waves = synth.wave(depth + swell + 41 * t) + synth.wave(depth * 3 // 2 - ripple + 67 * t)
        picture = synth.look(sea, 0, 0)
        light = (np.clip(waves, -6000, 1 << 15) * lit >> 15).astype(np.int16)
        picture.luma[0, horizon + 1 :] += light
        picture.chroma[1, horizon // 2 + 1 :] += light[1::2, ::2] >> 2
        picture.chroma[0, horizon // 2 + 1 :] -= light[1::2, ::2] >> 2
        picture = picture.under(synth.look(boat, t * 9 * ONE // 5, 0))
        yield picture.dim(256 - min(max(t - 4, 0) * 10, 244))


def _books(canvas: synth.I16, seed: int, plank: int) -> None:
    """A row of books standing on a plank, with titles on the wide ones."""
    cloth = _texture(seed, 7, 250)
    x = 24
    for wide, tall, ink, tx in synth.dice(seed + 1, 60, 4):
        width, height = 24 + (wide * 44 >> 16), 190 + (tall * 90 >> 16)
        if x + width > COLUMNS - 20:
            break
        rgb = CLOTHS[ink * 8 >> 16]
        at = cloth[tx >> 9 :, tx >> 8 :]
        synth.stamp(canvas, synth.bar(x, plank - height, width, height), rgb, texture=at, shade=60)
        bright = (230, 200, 120) if sum(rgb) < 330 else (60, 40, 40)
        synth.stamp(canvas, synth.bar(x, plank - height + 22, width, 5), bright)
        synth.stamp(canvas, synth.bar(x, plank - 40, width, 8), bright)
        word = WORDS[tx * 6 >> 16]
        for i, letter in enumerate(word if width > 30 and 25 * len(word) < height - 80 else ""):
            synth.write(canvas, letter, (x + width // 2 - 9, plank - height + 40 + 25 * i), 3, bright)
        x += width + 1 + (tall & 3)


def shelf() -> Iterator[Picture]:
    """A bookshelf that stands still, and a ladybird walking along its plank."""
    shelf = synth.gradient(ROWS, COLUMNS, [(0, (60, 46, 36)), (ROWS, (40, 30, 24))])
    wood = synth.noise(91, 12 * 44, COLUMNS + 20, octaves=9, gain=235)[::12] >> 1
    for plank, seed in ((330, 92), (676, 94)):
        _books(shelf, seed, plank)
        synth.stamp(shelf, synth.bar(-8, plank, COLUMNS + 16, 40), (150, 104, 62), texture=wood)
    bug = synth.blank(ROWS, COLUMNS + 480)
    x, y = 900, 668
    for leg in (-12, 0, 12):
        synth.stamp(bug, synth.bar(x + leg, y, 3, 14), (20, 16, 16))
    synth.stamp(bug, synth.disc(x - 22, y - 2, 10), (20, 16, 16))
    synth.stamp(bug, Shape(x=x * PX, y=(y - 6) * PX, a=24 * PX, b=17 * PX), (210, 36, 26), shade=260)
    for dx, dy in ((-10, -12), (4, -16), (14, -6), (-2, -3)):
        synth.stamp(bug, synth.disc(x + dx, y + dy, 4), (24, 16, 16))
    shelf, bug = synth.expose(shelf), synth.expose(bug)
    still = synth.look(shelf, 0, 0)
    for t in range(FRAMES):
        yield still.under(synth.look(bug, 60 * ONE + t * 33 * ONE // 5, 0))


def _flutter(canvas: synth.I16, piece: list[int], t: int) -> None:
    """Paint one piece of confetti: it falls, sways, spins, and shows its lit and its dark side in turn."""
    x, y, size, speed, tumble, spin, sway, ink = piece
    flip, side = (tumble >> 6) + t * (20 + (spin >> 11)), (6 + (size * 9 >> 16)) * PX
    fall = (y * (ROWS + 80) * PX >> 16) + t * (4 * PX + (speed * 8 * PX >> 16))
    shape = Shape(
        x=(x * COLUMNS * PX >> 16) + (synth.sin((sway >> 6) + 17 * t) * 22 * PX >> synth.SINE_BITS),
        y=fall % ((ROWS + 80) * PX) - 40 * PX,
        a=side,
        b=(side * abs(synth.cos(flip)) >> synth.SINE_BITS) + PX,
        angle=(spin >> 6) + t * ((sway >> 11) - 16),
        round=bool(ink & 1),
    )
    r, g, b = PAPERS[ink * 6 >> 16]
    light = 176 + (80 * synth.cos(flip) >> synth.SINE_BITS)
    synth.stamp(canvas, shape, (r * light >> 8, g * light >> 8, b * light >> 8))


def confetti() -> Iterator[Picture]:
    """Confetti tumbling before a red curtain that ripples."""
    curtain = synth.gradient(ROWS, COLUMNS, [(0, (70, 10, 22)), (300, (170, 24, 40)), (ROWS, (110, 14, 30))])
    synth.lighten(curtain, synth.noise(101, ROWS, COLUMNS, gain=245) >> 2)
    back = synth.look(synth.expose(curtain), 0, 0)
    folds = synth.noise(103, HEIGHT, WIDTH, octaves=8, gain=110) // 3 + np.arange(WIDTH, dtype=np.int32) * 15
    pieces = synth.dice(102, 250, 8)
    for t in range(FRAMES):
        canvas = synth.blank(ROWS, COLUMNS)
        for piece in pieces:
            _flutter(canvas, piece, t)
        luma = back.luma.copy()
        luma[0] += (synth.wave(folds + 24 * t) >> 6).astype(np.int16)
        yield replace(back, luma=luma).under(synth.look(synth.expose(canvas), 0, 0))
