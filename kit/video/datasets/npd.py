"""The Netflix Public Dataset: nine references in ``ref/``, seventy encodes of them in ``dis/``.

Names and pairs are those of ``resource/dataset/NFLX_dataset_public.py`` in Netflix/vmaf. ``resource/doc/datasets.md``
there explains the names: ``{content name}_{expert score}_{height in pixels}_{bitrate in Kbps}.yuv``. All references
are 1920x1080, 8 bits, 4:2:0, at the rate in their names.
"""

from __future__ import annotations

import re
from pathlib import Path

from kit.core.errors import BadInput
from kit.video.datasets.base import Contents, Distorted, note_other_clips
from kit.video.sources.scan import CLIPS, Listing

#: Stems of the references, each to its content group: both ElFuente clips are scenes of one film.
REFERENCES = {
    "BigBuckBunny_25fps": "BigBuckBunny",
    "BirdsInCage_30fps": "BirdsInCage",
    "CrowdRun_25fps": "CrowdRun",
    "ElFuente1_30fps": "ElFuente",
    "ElFuente2_30fps": "ElFuente",
    "FoxBird_25fps": "FoxBird",
    "OldTownCross_25fps": "OldTownCross",
    "Seeking_25fps": "Seeking",
    "Tennis_24fps": "Tennis",
}

#: Every encode of a reference, ``quality_height_bitrate``.
LADDER = {
    "BigBuckBunny": "20_288_375 30_384_550 40_384_750 50_480_1050 55_480_1750 75_720_3050 80_720_4250 85_1080_3800 "
    "90_1080_4300 95_1080_5800",
    "BirdsInCage": "40_288_375 50_288_550 60_384_550 65_384_750 80_480_750 85_720_1050 90_1080_1800 95_1080_3000",
    "CrowdRun": "03_288_375 40_480_2350 50_1080_4300 65_1080_5800 75_1080_7500 80_1080_10000 90_1080_15000",
    "ElFuente1": "10_288_375 25_384_750 50_480_1750 60_720_2350 70_1080_4300 85_1080_5800 90_1080_7500",
    "ElFuente2": "05_288_375 30_480_1750 50_720_3050 60_1080_4300 65_720_4250 70_1080_5800 80_1080_10000 "
    "85_1080_15000 90_1080_20000",
    "FoxBird": "20_288_375 40_384_750 55_480_750 65_480_1750 80_1080_2300 95_1080_5800",
    "OldTownCross": "20_288_375 45_384_750 55_480_750 60_480_1750 80_720_2350 85_720_2950 90_1080_4300",
    "Seeking": "10_288_375 30_480_1050 45_480_1750 50_720_2350 60_720_3050 65_1080_4300 75_1080_5800 85_1080_7500 "
    "90_1080_15000 95_1080_20000",
    "Tennis": "20_288_375 40_384_750 60_480_1050 70_480_1750 80_720_3050 90_1080_4300",
}

_DISTORTED = re.compile(rf"^({'|'.join(LADDER)})_(\d{{2}})_(\d{{3,4}})_(\d{{3,5}})$")


class Npd:
    """The parent of ``ref/`` and ``dis/``, or ``ref/`` itself."""

    name = "npd"

    def recognise(self, listing: Listing) -> str:
        """Recognise a folder if most clips outside ``dis/`` have the names of references."""
        own, others, _ = _classify(listing)
        names = {path.stem for path in own}
        return f"{len(names)} of its {len(REFERENCES)} reference clips" if len(own) > len(others) else ""

    def contents(self, listing: Listing) -> Contents:
        """Return references with their groups, and the distorted clips of these references."""
        own, others, encodes = _classify(listing)
        by_source = {path.stem.rpartition("_")[0]: path for path in own}
        distorted, unusable = _distorted(encodes, by_source)
        present = {path.stem for path in encodes}
        absent = [stem for stem in _ladder_stems() if stem not in present] if encodes else []
        notes = note_other_clips(listing, others, self.name)
        return Contents(
            references={path: REFERENCES.get(path.stem) for path in (*own, *others)},
            distorted=tuple(distorted),
            missing=tuple(f"{stem}.yuv" for stem in REFERENCES if stem not in {path.stem for path in own}),
            missing_distorted=tuple(f"dis/{stem}.yuv is missing" for stem in absent),
            unusable=unusable,
            notes=notes if encodes else (*notes, "no dis/ folder, so no distorted clips"),
        )


def group_of(label: str) -> str | None:
    """Return the content group of a reference by its label, with or without rate; None for another clip."""
    groups = REFERENCES | {stem.rpartition("_")[0]: group for stem, group in REFERENCES.items()}
    return groups.get(label)


def _ladder_stems() -> list[str]:
    return [f"{source}_{rung}" for source, rungs in LADDER.items() for rung in rungs.split()]


def _classify(listing: Listing) -> tuple[list[Path], list[Path], list[Path]]:
    """Return references, other clips, and distorted clips in ``dis/``, below the folder or next to ``ref/``."""
    encodes = [path for path in listing.clips if _is_encode(path)]
    sibling = listing.folder.parent / "dis"
    if not encodes and listing.folder.name == "ref" and sibling.is_dir():
        files = (path for path in sibling.iterdir() if path.is_file() and not path.name.startswith("."))
        encodes = sorted(path for path in files if path.suffix.lower() in CLIPS)
    rest = [path for path in listing.clips if not _is_encode(path)]
    own = [path for path in rest if path.stem in REFERENCES]
    return own, [path for path in rest if path.stem not in REFERENCES], encodes


def _is_encode(path: Path) -> bool:
    return path.parent.name == "dis" or _DISTORTED.match(path.stem) is not None


def _distorted(encodes: list[Path], by_source: dict[str, Path]) -> tuple[list[Distorted], dict[Path, BadInput]]:
    """Return encodes with their references, and the errors of encodes without one."""
    pairs, unusable = [], {}
    for path in encodes:
        match = _DISTORTED.match(path.stem)
        if match is None or path.suffix != ".yuv":
            unusable[path] = BadInput(f"dis/{path.name}: expected <source of npd>_<quality>_<height>_<bitrate>.yuv")
            continue
        source, (quality, height, bitrate) = match[1], map(int, match.groups()[1:])
        if source not in by_source:
            unusable[path] = BadInput(f"dis/{path.name}: its reference {source} is missing")
            continue
        pairs.append(Distorted(path=path, reference=by_source[source], quality=quality, height=height, bitrate=bitrate))
    return pairs, unusable
