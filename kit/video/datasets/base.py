"""What a data set tells: which files are references, which show the same content, which are not there."""

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
        reference: the clip it was made from.
        quality: the expert's score that the name carries; height: lines it was encoded with; bitrate: kbit/s.
    """

    path: Path
    reference: Path
    quality: int
    height: int
    bitrate: int


@dataclass(frozen=True, kw_only=True)
class Contents:
    """What a folder holds of a data set, by its names.

    Attributes:
        references: every clip to be used as a source, to its content group; None for a group of its own.
        missing: reference clips that should be there, as relative paths.
        wanting: what else is missing, one line each; a corpus does not need it.
        unusable: distorted clips that are there and cannot be paired, and why; a corpus does not need them.
        notes: what a reader should know, one line each.
        problems: names that contradict themselves; such a folder is not used.
    """

    references: Mapping[Path, str | None]
    distorted: tuple[Distorted, ...] = ()
    missing: tuple[str, ...] = ()
    wanting: tuple[str, ...] = ()
    unusable: Mapping[Path, BadInput] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    problems: tuple[BadInput, ...] = ()


class Dataset(Protocol):
    """One data set. It goes by names only and opens no clip."""

    @property
    def name(self) -> str:
        """What ``--dataset`` calls it."""
        ...

    def recognise(self, listing: Listing) -> str:
        """Why the folder looks like it, in words; empty if it does not."""
        ...

    def contents(self, listing: Listing) -> Contents:
        """What of it is there."""
        ...


def strangers(listing: Listing, clips: list[Path], name: str) -> tuple[str, ...]:
    """One note for clips that are none of the data set's; they are used as sources of their own."""
    if not clips:
        return ()
    names = ", ".join(listing.relative(path) for path in clips)
    return (f"none of {name}'s, taken as sources of their own: {names}",)
