"""What is held out of training: a whole content group, or some of them, or an encoder or a box. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kit.core import contract
from kit.core.canon import sha256_json
from kit.core.errors import BadInput, InvalidEvidence
from kit.corpus.store.shard import CellEntry
from kit.options.values import fold_count
from kit.training.table import Table


@dataclass(frozen=True, kw_only=True)
class Fold:
    """What one member does not learn from.

    Attributes:
        held_out: its label; empty where nothing is held out.
        group_id: SHA-256 over what is held out, the same whatever it is called; random numbers are keyed with it.
        train, held: int32 row indices of the table; disjoint, together all rows.
    """

    held_out: str
    group_id: str
    train: NDArray[np.int32]
    held: NDArray[np.int32]


def assign(cells: Iterable[CellEntry], scheme: str) -> dict[str, str]:
    """Label of each content group's fold: its own with ``loso``, else one of ``fold01`` to ``foldK``.

    Groups go to the fold that has the fewest rows so far, the largest first; which it is depends on their sources and
    rows alone, not on what they are called.

    Raises:
        InvalidEvidence: fewer groups than the gate asks for, or fewer than folds.
    """
    members, rows = _groups(cells)
    least = int(contract.GATE_THRESHOLDS["groups_min"])
    if len(members) < least:
        raise InvalidEvidence(
            [
                f"the corpus has {len(members)} content groups ({', '.join(sorted(members)) or 'none'}), "
                f"leave-one-source-out needs at least {least}"
            ],
            hint="Add reference clips that show something else.",
        )
    count = fold_count(scheme)
    if count is None:
        return {label: label for label in sorted(members)}
    if len(members) < count:
        raise InvalidEvidence(
            [f"--folds {scheme}: the corpus has only {len(members)} content groups"],
            hint="Leave --folds out: then each group is held out once.",
        )
    place_of = dealt(rows, {label: id_of(sources) for label, sources in members.items()}, count)
    return {label: f"fold{place + 1:0{max(2, len(str(count)))}d}" for label, place in place_of.items()}


def dealt(sizes: Mapping[str, int], ids: Mapping[str, str], count: int) -> dict[str, int]:
    """Spread groups over so many places: the largest first, each to the place that has the least so far.

    Args:
        sizes: of each group, by its name; ids: what decides between groups of one size.
    """
    load = [0] * count
    found = {}
    for name in sorted(sizes, key=lambda name: (-sizes[name], ids[name])):
        found[name] = load.index(min(load))
        load[found[name]] += sizes[name]
    return found


def _groups(cells: Iterable[CellEntry]) -> tuple[Mapping[str, set[str]], Mapping[str, int]]:
    """Sources and number of rows of each group."""
    members: defaultdict[str, set[str]] = defaultdict(set)
    rows: defaultdict[str, int] = defaultdict(int)
    for entry in cells:
        members[entry.group].add(entry.source_id)
        rows[entry.group] += entry.rows
    return members, rows


def id_of(sources: Iterable[str]) -> str:
    """Of a group: a hash of the identities of its sources."""
    return sha256_json(sorted(sources))


def by_group(table: Table, scheme: str = contract.DEFAULT_FOLDS) -> tuple[Fold, ...]:
    """The folds of a scheme, in order of their labels; raises what :func:`assign` raises."""
    fold_of = assign(table.cells, scheme)
    members, _ = _groups(table.cells)
    sources: defaultdict[str, set[str]] = defaultdict(set)
    for group, label in fold_of.items():
        sources[label] |= members[group]
    ids = {label: id_of(held) for label, held in sources.items()}
    return _folds(table, [fold_of[entry.group] for entry in table.cells], ids)


def by_encoder(table: Table) -> tuple[Fold, ...]:
    """One fold an encoder. Its sources stay in training, with other encoders.

    Raises:
        BadInput: fewer than two encoders.
    """
    return _by_label(table, "encoder", [entry.encoder for entry in table.cells])


def by_box(table: Table, boxes: Sequence[str]) -> tuple[Fold, ...]:
    """One fold a box.

    Args:
        boxes: the box of each of the table's cells.

    Raises:
        BadInput: fewer than two boxes.
    """
    return _by_label(table, "box", boxes)


def _by_label(table: Table, what: str, labels: Sequence[str]) -> tuple[Fold, ...]:
    names = sorted(set(labels))
    if len(names) < 2:
        raise BadInput(
            f"--holdout {what}: the corpus has cells of {len(names)} ({', '.join(names) or 'none'}), "
            "nothing would be left to train on",
            hint="Leave --holdout out.",
        )
    return _folds(table, labels, {name: sha256_json({what: name}) for name in names})


def _folds(table: Table, labels: Sequence[str], ids: Mapping[str, str]) -> tuple[Fold, ...]:
    """A fold for each label of the cells."""
    label = np.array(labels)[table.cell]
    return tuple(
        Fold(
            held_out=name,
            group_id=ids[name],
            train=np.flatnonzero(label != name).astype(np.int32),
            held=np.flatnonzero(label == name).astype(np.int32),
        )
        for name in sorted(ids)
    )


def everything(table: Table) -> Fold:
    """The fold of a full fit, which trains on all rows and holds out none.

    Its id hashes an object with a key of its own, so that it is never that of something held out.
    """
    sources = sorted({entry.source_id for entry in table.cells})
    return Fold(
        held_out="",
        group_id=sha256_json({"all": sources}),
        train=np.arange(len(table), dtype=np.int32),
        held=np.empty(0, dtype=np.int32),
    )
