"""Merge shards: open, check, compare encode by encode, write, and rename the folder at the very end."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from kit.core.errors import BadInput, CheckFailed
from kit.core.values import Teacher
from kit.corpus.merge import compatible, quorum
from kit.corpus.merge import report as reports
from kit.corpus.merge.cells import EncodeId, MergedEncode, merge_encode
from kit.corpus.merge.inputs import Input, open_all
from kit.corpus.merge.labels import Resolved, resolve, source_id
from kit.corpus.merge.report import Report
from kit.corpus.store import shard as shards
from kit.corpus.store.boxes import BoxCounts, BoxId
from kit.corpus.store.score_check import HINT, ScoreCheck
from kit.corpus.store.shard import CellEntry, FailedCell, Shard
from kit.system.fsio import TEMPORARY_PREFIX, atomic_folder, write_json
from kit.system.pool import run_many
from kit.video.sources.demo import demo_clips

#: Encodes that one thread merges at a time.
_BATCH = 16
_MOST_CONFLICTS = 100


class BoxesDisagree(CheckFailed):
    """Boxes disagree on a cell or on their anchors; ``report`` has all differences."""

    def __init__(self, error: CheckFailed, report: Report) -> None:
        super().__init__(error.message, hint=error.hint)
        self.report = report


@dataclass(frozen=True, kw_only=True)
class Result:
    """The merged shard, and the report in its folder."""

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
    """Merge shards, bundles and rows into a new folder, which appears when it is complete.

    Args:
        drop: leave out cells that boxes disagree on, instead of refusing to merge.
        assumed: the teacher of rows that do not name theirs.
        workers: threads.
        show: receives the share that is done, 0 to 1, and a line of text.

    Raises:
        BadInput: ``out`` exists, or an input cannot be read.
        CheckFailed: an input is damaged, or the inputs cannot be one corpus.
        BoxesDisagree: boxes disagree on a cell or on their anchors.
    """
    for path in paths:
        if path.is_dir() and out.resolve().is_relative_to(path.resolve()):
            raise BadInput(f"{out} is inside {path}, an input of the merge", hint="Give another folder with --out.")
    with atomic_folder(out) as folder:
        with tempfile.TemporaryDirectory(prefix=TEMPORARY_PREFIX, dir=folder) as scratch:
            opened = open_all(paths, Path(scratch))
            if assumed is not None and all(one.shard.teacher for one in opened):
                raise BadInput("--assume-teacher: every input names its teacher", hint="Leave --assume-teacher out.")
            inputs = compatible.assume(opened, assumed)
            teacher = compatible.check(inputs)
            resolved = resolve([one.shard for one in inputs])
            checks = [ScoreCheck(teacher) for _ in inputs]
            merged = _merge_cells(inputs, folder, resolved, checks, workers=workers, show=show)
            _check_scores(inputs, checks)
        shard, makers = _shard(inputs, folder, resolved, merged, teacher)
        pairs = quorum.box_pairs(((box.box, box.platform) for box in shard.boxes), merged)
        report = reports.report(
            inputs, shard, merged=merged, makers=makers, pairs=pairs, resolved=resolved, assumed=assumed, checks=checks
        )
        try:
            quorum.check(pairs)
            _check_conflicts(report, drop=drop)
        except CheckFailed as error:
            raise BoxesDisagree(error, report) from error
        write_json(folder / reports.FILE, report.as_json())
        shards.write_manifest(shard)
    return Result(shard=replace(shard, folder=out), report=report)


def _check_scores(inputs: Sequence[Input], checks: Sequence[ScoreCheck]) -> None:
    """Refuse inputs whose scores do not follow from their features."""
    problems = [(one.name, check.problem) for one, check in zip(inputs, checks, strict=True)]
    if lines := [f"{name}: {problem}" for name, problem in problems if problem is not None]:
        raise CheckFailed("\n".join(lines), hint=HINT)


def _check_conflicts(report: Report, *, drop: bool) -> None:
    if drop or not report.conflicts:
        return
    lines = [f"\n  - {one.cell} ({one.key[:12]}; {', '.join(one.boxes)}): {one.difference}" for one in report.conflicts]
    if len(lines) > _MOST_CONFLICTS:
        lines[_MOST_CONFLICTS:] = [f"\n  - and {len(lines) - _MOST_CONFLICTS} more; --json lists all"]
    raise CheckFailed(
        f"{len(report.conflicts)} cells have one key and different rows:{''.join(lines)}",
        hint="Leave out the box that is wrong, or leave out these cells: --on-conflict drop.",
    )


def _merge_cells(
    inputs: Sequence[Input],
    folder: Path,
    resolved: Resolved,
    checks: Sequence[ScoreCheck],
    *,
    workers: int,
    show: Callable[[float, str], None],
) -> list[MergedEncode]:
    cells: dict[EncodeId, list[tuple[int, Shard, CellEntry]]] = {}
    for number, one in enumerate(inputs):
        for entry in one.shard.cells:
            encode = EncodeId(entry.source_id, entry.encoder, entry.preset, entry.cq)
            cells.setdefault(encode, []).append((number, one.shard, entry))
    encodes = sorted(cells, key=lambda own: (resolved.label[own.source_id], own.encoder, own.preset or "", own.cq))
    dropped = frozenset(key for one in inputs for key in one.shard.dropped)
    batches = [encodes[begin : begin + _BATCH] for begin in range(0, len(encodes), _BATCH)]
    done = 0

    def merge_batch(batch: Sequence[EncodeId]) -> list[MergedEncode]:
        return [
            merge_encode(own, cells[own], out=folder, resolved=resolved, dropped=dropped, checks=checks)
            for own in batch
        ]

    def count(batch: Sequence[EncodeId], _result: list[MergedEncode]) -> None:
        nonlocal done
        done += len(batch)
        show(done / len(encodes), f"{done}/{len(encodes)} encodes")

    return [one for batch in run_many(merge_batch, batches, workers=workers, done=count) for one in batch]


def _shard(
    inputs: Sequence[Input], folder: Path, resolved: Resolved, merged: Sequence[MergedEncode], teacher: Teacher | None
) -> tuple[Shard, dict[str, frozenset[BoxId]]]:
    """Return the result, and the boxes that made each of its cells."""
    counts = BoxCounts()
    for one in inputs:
        for box in one.shard.boxes:
            counts.add_box((box.box, box.platform), box.scorers)
    kept = [cell for encode in merged for cell in encode.kept]
    makers = {cell.entry.key: counts.add_cell(cell.entry, cell.build, cell.observations) for cell in kept}
    cells = tuple(cell.entry for cell in kept)
    _check_paths(cells)
    conflicting = {conflict.key for encode in merged for conflict in encode.conflicts}
    dropped = conflicting.union(*(one.shard.dropped for one in inputs))
    finished = dropped.union(*({entry.key for entry in one.shard.cells} for one in inputs))
    shard = Shard(
        folder=folder,
        boxes=counts.boxes(),
        demo=any(one.shard.demo for one in inputs) or bool(demo_clips(cell.src_sha256 for cell in cells)),
        teacher=teacher,
        sources=resolved.sources,
        cells=cells,
        failed=_failed(inputs, resolved, finished),
        dropped=tuple(sorted(dropped)),
    )
    return shard, makers


def _check_paths(cells: Iterable[CellEntry]) -> None:
    keys: dict[str, str] = {}
    for cell in cells:
        if keys.setdefault(cell.path, cell.key) != cell.key:
            raise CheckFailed(f"the cells {keys[cell.path]} and {cell.key} have the same path, {cell.path}")


def _failed(inputs: Sequence[Input], resolved: Resolved, finished: set[str]) -> tuple[FailedCell, ...]:
    """Return failed cells that no input has finished; of one that failed on several boxes, the one with most tries."""
    failures: dict[str, list[FailedCell]] = {}
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
            failures.setdefault(cell.key, []).append(plain)
    return tuple(
        min(cells, key=lambda cell: (-cell.tries, cell.reason, cell.command, cell.stderr_tail))
        for key, cells in sorted(failures.items())
        if key not in finished
    )


def _plain(text: str) -> str:
    """Return a text without characters that would act on a terminal."""
    return "".join(sign if sign.isprintable() or sign in "\n\t" else "\N{REPLACEMENT CHARACTER}" for sign in text)
