"""What a merge tells: what came in, what went out, who made what, and how far boxes are apart."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kit import __version__
from kit.core import contract, layout
from kit.core.values import Teacher
from kit.corpus.merge.cells import Conflict, Kept, Merged
from kit.corpus.merge.inputs import Input
from kit.corpus.merge.labels import Resolved, source_id
from kit.corpus.merge.quorum import Pairs, shown
from kit.corpus.store.boxes import Who
from kit.corpus.store.shard import Shard

#: What the report is called, in the folder of the shard.
FILE = Path(layout.MERGE_REPORT).name
#: Strings that are told and may differ.
_VERSIONS = ("kit_version", "ffmpeg_version", "scorer_version")


@dataclass(frozen=True, kw_only=True)
class InputShare:
    """What came in with one of the inputs."""

    name: str
    kind: str
    boxes: tuple[str, ...]
    corpus_sha256: str
    cells: int
    rows: int
    failed: int


@dataclass(frozen=True, kw_only=True)
class BoxShare:
    """What a box has made of the result; ``alone``: cells that no other box has."""

    box: str | None
    platform: str | None
    encoders: Mapping[str, tuple[str, ...]]
    cells: int
    rows: int
    alone: int


@dataclass(frozen=True, kw_only=True)
class EncoderShare:
    """What the result holds of an encoder."""

    builds: tuple[str, ...]
    cells: int
    rows: int


@dataclass(frozen=True, kw_only=True)
class PairShare:
    """How far two boxes are apart; the largest differences, each with the cell where it is.

    Attributes:
        anchors, places: how many they share; same: of the places, with the same rows.
        disagree: anchors that differ by more than is allowed.
    """

    boxes: tuple[str, str]
    anchors: int
    places: int
    same: int
    vmaf: float
    vmaf_at: str
    mean_vmaf: float
    mean_vmaf_at: str
    feature: float
    feature_at: str
    disagree: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class ConflictShare:
    """A cell whose key several boxes have with other numbers; ``difference`` in words."""

    cell: str
    key: str
    inputs: tuple[str, ...]
    boxes: tuple[str, ...]
    difference: str


@dataclass(frozen=True, kw_only=True)
class Renamed:
    """A source or a group that is called otherwise in the result than in an input."""

    input: str
    what: str
    told: str
    resolved: str


@dataclass(frozen=True, kw_only=True)
class Report:
    """The report; ``versions``: name of a version string to its values, each with the boxes that have it."""

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
    overlap: tuple[PairShare, ...]
    without_anchor: tuple[tuple[str, str], ...]
    conflicts: tuple[ConflictShare, ...]
    renamed: tuple[Renamed, ...]
    versions: Mapping[str, Mapping[str, tuple[str, ...]]]

    def as_json(self) -> dict[str, Any]:
        return {"schema_version": contract.SCHEMA_VERSION, "kit_version": __version__, **asdict(self)}


def report(
    inputs: Sequence[Input],
    shard: Shard,
    *,
    merged: Sequence[Merged],
    makers: Mapping[str, frozenset[Who]],
    pairs: Pairs,
    resolved: Resolved,
    assumed: Teacher | None,
) -> Report:
    """Put the report together.

    Args:
        shard: the result; ``merged``: what came of each place; ``makers``: boxes of each key of the result.
        assumed: the teacher that the operator has vouched for.
    """
    kept = [one for place in merged for one in place.kept]
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
        overlap=tuple(_pairs(pairs)),
        without_anchor=tuple((shown(one), shown(other)) for (one, other), pair in pairs.items() if not pair.anchors),
        conflicts=tuple(_conflict(one, inputs) for place in merged for one in place.conflicts),
        renamed=tuple(_renamed(inputs, resolved)),
        versions=_versions(kept),
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


def _boxes(shard: Shard, makers: Mapping[str, frozenset[Who]]) -> Iterable[BoxShare]:
    for box in shard.boxes:
        alone = sum(own == {(box.box, box.platform)} for own in makers.values())
        yield BoxShare(
            box=box.box, platform=box.platform, encoders=box.encoders, cells=box.cells, rows=box.rows, alone=alone
        )


def _encoders(shard: Shard) -> dict[str, EncoderShare]:
    found = {}
    for name, builds in shard.encoders.items():
        own = [entry for entry in shard.cells if entry.encoder == name]
        found[name] = EncoderShare(builds=builds, cells=len(own), rows=sum(entry.rows for entry in own))
    return found


def _pairs(pairs: Pairs) -> Iterable[PairShare]:
    for (one, other), pair in pairs.items():
        yield PairShare(
            boxes=(shown(one), shown(other)),
            anchors=pair.anchors,
            places=pair.places,
            same=pair.same,
            vmaf=pair.vmaf[0],
            vmaf_at=pair.vmaf[1],
            mean_vmaf=pair.mean_vmaf[0],
            mean_vmaf_at=pair.mean_vmaf[1],
            feature=pair.feature[0],
            feature_at=pair.feature[1],
            disagree=tuple(pair.disagree),
        )


def _conflict(one: Conflict, inputs: Sequence[Input]) -> ConflictShare:
    return ConflictShare(
        cell=one.name,
        key=one.key,
        inputs=tuple(inputs[number].name for number in one.inputs),
        boxes=tuple(sorted(map(shown, one.makers))),
        difference="left out by an earlier merge" if one.apart is None else str(one.apart),
    )


def _renamed(inputs: Sequence[Input], resolved: Resolved) -> Iterable[Renamed]:
    for one in inputs:
        groups = {}
        for source in one.shard.sources:
            identity, told = source_id(source), str(source["label"])
            if resolved.label[identity] != told:
                yield Renamed(input=one.name, what="source", told=told, resolved=resolved.label[identity])
            groups[str(source["group"])] = resolved.group[identity]
        for told, now in groups.items():
            if told != now:
                yield Renamed(input=one.name, what="group", told=told, resolved=now)


def _versions(kept: Iterable[Kept]) -> dict[str, dict[str, tuple[str, ...]]]:
    found: dict[str, dict[str, set[str]]] = {name: {} for name in _VERSIONS}
    for cell in kept:
        for observation in cell.observations:
            for name in _VERSIONS:
                if (version := observation.get(name)) is not None:
                    found[name].setdefault(str(version), set()).add(str(observation.get("box")))
    return {
        name: {version: tuple(sorted(boxes)) for version, boxes in sorted(own.items())} for name, own in found.items()
    }
