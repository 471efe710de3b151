"""Which rows a fit does not learn from: whole sources, never frames. Pure."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kit.canon import sha256_json
from kit.errors import BadInput
from kit.tiny.table import FeatureTable

#: The corpora of ``--combined``, and for each mode which of them are trained on and which are validated on.
NETFLIX, KONVID = "npd", "konvid-1k"
COMBINED = {
    "netflix-source": ((NETFLIX, KONVID), (NETFLIX,)),
    "konvid-holdout": ((NETFLIX, KONVID), (KONVID,)),
    "both": ((NETFLIX, KONVID), (NETFLIX, KONVID)),
    "netflix-only": ((NETFLIX,), (NETFLIX,)),
    "konvid-only": ((KONVID,), (KONVID,)),
}


def by_source(table: FeatureTable, names: tuple[str, ...]) -> NDArray[np.bool_]:
    """The rows of these sources, each named as ``source`` or ``corpus/source``.

    Raises:
        BadInput: there is no such source, or it is not told which of two.
    """
    there = sorted(set(table.sources.tolist()))
    chosen = set()
    for name in names:
        found = [source for source in there if name in (source, source.split("/", 1)[1])]
        if len(found) != 1:
            told = f"several: {', '.join(found)}" if found else "no such source"
            raise BadInput(f"--val-source {name}: {told}", hint=f"There are {', '.join(there[:20])}.")
        chosen.add(found[0])
    return _held(table, chosen)


def by_fraction(table: FeatureTable, fraction: float, seed: int) -> NDArray[np.bool_]:
    """The rows of sources drawn at random until they are that share of all rows; at least one stays and one goes.

    The draw is a hash of seed and name: another source more or less does not change the order of the others.

    Raises:
        BadInput: fewer than two sources.
    """
    names, counts = np.unique(table.sources, return_counts=True)
    rows = dict(zip(names.tolist(), counts.tolist(), strict=True))
    if len(rows) < 2:
        raise BadInput(f"--val-fraction: there is one source ({', '.join(rows)}), and it cannot be on both sides",
                       hint="Leave it out, or bring more sources.")  # fmt: skip
    drawn = sorted(rows, key=lambda name: sha256_json({"seed": seed, "source": name}))
    chosen = {drawn[0]}
    for name in drawn[1:-1]:
        if sum(rows[source] for source in chosen) >= fraction * len(table):
            break
        chosen.add(name)
    return _held(table, chosen)


def of_mode(table: FeatureTable, mode: str) -> tuple[FeatureTable, FeatureTable]:
    """What a mode of ``COMBINED`` uses at all, and what of it is validated on, from a combined table.

    Raises:
        BadInput: a corpus that it needs is not in the table.
    """
    used, validated = COMBINED[mode]
    there = set(table.frame["corpus"])
    if lacking := [name for name in used if name not in there]:
        raise BadInput(f"--combined {mode} needs the corpora {' and '.join(used)}; of {', '.join(lacking)} there is "
                       f"nothing, only {', '.join(sorted(there))}",
                       hint=f"`combine {NETFLIX}=F.parquet {KONVID}=G.parquet` makes such a table.")  # fmt: skip
    kept = table.only(table.frame["corpus"].isin(used).to_numpy())
    return kept, kept.only(kept.frame["corpus"].isin(validated).to_numpy())


def _held(table: FeatureTable, chosen: set[str]) -> NDArray[np.bool_]:
    held: NDArray[np.bool_] = np.isin(table.sources, sorted(chosen))
    if held.all():
        raise BadInput("all sources are held out", hint="Nothing would be left to train on.")
    return held
