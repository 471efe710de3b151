"""Find clips that show the same content by their fingerprints. Pure.

Two clips are compared at every shift of up to 8 frames, aligned by time: each as it is, mirrored, and cropped by 10 %
at any side or corner. Their similarity is the correlation of the signs of their hashes over all frames that overlap, -1
to 1. Chance makes clips that stand still more similar than clips that move, so the threshold rises with their
stillness, from 0.23 to 0.68. The numbers were measured, see docs/adr/0028. All sums are of integers, so that every
machine computes the same similarity.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from kit.video.fingerprints.fingerprint import GRID, Fingerprint

Floats = NDArray[np.float32]
#: Similarity from which two clips show the same content: a constant, and what is added for clips that stand still.
THRESHOLD, FOR_STILLNESS = 0.23, 0.45
#: Fewest frames with contrast, and smallest share of the shorter clip, that two clips must have in common.
LEAST_FRAMES, LEAST_SHARE = 8, 0.5
#: Largest shift in frames of the clip with fewer frames per second.
LAGS = 8
#: Parts of a picture that a cropped copy may show: left, top, width, height.
_CORNERS = [(left, top, 0.9, 0.9) for left in (0.0, 0.1) for top in (0.0, 0.1)]
_SIDES = [(0.0, 0.0, 0.9, 1.0), (0.1, 0.0, 0.9, 1.0), (0.0, 0.0, 1.0, 0.9), (0.0, 0.1, 1.0, 0.9)]
_MAIN = [(0.0, 0.0, 1.0, 1.0), (0.05, 0.05, 0.9, 0.9), *_CORNERS, *_SIDES]
_BETWEEN = [(0.05, 0.0, 0.9, 0.9), (0.05, 0.1, 0.9, 0.9), (0.0, 0.05, 0.9, 0.9), (0.1, 0.05, 0.9, 0.9)]
WINDOWS = [
    *_MAIN,
    *_BETWEEN,
    (0.05, 0.0, 0.9, 1.0),
    (0.0, 0.05, 1.0, 0.9),
    (0.025, 0.025, 0.95, 0.95),
    (0.1, 0.1, 0.8, 0.8),
]
#: The search: pairs whose coarse similarity of a few frames is smaller are different; of the windows and mirrorings
#: the best few are compared in every frame.
_COARSE, _KEYS, _PROBES, _BEST = 0.55, 2, 6, 4
#: Quarters of a block, and length of a scaled row.
_WEIGHTS, _LENGTH = 4, 1000


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two clips that show the same content.

    Attributes:
        labels: of the two.
        similarity, threshold: of the signs, -1 to 1, and from where it is a match.
        shift: seconds that the second clip begins later in the content than the first.
        mirrored: whether one is the mirror image of the other.
    """

    labels: tuple[str, str]
    similarity: float
    threshold: float
    shift: float
    mirrored: bool


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The result for several clips; ``not_comparable`` counts pairs that share too few frames with contrast."""

    compared: int
    not_comparable: int
    pairs: tuple[Pair, ...]


class Clip:
    """A fingerprint, ready for comparisons."""

    def __init__(self, fingerprint: Fingerprint) -> None:
        self.signs: Floats = fingerprint.hashes.astype(np.float32)
        self.fps = float(fingerprint.fps)
        self.spacing = fingerprint.every / self.fps
        self.contrast = np.flatnonzero(self.signs.any(axis=(1, 2)))

    @cached_property
    def stillness(self) -> float:
        """Return the share of the signs' power that is in their mean over time: 1 for a picture that stands still."""
        signs = self.signs[self.contrast].astype(np.float64)
        return float((signs.sum(axis=0) ** 2).sum() / (len(signs) * (signs**2).sum()))

    def some(self, count: int) -> NDArray[np.int64]:
        """Return the indices of a few frames with contrast, spread over the clip."""
        places = (2 * np.arange(count) + 1) * len(self.contrast) // (2 * count)
        return np.unique(self.contrast[places])

    @cached_property
    def frames(self) -> Floats:
        """Return the signs as rows, and below them those of the mirrored frames: [2, frames, 576]."""
        both = np.stack([self.signs, self.signs[:, :, ::-1]])
        return np.ascontiguousarray(both.reshape(2, len(self.signs), -1))

    @cached_property
    def powers(self) -> NDArray[np.float64]:
        """Return the number of signs of each frame."""
        powers: NDArray[np.float64] = (self.frames[0].astype(np.float64) ** 2).sum(axis=1)
        return powers

    @cached_property
    def coarse(self) -> Floats:
        """Return the frames with contrast at half the resolution, scaled to length 1: [frames, 144]."""
        return _unit(_pooled(self.signs[self.contrast]))

    @cached_property
    def keys(self) -> Floats:
        """Return a few frames, plain and mirrored, seen through the main windows, as :attr:`coarse` has them."""
        signs = self.signs[self.some(_KEYS)]
        seen = through(np.concatenate([signs, signs[:, :, ::-1]]), range(len(_MAIN)))
        return _unit(_pooled(seen.reshape(-1, GRID, GRID)))


def _pooled(signs: Floats) -> Floats:
    half = GRID // 2
    pooled: Floats = signs.reshape(len(signs), half, 2, half, 2).sum(axis=(2, 4)).reshape(len(signs), -1)
    return pooled


def _unit(rows: Floats) -> Floats:
    """Scale rows to integers of about length 1000, whose products are exact in single precision."""
    size = np.sqrt((rows.astype(np.float64) ** 2).sum(axis=1, keepdims=True))
    scaled = np.divide(rows, size, out=np.zeros(rows.shape), where=size > 0)
    unit: Floats = np.rint(_LENGTH * scaled).astype(np.float32)
    return unit


def _axis(start: float, length: float) -> Floats:
    """Return weights in quarters, times 4, that resample a part of an axis to the whole: [24, 24]."""
    places = (start + length * (np.arange(GRID) + 0.5) / GRID) * GRID - 0.5
    below = np.floor(places)
    share = np.rint((places - below) * _WEIGHTS)
    weights = np.zeros((GRID, GRID), dtype=np.float32)
    for index, (low, high) in enumerate(zip(below, share, strict=True)):
        weights[index, int(np.clip(low, 0, GRID - 1))] += _WEIGHTS - high
        weights[index, int(np.clip(low + 1, 0, GRID - 1))] += high
    return weights


_RESAMPLE = [(_axis(top, height), _axis(left, width)) for left, top, width, height in WINDOWS]


def through(signs: Floats, windows: Sequence[int]) -> Floats:
    """Return what windows of frames show, times 16: [windows, frames, 24, 24].

    Args:
        signs: [frames, 24, 24].
        windows: indices of :data:`WINDOWS`.
    """
    return np.stack([_RESAMPLE[window][0] @ signs @ _RESAMPLE[window][1].T for window in windows])


def find_pairs(fingerprints: Mapping[str, Fingerprint], group_of: Mapping[str, str]) -> Comparison:
    """Compare every two clips of different groups.

    Args:
        fingerprints, group_of: by label.
    """
    clips = {label: Clip(fingerprint) for label, fingerprint in sorted(fingerprints.items())}
    apart = [pair for pair in combinations(clips, 2) if group_of[pair[0]] != group_of[pair[1]]]
    with_contrast = {label for label, clip in clips.items() if len(clip.contrast) >= LEAST_FRAMES}
    comparable = [pair for pair in apart if with_contrast.issuperset(pair) and _overlap(*(clips[one] for one in pair))]
    likely = _likely({label: clip for label, clip in clips.items() if label in with_contrast})
    pairs = [
        match
        for one, two in comparable
        if likely[one][two] and (match := _matched((one, two), clips[one], clips[two])) is not None
    ]
    return Comparison(compared=len(comparable), not_comparable=len(apart) - len(comparable), pairs=tuple(pairs))


def _overlap(one: Clip, two: Clip) -> bool:
    """Return whether two clips can have enough frames in common at all."""
    return (
        min(len(clip.signs) * clip.spacing for clip in (one, two)) >= LEAST_FRAMES * max(one.spacing, two.spacing) / 2
    )


def _likely(clips: Mapping[str, Clip]) -> dict[str, dict[str, bool]]:
    """Return which clips may show the same content: a few frames of one are roughly like some frame of the other."""
    if not clips:
        return {}
    frames = np.concatenate([clip.coarse for clip in clips.values()]).T
    starts = np.cumsum([0, *(len(clip.coarse) for clip in clips.values())])[:-1]
    score = np.stack([np.maximum.reduceat((clip.keys @ frames).max(axis=0), starts) for clip in clips.values()])
    alike = np.maximum(score, score.T) >= _COARSE * _LENGTH**2
    return {one: dict(zip(clips, row.tolist(), strict=True)) for one, row in zip(clips, alike, strict=True)}


def _matched(labels: tuple[str, str], one: Clip, two: Clip) -> Pair | None:
    best = similarity(one, two)
    if best is None:
        return None
    least = threshold(one, two)
    if best[0] < least:
        return None
    return Pair(labels=labels, similarity=best[0], threshold=least, shift=best[1], mirrored=best[2])


def threshold(one: Clip, two: Clip) -> float:
    """Return the similarity from which two clips show the same content."""
    return THRESHOLD + FOR_STILLNESS * max(one.stillness, two.stillness)


def similarity(one: Clip, two: Clip) -> tuple[float, float, bool] | None:
    """Return the largest similarity of two clips, the shift in seconds there, and whether one is mirrored.

    None if at no shift enough frames with contrast overlap.
    """
    found = []
    for first, second, sign in ((one, two, 1), (two, one, -1)):
        probes = first.some(_PROBES)
        scores: dict[tuple[int, bool], float] = {}
        for value, window, mirrored, _ in _scores(first, second, probes, range(len(WINDOWS)), least=1):
            scores[window, mirrored] = max(value, scores.get((window, mirrored), -1.0))
        chosen = sorted(scores, key=lambda own: (-scores[own], own))[:_BEST]
        every = np.arange(len(first.signs))
        for value, _, mirrored, lag in _scores(
            first, second, every, sorted({window for window, _ in chosen}), least=LEAST_FRAMES
        ):
            found.append((value, sign * lag, mirrored))
    return max(found, key=lambda own: (own[0], -abs(own[1]), -own[1], own[2]), default=None)


def _scores(
    first: Clip, second: Clip, frames: NDArray[np.int64], windows: Sequence[int], *, least: int
) -> Iterator[tuple[float, int, bool, float]]:
    """Yield similarity, window, mirrored and lag in seconds of the windows of some frames of the first clip.

    Args:
        least: fewest frames with contrast that overlap.
    """
    seen = through(first.signs[frames], windows).reshape(len(windows), len(frames), -1)
    powers = (seen.astype(np.float64) ** 2).sum(axis=2)
    # windows, mirrored, frames of the first, frames of the second
    products = np.stack([seen @ mirrored.T for mirrored in second.frames], axis=1)
    step = min(first.spacing, second.spacing)
    most = LAGS / min(first.fps, second.fps)
    shared = LEAST_SHARE * min(len(first.signs) * first.spacing, len(second.signs) * second.spacing) / first.spacing
    for lag in range(-int(most / step + 0.5), int(most / step + 0.5) + 1):
        place = np.rint((frames * first.spacing + lag * step) / second.spacing).astype(np.int64)
        inside = np.flatnonzero((place >= 0) & (place < len(second.signs)))
        if len(inside) < shared * len(frames) / len(first.signs):
            continue
        inside = inside[(powers[0, inside] > 0) & (second.powers[place[inside]] > 0)]
        if len(inside) < least:
            continue
        sums = products[:, :, inside, place[inside]].astype(np.float64).sum(axis=2)
        size = np.sqrt(powers[:, inside].sum(axis=1) * second.powers[place[inside]].sum())
        for index, window in enumerate(windows):
            for mirrored in (0, 1):
                yield float(sums[index, mirrored] / size[index]), window, bool(mirrored), lag * step
