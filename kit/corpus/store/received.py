"""A shard from somebody else: nothing in it is believed that can be checked or derived.

A cell's place follows from its label, encoder, quality point and key; the key from the facts in the file's footer; the
content hash from the rows. What has no such source (labels, versions, observations) must be short and harmless.
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
from kit.corpus.exchange.importing import MARKER, key_of_rows
from kit.corpus.plan import key_of
from kit.corpus.store import cellfile
from kit.corpus.store import shard as shards
from kit.corpus.store.cellfile import CellRows
from kit.corpus.store.shard import Box, CellEntry, Shard, place
from kit.system.archive import LIMITS, Limits, unpack_tar_gz
from kit.system.fsio import read_json

_LABEL = re.compile(r"[A-Za-z0-9-][\w.+-]{0,149}", re.ASCII)
_PRESET = re.compile(r"[\w.+-]{0,80}", re.ASCII)  # empty where an encoder has none
_BOX = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}")
_HASH = re.compile(r"[0-9a-f]{64}")
#: Bytes of a manifest, and of what was observed of a cell, beyond which they are not read.
_LARGEST_MANIFEST, _LARGEST_OBSERVED = 256 << 20, 4 << 20
#: Bytes a row may take in its file; a real one takes 60.
_ROW_BYTES, _FILE_BYTES = 1_000, 1 << 20
_LONGEST_TEXT, _LONGEST_TAIL = 500, 20_000
_MOST_PROBLEMS = 10
_AGAIN = "Ask whoever made it to send it again; nothing of it is used."


# ---------------------------------------------------------------------------------------------- the bundle


def open_bundle(path: Path, folder: Path, *, limits: Limits = LIMITS) -> Path:
    """Unpack a result bundle and hold every file against its manifest.

    Args:
        folder: a new one.

    Returns:
        The run folder in it.

    Raises:
        CheckFailed: it cannot be unpacked safely, or its files are not those of its manifest.
    """
    found = unpack_tar_gz(path, folder, limits=limits)
    tops = {name.split("/")[0] for name in found}
    if len(tops) != 1 or any("/" not in name for name in found):
        raise CheckFailed(f"{path.name} is no result bundle: expected one folder with all files in it", hint=_AGAIN)
    top = tops.pop()
    listed = _listed(folder / top / layout.MANIFEST, path.name)
    there = {name.removeprefix(f"{top}/"): what for name, what in found.items()}
    for name in (layout.MANIFEST, layout.SIGNATURE):
        there.pop(name, None)
    problems = [f"{name} is not in its manifest" for name in sorted(there.keys() - listed.keys())]
    problems += [f"{name} is missing" for name in sorted(listed.keys() - there.keys())]
    problems += [
        f"{name} is not what its manifest says"
        for name in sorted(there.keys() & listed.keys())
        if there[name] != listed[name]
    ]
    _refuse(problems, path.name)
    return folder / top


def _listed(path: Path, bundle: str) -> dict[str, tuple[int, str]]:
    """Name to (size, SHA-256) of every file that a bundle's manifest lists."""
    try:
        value: Any = _json(path, _LARGEST_MANIFEST)
        listed = {item["path"]: (item["size"], item["sha256"]) for item in value["files"]}
        whole = len(listed) == len(value["files"]) and all(isinstance(name, str) for name in listed)
    except (BadInput, KeyError, TypeError) as error:
        raise CheckFailed(f"{bundle}: its manifest cannot be used: {error}", hint=_AGAIN) from error
    if not whole:
        raise CheckFailed(f"{bundle}: its manifest lists a file twice", hint=_AGAIN)
    return listed


def _json(path: Path, largest: int) -> object:
    if path.is_file() and path.stat().st_size > largest:
        raise BadInput(f"{path.name} has {path.stat().st_size} bytes, more than {largest}")
    return read_json(path)


def _refuse(problems: list[str], what: str) -> None:
    """Raise what was found, if anything was; the first ones are told."""
    if not problems:
        return
    more = [f"and {len(problems) - _MOST_PROBLEMS} more"] if len(problems) > _MOST_PROBLEMS else []
    lines = "".join(f"\n  - {line}" for line in problems[:_MOST_PROBLEMS] + more)
    raise CheckFailed(f"{what} cannot be used:{lines}", hint=_AGAIN)


# -------------------------------------------------------------------------------------------- the manifest


def read_shard(folder: Path, name: str) -> Shard:
    """The manifest of a shard, every value of it checked; the cells are looked at by :func:`read_cell`.

    Args:
        name: what an error calls it.

    Raises:
        Missing, BadInput: there is no manifest, or it cannot be read.
        CheckFailed: it says what cannot be.
    """
    manifest = folder / shards.MANIFEST
    if manifest.is_file() and manifest.stat().st_size > _LARGEST_MANIFEST:
        raise CheckFailed(f"{name}: {shards.MANIFEST} has {manifest.stat().st_size} bytes", hint=_AGAIN)
    _refuse_links(folder, name)
    shard = shards.read_manifest(folder)
    try:
        _refuse(list(_problems(shard)), f"{name}: {shards.MANIFEST}")
    except (AttributeError, KeyError, TypeError) as error:
        raise CheckFailed(f"{name}: {shards.MANIFEST} cannot be used: {error!r}", hint=_AGAIN) from error
    return shard


def _refuse_links(folder: Path, name: str) -> None:
    """What a shard lists is looked for inside it, and a link could lead out of it."""
    for where, folders, files in os.walk(folder):
        for item in (*folders, *files):
            if (path := Path(where, item)).is_symlink():
                raise CheckFailed(
                    f"{name}: {path.relative_to(folder)} is a link", hint="Put what it leads to in its place."
                )


def _problems(shard: Shard) -> Iterator[str]:
    yield from _head_problems(shard)
    for box in shard.boxes:
        yield from _box_problems(box)
    sources = {str(source["label"]): source for source in shard.sources}
    if len(sources) < len(shard.sources):
        yield "two sources with the same label"
    for source in shard.sources:
        yield from _source_problems(source)
    for entry in shard.cells:
        yield from _entry_problems(entry, sources)
    for failed in shard.failed:
        yield from _failed_problems(failed, sources)
    for what, keys in (("cells", [cell.key for cell in shard.cells]), ("failed cells", [f.key for f in shard.failed])):
        yield from (f"two {what} with the key {key:.12}" for key, count in Counter(keys).items() if count > 1)


def _head_problems(shard: Any) -> Iterator[str]:
    if not isinstance(shard.demo, bool) or not isinstance(shard.allow_partial, bool):
        yield "demo and allow_partial are true or false"
    if shard.teacher is not None and not (
        _is(shard.teacher.id, _LABEL) and _is_or_none(shard.teacher.sha256, _HASH) and shard.teacher.path is None
    ):
        yield f"the teacher {shard.teacher!r:.200}"
    if not _is(shard.feature_set, _LABEL):
        yield f"the feature set {shard.feature_set!r:.80}"
    if not all(_is(key, _HASH) for key in shard.dropped):
        yield "a dropped key that is no hash"


def _is(value: object, pattern: re.Pattern[str]) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None


def _is_or_none(value: object, pattern: re.Pattern[str]) -> bool:
    return value is None or _is(value, pattern)


def _is_cq(value: object) -> bool:
    return type(value) is int and contract.CQ_RANGE[0] <= value <= contract.CQ_RANGE[1]


def _is_text(value: object) -> bool:
    """A line for people: short, and without what would act on a terminal."""
    return isinstance(value, str) and len(value) <= _LONGEST_TEXT and value.isprintable()


def _box_problems(box: Box) -> Iterator[str]:
    if not _is_or_none(box.box, _BOX) or not _is_or_none(box.platform, _LABEL):
        yield f"a box called {box.box!r:.80}, platform {box.platform!r:.80}"
        return
    for scorer in box.scorers:
        if set(scorer) != {"id", "version", "golden"} or not _is_text(scorer["id"]) or not _is_text(scorer["version"]):
            yield f"box {box.name}: a scorer without id, version and golden answers"
        elif not all(_is_text(pair) and type(mean) in (int, float) for pair, mean in scorer["golden"].items()):
            yield f"box {box.name}: golden answers that are no numbers"
    for encoder, builds in box.encoders.items():
        if not _is(encoder, _LABEL) or not all(map(_is_text, builds)):
            yield f"box {box.name}: an encoder called {encoder!r:.80}"


def _source_problems(source: Mapping[str, Any]) -> Iterator[str]:
    names = [source["label"], source["group"], *source.get("labels", ()), *source.get("groups", ())]
    if not all(_is(name, _LABEL) for name in names):
        yield f"a source called {source['label']!r:.80}, group {source['group']!r:.80}"
    elif not _is_or_none(source["sha256"], _HASH):
        yield f"source {source['label']}: its identity is no hash"
    elif not isinstance(source["geometry"], dict | None):
        yield f"source {source['label']}: its geometry is no object"


def _failed_problems(failed: Any, sources: Mapping[str, object]) -> Iterator[str]:
    texts = (failed.reason, failed.command, failed.stderr_tail)
    if not (
        _is(failed.key, _HASH)
        and failed.source in sources
        and _is(failed.encoder, _LABEL)
        and _is_cq(failed.cq)
        and type(failed.tries) is int
        and all(isinstance(text, str) and len(text) <= _LONGEST_TAIL for text in texts)
    ):
        yield f"the failed cell {failed.key!r:.80}"


def _entry_problems(entry: CellEntry, sources: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    if not (
        _is(entry.key, _HASH)
        and _is(entry.content_sha256, _HASH)
        and _is(entry.encoder, _LABEL)
        and _is_or_none(entry.preset, _PRESET)
        and _is_cq(entry.cq)
        and type(entry.rows) is int
        and 0 < entry.rows <= contract.MOST_FRAMES
        and (entry.encoded_bytes is None or (type(entry.encoded_bytes) is int and entry.encoded_bytes >= 0))
    ):
        yield f"the cell {entry.key!r:.80}"
        return
    source = sources.get(entry.source)
    if source is None or (source["sha256"], source["group"]) != (entry.src_sha256, entry.group):
        yield f"cell {entry.key[:12]}: its source {entry.source!r:.80} is not among the sources"
    elif entry.path != place(entry.id, entry.key):
        yield f"cell {entry.key[:12]}: its place is {entry.path!r:.200}, which is not where it belongs"


# ---------------------------------------------------------------------------------------------- the cells


@dataclass(frozen=True, kw_only=True)
class Received:
    """A cell whose rows are what its line, its footer and its key say, and what was observed while it was made."""

    entry: CellEntry
    rows: CellRows
    observations: tuple[Mapping[str, Any], ...]

    @property
    def build(self) -> str | None:
        """Of its encoder."""
        build = self.rows.facts["encoder_build"]
        return None if build is None else str(build)


def read_cell(shard: Shard, entry: CellEntry) -> Received:
    """Read a cell and check all that can be checked of it.

    Args:
        shard: as :func:`read_shard` gave it.

    Raises:
        CheckFailed: the file is damaged, or differs from its line, its facts or its key; a value is out of range.
    """
    path = shard.folder / entry.path
    try:
        if path.stat().st_size > _FILE_BYTES + _ROW_BYTES * entry.rows:
            raise CheckFailed(f"{entry.path} has {path.stat().st_size} bytes for {entry.rows} rows", hint=_AGAIN)
        rows = cellfile.parse(path.read_bytes(), entry.path, rows=entry.rows)
    except OSError as error:
        raise CheckFailed(
            f"{entry.path} is listed in {shards.MANIFEST} and cannot be read: {error.strerror}"
        ) from error
    try:
        problems = list(_cell_problems(shard, entry, rows))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise CheckFailed(f"{entry.path}: the facts in its footer cannot be used: {error!r}", hint=_AGAIN) from error
    _refuse(problems, entry.path)
    return Received(entry=entry, rows=rows, observations=_observations(shard, entry))


def _cell_problems(shard: Shard, entry: CellEntry, rows: CellRows) -> Iterator[str]:
    facts, labels = rows.facts, rows.labels
    told = {
        "cell_key": entry.key,
        "src": entry.source,
        "src_sha256": entry.src_sha256,
        "group": entry.group,
        "encoder": entry.encoder,
        "preset": entry.preset,
    }
    if {name: labels[name] for name in told} != told or rows.cq != entry.cq:
        yield f"its rows are of another cell than its line in {shards.MANIFEST}"
    if not _is(labels["corpus"], _LABEL):
        yield f"a corpus called {labels['corpus']!r:.80}"
    if {rows.content_sha256(), entry.content_sha256} != {facts["content_sha256"]}:
        yield "its rows have another content hash than its line or its footer says"
    if facts["encoded_bytes"] != entry.encoded_bytes or facts["feature_set"] != contract.FEATURE_SET:
        yield "its footer says something else of its bytes or features than its line"
    if facts.get("origin") == MARKER:
        key = key_of_rows(
            src=entry.source,
            encoder=entry.encoder,
            cq=entry.cq,
            enc_bytes=entry.encoded_bytes,
            content_sha256=entry.content_sha256,
        )
    else:
        key = key_of({**facts, "schema_version": contract.SCHEMA_VERSION})
        yield from _made_problems(shard, entry, facts)
    if key != entry.key:
        yield f"its key is {entry.key[:12]}, what it is the hash of gives {key[:12]}"
    yield from _range_problems(rows)


def _made_problems(shard: Shard, entry: CellEntry, facts: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with a cell that the kit has made."""
    same = {"src_sha256": entry.src_sha256, "encoder": entry.encoder, "preset": entry.preset, "cq": entry.cq}
    if {name: facts[name] for name in same} != same:
        yield f"its footer is of another cell than its line in {shards.MANIFEST}"
    if shard.teacher is None or facts["teacher"] != shard.teacher.identity:
        yield "its teacher is not that of its shard"
    if facts["scorer_id"] not in {scorer["id"] for box in shard.boxes for scorer in box.scorers}:
        yield f"its scorer {facts['scorer_id']!r:.80} is that of no box of its shard"
    if not _is_text(facts["encoder_build"]):
        yield "its encoder's build is no text"
    geometry = next(source["geometry"] for source in shard.sources if source["label"] == entry.source)
    if facts["geometry"] != geometry or facts["geometry"]["frames"] != entry.rows:
        yield "its geometry is not that of its source"


def _range_problems(rows: CellRows) -> Iterator[str]:
    columns = [*zip(contract.FEATURES, rows.features.T, strict=True), ("vmaf", rows.vmaf)]
    for name, values in columns:
        low, high = contract.SCORE_RANGE if name == "vmaf" else contract.FEATURE_RANGES[name]
        if (outside := np.flatnonzero((values < low) | (values > high))).size:
            yield f"{name} is {values[outside[0]]:g} in frame {outside[0]}, expected {low:g} to {high:g}"


def _observations(shard: Shard, entry: CellEntry) -> tuple[Mapping[str, Any], ...]:
    path = shards.observed_path(shard.folder, entry.path)
    try:
        if path.is_file() and path.stat().st_size > _LARGEST_OBSERVED:
            raise CheckFailed(f"{path.name} has {path.stat().st_size} bytes", hint=_AGAIN)
        found = shards.observations(shard, entry)
    except BadInput as error:
        raise CheckFailed(
            f"{entry.path}: what was observed of it cannot be read: {error.message}", hint=_AGAIN
        ) from error
    for one in found:
        plain = all(type(value) in (int, float, bool) or value is None or _is_text(value) for value in one.values())
        if not plain or not _is_or_none(one.get("box"), _BOX) or not _is_or_none(one.get("platform"), _LABEL):
            raise CheckFailed(f"{entry.path}: what was observed of it is not plain: {one!r:.200}", hint=_AGAIN)
    return tuple(found)
