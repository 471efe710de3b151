"""Opening a folder of reference clips: which data set it is, its clips with their groups, and what is missing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from kit.core.errors import BadInput, KitError, Several
from kit.core.geometry import RawFormat
from kit.core.values import SourceFile
from kit.video.datasets import groups
from kit.video.datasets.base import Contents
from kit.video.datasets.manifest import manifests
from kit.video.datasets.packed import PACK, read_pack
from kit.video.datasets.pairs import Pair, pair_up
from kit.video.datasets.registry import choose
from kit.video.sources.identity import identify
from kit.video.sources.read import Tools
from kit.video.sources.scan import Listing, inspect_all, list_folder


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A folder of reference clips.

    Attributes:
        name: the data set; reason: why it is taken for it.
        files: the clips to be used as sources, with their content groups.
        missing: reference clips of the data set that are not there.
        wanting: what else is missing, one line each; a corpus does not need it.
        unusable: distorted clips that are there and cannot be used, one line each; a corpus does not need them.
        notes: what a reader should know.
        ignored: files that are no clips, relative.
    """

    folder: Path
    name: str
    reason: str
    files: tuple[SourceFile, ...]
    pairs: tuple[Pair, ...]
    missing: tuple[str, ...]
    wanting: tuple[str, ...]
    unusable: tuple[str, ...]
    notes: tuple[str, ...]
    ignored: tuple[str, ...]

    @property
    def groups(self) -> tuple[str, ...]:
        """Content groups, sorted."""
        return tuple(sorted({file.content_group for file in self.files}))


def open_folder(
    folder: Path,
    *,
    asked: str,
    assumed: RawFormat | None,
    tools: Tools,
    cache: Path,
    whole: bool = True,
    advance: Callable[[], None] = lambda: None,
    refused: Callable[[Path, KitError], None] | None = None,
) -> Opened:
    """Find the clips of a folder, learn their geometry, and give them their content groups.

    Args:
        asked: what ``--dataset`` says.
        assumed: format of ``.yuv`` files that do not tell it.
        whole: whether a data set that is asked for by name must be complete.
        refused: called for each clip, distorted ones too, that is there and cannot be used, and is left out then.

    Raises:
        BadInput: the folder is missing or holds no clip.
        Several: clips that cannot be used, or clips of the data set asked for that are not there.
    """
    listing = _listing(folder, asked)
    dataset, reason = choose(listing, asked)
    contents = dataset.contents(listing)
    problems: list[KitError] = [*contents.problems, *_not_delivered(listing)]
    if whole and asked != "auto":
        problems += [BadInput(f"{name}: is not there") for name in contents.missing]
    files: tuple[SourceFile, ...] = ()
    if contents.references:
        try:
            files = inspect_all(
                tuple(contents.references), folder, assumed=assumed, tools=tools, advance=advance, refused=refused
            )
        except Several as error:
            if not problems:
                raise
            problems += error.problems
    elif not problems:
        problems.append(BadInput(f"none of the clips is a reference of {dataset.name}"))
    if problems:
        raise Several(f"{dataset.name} in {folder} cannot be used", problems)
    files = _grouped(files, contents, listing, tools=tools, cache=cache)
    pairs, unpaired = pair_up(contents.distorted, files)
    unusable = {**contents.unusable, **unpaired}
    if refused is not None:
        for path, problem in unusable.items():
            refused(path, problem)
    return Opened(
        folder=folder,
        name=dataset.name,
        reason=reason,
        files=files,
        pairs=pairs,
        missing=contents.missing,
        wanting=contents.wanting,
        unusable=tuple(problem.message for problem in unusable.values()),
        notes=contents.notes,
        ignored=_ignored(listing),
    )


def _listing(folder: Path, asked: str) -> Listing:
    if asked not in ("auto", "dir") and not folder.is_dir():
        raise BadInput(
            f"{asked}: there is no folder {folder}",
            hint="Give the folder with --ref-dir, or say with VMAF_DATA_ROOT where datasets/ lies.",
        )
    return list_folder(folder)


def _not_delivered(listing: Listing) -> list[BadInput]:
    """Clips of a packed folder that did not arrive."""
    if not (listing.folder / PACK).is_file():
        return []
    there = {listing.relative(path) for path in listing.clips}
    return [
        BadInput(f"{clip.path}: listed in {PACK} and not there", hint="Copy the packed folder again.")
        for clip in read_pack(listing.folder).clips
        if clip.path not in there
    ]


def _grouped(
    files: tuple[SourceFile, ...], contents: Contents, listing: Listing, *, tools: Tools, cache: Path
) -> tuple[SourceFile, ...]:
    """Groups of the data set, and over them those of ``groups.json``."""
    files = tuple(replace(file, group=contents.references[file.path]) for file in files)
    written = listing.folder / groups.FILE
    if not written.is_file():
        return files
    return groups.assign(
        files,
        groups.read(written),
        folder=listing.folder,
        where=groups.FILE,
        identity=lambda file: identify(file, tools, cache).sha256,
    )


def _ignored(listing: Listing) -> tuple[str, ...]:
    own = {listing.folder / groups.FILE, listing.folder / PACK, *manifests(listing.folder)}
    return tuple(listing.relative(path) for path in listing.others if path not in own)
