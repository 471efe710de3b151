"""List the finished and missing cells of a shard, without clips and without ffmpeg."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kit.core import layout
from kit.core.errors import BadInput, CheckFailed, Missing
from kit.core.values import Teacher
from kit.corpus.make.resume import differences, finished_entry, lost_file, outdated
from kit.corpus.store import planned
from kit.corpus.store import shard as shards
from kit.corpus.store.planned import PlannedCell, shard_folder
from kit.corpus.store.shard import CellEntry, FailedCell
from kit.system.fsio import read_json

#: States of a planned cell. ``outdated``: finished, but under conditions that the plan or the box no longer has.
STATES = ("done", "failed", "missing", "damaged", "outdated")


@dataclass(frozen=True, kw_only=True)
class CellState:
    """The state of a planned cell.

    Attributes:
        reason: why the cell would be made (again).
        entry: manifest entry of a finished file.
    """

    cell: PlannedCell
    state: str
    reason: str
    entry: CellEntry | None = None


@dataclass(frozen=True, kw_only=True)
class Status:
    """The state of a shard.

    Attributes:
        known_from: ``plan.json`` or ``shard.json``: the file that lists the planned cells.
        manifest: whether ``shard.json`` lists exactly the finished cells.
        waived: whether the shard counts as complete without the failed cells.
        others: cell files that no plan lists, relative to the shard; they are kept.
    """

    folder: Path
    known_from: str
    cells: tuple[CellState, ...]
    manifest: bool
    waived: bool
    others: tuple[str, ...]

    @property
    def complete(self) -> bool:
        enough = ("done", "failed") if self.waived else ("done",)
        return self.manifest and all(cell.state in enough for cell in self.cells)

    @property
    def again(self) -> tuple[CellState, ...]:
        """Cells that the next `corpus` would make."""
        return tuple(cell for cell in self.cells if cell.state != "done")

    def by_encoder(self) -> dict[str, Counter[str]]:
        """Return encoder to the number of cells in each state."""
        counts: dict[str, Counter[str]] = {}
        for cell in self.cells:
            counts.setdefault(cell.cell.encoder, Counter())[cell.state] += 1
        return dict(sorted(counts.items()))


def status(folder: Path) -> Status:
    """Return the state of a shard, or of the shard in a run folder.

    Raises:
        Missing: no shard.
        BadInput: its plan, its manifest or the run's ``prereqs.json`` cannot be read.
    """
    folder = shard_folder(folder)
    manifest = shards.read_manifest(folder) if (folder / shards.MANIFEST).is_file() else None
    listed: Sequence[CellEntry] = manifest.cells if manifest else ()
    failed = {cell.key: cell for cell in (manifest.failed if manifest else ())}
    plan = planned.read(folder) if (folder / planned.PLAN).is_file() else None
    cells = plan.cells if plan else list(map(planned.from_entry, listed))
    current = _current_facts(folder)
    if current and plan and plan.elsewhere:
        current = {**current, "builds": {}}  # the cells are made with other boxes' encoders
    made = {entry.key for entry in listed}
    states = [_state(folder, cell, failed.get(cell.key), current, made=cell.key in made) for cell in cells]
    if plan is None:
        states += [_failed_state(cell) for cell in failed.values()]
    paths = {cell.path for cell in cells}
    return Status(
        folder=folder,
        known_from=planned.PLAN if plan else shards.MANIFEST,
        cells=tuple(sorted(states, key=lambda state: (str(state.cell.id), state.cell.key))),
        manifest=manifest is not None and set(listed) == {state.entry for state in states if state.entry},
        waived=manifest is not None and manifest.allow_partial,
        others=tuple(sorted(path for path in _cell_files(folder) if path not in paths)),
    )


def _cell_files(folder: Path) -> list[str]:
    return [
        path.relative_to(folder).as_posix()
        for path in folder.glob("cells/*/*/*.parquet")
        if not path.name.startswith(".")
    ]


def _state(
    folder: Path, cell: PlannedCell, failed: FailedCell | None, current: Mapping[str, Any], *, made: bool
) -> CellState:
    try:
        entry = finished_entry(folder, cell)
    except CheckFailed as error:
        return CellState(cell=cell, state="damaged", reason=error.message)
    if entry is not None:
        reason = "; ".join(_changes(cell, current))
        return CellState(cell=cell, state="outdated" if reason else "done", reason=reason, entry=entry)
    if failed is not None:
        return CellState(cell=cell, state="failed", reason=failed.reason)
    if reason := lost_file(folder, cell):
        return CellState(cell=cell, state="missing", reason=reason)
    if reason := outdated(folder, cell):
        return CellState(cell=cell, state="outdated", reason=reason)
    return CellState(cell=cell, state="missing", reason="its file is missing" if made else "not made yet")


def _failed_state(cell: FailedCell) -> CellState:
    """Return the state of a failed cell that no plan lists."""
    unplanned = PlannedCell(
        key=cell.key,
        source=cell.source,
        src_sha256=None,
        group="",
        encoder=cell.encoder,
        preset=None,
        cq=cell.cq,
        rows=0,
        path="",
        keyed={},
    )
    return CellState(cell=unplanned, state="failed", reason=cell.reason)


def _current_facts(folder: Path) -> Mapping[str, Any]:
    """Return the keyed facts in the run's ``prereqs.json``; empty for a shard without a run folder."""
    path = folder.parent / layout.PREREQS
    try:
        value: Any = read_json(path)
        builds = {encoder["name"]: encoder["build"] for encoder in value["encoders"]}
        teacher = value["teacher"] and Teacher(**value["teacher"]).identity
        return {"builds": builds, "teacher": teacher, "scorer_id": value["scorer"] and value["scorer"]["id"]}
    except Missing:
        return {}
    except (KeyError, TypeError) as error:
        raise BadInput(f"{path} was not written by this version: {error!r}", hint="Run `prereqs` again.") from error


def _changes(cell: PlannedCell, current: Mapping[str, Any]) -> list[str]:
    """Return the changes between the plan and a later check of the prerequisites."""
    if not cell.keyed or not current:
        return []
    now = {name: current[name] for name in ("teacher", "scorer_id")}
    now["encoder_build"] = current["builds"].get(cell.encoder)
    return differences(cell.keyed, {name: value for name, value in now.items() if value is not None})
