"""Step 2 where the corpus is there already: a checked copy of it, so that the run folder has all that is bundled."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

from kit.core import layout
from kit.core.errors import BadInput
from kit.corpus.store import shard as shards
from kit.corpus.store.place import shard_folder
from kit.corpus.store.planned import PLAN
from kit.corpus.store.shard import Shard
from kit.options.resolve import RunConfig
from kit.options.session import Session
from kit.system.ui import Row
from kit.video.scorers import teachers

NAME = "corpus"


def run(config: RunConfig, previous: None, session: Session) -> Shard:
    """Copy a shard into the run folder; cells that are there already are not copied again.

    Raises:
        BadInput: there is none, it has another teacher than asked for, or the run folder has another corpus.
        CheckFailed: a cell is damaged.
    """
    if config.corpus is None:
        raise BadInput("there is no corpus to adopt", hint="Give one with --corpus.")
    there, folder = shard_folder(config.corpus), config.out_dir / layout.CORPUS
    given = shards.read_manifest(there)
    if config.origins["teacher"] != "default" and given.teacher is not None:
        asked = teachers.resolve(config.teacher)
        if asked.identity != given.teacher.identity:
            raise BadInput(
                f"{config.corpus} has the teacher {given.teacher}, asked for is {asked}", hint="Leave --teacher out."
            )
    shard = replace(given, folder=folder, allow_partial=config.allow_partial)
    if there.resolve() != folder.resolve():
        _refuse_other(folder, given)
        _copy(given, folder)
    shards.write_manifest(shard)
    for _ in shards.read_rows(shard):  # raises where a cell is not what the manifest says
        pass
    _report(shard, session)
    return shard


def _refuse_other(folder: Path, given: Shard) -> None:
    if (folder / PLAN).is_file():
        raise BadInput(f"{folder} is a corpus that is made here", hint="Give another --out-dir.")
    if not (folder / shards.MANIFEST).is_file():
        return
    own = shards.read_manifest(folder)
    if own.corpus_sha256 != given.corpus_sha256:
        raise BadInput(
            f"{folder} is another corpus, {own.corpus_sha256[:12]}; expected {given.corpus_sha256[:12]}",
            hint="Give another --out-dir.",
        )


def _copy(given: Shard, folder: Path) -> None:
    """Copy every cell and what was observed of it, and the report of the merge."""
    report = Path(layout.MERGE_REPORT).name
    pairs = [(given.folder / report, folder / report)] if (given.folder / report).is_file() else []
    for entry in given.cells:
        pairs += [
            (shards.observed_path(given.folder, entry.path), shards.observed_path(folder, entry.path)),
            (given.folder / entry.path, folder / entry.path),
        ]
    for source, target in pairs:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)


def _report(shard: Shard, session: Session) -> None:
    session.ui.table(
        "Boxes",
        ("box", "platform", "encoders", "cells", "rows"),
        [
            Row(cells=(box.name, box.platform or "not told", ", ".join(box.encoders), str(box.cells), str(box.rows)))
            for box in shard.boxes
        ],
    )
    session.ui.say(
        f"Corpus: {len(shard.cells)} cells, {shard.rows} rows, {len(shard.sources)} sources, "
        f"{len(shard.failed)} failed cells; corpus.sha256 {shard.corpus_sha256[:12]}"
    )
    if shard.lacking:
        session.ui.say("The corpus is not whole; --allow-partial goes on without the failed cells.")
