"""KoNViD-1k: 1200 clips of eight seconds, 960x540, each its own source.

Hosu and others, "The Konstanz natural video database (KoNViD-1k)", QoMEX 2017. The clips are ``<Flickr id>.mp4`` in
``KoNViD_1k_videos/``; the metadata lists every id in the column ``flickr_id`` of ``KoNViD_1k_attributes.csv``. Many
clips were filmed with phones; one with a variable frame rate is refused, as in any folder.
"""

from __future__ import annotations

import csv
import re
from pathlib import Path

from kit.video.datasets.base import Contents, note_other_clips
from kit.video.sources.scan import Listing

CLIPS = 1200
#: Metadata files with the ids of all clips.
LISTS = ("KoNViD_1k_attributes.csv", "KoNViD_1k_mos.csv")

#: Flickr's ids have ten or eleven digits; shorter numbers are common names such as 1.mp4.
_NAME = re.compile(r"^\d{8,12}$")


class Konvid1k:
    """The folder of clips, or its parent with the metadata."""

    name = "konvid-1k"

    def recognise(self, listing: Listing) -> str:
        """Recognise a folder if most clips are named by a Flickr id."""
        own = [path for path in listing.clips if _is_own(path)]
        return f"{len(own)} clips named by a Flickr id" if 2 * len(own) > len(listing.clips) else ""

    def contents(self, listing: Listing) -> Contents:
        """Return every clip with its own group; missing clips are known only with the metadata."""
        own = [path for path in listing.clips if _is_own(path)]
        others = [path for path in listing.clips if not _is_own(path)]
        listed = _listed(listing)
        present = {path.stem for path in own}
        notes = note_other_clips(listing, others, self.name)
        if not listed and len(own) < CLIPS:
            notes += (f"{len(own)} of its {CLIPS} clips; {LISTS[0]} would list the missing ones",)
        return Contents(
            references=dict.fromkeys((*own, *others)),
            missing=tuple(f"{name}.mp4" for name in sorted(listed) if name not in present),
            notes=notes,
        )


def _is_own(path: Path) -> bool:
    return path.suffix.lower() in (".mp4", ".mkv") and _NAME.match(path.stem) is not None


def _listed(listing: Listing) -> set[str]:
    """Return the ids in the metadata, if the folder has it."""
    for path in listing.others:
        if path.name in LISTS:
            with path.open(newline="", encoding="utf-8-sig") as file:
                return {row["flickr_id"].strip() for row in csv.DictReader(file) if row.get("flickr_id")}
    return set()
