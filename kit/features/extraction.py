"""From a data set to a feature table: list the pairs, score them in parallel, collect failures."""

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
from kit.features.measuring import ROUND_TRIP, ClipPair, FrameScores, Identities, Instruments, cache_key, measure
from kit.platforms.facts import HostFacts
from kit.system.fsio import NO_ROOM
from kit.system.pool import run_many
from kit.training.folds import dealt, id_of
from kit.video.datasets.load import ClipFolder
from kit.video.ffmpeg import first_error

#: Data sets that contain distorted clips; for the others each clip is encoded.
STORED = ("npd",)
#: The data set whose clips are spread over folds, and the number of folds.
FOLDED, FOLDS = "konvid-1k", 5


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A clip that could not be scored, and why."""

    clip: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Result:
    """The scores of a pair.

    Attributes:
        identity: hash of its reference.
        cached: whether the scores come from the cache.
        warning: a problem with the cache; empty if none.
    """

    pair: ClipPair
    scores: FrameScores
    identity: str
    cached: bool
    warning: str = ""


def pairs_of(opened: ClipFolder) -> tuple[ClipPair, ...]:
    """List the pairs of a data set by name: its stored distorted clips, else each clip and its round trip."""
    if opened.name in STORED:
        pairs = [
            ClipPair(
                source=one.reference.label, clip=one.distorted.label, reference=one.reference, distorted=one.distorted
            )
            for one in opened.pairs
        ]
    else:
        encoder, cq = ROUND_TRIP
        pairs = [
            ClipPair(source=file.label, clip=f"{file.label}_{encoder}_crf{cq}", reference=file) for file in opened.files
        ]
    return tuple(sorted(pairs, key=lambda pair: (pair.source, pair.clip)))


def extract(
    pairs: Sequence[ClipPair],
    instruments: Instruments,
    *,
    cache: Cache,
    facts: HostFacts,
    advance: Callable[[str], None] = lambda _name: None,
) -> tuple[list[Result], list[Failure]]:
    """Score every pair, the longest first. A failed pair is reported and does not stop the others.

    Raises:
        DiskFull: no space left.
    """
    identities = Identities(instruments)
    frame = largest_frame([pair.reference for pair in pairs])
    at_once = min(len(pairs), cells_at_once(cores=facts.cores, memory_bytes=facts.memory_bytes, largest_frame=frame))
    threads = max(1, facts.cores // at_once)

    def attempt(pair: ClipPair) -> Result | Failure:
        try:
            return _score_pair(pair, instruments, identities, cache, threads=threads)
        except DiskFull:
            raise
        except KitError as error:
            if "No space left on device" in error.message:
                raise DiskFull(f"the disk filled up at {pair.name}") from error
            return Failure(clip=pair.name, reason=describe(error))
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


def describe(error: KitError) -> str:
    """Return why a clip failed, in one line."""
    if isinstance(error, ToolFailed):
        stderr = first_error(error.stderr_tail)
        return f"{error.tried}: {error.status}" + (f": {stderr}" if stderr else "")
    return " ".join(error.message.split())


def _score_pair(
    pair: ClipPair, instruments: Instruments, identities: Identities, cache: Cache, *, threads: int
) -> Result:
    reference = identities.of(pair.reference)
    entry, warning = cache_key(reference, pair.distorted, instruments), ""
    try:
        known = cache.read(entry)
    except ValueError as error:
        known, warning = None, f"{pair.name}: its cache entry is damaged ({error}); it is scored again"
    if known is not None:
        return Result(pair=pair, scores=known, identity=reference.sha256, cached=True)
    scores = measure(reference, pair.distorted, instruments, threads=threads)
    try:
        cache.keep(entry, scores)
    except OSError as error:
        if error.errno in NO_ROOM:
            raise
        warning = f"{pair.name}: its scores cannot be cached: {error.strerror}"
    return Result(pair=pair, scores=scores, identity=reference.sha256, cached=False, warning=warning)


def folds(rows: table.FeatureTable) -> dict[str, str]:
    """Map content groups to ``fold0`` … ``fold4``, about as many clips in each; names do not matter, content does."""
    clips = rows.frame.assign(group=rows.groups).drop_duplicates(list(table.CLIP))
    of_group = {str(name): list(identities) for name, identities in clips.groupby("group")[table.CONTENT]}
    sizes = {name: len(identities) for name, identities in of_group.items()}
    place_of = dealt(sizes, {name: id_of(identities) for name, identities in of_group.items()}, FOLDS)
    return {name: f"fold{place}" for name, place in place_of.items()}


def to_table(results: Sequence[Result], *, corpus: str, teacher: str) -> table.FeatureTable:
    """Return the rows of scored pairs as a table.

    Raises:
        BadInput: the pairs have different features.
        CheckFailed: invalid rows.
    """
    names = results[0].scores.names
    frames = []
    for result in results:
        pair, scores = result.pair, result.scores
        if scores.names != names:
            raise BadInput(
                f"features differ: {pair.name} has {', '.join(scores.names)}; "
                f"{results[0].pair.name} has {', '.join(names)}",
                hint="Remove the cache folder (VMAF_TINY_AI_CACHE) and run the command again.",
            )
        columns: dict[str, object] = {
            "corpus": corpus,
            "source": pair.source,
            "clip": pair.clip,
            "frame_index": np.arange(len(scores.vmaf), dtype=np.int32),
            table.GROUP: pair.reference.content_group,
            table.CONTENT: result.identity,
            "codec": pair.codec,
            "teacher": teacher,
            "vmaf": scores.vmaf,
        }
        frames.append(pd.DataFrame(columns | dict(zip(names, scores.features.T, strict=True))))
    what = f"the features of {corpus}"
    rows = table.build(pd.concat(frames, ignore_index=True), names, what=what)
    if corpus != FOLDED:
        return rows
    fold_of = folds(rows)
    return table.build(rows.frame.assign(**{table.FOLD: [fold_of[name] for name in rows.groups]}), names, what=what)


def nothing_scored(failed: Sequence[Failure], folder: Path) -> Several:
    """Return the error of an extraction without a single scored pair."""
    problems = [BadInput(f"{one.clip}: {one.reason}") for one in failed]
    problems = problems or [
        BadInput(
            "no distorted clip has a reference",
            hint="Name them dis/<source>_<quality>_<height>_<bitrate>.yuv; `dataset show` lists the clips.",
        )
    ]
    return Several(f"no clip of {folder} could be scored", problems)
