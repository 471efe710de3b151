"""Import the predecessor's rows as a shard. What they do not give (source identity, preset, teacher) is null."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from kit.core import contract
from kit.core.canon import sha256_json
from kit.core.errors import BadInput
from kit.core.values import CellId, Teacher
from kit.corpus.exchange import jsonl
from kit.corpus.exchange.jsonl import Encode
from kit.corpus.make.produce import OBSERVATION
from kit.corpus.store import shard as shards
from kit.corpus.store.boxes import BoxCounts
from kit.corpus.store.cellfile import CellRows
from kit.corpus.store.score_check import HINT, ScoreCheck
from kit.corpus.store.shard import CellEntry, Shard
from kit.system.fsio import remove_temporaries
from kit.system.outputs import refuse_foreign
from kit.video.datasets import bvi_dvc, groups, npd

#: Marks the key, the footer and the corpus label of every imported cell.
IMPORTED = "imported"

#: Facts of a cell that the rows do not give.
_UNKNOWN_FACTS = (
    "src_sha256",
    "preset",
    "geometry",
    "argv",
    "encode_pix_fmt",
    "converted",
    "encoder_build",
    "architecture",
    "teacher",
    "scorer_id",
)


@dataclass(frozen=True, kw_only=True)
class Imported:
    """The shard, and notes about it for people, one line each."""

    shard: Shard
    notes: tuple[str, ...]


def import_rows(
    path: Path, out: Path, *, groups_file: Path | None, teacher: Teacher | None = None, check_scores: bool = True
) -> Imported:
    """Make a shard of a file of rows. Nothing is written unless every line is valid.

    Args:
        out: folder of the shard; new or empty, or left by an interrupted import.
        groups_file: ``groups.json`` by label; else the rules of known data sets, else one group per label.
        teacher: the model that made the scores; None if unknown.
        check_scores: compare the scores with the formula of the teacher, of the default one if it is unknown.

    Raises:
        BadInput, Several: the file, the groups or the folder cannot be used; the error names each line.
    """
    _refuse_used(out)
    content = jsonl.read(path)
    check = _checked(path, content.encodes, teacher) if check_scores else None
    labels = sorted({encode.src for encode in content.encodes})
    group = _groups(labels, groups_file)
    out.mkdir(parents=True, exist_ok=True)
    remove_temporaries(out)
    cells = tuple(_write_encode(encode, group[encode.src], out) for encode in content.encodes)
    counts = BoxCounts()
    for cell in cells:
        counts.add_cell(cell, None, [{}])
    shard = Shard(
        folder=out,
        boxes=counts.boxes(),
        demo=False,
        teacher=teacher,
        sources=tuple({"label": label, "sha256": None, "group": group[label], "geometry": None} for label in labels),
        cells=cells,
        failed=(),
    )
    shards.write_manifest(shard)
    notes = _notes(shard, group, content.unused)
    return Imported(shard=shard, notes=notes if check is None else (*notes, check.agreed))


def _checked(path: Path, encodes: Sequence[Encode], teacher: Teacher | None) -> ScoreCheck:
    """Compare the scores of all rows with the teacher's formula."""
    check = ScoreCheck(teacher)
    for encode in encodes:
        rows = _rows(encode)
        check.add(encode.id, rows.features, rows.vmaf)
    if check.problem is not None:
        raise BadInput(f"{path}: {check.problem}", hint=HINT)
    return check


def _refuse_used(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise BadInput(f"{out} is not a folder", hint="Give a new folder with --out.")
    refuse_foreign(
        sorted(out.iterdir()) if out.is_dir() else [],
        lambda path: path.name in ("cells", shards.GROUPS),
        option="--out",
        hint="Give a new folder.",
    )


def _groups(labels: list[str], path: Path | None) -> dict[str, str]:
    """Return the content group of each label."""
    named = groups.read(path) if path is not None else {}
    if unknown := sorted(named.keys() - set(labels)):
        raise BadInput(f"{path}: no such source: {', '.join(unknown)}", hint=f"The sources are {', '.join(labels)}.")
    return {label: named.get(label) or npd.group_of(label) or bvi_dvc.group_of(label) or label for label in labels}


def _write_encode(encode: Encode, group: str, out: Path) -> CellEntry:
    """Write the cell of an encode and return its manifest entry."""
    rows = _rows(encode)
    content = rows.content_sha256()
    key = key_of_rows(encode.id, enc_bytes=encode.enc_bytes, content_sha256=content)
    entry = CellEntry(
        key=key,
        source=encode.src,
        src_sha256=None,
        group=group,
        encoder=encode.encoder,
        preset=None,
        cq=encode.cq,
        rows=len(rows.vmaf),
        encoded_bytes=encode.enc_bytes,
        content_sha256=content,
        path=shards.path_of(encode.id, key),
    )
    facts = {
        **dict.fromkeys(_UNKNOWN_FACTS),
        "origin": IMPORTED,
        "encoder": encode.encoder,
        "cq": encode.cq,
        "feature_set": contract.FEATURE_SET,
        "encoded_bytes": encode.enc_bytes,
        "content_sha256": content,
    }
    rows = replace(rows, labels=shards.row_labels(entry.facts, IMPORTED), facts=facts)
    shards.write_cell(out, entry.path, rows, [{**dict.fromkeys(OBSERVATION), "enc_time_ms": encode.enc_time_ms}])
    return entry


def _rows(encode: Encode) -> CellRows:
    """Return the rows of an encode in order of their frames, without labels and facts."""
    order = np.argsort(np.array(encode.frames))
    numbers = np.array(encode.numbers).reshape(len(order), -1)[order]
    return CellRows(
        labels={}, cq=encode.cq, features=np.ascontiguousarray(numbers[:, :-1]), vmaf=numbers[:, -1].copy(), facts={}
    )


def key_of_rows(cell: CellId, *, enc_bytes: int | None, content_sha256: str) -> str:
    """Return the key of an imported cell: a hash of its rows, since the facts that decide them are unknown."""
    return sha256_json(
        {
            "origin": IMPORTED,
            "src": cell.source,
            "encoder": cell.encoder,
            "cq": cell.cq,
            "enc_bytes": enc_bytes,
            "content_sha256": content_sha256,
            "feature_set": contract.FEATURE_SET,
            "schema_version": contract.SCHEMA_VERSION,
        }
    )


def _notes(shard: Shard, group: Mapping[str, str], unused: tuple[str, ...]) -> tuple[str, ...]:
    notes = []
    for name in shard.groups:
        members = [label for label, own in group.items() if own == name]
        if len(members) > 1:
            notes.append(f"content group {name}: {', '.join(members)}")
    if unknown := sorted(set(shard.encoders) - set(contract.ENCODER_VOCAB)):
        notes.append(f"encoders outside the vocabulary, all zeros to a network: {', '.join(unknown)}")
    if unused:
        notes.append(f"ignored fields: {', '.join(unused)}")
    return tuple(notes)
