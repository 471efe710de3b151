"""The merge itself: open, check, compare place by place, write, and give the folder its name at the very end."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from kit.core.errors import BadInput, CheckFailed
from kit.core.values import Teacher
from kit.corpus.merge import compatible, quorum
from kit.corpus.merge import report as reports
from kit.corpus.merge.cells import Merged, Place, merge_place
from kit.corpus.merge.inputs import Input, open_all
from kit.corpus.merge.labels import Resolved, resolve, source_id
from kit.corpus.merge.report import Report
from kit.corpus.store import shard as shards
from kit.corpus.store.boxes import Makers, Who
from kit.corpus.store.shard import CellEntry, FailedCell, Shard
from kit.system.fsio import TEMPORARY_PREFIX, atomic_folder, write_json
from kit.system.pool import run_many

#: Places that one thread does at a time.
_BATCH = 16
_MOST_CONFLICTS = 100


class Refused(CheckFailed):
    """Boxes disagree; ``report`` tells all that was found."""

    def __init__(self, error: CheckFailed, report: Report) -> None:
        super().__init__(error.message, hint=error.hint)
        self.report = report


@dataclass(frozen=True, kw_only=True)
class Result:
    """The shard that was made, and the report that lies beside its manifest."""

    shard: Shard
    report: Report


def merge(
    paths: Sequence[Path],
    out: Path,
    *,
    drop: bool,
    assumed: Teacher | None,
    workers: int,
    show: Callable[[float, str], None] = lambda _share, _text: None,
) -> Result:
    """Merge shards, bundles and rows into a new folder, which appears when all is done.

    Args:
        drop: leave out cells that boxes disagree about, instead of refusing them.
        assumed: the teacher of rows that do not tell it.
        workers: threads; ``show`` is told how far the merge is.

    Raises:
        BadInput: something is at ``out``, or an input cannot be read.
        CheckFailed: an input is damaged, or they do not belong together.
        Refused: boxes disagree about a cell or about their anchors.
    """
    for path in paths:
        if path.is_dir() and out.resolve().is_relative_to(path.resolve()):
            raise BadInput(f"{out} lies in {path}, which is to be merged", hint="Give another folder with --out.")
    with atomic_folder(out) as folder:
        with tempfile.TemporaryDirectory(prefix=TEMPORARY_PREFIX, dir=folder) as scratch:
            opened = open_all(paths, Path(scratch))
            if assumed is not None and all(one.shard.teacher for one in opened):
                raise BadInput("all of these tell their teacher", hint="Leave --assume-teacher out.")
            inputs = compatible.assume(opened, assumed)
            teacher = compatible.check(inputs)
            resolved = resolve([one.shard for one in inputs])
            merged = _merge_cells(inputs, folder, resolved, workers=workers, show=show)
        shard, makers = _shard(inputs, folder, resolved, merged, teacher)
        pairs = quorum.pairs_of(((box.box, box.platform) for box in shard.boxes), merged)
        report = reports.report(
            inputs, shard, merged=merged, makers=makers, pairs=pairs, resolved=resolved, assumed=assumed
        )
        try:
            quorum.check(pairs)
            _check_conflicts(report, drop=drop)
        except CheckFailed as error:
            raise Refused(error, report) from error
        write_json(folder / reports.FILE, report.as_json())
        shards.write_manifest(shard)
    return Result(shard=replace(shard, folder=out), report=report)


def _check_conflicts(report: Report, *, drop: bool) -> None:
    if drop or not report.conflicts:
        return
    lines = [f"\n  - {one.cell} ({one.key[:12]}; {', '.join(one.boxes)}): {one.difference}" for one in report.conflicts]
    if len(lines) > _MOST_CONFLICTS:
        lines[_MOST_CONFLICTS:] = [f"\n  - and {len(lines) - _MOST_CONFLICTS} more; --json lists all"]
    raise CheckFailed(
        f"{len(report.conflicts)} cells have one key and several contents:{''.join(lines)}",
        hint="Find out which box is wrong and leave it out, or leave the cells out: --on-conflict drop.",
    )


def _merge_cells(
    inputs: Sequence[Input],
    folder: Path,
    resolved: Resolved,
    *,
    workers: int,
    show: Callable[[float, str], None],
) -> list[Merged]:
    found: dict[Place, list[tuple[int, Shard, CellEntry]]] = {}
    for number, one in enumerate(inputs):
        for entry in one.shard.cells:
            where = (entry.source_id, entry.encoder, entry.preset, entry.cq)
            found.setdefault(where, []).append((number, one.shard, entry))
    places = sorted(found, key=lambda where: (resolved.label[where[0]], where[1], where[2] or "", where[3]))
    dropped = frozenset(key for one in inputs for key in one.shard.dropped)
    batches = [places[begin : begin + _BATCH] for begin in range(0, len(places), _BATCH)]
    done = 0

    def merge_batch(batch: Sequence[Place]) -> list[Merged]:
        return [merge_place(where, found[where], out=folder, resolved=resolved, dropped=dropped) for where in batch]

    def ended(batch: Sequence[Place], _result: list[Merged]) -> None:
        nonlocal done
        done += len(batch)
        show(done / len(places), f"{done}/{len(places)} places")

    return [one for batch in run_many(merge_batch, batches, workers=workers, done=ended) for one in batch]


def _shard(
    inputs: Sequence[Input], folder: Path, resolved: Resolved, merged: Sequence[Merged], teacher: Teacher | None
) -> tuple[Shard, dict[str, frozenset[Who]]]:
    """The result, and who has made each of its cells."""
    makers = Makers()
    for one in inputs:
        for box in one.shard.boxes:
            makers.know((box.box, box.platform), box.scorers)
    kept = [cell for place in merged for cell in place.kept]
    makers_of = {cell.entry.key: makers.add(cell.entry, cell.build, cell.observations) for cell in kept}
    cells = tuple(cell.entry for cell in kept)
    _check_places(cells)
    conflicting = {conflict.key for place in merged for conflict in place.conflicts}
    dropped = conflicting.union(*(one.shard.dropped for one in inputs))
    finished = dropped.union(*({entry.key for entry in one.shard.cells} for one in inputs))
    shard = Shard(
        folder=folder,
        boxes=makers.boxes(),
        demo=any(one.shard.demo for one in inputs),
        teacher=teacher,
        sources=resolved.sources,
        cells=cells,
        failed=_failed(inputs, resolved, finished),
        dropped=tuple(sorted(dropped)),
    )
    return shard, makers_of


def _check_places(cells: Iterable[CellEntry]) -> None:
    seen: dict[str, str] = {}
    for cell in cells:
        if seen.setdefault(cell.path, cell.key) != cell.key:
            raise CheckFailed(f"the cells {seen[cell.path]} and {cell.key} have one place, {cell.path}")


def _failed(inputs: Sequence[Input], resolved: Resolved, finished: set[str]) -> tuple[FailedCell, ...]:
    """Failed cells that no input has finished; of one that failed on several boxes the one tried most."""
    found: dict[str, list[FailedCell]] = {}
    for one in inputs:
        label = {str(source["label"]): resolved.label[source_id(source)] for source in one.shard.sources}
        for cell in one.shard.failed:
            plain = replace(
                cell,
                source=label[cell.source],
                reason=_plain(cell.reason),
                command=_plain(cell.command),
                stderr_tail=_plain(cell.stderr_tail),
            )
            found.setdefault(cell.key, []).append(plain)
    return tuple(
        min(cells, key=lambda cell: (-cell.tries, cell.reason, cell.command, cell.stderr_tail))
        for key, cells in sorted(found.items())
        if key not in finished
    )


def _plain(text: str) -> str:
    """A text without what would act on a terminal."""
    return "".join(sign if sign.isprintable() or sign in "\n\t" else "\N{REPLACEMENT CHARACTER}" for sign in text)
