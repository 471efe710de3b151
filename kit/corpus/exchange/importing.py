"""A shard from the predecessor's rows. What they do not tell is null: identity of a source, preset, build, teacher."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from kit.core import contract
from kit.core.canon import sha256_json
from kit.core.errors import BadInput
from kit.corpus.exchange import jsonl
from kit.corpus.exchange.jsonl import Encode
from kit.corpus.make.keep import keep
from kit.corpus.store import shard as shards
from kit.corpus.store.boxes import Makers
from kit.corpus.store.cellfile import CellRows
from kit.corpus.store.shard import CellEntry, Shard, place
from kit.system.fsio import remove_temporaries
from kit.system.outputs import refuse_foreign
from kit.video.datasets import bvi_dvc, groups, npd

#: Stands in the key and in the footer of every imported cell, and as the corpus of its rows.
MARKER = "imported"

#: Facts of a cell that the rows do not tell.
_UNTOLD = (
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
_UNOBSERVED = (
    "box",
    "platform",
    "kit_version",
    "ffmpeg_version",
    "scorer_version",
    "stream_sha256",
    "started_at_utc",
    "seconds",
)


@dataclass(frozen=True, kw_only=True)
class Imported:
    """The shard that was made, and what a reader should know of it, one line each."""

    shard: Shard
    notes: tuple[str, ...]


def import_rows(path: Path, out: Path, *, groups_file: Path | None) -> Imported:
    """Make a shard of a file of rows. Nothing is written unless every line is in order.

    Args:
        out: folder of the shard; new or empty, or left by an import that was stopped.
        groups_file: ``groups.json`` by labels; else known data sets' rules, else a group for each label.

    Raises:
        BadInput, Several: the file, the groups or the folder cannot be used; each line is named.
    """
    _refuse_used(out)
    content = jsonl.read(path)
    labels = sorted({encode.src for encode in content.encodes})
    group = _groups(labels, groups_file)
    out.mkdir(parents=True, exist_ok=True)
    remove_temporaries(out)
    cells = tuple(_keep(encode, group[encode.src], out) for encode in content.encodes)
    makers = Makers()
    for cell in cells:
        makers.add(cell, None, [{}])
    shard = Shard(
        folder=out,
        boxes=makers.boxes(),
        demo=False,
        teacher=None,
        sources=tuple({"label": label, "sha256": None, "group": group[label], "geometry": None} for label in labels),
        cells=cells,
        failed=(),
    )
    shards.write_manifest(shard)
    return Imported(shard=shard, notes=_notes(shard, group, content.unused))


def _refuse_used(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise BadInput(f"{out} is no folder")
    refuse_foreign(
        sorted(out.iterdir()) if out.is_dir() else [],
        lambda path: path.name in ("cells", shards.GROUPS),
        option="--out",
        hint="Give a new folder.",
    )


def _groups(labels: list[str], path: Path | None) -> dict[str, str]:
    """Content group of each label."""
    named = groups.read(path) if path is not None else {}
    if strange := sorted(named.keys() - set(labels)):
        raise BadInput(f"{path}: {', '.join(strange)} is no source here", hint=f"Sources are {', '.join(labels)}.")
    return {label: named.get(label) or npd.group_of(label) or bvi_dvc.group_of(label) or label for label in labels}


def _keep(encode: Encode, group: str, out: Path) -> CellEntry:
    """Write one cell."""
    order = np.argsort(np.array(encode.frames))
    numbers = np.array(encode.numbers).reshape(len(order), -1)[order]
    rows = CellRows(
        labels={}, cq=encode.cq, features=np.ascontiguousarray(numbers[:, :-1]), vmaf=numbers[:, -1].copy(), facts={}
    )
    content = rows.content_sha256()
    key = key_of_rows(
        src=encode.src, encoder=encode.encoder, cq=encode.cq, enc_bytes=encode.enc_bytes, content_sha256=content
    )
    rows = replace(
        rows,
        labels={
            "cell_key": key,
            "src": encode.src,
            "src_sha256": None,
            "group": group,
            "corpus": MARKER,
            "encoder": encode.encoder,
            "preset": None,
        },
        facts={
            **dict.fromkeys(_UNTOLD),
            "origin": MARKER,
            "encoder": encode.encoder,
            "cq": encode.cq,
            "feature_set": contract.FEATURE_SET,
            "encoded_bytes": encode.enc_bytes,
            "content_sha256": content,
        },
    )
    entry = CellEntry(
        key=key,
        source=encode.src,
        src_sha256=None,
        group=group,
        encoder=encode.encoder,
        preset=None,
        cq=encode.cq,
        rows=len(order),
        encoded_bytes=encode.enc_bytes,
        content_sha256=content,
        path=place(encode.id, key),
    )
    keep(out, entry.path, rows, [{**dict.fromkeys(_UNOBSERVED), "enc_time_ms": encode.enc_time_ms}])
    return entry


def key_of_rows(*, src: str, encoder: str, cq: int, enc_bytes: int | None, content_sha256: str) -> str:
    """Hash of the rows with a marker: nothing tells whether two boxes' cells were made alike, only equal rows are."""
    return sha256_json(
        {
            "origin": MARKER,
            "src": src,
            "encoder": encoder,
            "cq": cq,
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
            notes.append(f"{', '.join(members)} are one content group, {name}")
    if strangers := sorted(set(shard.encoders) - set(contract.ENCODER_VOCAB)):
        notes.append(f"not in the vocabulary, so all zeros to a network: {', '.join(strangers)}")
    if unused:
        notes.append(f"fields of the file that are not used: {', '.join(unused)}")
    return tuple(notes)
