"""Nine demo reference clips, drawn with numpy, the same bytes on every platform.

The demo run needs references that need no download and no licence. These are computed: 640x360, 8 bits, 4:2:0, limited
range, 30 frames each. They have the properties of real video that are hard to encode:

* A 1/f amplitude spectrum (Field, "Relations between the statistics of natural images and the response properties of
  cortical cells", JOSA A 4, 1987), from octave noise and from dead leaves, opaque shapes with sizes distributed as
  r**-3 (Lee, Mumford and Huang, "Occlusion models for natural images", IJCV 41, 2001).
* Motion by fractions of a pixel: pans with parallax, zoom, rotation, waves, tumbling paper.
* Grain that depends on the signal and is new in each frame, a cut, a fade, small letters.

Their complexity differs, so that the scores of one quality setting vary.

``kit.video.sources.synth`` draws with integers only; ``kit.video.sources.scenes`` has the scenes. A change of either
that changes a byte needs a new ``DEMO_VERSION`` with a new ``DEMO_SHA256``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType

from kit.core.errors import BadInput, PrerequisiteFailed
from kit.system.fsio import atomic_path, sha256_file
from kit.video.sources import scenes
from kit.video.sources.synth import HEIGHT, WIDTH, Picture, develop

DEMO_VERSION: int = 1


@dataclass(frozen=True, kw_only=True)
class DemoSource:
    """A demo clip.

    Attributes:
        fps: frames per second.
        content: its content, in one line.
    """

    name: str
    width: int
    height: int
    fps: Fraction
    frames: int
    content: str

    @property
    def size(self) -> int:
        """Bytes of all frames."""
        return self.width * self.height * 3 // 2 * self.frames

    @property
    def file_name(self) -> str:
        """Name of its file, with its geometry."""
        return f"{self.name}_{self.width}x{self.height}_{self.fps}fps_8bit_420.yuv"


def _source(name: str, fps: int, content: str) -> DemoSource:
    return DemoSource(name=name, width=WIDTH, height=HEIGHT, fps=Fraction(fps), frames=scenes.FRAMES, content=content)


DEMO_SOURCES: tuple[DemoSource, ...] = (
    _source("Pebbles", 25, "stones on a river bed behind grass; a slow pan with parallax, fine texture"),
    _source("RoseWindow", 30, "a rose window of coloured glass; the camera turns and closes in"),
    _source("DawnRidges", 24, "ridges and pines before a morning sky; a zoom with parallax"),
    _source("NightCity", 24, "lit windows and the moon; a slow pan on very grainy film"),
    _source("BirchesToSky", 25, "a walk past birches, cut at frame 15 to balloons rising before clouds"),
    _source("ClosingTitles", 30, "small letters rolling over a dark textured wall"),
    _source("SunsetFade", 24, "the sun over glittering waves and a sailing boat, fading to near black"),
    _source("BookShelf", 25, "a bookshelf that stands still and a ladybird walking along it"),
    _source("Confetti", 30, "paper tumbling before a red curtain that ripples"),
)

#: Each clip's scene, and its grain in eighths of a code value.
_SCENES: Mapping[str, tuple[Callable[[], Iterator[Picture]], int]] = MappingProxyType(
    {
        "Pebbles": (scenes.pebbles, 20),
        "RoseWindow": (scenes.rose, 28),
        "DawnRidges": (scenes.ridges, 10),
        "NightCity": (scenes.city, 44),
        "BirchesToSky": (scenes.cut, 10),
        "ClosingTitles": (scenes.titles, 10),
        "SunsetFade": (scenes.sunset, 8),
        "BookShelf": (scenes.shelf, 2),
        "Confetti": (scenes.confetti, 6),
    }
)

#: SHA-256 of all frames of a clip one after another, each as its planes Y, U, V.
DEMO_SHA256: Mapping[str, str] = MappingProxyType(
    {
        "Pebbles": "af36cc9932d9af33c4c9419082bcd0d47c2fc75ca44670a1693b0b2a9b557fcd",
        "RoseWindow": "b7ee0d6a348ed01e7e4deb24a6f129783b85aefed7c240c8067b6f4a67b15413",
        "DawnRidges": "da5f80b388b6cd6f86c73438c0b930a207d19a301cc243d0e15c3997fc9ff820",
        "NightCity": "d171fbac4938b16658556b4a78239cabf27cf9b014b8134e808dfc60ac136e65",
        "BirchesToSky": "5c26ff619db7ff1bf5e10bf5c3a0632903c8fd9bd05df2fdee87eda5ee48f4cb",
        "ClosingTitles": "a5ee16f94e3a4ea46e3119337d11ffa2f7c2c480c6bf83fd1bb4fa9fb8226c1b",
        "SunsetFade": "fd97b0f0d0862fe6e44ea41d6626d0fa9d47a59f5833c8a7f5f2abc47e4f3bec",
        "BookShelf": "da4e9a0adabed3718845945523fbc5b27140832e429a81a7936313f16a7d456b",
        "Confetti": "3d66fd04e4fe50e4999471c3f7e847f261284432e62238953c45d83129a83791",
    }
)

#: ``src_sha256`` of each clip: its identity in a corpus, a hash of geometry and frames.
DEMO_IDENTITIES: Mapping[str, str] = MappingProxyType(
    {
        "Pebbles": "b6e139c9614d783442150b8a311c8cb2ee8f1876a9904e6881d5c731ca123854",
        "RoseWindow": "cfd0908699c6ab06f551adc5c827cb299d092c163f1b486537fcdfb9cd1e2df1",
        "DawnRidges": "00ea433a506460e7630b3fc7ecda89b52acd31f655defc1dcbf328983656c039",
        "NightCity": "d6e06b15ca8c7a625f952fa1df23a40d2583ed3ca75f9bc0a85b6d7349e0dabe",
        "BirchesToSky": "99c9266412ed71a4a3d0af6d2e61adbf18cdc35519f4cc58faa60cb65ecb3e70",
        "ClosingTitles": "5e4efcf47147acd18d2fe84fc052ad46296383923112aa96b48a258289a1b3eb",
        "SunsetFade": "58f67b08a7ab7711a417503da037f164999e3cd731d5b1c52ba7da99bcadb28f",
        "BookShelf": "9996c439f388fbf1147a46b6f3260b9c17fb482229b1ece3ff8454d4b86bf137",
        "Confetti": "70ae5c2a94602c73e60b7411b784cf78414f6b4e7c5c32442f773eaa10632f83",
    }
)


def demo_clips(identities: Iterable[str | None]) -> list[str]:
    """Return the names of the demo clips among sources, by their ``src_sha256``, sorted."""
    known = {identity: name for name, identity in DEMO_IDENTITIES.items()}
    return sorted({known[identity] for identity in identities if identity in known})


def render(source: DemoSource) -> Iterator[bytes]:
    """Yield planar yuv420p frames of width * height * 3 / 2 bytes.

    Raises:
        BadInput: ``source`` is not in ``DEMO_SOURCES``.
    """
    if source not in DEMO_SOURCES:
        raise BadInput(f"{source.name} is not a demo clip of this version", hint="Use one of DEMO_SOURCES.")
    scene, grain = _SCENES[source.name]
    first_seed = 1000 * (1 + DEMO_SOURCES.index(source))
    for number, picture in enumerate(scene()):
        yield develop(picture, first_seed + number, grain)


def _is_valid(path: Path, source: DemoSource) -> bool:
    return path.is_file() and path.stat().st_size == source.size and sha256_file(path) == DEMO_SHA256[source.name]


def _write(path: Path, source: DemoSource) -> None:
    digest = hashlib.sha256()
    with atomic_path(path) as temporary:
        with temporary.open("wb") as file:
            for frame in render(source):
                digest.update(frame)
                file.write(frame)
        expected, actual = DEMO_SHA256[source.name], digest.hexdigest()
        if actual != expected:
            raise PrerequisiteFailed(
                f"demo clip {source.name}: SHA-256 {actual}, expected {expected}",
                hint="This numpy computes other values; install the pinned one, or use your own clips.",
            )


def write_demo_sources(folder: Path) -> tuple[Path, ...]:
    """Write every clip to ``folder``; keep files that have the right bytes.

    Returns:
        The paths, in the order of ``DEMO_SOURCES``.

    Raises:
        PrerequisiteFailed: a clip has other bytes than expected; it is not written.
    """
    paths = []
    for source in DEMO_SOURCES:
        path = folder / source.file_name
        if not _is_valid(path, source):
            _write(path, source)
        paths.append(path)
    return tuple(paths)
