"""Open a folder of reference clips: data set, clips with their groups, missing clips."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from kit.core.errors import BadInput, KitError, Several
from kit.core.geometry import RawFormat
from kit.core.values import SourceFile
from kit.video.datasets import groups
from kit.video.datasets.base import Contents
from kit.video.datasets.manifest import manifests
from kit.video.datasets.packed import PACK, read_pack
from kit.video.datasets.pairs import DistortedPair, pair_up
from kit.video.datasets.registry import choose
from kit.video.sources.identity import identify
from kit.video.sources.read import Tools
from kit.video.sources.scan import Listing, inspect_all, list_folder


@dataclass(frozen=True, kw_only=True)
class ClipFolder:
    """A folder of reference clips.

    Attributes:
        name: the data set.
        reason: why the folder is this data set.
        files: the source clips, with their content groups.
        missing: missing reference clips of the data set.
        missing_distorted: missing distorted clips, one line each; a corpus does not need them.
        unusable: distorted clips that cannot be used, one line each; a corpus does not need them.
        notes: notes for the user.
        ignored: relative paths of files that are not clips.
    """

    folder: Path
    name: str
    reason: str
    files: tuple[SourceFile, ...]
    pairs: tuple[DistortedPair, ...]
    missing: tuple[str, ...]
    missing_distorted: tuple[str, ...]
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
    requested: str,
    assumed: RawFormat | None,
    tools: Tools,
    cache: Path,
    whole: bool = True,
    advance: Callable[[], None] = lambda: None,
    refused: Callable[[Path, KitError], None] | None = None,
) -> ClipFolder:
    """Search a folder for clips, read their geometry and assign their content groups.

    Args:
        requested: the value of ``--dataset``.
        assumed: format of ``.yuv`` files of unknown format.
        whole: a data set requested by name has to be complete.
        refused: called for each clip, distorted ones too, that cannot be used, which is then skipped.

    Raises:
        BadInput: the folder does not exist or has no clips.
        Several: clips that cannot be used, or missing clips of a requested data set.
    """
    listing = _listing(folder, requested)
    dataset, reason = choose(listing, requested)
    contents = dataset.contents(listing)
    clips = tuple(contents.references)
    inspect = partial(inspect_all, clips, folder, assumed=assumed, tools=tools, advance=advance, refused=refused)
    files = _open_all(dataset.name, contents, listing, inspect, complete=whole and requested != "auto")
    files = _grouped(files, contents, listing, tools=tools, cache=cache)
    pairs, unpaired = pair_up(contents.distorted, files)
    unusable = {**contents.unusable, **unpaired}
    if refused is not None:
        for path, problem in unusable.items():
            refused(path, problem)
    return ClipFolder(
        folder=folder,
        name=dataset.name,
        reason=reason,
        files=files,
        pairs=pairs,
        missing=contents.missing,
        missing_distorted=contents.missing_distorted,
        unusable=tuple(problem.message for problem in unusable.values()),
        notes=contents.notes,
        ignored=_ignored(listing),
    )


def _open_all(
    name: str,
    contents: Contents,
    listing: Listing,
    inspect: Callable[[], tuple[SourceFile, ...]],
    *,
    complete: bool,
) -> tuple[SourceFile, ...]:
    """Return the opened reference clips, or raise the problems of folder and clips at once.

    Args:
        complete: a missing clip is a problem.
    """
    problems: list[KitError] = [*contents.problems, *_missing_copies(listing)]
    if complete:
        problems += [BadInput(f"{missing}: is missing") for missing in contents.missing]
    if not contents.references and not problems:
        problems.append(BadInput(f"no reference clip of {name}", hint="Give another --dataset."))
    files: tuple[SourceFile, ...] = ()
    try:
        files = inspect()
    except Several as error:
        if not problems:
            raise
        problems += error.problems
    if problems:
        raise Several(f"{name} in {listing.folder} cannot be used", problems)
    return files


def _listing(folder: Path, requested: str) -> Listing:
    if requested not in ("auto", "dir") and not folder.is_dir():
        raise BadInput(
            f"{requested}: folder {folder} does not exist",
            hint="Give the folder with --ref-dir, or the parent of datasets/ with VMAF_DATA_ROOT.",
        )
    return list_folder(folder)


def _missing_copies(listing: Listing) -> list[BadInput]:
    """Return an error for each missing clip of a packed folder."""
    if not (listing.folder / PACK).is_file():
        return []
    present = {listing.relative(path) for path in listing.clips}
    return [
        BadInput(f"{clip.path}: listed in {PACK}, but missing", hint="Copy the packed folder again.")
        for clip in read_pack(listing.folder).clips
        if clip.path not in present
    ]


def _grouped(
    files: tuple[SourceFile, ...], contents: Contents, listing: Listing, *, tools: Tools, cache: Path
) -> tuple[SourceFile, ...]:
    """Assign the groups of the data set, then those of ``groups.json``."""
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
