"""The protocol of data sets: references, content groups, distorted clips and missing clips."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from kit.core.errors import BadInput
from kit.video.sources.scan import Listing


@dataclass(frozen=True, kw_only=True)
class Distorted:
    """A distorted clip by its name, ``<source>_<quality>_<height>_<bitrate>``.

    Attributes:
        reference: its reference clip.
        quality: the expert's score in the name.
        height: lines of the encode.
        bitrate: kbit/s.
    """

    path: Path
    reference: Path
    quality: int
    height: int
    bitrate: int


@dataclass(frozen=True, kw_only=True)
class Contents:
    """The content of a folder, by the names of its files.

    Attributes:
        references: every source clip to its content group; None for a group of its own.
        missing: missing reference clips, as relative paths.
        missing_distorted: missing distorted clips, one line each; a corpus does not need them.
        unusable: distorted clips without a pair and why; a corpus does not need them.
        notes: notes for the user, one line each.
        problems: contradictions in names, which make the folder unusable.
    """

    references: Mapping[Path, str | None]
    distorted: tuple[Distorted, ...] = ()
    missing: tuple[str, ...] = ()
    missing_distorted: tuple[str, ...] = ()
    unusable: Mapping[Path, BadInput] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    problems: tuple[BadInput, ...] = ()


class Dataset(Protocol):
    """A data set. It uses file names only and opens no clip."""

    @property
    def name(self) -> str:
        """Its value of ``--dataset``."""
        ...

    def recognise(self, listing: Listing) -> str:
        """Return why the folder is this data set, in words; empty if it is not."""
        ...

    def contents(self, listing: Listing) -> Contents:
        """Return the content of the folder."""
        ...


def note_other_clips(listing: Listing, clips: list[Path], name: str) -> tuple[str, ...]:
    """Return a note about clips that are not part of the data set, which are used as sources too."""
    if not clips:
        return ()
    names = ", ".join(listing.relative(path) for path in clips)
    return (f"not part of {name}, used as sources too: {names}",)
