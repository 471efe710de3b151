"""From a data set to a feature table: which pairs there are, all of them measured at once, and what failed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from kit.core.errors import BadInput, DiskFull, KitError, Several, ToolFailed
from kit.core.geometry import largest_frame
from kit.corpus.plan import cells_at_once
from kit.features import table
from kit.features.feature_cache import Cache
from kit.features.measuring import ROUND_TRIP, Identities, Instruments, Measured, Pair, key, measure
from kit.platforms.facts import HostFacts
from kit.system.fsio import NO_ROOM
from kit.system.pool import run_many
from kit.training.folds import dealt, id_of
from kit.video.datasets.load import Opened
from kit.video.ffmpeg import first_error

#: Data sets that bring distorted clips; those of the others are made.
STORED = ("npd",)
#: The data set whose clips are spread over folds, and their number.
FOLDED, FOLDS = "konvid-1k", 5


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A clip of which there are no features, and why."""

    clip: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Result:
    """What became of a pair.

    Attributes:
        identity: hash of its reference; kept: whether the numbers were there already; remark: why they were made
            again, or will be.
    """

    pair: Pair
    measured: Measured
    identity: str
    kept: bool
    remark: str = ""


def pairs_of(opened: Opened) -> tuple[Pair, ...]:
    """Every pair of a data set, in order of names: stored ones, else each clip and its round trip."""
    if opened.name in STORED:
        found = [
            Pair(source=one.reference.label, clip=one.distorted.label, reference=one.reference, distorted=one.distorted)
            for one in opened.pairs
        ]
    else:
        encoder, cq = ROUND_TRIP
        found = [
            Pair(source=file.label, clip=f"{file.label}_{encoder}_crf{cq}", reference=file) for file in opened.files
        ]
    return tuple(sorted(found, key=lambda pair: (pair.source, pair.clip)))


def extract(
    pairs: Sequence[Pair],
    instruments: Instruments,
    *,
    cache: Cache,
    facts: HostFacts,
    advance: Callable[[str], None] = lambda _name: None,
) -> tuple[list[Result], list[Failure]]:
    """Measure every pair, the longest first; one that fails is told, and the others go on.

    Raises:
        DiskFull: nothing more can be written.
    """
    identities = Identities(instruments)
    frame = largest_frame([pair.reference for pair in pairs])
    at_once = min(len(pairs), cells_at_once(cores=facts.cores, memory_bytes=facts.memory_bytes, largest_frame=frame))
    threads = max(1, facts.cores // at_once)

    def attempt(pair: Pair) -> Result | Failure:
        try:
            return _one(pair, instruments, identities, cache, threads=threads)
        except DiskFull:
            raise
        except KitError as error:
            if "No space left on device" in error.message:
                raise DiskFull(f"the disk filled up at {pair.name}") from error
            return Failure(clip=pair.name, reason=told(error))
        except OSError as error:
            if error.errno in NO_ROOM:
                raise DiskFull(f"the disk filled up at {pair.name}") from error
            return Failure(clip=pair.name, reason=f"cannot be read: {error.strerror}")

    longest_first = sorted(pairs, key=lambda pair: (-pair.cost, pair.name))
    results = run_many(
        attempt,
        longest_first,
        workers=at_once,
        stop=instruments.processes.stop,
        done=lambda pair, _result: advance(pair.name),
    )
    done = [result for result in results if isinstance(result, Result)]
    failed = [result for result in results if isinstance(result, Failure)]
    return sorted(done, key=lambda one: one.pair.name), sorted(failed, key=lambda one: one.clip)


def told(error: KitError) -> str:
    """Why a clip failed, in one line."""
    if isinstance(error, ToolFailed):
        said = first_error(error.stderr_tail)
        return f"{error.tried}: {error.status}" + (f": {said}" if said else "")
    return " ".join(error.message.split())


def _one(pair: Pair, instruments: Instruments, identities: Identities, cache: Cache, *, threads: int) -> Result:
    reference = identities.of(pair.reference)
    found_by, remark = key(reference, pair.distorted, instruments), ""
    try:
        known = cache.read(found_by)
    except ValueError as error:
        known, remark = None, f"{pair.name}: what is kept of it is damaged ({error}); it is made again"
    if known is not None:
        return Result(pair=pair, measured=known, identity=reference.sha256, kept=True)
    measured = measure(reference, pair.distorted, instruments, threads=threads)
    try:
        cache.keep(found_by, measured)
    except OSError as error:
        if error.errno in NO_ROOM:
            raise
        remark = f"{pair.name}: is measured, and cannot be kept for another time: {error.strerror}"
    return Result(pair=pair, measured=measured, identity=reference.sha256, kept=False, remark=remark)


def folds(made: table.FeatureTable) -> dict[str, str]:
    """Content group to ``fold0`` … ``fold4``: as many clips in each as whole groups allow, whatever they are called."""
    clips = made.frame.assign(group=made.groups).drop_duplicates(list(table.CLIP))
    of_group = {str(name): list(identities) for name, identities in clips.groupby("group")[table.CONTENT]}
    sizes = {name: len(identities) for name, identities in of_group.items()}
    place_of = dealt(sizes, {name: id_of(identities) for name, identities in of_group.items()}, FOLDS)
    return {name: f"fold{place}" for name, place in place_of.items()}


def gathered(results: Sequence[Result], *, corpus: str, teacher: str) -> table.FeatureTable:
    """The rows of measured pairs.

    Raises:
        BadInput: pairs have other features than the others.
        CheckFailed: rows cannot be.
    """
    names = results[0].measured.names
    parts = []
    for result in results:
        pair, measured = result.pair, result.measured
        if measured.names != names:
            raise BadInput(
                f"{pair.name} has the features {', '.join(measured.names)}, {results[0].pair.name} {', '.join(names)}"
            )
        columns: dict[str, object] = {
            "corpus": corpus,
            "source": pair.source,
            "clip": pair.clip,
            "frame_index": np.arange(len(measured.vmaf), dtype=np.int32),
            table.GROUP: pair.reference.content_group,
            table.CONTENT: result.identity,
            "codec": pair.codec,
            "teacher": teacher,
            "vmaf": measured.vmaf,
        }
        parts.append(pd.DataFrame(columns | dict(zip(names, measured.features.T, strict=True))))
    what = f"the features of {corpus}"
    made = table.of(pd.concat(parts, ignore_index=True), names, what=what)
    if corpus != FOLDED:
        return made
    fold_of = folds(made)
    return table.of(made.frame.assign(**{table.FOLD: [fold_of[name] for name in made.groups]}), names, what=what)


def nothing_done(failed: Sequence[Failure], folder: Path) -> Several:
    """The error of an extraction that came to nothing."""
    problems = [BadInput(f"{one.clip}: {one.reason}") for one in failed]
    problems = problems or [
        BadInput(
            "there is no distorted clip that can be paired",
            hint="`dataset show` tells what is there: dis/<source>_<quality>_<height>_<bitrate>.yuv.",
        )
    ]
    return Several(f"no clip of {folder} could be scored", problems)
