"""Any folder of clips: each its own content group."""

from __future__ import annotations

from kit.video.datasets.base import Contents
from kit.video.sources.scan import Listing


class PlainFolder:
    """The last of the registry: it takes what no other recognises."""

    name = "dir"

    def recognise(self, listing: Listing) -> str:
        """Every folder that holds clips is one."""
        return f"{len(listing.clips)} clips, none of the known data sets"

    def contents(self, listing: Listing) -> Contents:
        """Every clip; nothing can be missing."""
        return Contents(references=dict.fromkeys(listing.clips))
