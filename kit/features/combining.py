"""Combine several feature tables into one."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from kit.core import contract
from kit.core.errors import BadInput, CheckFailed, Several
from kit.features import table
from kit.features.table import FeatureTable

_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,79}", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Combined:
    """A combined table.

    Attributes:
        missing: input name to features with the number of rows that have NaN, filled ones included.
        shared: content groups that occur in several inputs; they are held out together.
    """

    table: FeatureTable
    missing: Mapping[str, Mapping[str, int]]
    shared: tuple[str, ...]


def parse_inputs(words: Sequence[str]) -> dict[str, Path]:
    """Parse ``NAME=FILE`` of each input.

    Raises:
        BadInput: another form, or a duplicate name.
    """
    paths: dict[str, Path] = {}
    for word in words:
        name, equals, path = word.partition("=")
        if not equals or not path or not _NAME.fullmatch(name):
            raise BadInput(f"{word!r} is not NAME=FILE", hint="For example npd=npd.parquet konvid-1k=konvid.parquet.")
        if name in paths:
            raise BadInput(f"{name} is given twice", hint="Give each input its own name.")
        paths[name] = Path(path)
    return paths


def combine(tables: Mapping[str, FeatureTable], *, fill_missing: bool) -> Combined:
    """Return all rows with one list of features, the six canonical first; ``corpus`` is the name of the input.

    Args:
        fill_missing: write NaN where an input lacks a feature.

    Raises:
        CheckFailed: the teachers differ.
        Several: an input lacks a feature and ``fill_missing`` is false.
    """
    _check_teachers(tables)
    every = {feature for one in tables.values() for feature in one.features}
    six = [feature for feature in contract.FEATURES if feature in every]
    features = (*six, *sorted(every.difference(six)))
    lacking = {name: [feature for feature in features if feature not in one.features] for name, one in tables.items()}
    if any(lacking.values()) and not fill_missing:
        raise Several(
            "inputs lack features of the others",
            [
                BadInput(
                    f"{name}: {', '.join(lost)}",
                    hint="Add --fill-missing to write NaN, or extract it with the same --feature-set.",
                )
                for name, lost in lacking.items()
                if lost
            ],
        )
    frames = [one.frame.assign(corpus=name) for name, one in tables.items()]
    frame = pd.concat(frames, ignore_index=True).reindex(columns=_columns(frames, features))
    combined = table.build(frame, features, what="the combined table")
    nan_rows = combined.frame[list(features)].isna().groupby(combined.frame["corpus"]).sum()
    corpora = (
        pd.DataFrame({"group": combined.groups, "corpus": combined.frame["corpus"]})
        .groupby("group")["corpus"]
        .nunique()
    )
    return Combined(
        table=combined,
        missing={
            name: {feature: int(count) for feature, count in nan_rows.loc[name].items() if count} for name in tables
        },
        shared=tuple(corpora[corpora > 1].index),
    )


def _check_teachers(tables: Mapping[str, FeatureTable]) -> None:
    teachers = {name: one.teacher for name, one in tables.items()}
    first, *others = (teacher and teacher.identity for teacher in teachers.values())
    if any(other != first for other in others):
        named = ", ".join(f"{name}: {teacher or 'unknown'}" for name, teacher in teachers.items())
        raise CheckFailed(f"teachers of the inputs differ ({named})", hint="Extract them with the same --teacher.")


def _columns(frames: Sequence[pd.DataFrame], features: Sequence[str]) -> list[str]:
    """Return the columns of the result: an optional column is kept if any table has it."""
    some = [name for name in (*table.TARGETS, table.FOLD) if any(name in frame for frame in frames)]
    return [*table.LABELS, *features, *some]
