"""Reading libvmaf's JSON log. The tool and ffmpeg's filter write the same."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from kit.core import contract
from kit.core.errors import KitError

#: What a log's metrics hold besides features: the models' scores.
_MODELS = ("teacher", "canonical")


class LogError(KitError):
    """A log that is truncated, incomplete or not finite."""


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Frame scores in presentation order.

    Attributes:
        version: what libvmaf calls itself.
        features: float64 [frames, 6] in the order of ``contract.FEATURES``.
        vmaf: float64 [frames], the teacher's score in VMAF points.
        others: float64 [frames] each: every other feature that the log has for all frames, by libvmaf's name without
            ``integer_``; a float twin of such a feature is called ``float_``. Not checked for finiteness.
    """

    version: str
    features: NDArray[np.float64]
    vmaf: NDArray[np.float64]
    others: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)


def parse(text: str, *, teacher_name: str = "teacher") -> Scores:
    """Read a log whose teacher was given the name ``teacher_name``.

    Raises:
        LogError: not JSON (a truncated log), a frame missing or out of order, a metric missing, not a number or
            not finite, a score outside the teacher's range.
    """
    try:
        log = json.loads(text)
        frames = log["frames"]
        version = str(log["version"])
        if not isinstance(frames, list):
            raise TypeError(f"frames is a {type(frames).__name__}")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise LogError(f"libvmaf's log is not complete ({len(text)} characters): {error!r}") from error
    names = [contract.FEATURE_LOG_PREFIX + name for name in contract.FEATURES] + [teacher_name]
    table = np.empty((len(frames), len(names)), dtype=np.float64)
    for index, frame in enumerate(frames):
        table[index] = _row(frame, index, names)
    if not len(frames):
        raise LogError("libvmaf's log holds no frame")
    if not np.isfinite(table).all():
        index, column = np.argwhere(~np.isfinite(table))[0]
        raise LogError(f"frame {index}: {names[column]} is {table[index, column]}")
    low, high = contract.SCORE_RANGE
    vmaf = table[:, -1]
    if (vmaf < low).any() or (vmaf > high).any():
        raise LogError(f"a score lies outside {low} to {high}: {vmaf.min()} to {vmaf.max()}")
    others = _others([frame["metrics"] for frame in frames], {*names, *_MODELS})
    return Scores(version=version, features=table[:, :-1].copy(), vmaf=vmaf.copy(), others=others)


def _others(metrics: list[dict[str, object]], known: set[str]) -> dict[str, NDArray[np.float64]]:
    """What all frames have as a number and nobody has read yet, in order of the names."""
    found = {}
    fixed = {_told(raw) for raw in metrics[0] if _told(raw) != raw}
    for raw in metrics[0].keys() - known:
        values = [frame.get(raw) for frame in metrics]
        if all(type(value) in (int, float) for value in values):
            found[f"float_{raw}" if raw in fixed else _told(raw)] = np.array(values, dtype=np.float64)
    return dict(sorted(found.items()))


def _told(raw: str) -> str:
    """A feature's name without ``integer_``, which stands within some: ``VMAF_integer_feature_motion_sad_score``."""
    return raw.replace(contract.FEATURE_LOG_PREFIX, "", 1)


def _row(frame: object, index: int, names: list[str]) -> list[float]:
    try:
        number, metrics = frame["frameNum"], frame["metrics"]  # type: ignore[index]
        if number != index:
            raise LogError(f"frame {index} of libvmaf's log is numbered {number}")
        values = [metrics[name] for name in names]
        if any(type(value) not in (int, float) for value in values):
            raise TypeError("a metric is no number")
        return [float(value) for value in values]
    except KeyError as error:
        raise LogError(f"frame {index} of libvmaf's log lacks {error}") from error
    except (TypeError, ValueError, OverflowError) as error:
        raise LogError(f"frame {index} of libvmaf's log: {error}") from error
