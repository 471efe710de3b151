"""Join subjective scores to the clips of a feature table."""

from __future__ import annotations

import csv
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from kit.core.errors import BadInput, CheckFailed, Missing
from kit.features import table
from kit.features.table import FeatureTable
from kit.system.ui import counted

_Key = tuple[str, ...]
#: What is a number for other tools, too: ``float`` also takes ``1_0`` and digits of every script.
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class JoinRule:
    """How a clip is matched with a line of the score file.

    Attributes:
        columns: columns of the score file that form the key.
        of_clip: returns the key of a clip from its labels; None for a clip without one.
    """

    columns: tuple[str, ...]
    of_clip: Callable[[Mapping[str, str | None]], _Key | None]


@dataclass(frozen=True, kw_only=True)
class Joined:
    """The result of a join.

    Attributes:
        table: the clips with a score, with the column ``mos``.
        clips: their number; unmatched_clips, unmatched_scores: clips by name and scores by key without a partner.
        duplicate_scores: keys of several lines; these lines are ignored.
        shared_scores: keys of several clips; each of these clips gets the score.
    """

    table: FeatureTable
    clips: int
    unmatched_clips: tuple[str, ...]
    unmatched_scores: tuple[str, ...]
    duplicate_scores: tuple[str, ...]
    shared_scores: tuple[str, ...]


def by_columns(words: Sequence[str]) -> JoinRule:
    """Match by ``LABEL=COLUMN``: a label of the clip equals a column of the score file.

    Raises:
        BadInput: another form, or not a label of the table.
    """
    labels, columns = [], []
    for word in words:
        label, _, column = word.partition("=")
        if not column or label not in (*table.CLIP, "codec"):
            raise BadInput(
                f"--on {word}: expected LABEL=COLUMN; labels are {', '.join(table.CLIP)}, codec",
                hint="For example --on source=flickr_id.",
            )
        labels.append(label)
        columns.append(column)

    def of_clip(clip: Mapping[str, str | None]) -> _Key | None:
        key = tuple(text for label in labels if (text := clip[label]) is not None)
        return key if len(key) == len(labels) else None

    return JoinRule(columns=tuple(columns), of_clip=of_clip)


def by_pattern(text: str) -> JoinRule:
    """Match by a regular expression that is searched in a clip's name; its named groups are score columns.

    Raises:
        BadInput: not a regular expression, or without a named group.
    """
    try:
        pattern = re.compile(text)
    except re.error as error:
        raise BadInput(f"--pattern {text!r} is not a regular expression: {error}") from error
    columns = tuple(pattern.groupindex)
    if not columns:
        hint = "For example (?P<flickr_id>\\d+): the group is named like the column of the score file."
        raise BadInput(f"--pattern {text!r} has no named group", hint=hint)

    def of_clip(clip: Mapping[str, str | None]) -> _Key | None:
        match = pattern.search(clip["clip"] or "")
        return None if match is None else tuple(match[column] or "" for column in columns)

    return JoinRule(columns=columns, of_clip=of_clip)


def read_scores(path: Path, rule: JoinRule, score: str) -> list[tuple[_Key, float]]:
    """Return key and score of every line.

    Raises:
        Missing: the file does not exist.
        BadInput: not a CSV file with each of these columns once, or a score that is not a number.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            header = reader.fieldnames or []
            if lacking := [name for name in (*rule.columns, score) if name not in header]:
                raise BadInput(f"{path} lacks the columns {', '.join(lacking)}; it has {', '.join(header)}")
            if twice := [name for name in dict.fromkeys((*rule.columns, score)) if header.count(name) > 1]:
                raise BadInput(
                    f"{path} has several columns named {', '.join(twice)}", hint="Rename or remove all but one."
                )
            return [_line(row, rule, score, f"{path}, line {reader.line_num}") for row in reader]
    except FileNotFoundError:
        raise Missing(f"{path} does not exist", hint="Give a CSV file with a header.") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadInput(f"{path} cannot be read: {error}") from error


def _line(row: Mapping[str, str | None], rule: JoinRule, score: str, where: str) -> tuple[_Key, float]:
    text = (row[score] or "").strip()
    value = float(text) if _NUMBER.fullmatch(text) else math.nan
    if not math.isfinite(value):
        raise BadInput(f"{where}: {score} is {text!r}, expected a number", hint="Remove the lines without a score.")
    return tuple((row[column] or "").strip() for column in rule.columns), value


def join(features: FeatureTable, scores: Sequence[tuple[_Key, float]], rule: JoinRule) -> Joined:
    """Add its score to every frame of a clip; leave out clips without one.

    Raises:
        CheckFailed: no clip matches a score.
    """
    lines = Counter(key for key, _ in scores)
    value_of = {key: value for key, value in scores if lines[key] == 1}
    mos = np.full(len(features), np.nan)
    used: Counter[_Key] = Counter()
    unmatched = []
    for name, rows in features.clips():
        first = features.frame.iloc[rows.start]
        clip_key = rule.of_clip({label: first[label] for label in (*table.CLIP, "codec")})
        if clip_key is None or clip_key not in value_of:
            unmatched.append(name)
            continue
        used[clip_key] += 1
        mos[rows] = value_of[clip_key]
    if not used:
        example = next(iter(lines), ())
        raise CheckFailed(
            f"no match between {counted(len(unmatched), 'clip')} and {counted(len(lines), 'score')}; "
            f"first clip {unmatched[0]}, first score {_key_text(rule, example)}",
            hint="Change --on or --pattern so that both give the same text.",
        )
    matched = ~np.isnan(mos)
    columns: list[str] = [name for name in features.frame.columns if name != "mos"]
    frame: pd.DataFrame = features.frame[columns].assign(mos=mos)[matched]
    return Joined(
        table=table.build(frame, features.features, what="the joined table"),
        clips=used.total(),
        unmatched_clips=tuple(unmatched),
        unmatched_scores=tuple(_key_text(rule, key) for key in value_of if key not in used),
        duplicate_scores=tuple(_key_text(rule, key) for key, count in lines.items() if count > 1),
        shared_scores=tuple(_key_text(rule, key) for key, count in used.items() if count > 1),
    )


def _key_text(rule: JoinRule, key: _Key) -> str:
    return ", ".join(f"{column}={text}" for column, text in zip(rule.columns, key, strict=False))
