"""Parse libvmaf's JSON log, the same from the tool and from ffmpeg's filter."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from kit.core import contract
from kit.core.errors import KitError

_TEACHER = "teacher"
#: Names of models in a log's metrics; the rest are features.
_MODELS = (_TEACHER, "canonical")


class LogError(KitError):
    """A truncated, incomplete or not finite log."""


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Frame scores in presentation order.

    Attributes:
        version: libvmaf's version.
        features: float64 [frames, 6] in the order of ``contract.FEATURES``.
        vmaf: float64 [frames], the teacher's score in VMAF points.
        others: float64 [frames] each: the other features that all frames have, by libvmaf's name without ``integer_``;
            ``float_`` precedes the name of a float feature whose integer one exists too. May be not finite.
    """

    version: str
    features: NDArray[np.float64]
    vmaf: NDArray[np.float64]
    others: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)


def parse(text: str) -> Scores:
    """Parse a log.

    Raises:
        LogError: not JSON (a truncated log), a frame missing or out of order, a metric missing, not a number or
            not finite, a score outside ``contract.SCORE_RANGE``.
    """
    try:
        log = json.loads(text)
        frames = log["frames"]
        version = str(log["version"])
        if not isinstance(frames, list):
            raise TypeError(f"frames is a {type(frames).__name__}")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise LogError(f"libvmaf's log is incomplete ({len(text)} characters): {error!r}") from error
    names = [contract.FEATURE_LOG_PREFIX + name for name in contract.FEATURES] + [_TEACHER]
    table = np.empty((len(frames), len(names)), dtype=np.float64)
    for index, frame in enumerate(frames):
        table[index] = _row(frame, index, names)
    if not len(frames):
        raise LogError("libvmaf's log has no frames")
    if not np.isfinite(table).all():
        index, column = np.argwhere(~np.isfinite(table))[0]
        raise LogError(f"frame {index}: {names[column]} is {table[index, column]}")
    low, high = contract.SCORE_RANGE
    vmaf = table[:, -1]
    if (vmaf < low).any() or (vmaf > high).any():
        raise LogError(f"scores {vmaf.min()} to {vmaf.max()} are outside {low} to {high}")
    others = _others([frame["metrics"] for frame in frames], {*names, *_MODELS})
    return Scores(version=version, features=table[:, :-1].copy(), vmaf=vmaf.copy(), others=others)


def _others(metrics: list[dict[str, object]], known: set[str]) -> dict[str, NDArray[np.float64]]:
    """Return the other metrics that are numbers in all frames, sorted by name."""
    others = {}
    integer = {_short_name(raw) for raw in metrics[0] if _short_name(raw) != raw}
    for raw in metrics[0].keys() - known:
        values = [frame.get(raw) for frame in metrics]
        if all(type(value) in (int, float) for value in values):
            others[f"float_{raw}" if raw in integer else _short_name(raw)] = np.array(values, dtype=np.float64)
    return dict(sorted(others.items()))


def _short_name(raw: str) -> str:
    """Return a feature's name without ``integer_``, which may be inside: ``VMAF_integer_feature_motion_sad_score``."""
    return raw.replace(contract.FEATURE_LOG_PREFIX, "", 1)


def _row(frame: object, index: int, names: list[str]) -> list[float]:
    try:
        number, metrics = frame["frameNum"], frame["metrics"]  # type: ignore[index]
        if number != index:
            raise LogError(f"frame {index} of libvmaf's log has number {number}")
        values = [metrics[name] for name in names]
        if any(type(value) not in (int, float) for value in values):
            raise TypeError("a metric is not a number")
        return [float(value) for value in values]
    except KeyError as error:
        raise LogError(f"frame {index} of libvmaf's log lacks {error}") from error
    except (TypeError, ValueError, OverflowError) as error:
        raise LogError(f"frame {index} of libvmaf's log: {error}") from error
