"""Folds: content groups, encoders or boxes that are held out of training. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

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
    """The training rows and the held-out rows of one member.

    Attributes:
        held_out: label of the held-out rows; empty if nothing is held out.
        group_id: SHA-256 over the held-out sources, independent of their labels; keys the random numbers.
        train, held: int32 row indices of the table; disjoint, together all rows, unless :func:`thinned` took some of
            ``train``.
    """

    held_out: str
    group_id: str
    train: NDArray[np.int32]
    held: NDArray[np.int32]


def assign(cells: Iterable[CellEntry], scheme: str) -> dict[str, str]:
    """Return the label of each content group's fold: its own with ``loso``, else one of ``fold01`` to ``foldK``.

    Groups go to the fold with the fewest rows so far, the largest first; the result depends on their sources and rows,
    not on their labels.

    Raises:
        InvalidEvidence: fewer groups than the gate requires, or fewer than folds.
    """
    members, rows = _groups(cells)
    least = int(contract.GATE_THRESHOLDS["groups_min"])
    if len(members) < least:
        raise InvalidEvidence(
            [
                f"the corpus has {len(members)} content groups ({', '.join(sorted(members)) or 'none'}); "
                f"leave-one-source-out needs at least {least}"
            ],
            hint="Add reference clips with other content.",
        )
    count = fold_count(scheme)
    if count is None:
        return {label: label for label in sorted(members)}
    if len(members) < count:
        raise InvalidEvidence(
            [f"--folds {scheme}: the corpus has only {len(members)} content groups"],
            hint="Leave --folds out: then each group is held out once.",
        )
    fold_of = dealt(rows, {label: id_of(sources) for label, sources in members.items()}, count)
    return {label: f"fold{index + 1:0{max(2, len(str(count)))}d}" for label, index in fold_of.items()}


def dealt(sizes: Mapping[str, int], ids: Mapping[str, str], count: int) -> dict[str, int]:
    """Distribute groups over ``count`` bins, the largest first, each to the bin with the smallest load so far.

    Args:
        sizes: of each group, by its name; ids: the order of groups of the same size.
    """
    load = [0] * count
    bins = {}
    for name in sorted(sizes, key=lambda name: (-sizes[name], ids[name])):
        bins[name] = load.index(min(load))
        load[bins[name]] += sizes[name]
    return bins


def _groups(cells: Iterable[CellEntry]) -> tuple[Mapping[str, set[str]], Mapping[str, int]]:
    """Return the sources and the number of rows of each group."""
    members: defaultdict[str, set[str]] = defaultdict(set)
    rows: defaultdict[str, int] = defaultdict(int)
    for entry in cells:
        members[entry.group].add(entry.source_id)
        rows[entry.group] += entry.rows
    return members, rows


def id_of(sources: Iterable[str]) -> str:
    """Return the id of a group: a hash of the identities of its sources."""
    return sha256_json(sorted(sources))


def by_group(table: Table, scheme: str = contract.DEFAULT_FOLDS) -> tuple[Fold, ...]:
    """Return the folds of a scheme in order of their labels; raises the errors of :func:`assign`."""
    fold_of = assign(table.cells, scheme)
    members, _ = _groups(table.cells)
    sources: defaultdict[str, set[str]] = defaultdict(set)
    for group, label in fold_of.items():
        sources[label] |= members[group]
    ids = {label: id_of(held) for label, held in sources.items()}
    return _folds(table, [fold_of[entry.group] for entry in table.cells], ids)


def by_encoder(table: Table) -> tuple[Fold, ...]:
    """Return one fold per encoder. Its sources stay in training, with other encoders.

    Raises:
        BadInput: fewer than two encoders.
    """
    return _by_label(table, "encoder", [entry.encoder for entry in table.cells])


def unseen_sets(cells: Iterable[CellEntry]) -> dict[str, str]:
    """Return the set of each content group with which each encoder is held out; raises the errors of :func:`assign`."""
    entries = tuple(cells)
    return assign(entries, f"kfold:{min(contract.UNSEEN_SETS, len(_groups(entries)[0]))}")


def unseen_encoders(cells: Iterable[CellEntry]) -> tuple[str, ...]:
    """Name the encoders that can be held out with each set of groups: rows of others remain in other sets. Sorted."""
    entries = tuple(cells)
    encoders = sorted({entry.encoder for entry in entries})
    if len(encoders) < 2:
        return ()
    sets = unseen_sets(entries)
    held = {name: {sets[entry.group] for entry in entries if entry.encoder == name} for name in encoders}
    others = {name: {sets[entry.group] for entry in entries if entry.encoder != name} for name in encoders}
    return tuple(name for name in encoders if all(others[name] - {label} for label in held[name]))


def unseen_label(encoder: str, group_set: str) -> str:
    """Return the label of the held-out rows of an encoder in a set of content groups."""
    return f"{encoder}/{group_set}"


def without_encoder(others: Table, encoder: str, sets: Mapping[str, str]) -> tuple[Fold, ...]:
    """Return one fold per set of content groups, of rows without an encoder.

    Args:
        others: the rows of the other encoders.
        sets: the set of each content group of the corpus.
    """
    sources = {label: sorted(group for group in sets if sets[group] == label) for label in sorted(set(sets.values()))}
    known, _ = _groups(others.cells)
    ids = {
        label: sha256_json({"encoder": encoder, "sources": sorted(set().union(*(known.get(g, set()) for g in groups)))})
        for label, groups in sources.items()
    }
    return _folds(others, [sets[entry.group] for entry in others.cells], ids)


def by_box(table: Table, boxes: Sequence[str]) -> tuple[Fold, ...]:
    """Return one fold per box.

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
            f"--holdout {what}: the corpus has {len(names)} ({', '.join(names) or 'none'}); at least 2 are needed",
            hint=f"Leave --holdout {what} out.",
        )
    return _folds(table, labels, {name: sha256_json({what: name}) for name in names})


def _folds(table: Table, labels: Sequence[str], ids: Mapping[str, str]) -> tuple[Fold, ...]:
    """Return one fold per label of the cells."""
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
    """Return the fold of a full fit, which trains on all rows.

    Its id hashes an object of another shape, so that it never equals the id of a held-out group.
    """
    sources = sorted({entry.source_id for entry in table.cells})
    return Fold(
        held_out="",
        group_id=sha256_json({"all": sources}),
        train=np.arange(len(table), dtype=np.int32),
        held=np.empty(0, dtype=np.int32),
    )


def thinned(table: Table, folds: Sequence[Fold], most: int | None) -> tuple[Fold, ...]:
    """Return the folds with at most ``most`` training rows of a source; the held-out rows stay complete.

    Args:
        most: at least 1; None for no limit.
    """
    if most is None:
        return tuple(folds)
    kept = evenly_kept([(entry.source_id, entry.rows) for entry in table.cells], most)
    return tuple(replace(fold, train=fold.train[kept[fold.train]]) for fold in folds)


#: The frames that consecutive cells keep begin at different places: the golden ratio spreads them most evenly.
_PHASE, _PHASES = 618, 1000


def evenly_kept(cells: Sequence[tuple[str, int]], most: int) -> NDArray[np.bool_]:
    """Return which rows to keep, bool [rows], so that a source keeps ``most`` rows, or all if it has no more.

    They are evenly spaced: over the cells of a source in proportion to their rows, and over the frames of a cell. Only
    integers are used, so that every machine keeps the same rows.

    Args:
        cells: source and number of rows of each cell, in order of the rows.
    """
    total: defaultdict[str, int] = defaultdict(int)
    for source, rows in cells:
        total[source] += rows
    kept, before, number = [], dict.fromkeys(total, 0), dict.fromkeys(total, 0)
    for source, rows in cells:
        keep = np.zeros(rows, dtype=np.bool_)
        wanted, done = min(most, total[source]), before[source]
        share = wanted * (done + rows) // total[source] - wanted * done // total[source]
        phase = number[source] * _PHASE % _PHASES
        keep[(np.arange(share) * _PHASES + phase) * rows // max(1, share * _PHASES)] = True
        kept.append(keep)
        before[source], number[source] = done + rows, number[source] + 1
    return np.concatenate([np.empty(0, dtype=np.bool_), *kept])
