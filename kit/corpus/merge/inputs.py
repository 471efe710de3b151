"""What is merged: shards, result bundles and the predecessor's rows, each opened as a shard that is checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kit.core import layout
from kit.core.errors import BadInput, Missing, Several
from kit.corpus.exchange.importing import import_rows
from kit.corpus.store import received
from kit.corpus.store.place import shard_folder
from kit.corpus.store.shard import Shard

_BUNDLE, _ROWS = (".tar.gz", ".tgz"), (".jsonl", ".jsonl.gz")


@dataclass(frozen=True, kw_only=True)
class Input:
    """One of the things to merge.

    Attributes:
        name: its last name, as reports call it; kind: ``shard``, ``bundle`` or ``rows``.
    """

    name: str
    kind: str
    shard: Shard

    @property
    def boxes(self) -> str:
        """The boxes that made it, in words."""
        return ", ".join(box.name for box in self.shard.boxes) or "no box"


def open_all(paths: Sequence[Path], scratch: Path) -> tuple[Input, ...]:
    """Open what is to be merged; bundles and rows are unpacked below ``scratch``.

    Raises:
        Missing, BadInput: nothing is there, or it is nothing that can be merged.
        CheckFailed: it is damaged, or holds what it must not hold.
    """
    strange = [BadInput(f"{path} is neither a folder nor a .tar.gz nor a .jsonl") for path in paths if not _kind(path)]
    if absent := [Missing(f"{path} is not there") for path in paths if not path.exists()]:
        raise Several("what is to be merged cannot be found", absent)
    if strange:
        raise Several("what cannot be merged", strange)
    return tuple(_open(path, scratch / str(number)) for number, path in enumerate(paths))


def _kind(path: Path) -> str:
    if path.is_dir():
        return "shard"
    return "bundle" if path.name.endswith(_BUNDLE) else "rows" if path.name.endswith(_ROWS) else ""


def _open(path: Path, scratch: Path) -> Input:
    kind, name = _kind(path), path.absolute().name
    if kind == "rows":
        return Input(name=name, kind=kind, shard=import_rows(path, scratch, groups_file=None).shard)
    folder = received.open_bundle(path, scratch) / layout.CORPUS if kind == "bundle" else shard_folder(path)
    return Input(name=name, kind=kind, shard=received.read_shard(folder, name))
