"""A plain folder of clips, each with its own content group."""

from __future__ import annotations

from kit.video.datasets.base import Contents
from kit.video.sources.scan import Listing


class PlainFolder:
    """The last of the registry, for folders that no other data set recognises."""

    name = "dir"

    def recognise(self, listing: Listing) -> str:
        """Accept every folder of clips."""
        return f"{len(listing.clips)} clips, no known data set"

    def contents(self, listing: Listing) -> Contents:
        """Return every clip; nothing can be missing."""
        return Contents(references=dict.fromkeys(listing.clips))
