"""Which folder is meant: a run folder or the shard itself."""

from __future__ import annotations

from pathlib import Path

from kit.core import layout
from kit.core.errors import Missing
from kit.corpus.store.planned import PLAN
from kit.corpus.store.shard import MANIFEST


def shard_folder(folder: Path) -> Path:
    """The shard in ``folder``, or ``folder`` itself if it is one.

    Raises:
        Missing: neither holds a manifest or a plan.
    """
    for place in (folder, folder / layout.CORPUS):
        if any((place / name).is_file() for name in (MANIFEST, PLAN)):
            return place
    raise Missing(
        f"{folder} is neither a run folder with a corpus nor a shard: no {MANIFEST} and no {PLAN}",
        hint="Give the folder of a run or of a shard; `corpus` makes one.",
    )
