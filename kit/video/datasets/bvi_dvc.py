"""BVI-DVC: 200 scenes, each in four resolutions, 64 frames of 10 bits, 4:2:0.

Ma, Zhang and Bull, "BVI-DVC: A Training Database for Deep Video Compression", IEEE Transactions on Multimedia, 2021.
Names are ``<subset><scene>_<width>x<height>_<rate>fps_10bit_420``, e.g.
``ABookcaseBVITexture_3840x2176_120fps_10bit_420.mp4``; the subset letter means the resolution.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from kit.core.errors import BadInput
from kit.video.datasets.base import Contents, note_other_clips
from kit.video.sources.scan import Listing

#: Resolution to subset letter.
SUBSETS = {"3840x2176": "A", "1920x1088": "B", "960x544": "C", "480x272": "D"}
SCENES = 200

#: The name of a scene starts with a capital, A to D too, or a digit.
_NAME = re.compile(r"^(?P<letter>[A-Z])(?P<scene>[A-Z0-9]\w*?)_(?P<size>\d+x\d+)_(?P<rate>[\d.]+)fps_10bit_420$")


@dataclass(frozen=True, kw_only=True)
class _Clip:
    path: Path
    letter: str
    scene: str
    size: str
    rate: str

    @property
    def contradicts(self) -> bool:
        """Whether subset letter and resolution contradict each other."""
        return SUBSETS[self.size] != self.letter


class BviDvc:
    """Any part of the data set, in any sub-folders; all resolutions of a scene are one content group."""

    name = "bvi-dvc"

    def recognise(self, listing: Listing) -> str:
        """Recognise a folder if most clips have its names."""
        own = [clip for clip in map(_parsed, listing.clips) if clip is not None and not clip.contradicts]
        if 2 * len(own) <= len(listing.clips):
            return ""
        return f"{len(own)} clips of {len({clip.scene for clip in own})} of its {SCENES} scenes"

    def contents(self, listing: Listing) -> Contents:
        """Group all clips by scene. A resolution of some scenes is missing in the other scenes."""
        parsed = {path: _parsed(path) for path in listing.clips}
        own = [clip for clip in parsed.values() if clip is not None]
        others = [path for path, clip in parsed.items() if clip is None]
        scenes: defaultdict[str, list[_Clip]] = defaultdict(list)
        for clip in own:
            scenes[clip.scene].append(clip)
        notes = note_other_clips(listing, others, self.name)
        if len(scenes) < SCENES:
            notes += (f"{len(scenes)} of its {SCENES} scenes",)
        groups: dict[Path, str | None] = {clip.path: clip.scene for clip in own}
        return Contents(
            references=groups | dict.fromkeys(others),
            missing=tuple(_missing(scenes)),
            notes=notes,
            problems=tuple(_contradiction(clip) for clip in own if clip.contradicts),
        )


def group_of(label: str) -> str | None:
    """Return the scene of a clip by its label; None for another clip."""
    match = _NAME.match(label)
    return match["scene"] if match is not None and match["size"] in SUBSETS else None


def _parsed(path: Path) -> _Clip | None:
    match = _NAME.match(path.stem)
    return _Clip(path=path, **match.groupdict()) if match is not None and match["size"] in SUBSETS else None


def _missing(scenes: dict[str, list[_Clip]]) -> list[str]:
    sizes = [size for size in SUBSETS if any(clip.size == size for clips in scenes.values() for clip in clips)]
    return [
        f"{SUBSETS[size]}{scene}_{size}_{clips[0].rate}fps_10bit_420.mp4"
        for scene, clips in sorted(scenes.items())
        for size in sizes
        if size not in {clip.size for clip in clips}
    ]


def _contradiction(clip: _Clip) -> BadInput:
    return BadInput(
        f"{clip.path.name}: {clip.size} is subset {SUBSETS[clip.size]} of BVI-DVC, the name starts with {clip.letter}",
        hint="Restore the original name, or use --dataset dir.",
    )
