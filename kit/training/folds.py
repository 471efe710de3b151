"""Leave one source out: each fold holds out a whole content group. Pure."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kit import contract
from kit.canon import sha256_json
from kit.errors import InvalidEvidence
from kit.training.table import Table


@dataclass(frozen=True, kw_only=True)
class Fold:
    """One held-out group.

    Attributes:
        held_out: the group's label.
        group_id: SHA-256 over the identities of the group's sources; the same whatever the group is called.
        train, held: int32 row indices of the table; disjoint, together all rows.
    """

    held_out: str
    group_id: str
    train: NDArray[np.int32]
    held: NDArray[np.int32]


def leave_one_group_out(table: Table) -> tuple[Fold, ...]:
    """One fold a content group, in order of the groups' labels.

    Raises:
        InvalidEvidence: fewer groups than the gate asks for.
    """
    members: defaultdict[str, set[str]] = defaultdict(set)
    for entry in table.cells:
        members[entry.group].add(entry.source_id)
    least = int(contract.GATE_THRESHOLDS["groups_min"])
    if len(members) < least:
        raise InvalidEvidence(
            [f"the corpus has {len(members)} content groups ({', '.join(sorted(members)) or 'none'}), "
             f"leave-one-source-out needs at least {least}"],
            hint="Add reference clips that show something else.",
        )  # fmt: skip
    group_of_row = np.array([entry.group for entry in table.cells])[table.cell]
    return tuple(
        Fold(
            held_out=label,
            group_id=sha256_json(sorted(members[label])),
            train=np.flatnonzero(group_of_row != label).astype(np.int32),
            held=np.flatnonzero(group_of_row == label).astype(np.int32),
        )
        for label in sorted(members)
    )
