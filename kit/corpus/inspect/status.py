"""What of a shard is there and what is not, told without the clips and without ffmpeg."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kit.core import layout
from kit.core.errors import BadInput, CheckFailed, Missing
from kit.core.values import Teacher
from kit.corpus.make.resume import differences, finished, gone, outdated
from kit.corpus.store import planned
from kit.corpus.store import shard as shards
from kit.corpus.store.place import shard_folder
from kit.corpus.store.planned import PlannedCell
from kit.corpus.store.shard import CellEntry, FailedCell
from kit.system.fsio import read_json

#: States of a planned cell. ``outdated``: made, but under conditions that are no longer those of the plan or the box.
STATES = ("done", "failed", "missing", "damaged", "outdated")


@dataclass(frozen=True, kw_only=True)
class CellState:
    """A planned cell; ``reason`` says why it would be made (again), ``entry`` stands for a finished file."""

    cell: PlannedCell
    state: str
    reason: str
    entry: CellEntry | None = None


@dataclass(frozen=True, kw_only=True)
class Status:
    """A shard as it lies there.

    Attributes:
        known_from: ``plan.json`` or ``shard.json``: what says which cells are to be there.
        manifest: whether ``shard.json`` lists exactly the finished cells; waived: whether it counts as whole without
            the failed ones.
        others: cell files that are in no plan, relative to the shard; they are kept.
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
        """What the next `corpus` would make."""
        return tuple(cell for cell in self.cells if cell.state != "done")

    def by_encoder(self) -> dict[str, Counter[str]]:
        """Encoder to the number of cells in each state."""
        found: dict[str, Counter[str]] = {}
        for cell in self.cells:
            found.setdefault(cell.cell.encoder, Counter())[cell.state] += 1
        return dict(sorted(found.items()))


def status(folder: Path) -> Status:
    """Look at the shard in a run folder, or at one that lies alone.

    Raises:
        Missing: there is none.
        BadInput: its plan, its manifest or the run's ``prereqs.json`` cannot be read.
    """
    place = shard_folder(folder)
    manifest = shards.read_manifest(place) if (place / shards.MANIFEST).is_file() else None
    listed: Sequence[CellEntry] = manifest.cells if manifest else ()
    failed = {cell.key: cell for cell in (manifest.failed if manifest else ())}
    plan = planned.read(place) if (place / planned.PLAN).is_file() else None
    wanted = plan.cells if plan else list(map(planned.from_entry, listed))
    present = _present_facts(place)
    if present and plan and plan.elsewhere:
        present = {**present, "builds": {}}  # this box's encoders are not those that make the cells
    made = {entry.key for entry in listed}
    states = [_state(place, cell, failed.get(cell.key), present, made=cell.key in made) for cell in wanted]
    if plan is None:
        states += [_failed(cell) for cell in failed.values()]
    paths = {cell.path for cell in wanted}
    return Status(
        folder=place,
        known_from=planned.PLAN if plan else shards.MANIFEST,
        cells=tuple(sorted(states, key=lambda state: (str(state.cell.id), state.cell.key))),
        manifest=manifest is not None and set(listed) == {state.entry for state in states if state.entry},
        waived=manifest is not None and manifest.allow_partial,
        others=tuple(sorted(found for found in _cell_files(place) if found not in paths)),
    )


def _cell_files(place: Path) -> list[str]:
    return [
        path.relative_to(place).as_posix()
        for path in place.glob("cells/*/*/*.parquet")
        if not path.name.startswith(".")
    ]


def _state(
    place: Path, cell: PlannedCell, failed: FailedCell | None, present: Mapping[str, Any], *, made: bool
) -> CellState:
    try:
        entry = finished(place, cell)
    except CheckFailed as error:
        return CellState(cell=cell, state="damaged", reason=error.message)
    if entry is not None:
        reason = "; ".join(_since_the_plan(cell, present))
        return CellState(cell=cell, state="outdated" if reason else "done", reason=reason, entry=entry)
    if failed is not None:
        return CellState(cell=cell, state="failed", reason=failed.reason)
    if reason := gone(place, cell):
        return CellState(cell=cell, state="missing", reason=reason)
    if reason := outdated(place, cell):
        return CellState(cell=cell, state="outdated", reason=reason)
    return CellState(cell=cell, state="missing", reason="its file is not there" if made else "not made yet")


def _failed(cell: FailedCell) -> CellState:
    """A cell of which only the manifest's list of failures tells."""
    unmade = PlannedCell(
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
    return CellState(cell=unmade, state="failed", reason=cell.reason)


def _present_facts(place: Path) -> Mapping[str, Any]:
    """What the run's ``prereqs.json`` says now of what a key is made of; nothing for a shard that lies alone."""
    path = place.parent / layout.PREREQS
    try:
        value: Any = read_json(path)
        builds = {encoder["name"]: encoder["build"] for encoder in value["encoders"]}
        teacher = value["teacher"] and Teacher(**value["teacher"]).identity
        return {"builds": builds, "teacher": teacher, "scorer_id": value["scorer"] and value["scorer"]["id"]}
    except Missing:
        return {}
    except (KeyError, TypeError) as error:
        raise BadInput(f"{path} was not written by this version: {error!r}", hint="Run `prereqs` again.") from error


def _since_the_plan(cell: PlannedCell, present: Mapping[str, Any]) -> list[str]:
    """What changed between the plan and the prerequisites that were checked after it."""
    if not cell.keyed or not present:
        return []
    now = {name: present[name] for name in ("teacher", "scorer_id")}
    now["encoder_build"] = present["builds"].get(cell.encoder)
    return differences(cell.keyed, {name: value for name, value in now.items() if value is not None})
