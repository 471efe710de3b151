"""Read a shard that another box sent; nothing in it is trusted that can be checked or derived.

The manifest must conform to ``schemas/shard.json``, which limits every name and number. A cell's path follows from its
label, encoder, quality point and key; the key from the facts in the file's footer; the content hash from the rows.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kit.core import contract, layout
from kit.core.errors import BadInput, CheckFailed
from kit.corpus.exchange.importing import IMPORTED, key_of_rows
from kit.corpus.plan import key_of
from kit.corpus.store import cellfile
from kit.corpus.store import shard as shards
from kit.corpus.store.cellfile import CellRows
from kit.corpus.store.shard import CellEntry, FailedCell, Shard
from kit.system import validation
from kit.system.archive import LIMITS, ArchiveLimits, unpack_tar_gz
from kit.system.fsio import read_json
from kit.video.fingerprints.fingerprint import fingerprint_of

_NAME = re.compile(r"[A-Za-z0-9-][\w.+-]{0,149}", re.ASCII)
#: Largest manifest and largest observations of a cell that are read, in bytes.
_LARGEST_MANIFEST, _LARGEST_OBSERVED = 256 << 20, 4 << 20
#: Largest size of a cell's file: so many bytes a row, besides a fixed part. A real row takes 60.
_ROW_BYTES, _FILE_BYTES = 1_000, 1 << 20
_LONGEST_TEXT = 500
_MOST_PROBLEMS = 10
_AGAIN = "Ask the sender to send it again; nothing of it is used."


# ---------------------------------------------------------------------------------------------- the bundle


def open_bundle(path: Path, folder: Path, *, limits: ArchiveLimits = LIMITS) -> Path:
    """Unpack a result bundle, compare every file with its manifest, and return the run folder in it.

    Args:
        folder: a new one.

    Raises:
        CheckFailed: the bundle cannot be unpacked safely, or its files differ from its manifest.
    """
    unpacked = unpack_tar_gz(path, folder, limits=limits)
    tops = {name.split("/")[0] for name in unpacked}
    if len(tops) != 1 or any("/" not in name for name in unpacked):
        raise CheckFailed(f"{path.name} is no result bundle: expected one folder with all files in it", hint=_AGAIN)
    top = tops.pop()
    listed = _listed_files(folder / top / layout.MANIFEST, path.name)
    unsigned = (layout.MANIFEST, layout.SIGNATURE)
    files = {name.removeprefix(f"{top}/"): facts for name, facts in unpacked.items()}
    files = {name: facts for name, facts in files.items() if name not in unsigned}
    problems = [f"{name} is not in its manifest" for name in sorted(files.keys() - listed.keys())]
    problems += [f"{name} is missing" for name in sorted(listed.keys() - files.keys())]
    problems += [
        f"{name} has another size or SHA-256 than its manifest lists"
        for name in sorted(files.keys() & listed.keys())
        if files[name] != listed[name]
    ]
    _refuse(problems, path.name)
    return folder / top


def _listed_files(path: Path, bundle: str) -> dict[str, tuple[int, str]]:
    """Return name to (size, SHA-256) of every file in a bundle's manifest."""
    _refuse_large(path, _LARGEST_MANIFEST, bundle)
    try:
        value: Any = read_json(path)
        listed = {item["path"]: (item["size"], item["sha256"]) for item in value["files"]}
        complete = len(listed) == len(value["files"]) and all(isinstance(name, str) for name in listed)
    except (BadInput, KeyError, TypeError) as error:
        raise CheckFailed(f"{bundle}: its manifest cannot be used: {error}", hint=_AGAIN) from error
    if not complete:
        raise CheckFailed(f"{bundle}: its manifest lists a file twice", hint=_AGAIN)
    return listed


def _refuse_large(path: Path, largest: int, name: str) -> None:
    if path.is_file() and (size := path.stat().st_size) > largest:
        raise CheckFailed(f"{name}: {path.name} has {size} bytes, expected {largest} at most", hint=_AGAIN)


def _refuse(problems: list[str], name: str) -> None:
    """Raise the first problems as one error, if any."""
    if not problems:
        return
    more = [f"and {len(problems) - _MOST_PROBLEMS} more"] if len(problems) > _MOST_PROBLEMS else []
    lines = "".join(f"\n  - {validation.printable(line)}" for line in problems[:_MOST_PROBLEMS] + more)
    raise CheckFailed(f"{name} cannot be used:{lines}", hint=_AGAIN)


# -------------------------------------------------------------------------------------------- the manifest


def read_shard(folder: Path, name: str) -> Shard:
    """Read and check the manifest of a shard; :func:`read_cell` checks the cells.

    Args:
        name: of the shard in errors.

    Raises:
        Missing, BadInput: no manifest, or it cannot be read.
        CheckFailed: the manifest violates its schema or contradicts itself, or the shard contains a link.
    """
    _refuse_large(folder / shards.MANIFEST, _LARGEST_MANIFEST, name)
    _refuse_links(folder, name)
    value = shards.read_document(folder)
    _refuse(validation.problems("shard", value, most=_MOST_PROBLEMS), f"{name}: {shards.MANIFEST}")
    shard = shards.from_document(folder, value)
    _refuse(list(_contradictions(shard)), f"{name}: {shards.MANIFEST}")
    return shard


def _refuse_links(folder: Path, name: str) -> None:
    """Refuse links, which could lead out of the shard."""
    for parent, folders, files in os.walk(folder):
        for item in (*folders, *files):
            if (path := Path(parent, item)).is_symlink():
                raise CheckFailed(f"{name}: {path.relative_to(folder)} is a link", hint="Replace it by its target.")


def _contradictions(shard: Shard) -> Iterator[str]:
    sources = {str(source["label"]): source for source in shard.sources}
    if len(sources) < len(shard.sources):
        yield "two sources have the same label"
    for entry in shard.cells:
        source = sources.get(entry.source)
        if source is None or (source["sha256"], source["group"]) != (entry.src_sha256, entry.group):
            yield f"cell {entry.key[:12]}: no source {entry.source!r} with its src_sha256 and group"
        elif entry.path != (expected := shards.path_of(entry.id, entry.key)):
            yield f"cell {entry.key[:12]}: path is {entry.path!r:.200}, expected {expected}"
    for label, own in sources.items():
        try:
            fingerprint_of(own)
        except CheckFailed as error:
            yield f"source {label!r}: {error.message}"
    for failed in shard.failed:
        if failed.source not in sources:
            yield f"failed cell {failed.key[:12]}: no source {failed.source!r}"
    yield from _repeated("cells", shard.cells)
    yield from _repeated("failed cells", shard.failed)


def _repeated(name: str, cells: tuple[CellEntry, ...] | tuple[FailedCell, ...]) -> Iterator[str]:
    counts = Counter(cell.key for cell in cells)
    yield from (f"{count} {name} with the key {key[:12]}" for key, count in counts.items() if count > 1)


# ---------------------------------------------------------------------------------------------- the cells


@dataclass(frozen=True, kw_only=True)
class Received:
    """A cell whose rows, manifest entry, footer and key agree, with its observations."""

    entry: CellEntry
    rows: CellRows
    observations: tuple[Mapping[str, Any], ...]

    @property
    def build(self) -> str | None:
        """Build of its encoder."""
        build = self.rows.facts["encoder_build"]
        return None if build is None else str(build)


def read_cell(shard: Shard, entry: CellEntry) -> Received:
    """Read a cell and check everything that can be checked.

    Args:
        shard: as :func:`read_shard` returned it.

    Raises:
        CheckFailed: the file is damaged, or differs from its entry, its facts or its key; a value is out of range.
    """
    path = shard.folder / entry.path
    try:
        if path.stat().st_size > _FILE_BYTES + _ROW_BYTES * entry.rows:
            raise CheckFailed(f"{entry.path} has {path.stat().st_size} bytes for {entry.rows} rows", hint=_AGAIN)
        rows = cellfile.parse(path.read_bytes(), entry.path, rows=entry.rows)
    except OSError as error:
        raise CheckFailed(f"{entry.path} cannot be read: {error.strerror}; {shards.MANIFEST} lists it") from error
    try:
        problems = list(_cell_problems(shard, entry, rows))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise CheckFailed(f"{entry.path}: the facts in its footer cannot be used: {error!r}", hint=_AGAIN) from error
    _refuse(problems, entry.path)
    return Received(entry=entry, rows=rows, observations=_observations(shard, entry))


def _cell_problems(shard: Shard, entry: CellEntry, rows: CellRows) -> Iterator[str]:
    facts, labels = rows.facts, {**rows.labels, "cq": rows.cq}
    expected = shards.row_labels(entry.facts, str(labels["corpus"]))
    yield from _differences("its rows have", labels, **expected, cq=entry.cq)
    if not _NAME.fullmatch(str(labels["corpus"])):
        yield f"corpus is {labels['corpus']!r:.80}, expected a name"
    content = rows.content_sha256()
    if content != entry.content_sha256:
        yield f"content_sha256 of its rows is {content[:12]}, expected {entry.content_sha256[:12]}"
    yield from _differences(
        "its footer has",
        facts,
        content_sha256=entry.content_sha256,
        encoded_bytes=entry.encoded_bytes,
        feature_set=contract.FEATURE_SET,
    )
    if facts.get("origin") == IMPORTED:
        key = key_of_rows(entry.id, enc_bytes=entry.encoded_bytes, content_sha256=entry.content_sha256)
    else:
        key = key_of({**facts, "schema_version": contract.SCHEMA_VERSION})
        yield from _footer_problems(shard, entry, facts)
    if key != entry.key:
        yield f"its key is {entry.key[:12]}, its facts give {key[:12]}"
    yield from _range_problems(rows)


def _differences(where: str, facts: Mapping[str, Any], **expected: object) -> Iterator[str]:
    for name, value in expected.items():
        if facts[name] != value:
            yield f"{where} {name} {facts[name]!r:.80}, expected {value!r:.80}"


def _footer_problems(shard: Shard, entry: CellEntry, facts: Mapping[str, Any]) -> Iterator[str]:
    """Yield the problems of the footer of a cell that the kit made."""
    source = next(source for source in shard.sources if source["label"] == entry.source)
    yield from _differences(
        "its footer has",
        facts,
        src_sha256=entry.src_sha256,
        encoder=entry.encoder,
        preset=entry.preset,
        cq=entry.cq,
        geometry=source["geometry"],
    )
    if shard.teacher is None or facts["teacher"] != shard.teacher.identity:
        yield f"its teacher is {facts['teacher']!r:.200}, that of its shard {shard.teacher}"
    if facts["geometry"]["frames"] != entry.rows:
        yield f"its geometry has {facts['geometry']['frames']!r:.80} frames, expected {entry.rows}"
    if facts["scorer_id"] not in {scorer["id"] for box in shard.boxes for scorer in box.scorers}:
        yield f"no box of its shard has its scorer, {facts['scorer_id']!r:.80}"
    build = facts["encoder_build"]
    if not (isinstance(build, str) and len(build) <= _LONGEST_TEXT and build.isprintable()):
        yield f"encoder_build is {build!r:.80}, expected a line of text"


def _range_problems(rows: CellRows) -> Iterator[str]:
    columns = [*zip(contract.FEATURES, rows.features.T, strict=True), ("vmaf", rows.vmaf)]
    for name, values in columns:
        low, high = contract.SCORE_RANGE if name == "vmaf" else contract.FEATURE_RANGES[name]
        if (outside := np.flatnonzero((values < low) | (values > high))).size:
            yield f"{name} is {values[outside[0]]:g} in frame {outside[0]}, expected {low:g} to {high:g}"


def _observations(shard: Shard, entry: CellEntry) -> tuple[Mapping[str, Any], ...]:
    path = shards.observed_path(shard.folder, entry.path)
    _refuse_large(path, _LARGEST_OBSERVED, entry.path)
    try:
        value: Any = read_json(path)
    except BadInput as error:
        raise CheckFailed(f"{entry.path}: observations cannot be read: {error.message}", hint=_AGAIN) from error
    _refuse(validation.problems("observed", value, most=_MOST_PROBLEMS), path.name)
    return tuple(value["observations"])
