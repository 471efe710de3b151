"""Subjective scores joined to the clips of a feature table."""

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
class Rule:
    """How clips and lines of scores find each other.

    Attributes:
        columns: columns of the scores that make their key.
        of_clip: the key of a clip from its labels; None for a clip that has none.
    """

    columns: tuple[str, ...]
    of_clip: Callable[[Mapping[str, str | None]], _Key | None]


@dataclass(frozen=True, kw_only=True)
class Joined:
    """What came of it.

    Attributes:
        table: the clips that have a score, with the column ``mos``.
        clips: how many those are; unmatched_clips, unmatched_scores: the others, by name and by key.
        duplicate_scores: keys that several lines have; they are joined to nothing.
        shared_scores: keys that several clips have; all of them get the score.
    """

    table: FeatureTable
    clips: int
    unmatched_clips: tuple[str, ...]
    unmatched_scores: tuple[str, ...]
    duplicate_scores: tuple[str, ...]
    shared_scores: tuple[str, ...]


def by_columns(words: Sequence[str]) -> Rule:
    """``COLUMN=COLUMN``: a label of the clip and the column of the scores that is the same.

    Raises:
        BadInput: one has not this form, or the table has no such label.
    """
    labels, columns = [], []
    for word in words:
        label, _, column = word.partition("=")
        if not column or label not in (*table.CLIP, "codec"):
            raise BadInput(
                f"--on {word}: expected COLUMN=COLUMN, the first of {', '.join(table.CLIP)} and codec",
                hint="For example --on source=flickr_id.",
            )
        labels.append(label)
        columns.append(column)

    def of_clip(clip: Mapping[str, str | None]) -> _Key | None:
        key = tuple(text for label in labels if (text := clip[label]) is not None)
        return key if len(key) == len(labels) else None

    return Rule(columns=tuple(columns), of_clip=of_clip)


def by_pattern(text: str) -> Rule:
    """A regular expression that is searched in a clip's name; its named groups are columns of the scores.

    Raises:
        BadInput: it is none, or has no named group.
    """
    try:
        pattern = re.compile(text)
    except re.error as error:
        raise BadInput(f"--pattern {text!r} is no regular expression: {error}") from error
    columns = tuple(pattern.groupindex)
    if not columns:
        hint = "For example (?P<flickr_id>\\d+): the name of a group is a column of the scores."
        raise BadInput(f"--pattern {text!r} has no named group", hint=hint)

    def of_clip(clip: Mapping[str, str | None]) -> _Key | None:
        found = pattern.search(clip["clip"] or "")
        return None if found is None else tuple(found[column] or "" for column in columns)

    return Rule(columns=columns, of_clip=of_clip)


def read_scores(path: Path, rule: Rule, score: str) -> list[tuple[_Key, float]]:
    """Key and score of every line.

    Raises:
        Missing: there is no such file.
        BadInput: it is no CSV that has each of these columns once, or a score is no number.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            header = reader.fieldnames or []
            if lacking := [name for name in (*rule.columns, score) if name not in header]:
                raise BadInput(f"{path} has no column {', '.join(lacking)}; there are {', '.join(header)}")
            if twice := [name for name in dict.fromkeys((*rule.columns, score)) if header.count(name) > 1]:
                raise BadInput(f"{path} has several columns {', '.join(twice)}", hint="Rename or remove the others.")
            return [_line(row, rule, score, f"{path}, line {reader.line_num}") for row in reader]
    except FileNotFoundError:
        raise Missing(f"{path} is not there", hint="Give a CSV file with a header.") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadInput(f"{path} cannot be read: {error}") from error


def _line(row: Mapping[str, str | None], rule: Rule, score: str, where: str) -> tuple[_Key, float]:
    text = (row[score] or "").strip()
    value = float(text) if _NUMBER.fullmatch(text) else math.nan
    if not math.isfinite(value):
        raise BadInput(f"{where}: {score} is {text!r}, expected a number", hint="Leave out the lines without a score.")
    return tuple((row[column] or "").strip() for column in rule.columns), value


def join(features: FeatureTable, scores: Sequence[tuple[_Key, float]], rule: Rule) -> Joined:
    """Give every frame of a clip its score; clips without one are left out.

    Raises:
        CheckFailed: no clip has a score.
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
            f"none of {counted(len(unmatched), 'clip')} has one of {counted(len(lines), 'score')}: a clip "
            f"is called {unmatched[0]}, a score {_shown(rule, example)}",
            hint="Mend --on or --pattern so that both give the same text.",
        )
    there = ~np.isnan(mos)
    columns: list[str] = [name for name in features.frame.columns if name != "mos"]
    frame: pd.DataFrame = features.frame[columns].assign(mos=mos)[there]
    return Joined(
        table=table.of(frame, features.features, what="the joined table"),
        clips=used.total(),
        unmatched_clips=tuple(unmatched),
        unmatched_scores=tuple(_shown(rule, key) for key in value_of if key not in used),
        duplicate_scores=tuple(_shown(rule, key) for key, count in lines.items() if count > 1),
        shared_scores=tuple(_shown(rule, key) for key, count in used.items() if count > 1),
    )


def _shown(rule: Rule, key: _Key) -> str:
    return ", ".join(f"{column}={text}" for column, text in zip(rule.columns, key, strict=False))
