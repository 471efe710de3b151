"""Read and write the predecessor's rows: one JSON object per line, one line per frame."""

from __future__ import annotations

import gzip
import json
import math
import re
import sys
import zlib
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from kit.core import contract
from kit.core.errors import BadInput, KitError, Several
from kit.core.values import CellId

#: Fields of a line in written order. Size and time of the encode may be null.
FIELDS = ("src", "encoder", "cq", "enc_bytes", "enc_time_ms", "frame_index", "vmaf", *contract.FEATURES)
_OPTIONAL = ("enc_bytes", "enc_time_ms")
_NUMBERS = (*contract.FEATURES, "vmaf")

#: Labels and encoder names become folder names.
_SAFE = re.compile(r"[A-Za-z0-9][\w.+-]{0,79}", re.ASCII)
_MOST_PROBLEMS = 20
_INT32 = 2**31


@dataclass(kw_only=True)
class Encode:
    """The lines of one (source, encoder, quality point) in file order.

    Attributes:
        frames: frame index of each line.
        lines: number of each line in the file.
        numbers: features and score of each line, concatenated.
    """

    src: str
    encoder: str
    cq: int
    enc_bytes: int | None
    enc_time_ms: float | None
    frames: array[int] = field(default_factory=lambda: array("i"))
    lines: array[int] = field(default_factory=lambda: array("q"))
    numbers: array[float] = field(default_factory=lambda: array("d"))

    @property
    def id(self) -> CellId:
        return CellId(source=self.src, encoder=self.encoder, cq=self.cq)


@dataclass(frozen=True, kw_only=True)
class Content:
    """The content of a file.

    Attributes:
        encodes: sorted by source, encoder, quality point.
        unused: names of fields that are not part of the format.
    """

    encodes: tuple[Encode, ...]
    unused: tuple[str, ...]


class _LineError(Exception):
    """A line is invalid."""


class _Problems:
    """Collects problems: keeps the first ones, counts all."""

    def __init__(self) -> None:
        self.count = 0
        self._first: list[KitError] = []

    def add(self, text: str) -> None:
        self.count += 1
        if self.count <= _MOST_PROBLEMS:
            self._first.append(BadInput(text))

    def raise_any(self, path: Path) -> None:
        """Raise the problems, if any."""
        if self.count > _MOST_PROBLEMS:
            self._first.append(BadInput(f"and {self.count - _MOST_PROBLEMS} more"))
        if self.count:
            raise Several(f"{path} cannot be imported", self._first)


def read(path: Path) -> Content:
    """Read every line; a file named ``.gz`` is decompressed.

    Raises:
        BadInput: the file cannot be read, or has no row.
        Several: invalid or repeated lines, values that are NaN or out of range, missing frames, size or time that
            differ within an encode. Nothing of such a file is used.
    """
    problems = _Problems()
    encodes: dict[tuple[str, str, int], Encode] = {}
    unused: set[str] = set()
    for number, line in _lines(path):
        try:
            row = _row(line)
        except _LineError as error:
            problems.add(f"line {number}: {error}")
            continue
        unused.update(row.keys() - FIELDS)
        _add_row(row, number, encodes, problems)
    if not encodes and not problems.count:
        raise BadInput(f"{path} has no rows")
    for encode in encodes.values():
        _check_frames(encode, problems)
    problems.raise_any(path)
    return Content(encodes=tuple(encodes[key] for key in sorted(encodes)), unused=tuple(sorted(unused)))


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield every line that is not blank, with its number, counted from 1."""
    number = 0
    try:
        with _open(path) as stream:
            for number, line in enumerate(stream, start=1):
                if not line.isspace():
                    yield number, line
    except (OSError, EOFError, zlib.error) as error:
        raise BadInput(f"{path} cannot be read after line {number}: {error}") from error


def _open(path: Path) -> BinaryIO | gzip.GzipFile:
    return gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not a number")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)


def _row(line: bytes) -> dict[str, Any]:
    """Return a line as an object with all fields, each of its type and in its range.

    Raises:
        _LineError: the line is invalid.
    """
    try:
        row = _DECODER.decode(line.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise _LineError(f"not JSON: {error}") from error
    if not isinstance(row, dict):
        raise _LineError(f"a JSON {type(row).__name__}, expected an object")
    if missing := [name for name in FIELDS if name not in row and name not in _OPTIONAL]:
        raise _LineError(f"missing fields: {', '.join(missing)}")
    for name in ("src", "encoder"):
        if not isinstance(row[name], str) or not _SAFE.fullmatch(row[name]):
            raise _LineError(f"{name} is {row[name]!r}, expected 1 to 80 letters, digits, '.', '_', '+' or '-'")
    for name, (low, high) in {"cq": contract.CQ_RANGE, "frame_index": (0, _INT32 - 1)}.items():
        if type(row[name]) is not int or not low <= row[name] <= high:
            raise _LineError(f"{name} is {row[name]!r}, expected a whole number from {low} to {high}")
    _check_numbers(row)
    return row


def _check_numbers(row: Mapping[str, Any]) -> None:
    for name in _NUMBERS:
        if type(row[name]) not in (int, float) or not abs(row[name]) <= sys.float_info.max:
            raise _LineError(f"{name} is {row[name]!r}, expected a finite number")
    low, high = contract.SCORE_RANGE
    if not low <= row["vmaf"] <= high:
        raise _LineError(f"vmaf is {row['vmaf']!r}, expected {low:g} to {high:g}")
    size, time = (row.get(name) for name in _OPTIONAL)
    if size is not None and (type(size) is not int or size < 0):
        raise _LineError(f"enc_bytes is {size!r}, expected a whole number or null")
    if time is not None and (type(time) not in (int, float) or not 0 <= time < math.inf):
        raise _LineError(f"enc_time_ms is {time!r}, expected a number or null")


def _add_row(
    row: Mapping[str, Any], number: int, encodes: dict[tuple[str, str, int], Encode], problems: _Problems
) -> None:
    """Add a row to its encode."""
    key = row["src"], row["encoder"], row["cq"]
    size, time = (row.get(name) for name in _OPTIONAL)
    encode = encodes.get(key)
    if encode is None:
        encode = encodes[key] = Encode(
            src=row["src"], encoder=row["encoder"], cq=row["cq"], enc_bytes=size, enc_time_ms=time
        )
    if (size, time) != (encode.enc_bytes, encode.enc_time_ms):
        problems.add(
            f"line {number}: {encode.id} has enc_bytes {size} and enc_time_ms {time}, line "
            f"{encode.lines[0]} has {encode.enc_bytes} and {encode.enc_time_ms}"
        )
    encode.frames.append(row["frame_index"])
    encode.lines.append(number)
    encode.numbers.extend(row[name] for name in _NUMBERS)


def _check_frames(encode: Encode, problems: _Problems) -> None:
    """Check that every frame from 0 to the last occurs once."""
    frames = np.array(encode.frames)
    order = np.argsort(frames, kind="stable")
    for repeated in np.flatnonzero(np.diff(frames[order]) == 0).tolist():
        first, second = (encode.lines[order[i]] for i in (repeated, repeated + 1))
        problems.add(f"line {second}: {encode.id} has frame {frames[order[repeated]]} already in line {first}")
    present = np.unique(frames)
    if missing := int(frames.max()) + 1 - len(present):
        first_missing = int(np.flatnonzero(present != np.arange(len(present)))[0])
        problems.add(f"{encode.id}: {missing} frames below {frames.max()} are missing, the first is {first_missing}")


def line(encode: Mapping[str, object], frame: int, numbers: list[float]) -> str:
    """Return the line of a frame.

    Args:
        encode: ``src, encoder, cq, enc_bytes, enc_time_ms``.
        numbers: the features and the score.
    """
    values = {**encode, "frame_index": frame, **dict(zip(_NUMBERS, numbers, strict=True))}
    return json.dumps({name: values[name] for name in FIELDS}, allow_nan=False) + "\n"
