"""Which rows a fit uses, and which of them it does not learn from: whole content groups. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kit.core.canon import sha256_json
from kit.core.errors import BadInput
from kit.features.table import CLIP, FeatureTable
from kit.heads.config import COMBINED, KONVID, NETFLIX, FitConfig


def divided(table: FeatureTable, config: FitConfig) -> tuple[FeatureTable, NDArray[np.bool_]]:
    """The rows that are used, and which of them are held out: as options have it, none if they say nothing.

    With ``--combined`` the sources that are held out are those of the mode's validated corpora, and a fraction is taken
    of each of these corpora; what is of their content group in another corpus is held out with them.

    Raises:
        BadInput: a corpus or a source is not there, or nothing would be left to train on.
    """
    validated: Sequence[str] = ()
    if config.combined is not None:
        table, validated = _mode(table, config.combined)
    if config.max_pairs is not None:
        table = _first_clips(table, config.max_pairs)
    corpora = table.frame["corpus"].to_numpy(str)
    pools = [corpora == name for name in validated] or [np.ones(len(table), dtype=np.bool_)]
    held: set[str] = set()
    if config.val_source:
        held = _of_sources(table, np.logical_or.reduce(pools), config.val_source)
    elif config.val_fraction is not None:
        held = set().union(*(_drawn(table, pool, config.val_fraction, config.seed) for pool in pools))
    rows: NDArray[np.bool_] = np.isin(table.groups, sorted(held))
    if rows.all():
        raise BadInput(
            f"all content groups are held out: {', '.join(sorted(held)[:20])}",
            hint="Nothing would be left to train on.",
        )
    return table, rows


def _mode(table: FeatureTable, mode: str) -> tuple[FeatureTable, Sequence[str]]:
    """The rows of a mode's corpora, and those of the corpora that are validated on."""
    used, validated = COMBINED[mode]
    there = set(table.frame["corpus"])
    if lacking := [name for name in used if name not in there]:
        raise BadInput(
            f"--combined {mode} needs the corpora {' and '.join(used)}; of {', '.join(lacking)} there is "
            f"nothing, only {', '.join(sorted(there))}",
            hint=f"`combine {NETFLIX}=F.parquet {KONVID}=G.parquet` makes such a table.",
        )
    return table.only(table.frame["corpus"].isin(used).to_numpy()), validated


def _first_clips(table: FeatureTable, count: int) -> FeatureTable:
    """The first so many clips of each corpus, in the table's order."""
    clips = table.frame[list(CLIP)].drop_duplicates()
    kept = clips.groupby("corpus", sort=False).head(count)
    keys = table.frame[list(CLIP)].merge(kept, on=list(CLIP), how="left", indicator="there")
    return table.only((keys["there"] == "both").to_numpy())


def _of_sources(table: FeatureTable, pool: NDArray[np.bool_], names: Sequence[str]) -> set[str]:
    """The content groups of the sources of these names, each given as ``source`` or ``corpus/source``.

    Args:
        pool: rows whose sources may be named.
    """
    group_of = {source: group for group, sources in table.members(pool).items() for source in sources}
    chosen = set()
    for name in names:
        found = sorted(source for source in group_of if name in (source, source.split("/", 1)[1]))
        if len(found) != 1:
            told = f"several: {', '.join(found)}" if found else "no such source"
            raise BadInput(f"--val-source {name}: {told}", hint=f"There are {', '.join(sorted(group_of)[:20])}.")
        chosen.add(group_of[found[0]])
    return chosen


def _drawn(table: FeatureTable, pool: NDArray[np.bool_], fraction: float, seed: int) -> set[str]:
    """Content groups of a pool drawn at random until they have that share of its rows; at least one goes, one stays.

    The draw is a hash of seed and name: a group more or less does not change the order of the others.
    """
    names, counts = np.unique(table.groups[pool], return_counts=True)
    rows = dict(zip(names.tolist(), counts.tolist(), strict=True))
    if len(rows) < 2:
        raise BadInput(
            f"--val-fraction: there is one content group ({', '.join(rows)}), and it cannot be on both sides",
            hint="Leave it out, or bring more: a larger table or --max-pairs.",
        )
    drawn = sorted(rows, key=lambda name: sha256_json({"seed": seed, "group": name}))
    chosen, reached = {drawn[0]}, rows[drawn[0]]
    for name in drawn[1:-1]:
        if reached >= fraction * sum(rows.values()):
            break
        chosen.add(name)
        reached += rows[name]
    return chosen
