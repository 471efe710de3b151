"""The report of a merge: inputs, contents of the result, contributions of boxes, and differences between boxes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kit import __version__
from kit.core import contract, layout
from kit.core.values import Teacher
from kit.corpus.merge.cells import Conflict, Kept, MergedEncode
from kit.corpus.merge.inputs import Input
from kit.corpus.merge.labels import Resolved, source_id
from kit.corpus.merge.quorum import BoxPair, BoxPairs, shown
from kit.corpus.store import alike
from kit.corpus.store.alike import Alike
from kit.corpus.store.boxes import BoxId
from kit.corpus.store.score_check import ScoreCheck, agreement
from kit.corpus.store.shard import Shard

#: Name of the report in the folder of the shard.
FILE = Path(layout.MERGE_REPORT).name
#: Version strings that are reported and may differ.
_VERSIONS = ("kit_version", "ffmpeg_version", "scorer_version")


@dataclass(frozen=True, kw_only=True)
class InputShare:
    """Contents of one input."""

    name: str
    kind: str
    boxes: tuple[str, ...]
    corpus_sha256: str
    cells: int
    rows: int
    failed: int


@dataclass(frozen=True, kw_only=True)
class BoxShare:
    """What a box contributed to the result; ``alone``: unique cells, which no other box made."""

    box: str | None
    platform: str | None
    encoders: Mapping[str, tuple[str, ...]]
    cells: int
    rows: int
    alone: int


@dataclass(frozen=True, kw_only=True)
class EncoderShare:
    """Contents of the result for one encoder."""

    builds: tuple[str, ...]
    cells: int
    rows: int


@dataclass(frozen=True, kw_only=True)
class ConflictShare:
    """A cell with one key and different rows; ``difference`` in words."""

    cell: str
    key: str
    inputs: tuple[str, ...]
    boxes: tuple[str, ...]
    difference: str


@dataclass(frozen=True, kw_only=True)
class Renamed:
    """A source or a group with another name in the result than in an input."""

    input: str
    what: str
    before: str
    after: str


@dataclass(frozen=True, kw_only=True)
class Report:
    """The report.

    Attributes:
        versions: name of a version string to its values, each with the boxes that report it.
        scores: one line: how closely the scores follow from their features.
        near_duplicates: sources of different content groups that show the same content.
    """

    corpus_sha256: str
    teacher: Mapping[str, str | None] | None
    assumed_teacher: str | None
    demo: bool
    inputs: tuple[InputShare, ...]
    cells_in: int
    rows_in: int
    cells: int
    rows: int
    duplicate_cells: int
    duplicate_rows: int
    failed: int
    dropped: int
    boxes: tuple[BoxShare, ...]
    encoders: Mapping[str, EncoderShare]
    overlap: tuple[BoxPair, ...]
    without_anchor: tuple[tuple[str, str], ...]
    conflicts: tuple[ConflictShare, ...]
    renamed: tuple[Renamed, ...]
    versions: Mapping[str, Mapping[str, tuple[str, ...]]]
    scores: str
    near_duplicates: Alike

    def as_json(self) -> dict[str, Any]:
        renamed = [
            {"input": one.input, "what": one.what, "told": one.before, "resolved": one.after} for one in self.renamed
        ]
        values = {**asdict(self), "renamed": renamed}
        return {"schema_version": contract.SCHEMA_VERSION, "kit_version": __version__, **values}


def report(
    inputs: Sequence[Input],
    shard: Shard,
    *,
    merged: Sequence[MergedEncode],
    makers: Mapping[str, frozenset[BoxId]],
    pairs: BoxPairs,
    resolved: Resolved,
    assumed: Teacher | None,
    checks: Sequence[ScoreCheck],
) -> Report:
    """Return the report.

    Args:
        shard: the result.
        merged: its encodes.
        makers: the boxes that made each key of the result.
        assumed: the teacher given with --assume-teacher.
        checks: of the scores of each input.
    """
    kept = [one for encode in merged for one in encode.kept]
    return Report(
        corpus_sha256=shard.corpus_sha256,
        teacher=None if shard.teacher is None else shard.teacher.described,
        assumed_teacher=None if assumed is None else str(assumed),
        demo=shard.demo,
        inputs=tuple(map(_input, inputs)),
        cells_in=sum(len(one.shard.cells) for one in inputs),
        rows_in=sum(one.shard.rows for one in inputs),
        cells=len(shard.cells),
        rows=shard.rows,
        duplicate_cells=sum(one.copies - 1 for one in kept),
        duplicate_rows=sum((one.copies - 1) * one.entry.rows for one in kept),
        failed=len(shard.failed),
        dropped=len(shard.dropped),
        boxes=tuple(_boxes(shard, makers)),
        encoders=_encoders(shard),
        overlap=tuple(pairs.values()),
        without_anchor=tuple(pair.boxes for pair in pairs.values() if not pair.anchors),
        conflicts=tuple(_conflict(one, inputs) for encode in merged for one in encode.conflicts),
        renamed=tuple(_renamed(inputs, resolved)),
        versions=_versions(kept),
        scores=agreement(checks),
        near_duplicates=alike.compared(shard.sources),
    )


def _input(one: Input) -> InputShare:
    shard = one.shard
    return InputShare(
        name=one.name,
        kind=one.kind,
        boxes=tuple(box.name for box in shard.boxes),
        corpus_sha256=shard.corpus_sha256,
        cells=len(shard.cells),
        rows=shard.rows,
        failed=len(shard.failed),
    )


def _boxes(shard: Shard, makers: Mapping[str, frozenset[BoxId]]) -> Iterable[BoxShare]:
    for box in shard.boxes:
        alone = sum(own == {(box.box, box.platform)} for own in makers.values())
        yield BoxShare(
            box=box.box, platform=box.platform, encoders=box.encoders, cells=box.cells, rows=box.rows, alone=alone
        )


def _encoders(shard: Shard) -> dict[str, EncoderShare]:
    shares = {}
    for name, builds in shard.encoders.items():
        own = [entry for entry in shard.cells if entry.encoder == name]
        shares[name] = EncoderShare(builds=builds, cells=len(own), rows=sum(entry.rows for entry in own))
    return shares


def _conflict(one: Conflict, inputs: Sequence[Input]) -> ConflictShare:
    return ConflictShare(
        cell=str(one.cell),
        key=one.key,
        inputs=tuple(inputs[number].name for number in one.inputs),
        boxes=tuple(sorted(map(shown, one.makers))),
        difference="dropped by an earlier merge" if one.difference is None else str(one.difference),
    )


def _renamed(inputs: Sequence[Input], resolved: Resolved) -> Iterable[Renamed]:
    for one in inputs:
        groups = {}
        for source in one.shard.sources:
            identity, before = source_id(source), str(source["label"])
            if resolved.label[identity] != before:
                yield Renamed(input=one.name, what="source", before=before, after=resolved.label[identity])
            groups[str(source["group"])] = resolved.group[identity]
        for before, now in groups.items():
            if before != now:
                yield Renamed(input=one.name, what="group", before=before, after=now)


def _versions(kept: Iterable[Kept]) -> dict[str, dict[str, tuple[str, ...]]]:
    boxes: dict[str, dict[str, set[str]]] = {name: {} for name in _VERSIONS}
    for cell in kept:
        for observation in cell.observations:
            for name in _VERSIONS:
                if (version := observation.get(name)) is not None:
                    boxes[name].setdefault(str(version), set()).add(str(observation.get("box")))
    return {
        name: {version: tuple(sorted(own)) for version, own in sorted(values.items())} for name, values in boxes.items()
    }
