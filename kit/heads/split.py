"""The rows that a fit uses, and those of them that it holds out: whole content groups. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kit.core.canon import sha256_json
from kit.core.errors import BadInput
from kit.features.table import CLIP, FeatureTable
from kit.heads.config import COMBINED, KONVID, NETFLIX, FitConfig


def split_rows(table: FeatureTable, config: FitConfig) -> tuple[FeatureTable, NDArray[np.bool_]]:
    """Return the used rows, and which of them are held out; none unless an option says so.

    With ``--combined`` sources are held out of the mode's validated corpora, a fraction of each of these corpora; rows
    of the same content group in another corpus are held out with them.

    Raises:
        BadInput: a corpus or a source is missing, or no training rows are left.
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
            f"all content groups are held out ({', '.join(sorted(held)[:20])}); no training rows are left",
            hint="Hold out fewer.",
        )
    return table, rows


def _mode(table: FeatureTable, mode: str) -> tuple[FeatureTable, Sequence[str]]:
    """Return the rows of a mode's corpora, and the names of its validated corpora."""
    used, validated = COMBINED[mode]
    present = set(table.frame["corpus"])
    if missing := [name for name in used if name not in present]:
        raise BadInput(
            f"--combined {mode} needs the corpora {' and '.join(used)}; missing: {', '.join(missing)}; "
            f"the table has {', '.join(sorted(present))}",
            hint=f"Make such a table: `combine {NETFLIX}=F.parquet {KONVID}=G.parquet`.",
        )
    return table.only(table.frame["corpus"].isin(used).to_numpy()), validated


def _first_clips(table: FeatureTable, count: int) -> FeatureTable:
    """Return the rows of the first clips of each corpus, in the table's order."""
    clips = table.frame[list(CLIP)].drop_duplicates()
    kept = clips.groupby("corpus", sort=False).head(count)
    keys = table.frame[list(CLIP)].merge(kept, on=list(CLIP), how="left", indicator="match")
    return table.only((keys["match"] == "both").to_numpy())


def _of_sources(table: FeatureTable, pool: NDArray[np.bool_], names: Sequence[str]) -> set[str]:
    """Return the content groups of sources, each named ``source`` or ``corpus/source``.

    Args:
        pool: rows whose sources may be named.
    """
    group_of = {source: group for group, sources in table.members(pool).items() for source in sources}
    chosen = set()
    for name in names:
        matches = sorted(source for source in group_of if name in (source, source.split("/", 1)[1]))
        if len(matches) != 1:
            problem = f"several sources: {', '.join(matches)}" if matches else "no such source"
            raise BadInput(f"--val-source {name}: {problem}", hint=f"Sources: {', '.join(sorted(group_of)[:20])}.")
        chosen.add(group_of[matches[0]])
    return chosen


def _drawn(table: FeatureTable, pool: NDArray[np.bool_], fraction: float, seed: int) -> set[str]:
    """Draw content groups of a pool until they have that share of its rows; at least one, and not all.

    The order is that of a hash of seed and name: another group in the pool does not change the order of the others.
    """
    names, counts = np.unique(table.groups[pool], return_counts=True)
    rows = dict(zip(names.tolist(), counts.tolist(), strict=True))
    if len(rows) < 2:
        raise BadInput(
            f"--val-fraction: the rows have one content group ({', '.join(rows)}); at least 2 are needed",
            hint="Leave it out, or use a larger table or --max-pairs.",
        )
    drawn = sorted(rows, key=lambda name: sha256_json({"seed": seed, "group": name}))
    chosen, reached = {drawn[0]}, rows[drawn[0]]
    for name in drawn[1:-1]:
        if reached >= fraction * sum(rows.values()):
            break
        chosen.add(name)
        reached += rows[name]
    return chosen
