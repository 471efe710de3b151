"""Open the inputs of a merge (shards, result bundles, the predecessor's rows) as checked shards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kit.core import layout
from kit.core.errors import BadInput, Missing, Several
from kit.corpus.exchange.importing import import_rows
from kit.corpus.store import received
from kit.corpus.store.planned import shard_folder
from kit.corpus.store.shard import Shard

_BUNDLE, _ROWS = (".tar.gz", ".tgz"), (".jsonl", ".jsonl.gz")


@dataclass(frozen=True, kw_only=True)
class Input:
    """An input of a merge.

    Attributes:
        name: last part of its path, used in reports.
        kind: ``shard``, ``bundle`` or ``rows``.
    """

    name: str
    kind: str
    shard: Shard

    @property
    def boxes(self) -> str:
        """Names of the boxes that made it."""
        return ", ".join(box.name for box in self.shard.boxes) or "no box"


def open_all(paths: Sequence[Path], scratch: Path) -> tuple[Input, ...]:
    """Open the inputs; bundles and rows are unpacked below ``scratch``.

    Raises:
        Several: paths that do not exist or cannot be merged.
        Missing, BadInput: a folder without a shard, or a manifest or rows that cannot be read.
        CheckFailed: an input is damaged or violates its format.
    """
    if absent := [Missing(f"{path} does not exist") for path in paths if not path.exists()]:
        raise Several("inputs are missing", absent)
    if unusable := [
        BadInput(f"{path} is neither a folder nor a .tar.gz nor a .jsonl") for path in paths if not _kind(path)
    ]:
        raise Several("inputs cannot be merged", unusable)
    return tuple(_open(path, scratch / str(number)) for number, path in enumerate(paths))


def _kind(path: Path) -> str:
    if path.is_dir():
        return "shard"
    return "bundle" if path.name.endswith(_BUNDLE) else "rows" if path.name.endswith(_ROWS) else ""


def _open(path: Path, scratch: Path) -> Input:
    kind, name = _kind(path), path.absolute().name
    if kind == "rows":
        return Input(name=name, kind=kind, shard=import_rows(path, scratch, groups_file=None, check_scores=False).shard)
    folder = received.open_bundle(path, scratch) / layout.CORPUS if kind == "bundle" else shard_folder(path)
    return Input(name=name, kind=kind, shard=received.read_shard(folder, name))
