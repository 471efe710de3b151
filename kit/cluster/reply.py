"""Check what a worker sent back against the request before it is stored."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from kit.core import contract
from kit.core.errors import CheckFailed, PrerequisiteFailed
from kit.core.values import Cell
from kit.corpus.make.produce import OBSERVATION, footer_facts
from kit.corpus.store import cellfile
from kit.corpus.store.cellfile import CellRows
from kit.corpus.store.shard import FailedCell, facts_of, row_labels
from kit.system import validation


def check_golden(box: str, theirs: Mapping[str, float], ours: Mapping[str, float]) -> None:
    """Compare a worker's answers to the golden pairs with those of this box.

    Raises:
        PrerequisiteFailed: they differ by more than the tolerance.
    """
    differences = {pair: abs(theirs[pair] - ours[pair]) for pair in ours if pair in theirs}
    if differences.keys() != ours.keys() or max(differences.values()) > contract.GOLDEN_TOLERANCE:
        raise PrerequisiteFailed(
            f"golden pairs differ: the worker {box} scores {dict(theirs)}, this box {dict(ours)}; expected "
            f"{contract.GOLDEN_TOLERANCE} apart at most",
            hint="End that worker, or give it the same scorer, and start the same command again.",
        )


def check_cell(reply: Mapping[str, Any], cell: Cell, corpus: str) -> tuple[CellRows, Mapping[str, Any]]:
    """Return the rows of a cell and the observation of the worker that made it.

    Raises:
        CheckFailed: the reply is damaged, or has another cell than the requested one.
    """
    try:
        rows = cellfile.parse(reply["parquet"], str(cell.id))
        observed = json.loads(reply["observed"])
        answered = all(isinstance(answer, float) for answer in reply["golden"].values())
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise CheckFailed(f"the worker's reply cannot be used: {error!r}") from error
    labels = {**row_labels(facts_of(cell), corpus), "cq": cell.settings.cq, "frames": cell.source.geometry.frames}
    size = rows.facts.get("encoded_bytes")
    facts = {**footer_facts(cell), "content_sha256": rows.content_sha256(), "encoded_bytes": size}
    differing = _differing(labels, {**rows.labels, "cq": rows.cq, "frames": len(rows.vmaf)})
    differing += _differing(facts, {**rows.facts, "schema_version": contract.SCHEMA_VERSION})
    if differing:
        raise CheckFailed(f"the worker's reply has another cell: {', '.join(differing)} differ")
    if type(size) is not int or size <= 0:
        raise CheckFailed(f"the worker's reply has {size} encoded bytes, expected 1 at least")
    problems = validation.problems("observed", observed, most=1)
    if problems or not answered or not _complete(observed["observations"]):
        raise CheckFailed(f"the worker's reply has no valid observation: {', '.join(problems) or observed!r:.300}")
    return rows, observed["observations"][0]


def _complete(observations: list[dict[str, Any]]) -> bool:
    """Return whether this is one observation with a value for everything that is observed."""
    return [one.keys() for one in observations] == [set(OBSERVATION)] and None not in observations[0].values()


def _differing(expected: Mapping[str, object], received: Mapping[str, object]) -> list[str]:
    return sorted(name for name in expected.keys() | received.keys() if expected.get(name) != received.get(name))


def reported_failure(report: Any, cell: Cell) -> FailedCell:
    """Return the failure of a cell that a worker reports."""
    try:
        reason, command, tail, tries = (report[name] for name in ("reason", "command", "stderr_tail", "tries"))
    except (KeyError, TypeError) as error:
        return FailedCell.of(cell, f"a worker's report of a failure cannot be read: {error!r}")
    return FailedCell.of(cell, str(reason), command=str(command), stderr_tail=str(tail), tries=int(tries))
