"""What came back from a worker, held against what was asked for before anything of it is kept."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from kit.core import contract
from kit.core.errors import CheckFailed, PrerequisiteFailed
from kit.core.values import Cell
from kit.corpus.make.produce import geometry_facts
from kit.corpus.store import cellfile
from kit.corpus.store.cellfile import CellRows
from kit.corpus.store.shard import FailedCell

#: What is noted of the making of a cell, and of which type it is.
_OBSERVED: Mapping[str, type | tuple[type, ...]] = {
    "box": str,
    "platform": str,
    "kit_version": str,
    "ffmpeg_version": str,
    "scorer_version": str,
    "stream_sha256": str,
    "started_at_utc": str,
    "seconds": (int, float),
}


def check_golden(box: str, theirs: Mapping[str, float], ours: Mapping[str, float]) -> None:
    """Hold a worker's answers to the golden pairs against those of this box.

    Raises:
        PrerequisiteFailed: they differ by more than the tolerance.
    """
    apart = {pair: abs(theirs[pair] - ours[pair]) for pair in ours if pair in theirs}
    if apart.keys() != ours.keys() or max(apart.values()) > contract.GOLDEN_TOLERANCE:
        raise PrerequisiteFailed(
            f"the worker {box} scores the golden pairs otherwise than this box: {dict(theirs)}, here {dict(ours)}",
            hint="End that worker, or give it the same scorer, and start the same command again.",
        )


def rows_of(reply: Mapping[str, Any], cell: Cell, corpus: str) -> tuple[CellRows, Mapping[str, Any]]:
    """The rows of a cell and what was observed while it was made.

    Raises:
        CheckFailed: this is not the cell that was asked for, or it is damaged.
    """
    try:
        rows = cellfile.parse(reply["parquet"], str(cell.id))
        (observation,) = json.loads(reply["observed"])["observations"]
        answered = all(isinstance(answer, float) for answer in reply["golden"].values())
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise CheckFailed(f"what came back cannot be used: {error!r}") from error
    labels = {
        "cell_key": cell.key,
        "src": cell.source.label,
        "src_sha256": cell.source.sha256,
        "group": cell.source.group,
        "corpus": corpus,
        "encoder": cell.settings.encoder,
        "preset": cell.settings.preset,
        "cq": cell.settings.cq,
        "frames": cell.source.geometry.frames,
    }
    facts = {
        **cell.keyed,
        "geometry": geometry_facts(cell.source.geometry),
        "converted": cell.settings.score_pix_fmt != cell.source.geometry.pix_fmt,
        "content_sha256": rows.content_sha256(),
        "encoded_bytes": rows.facts.get("encoded_bytes"),
    }
    wrong = _differing(labels, {**rows.labels, "cq": rows.cq, "frames": len(rows.vmaf)})
    wrong += _differing(facts, {**rows.facts, "schema_version": contract.SCHEMA_VERSION})
    if wrong:
        raise CheckFailed(f"what came back is another cell: {', '.join(wrong)} differ")
    size = rows.facts["encoded_bytes"]
    if type(size) is not int or size <= 0:
        raise CheckFailed(f"what came back has {size} encoded bytes")
    well_formed = answered and isinstance(observation, dict) and observation.keys() == _OBSERVED.keys()
    if not well_formed or not all(isinstance(observation[name], kind) for name, kind in _OBSERVED.items()):
        raise CheckFailed("what came back does not tell how it was made")
    return rows, observation


def _differing(expected: Mapping[str, object], found: Mapping[str, object]) -> list[str]:
    return sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))


def failure_of(told: Any, cell: Cell) -> FailedCell:
    """The failure that a worker tells of."""
    try:
        reason, command, tail, tries = (told[name] for name in ("reason", "command", "stderr_tail", "tries"))
    except (KeyError, TypeError) as error:
        return failed(cell, f"a worker told of a failure that cannot be read: {error!r}")
    return failed(cell, str(reason), command=str(command), stderr_tail=str(tail), tries=int(tries))


def failed(cell: Cell, reason: str, *, command: str = "", stderr_tail: str = "", tries: int = 1) -> FailedCell:
    """A cell that no worker has made."""
    return FailedCell(
        key=cell.key,
        source=cell.source.label,
        encoder=cell.settings.encoder,
        cq=cell.settings.cq,
        reason=reason,
        command=command,
        stderr_tail=stderr_tail,
        tries=tries,
    )
