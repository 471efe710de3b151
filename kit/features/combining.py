"""Several feature tables as one."""

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
        holes: input to features and how many of its rows have NaN there, those that were filled in among them.
        shared: content groups of several inputs, which are held out together.
    """

    table: FeatureTable
    holes: Mapping[str, Mapping[str, int]]
    shared: tuple[str, ...]


def named(words: Sequence[str]) -> dict[str, Path]:
    """``NAME=FILE`` of each input.

    Raises:
        BadInput: one has not this form, or a name is given twice.
    """
    found: dict[str, Path] = {}
    for word in words:
        name, equals, path = word.partition("=")
        if not equals or not path or not _NAME.fullmatch(name):
            raise BadInput(f"{word!r} is not NAME=FILE", hint="For example npd=npd.parquet konvid-1k=konvid.parquet.")
        if name in found:
            raise BadInput(f"{name} is given twice", hint="A name stands for one corpus.")
        found[name] = Path(path)
    return found


def combine(tables: Mapping[str, FeatureTable], *, fill_missing: bool) -> Combined:
    """All rows under one set of features, the six first; ``corpus`` becomes the name of the input.

    Args:
        fill_missing: a feature that an input lacks is NaN there.

    Raises:
        CheckFailed: the teachers differ.
        Several: an input lacks a feature, and it is not to be filled.
    """
    _same_teacher(tables)
    every = {feature for one in tables.values() for feature in one.features}
    six = [feature for feature in contract.FEATURES if feature in every]
    features = (*six, *sorted(every.difference(six)))
    lacking = {name: [feature for feature in features if feature not in one.features] for name, one in tables.items()}
    if any(lacking.values()) and not fill_missing:
        raise Several(
            "inputs that lack features which others have",
            [
                BadInput(
                    f"{name}: {', '.join(lost)}",
                    hint="--fill-missing puts NaN there; or extract it with the same --feature-set.",
                )
                for name, lost in lacking.items()
                if lost
            ],
        )
    parts = [one.frame.assign(corpus=name) for name, one in tables.items()]
    frame = pd.concat(parts, ignore_index=True).reindex(columns=_columns(parts, features))
    made = table.of(frame, features, what="the combined table")
    holes = made.frame[list(features)].isna().groupby(made.frame["corpus"]).sum()
    corpora = pd.DataFrame({"group": made.groups, "corpus": made.frame["corpus"]}).groupby("group")["corpus"].nunique()
    return Combined(
        table=made,
        holes={name: {feature: int(count) for feature, count in holes.loc[name].items() if count} for name in tables},
        shared=tuple(corpora[corpora > 1].index),
    )


def _same_teacher(tables: Mapping[str, FeatureTable]) -> None:
    teachers = {name: one.teacher for name, one in tables.items()}
    first, *others = (teacher and teacher.identity for teacher in teachers.values())
    if any(other != first for other in others):
        told = ", ".join(f"{name}: {teacher or 'not told'}" for name, teacher in teachers.items())
        raise CheckFailed(
            f"the inputs have scores of several teachers ({told})", hint="Extract them with the same --teacher."
        )


def _columns(parts: Sequence[pd.DataFrame], features: Sequence[str]) -> list[str]:
    """Columns of the result; those that not every table has stay where one has them."""
    some = [name for name in (*table.TARGETS, table.FOLD) if any(name in part for part in parts)]
    return [*table.LABELS, *features, *some]
