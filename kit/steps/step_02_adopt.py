"""Step 2 with a given corpus: check and copy it, so that the run folder has everything that is bundled."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

from kit.core import layout
from kit.core.errors import BadInput, CheckFailed
from kit.core.values import Teacher
from kit.corpus.store import shard as shards
from kit.corpus.store.planned import PLAN, shard_folder
from kit.corpus.store.score_check import HINT, ScoreCheck
from kit.corpus.store.shard import UNKNOWN, Shard
from kit.options.resolve import RunConfig
from kit.options.session import Session
from kit.system import validation
from kit.system.ui import Row
from kit.video.fingerprints.fingerprint import fingerprints_of
from kit.video.scorers import teachers
from kit.video.sources.demo import demo_clips

NAME = "corpus"


def run(config: RunConfig, previous: None, session: Session) -> Shard:
    """Copy a shard into the run folder and check its cells.

    Raises:
        BadInput: no corpus, a manifest that does not fit its schema, another teacher than the requested one, or another
            corpus in the run folder.
        CheckFailed: a fingerprint or a cell is damaged, or scores do not follow from their features.
    """
    if config.corpus is None:
        raise BadInput("no corpus to adopt", hint="Give one with --corpus.")
    given_folder, folder = shard_folder(config.corpus), config.out_dir / layout.CORPUS
    given = _read(given_folder)
    shard = replace(
        given,
        folder=folder,
        allow_partial=config.allow_partial,
        teacher=_teacher(config, given),
        demo=given.demo or bool(demo_clips(entry.src_sha256 for entry in given.cells)),
    )
    if given_folder.resolve() != folder.resolve():
        _refuse_other(folder, given)
        _copy(given, folder)
    shards.write_manifest(shard)
    check = ScoreCheck(shard.teacher)
    for entry, rows in shards.read_rows(shard):  # raises if a cell differs from its entry in the manifest
        check.add(entry.id, rows.features, rows.vmaf)
    if check.problem is not None:
        raise CheckFailed(f"{config.corpus}: {check.problem}", hint=HINT)
    _report(shard, session)
    session.ui.say(check.agreed)
    return shard


def _read(folder: Path) -> Shard:
    """Read a manifest, which another box may have written."""
    document = shards.read_document(folder)
    validation.require("shard", document, where=folder / shards.MANIFEST)
    shard = shards.from_document(folder, document)
    fingerprints_of(shard.sources)  # raises if one is damaged
    return shard


def _teacher(config: RunConfig, given: Shard) -> Teacher | None:
    """Return the teacher of a corpus, or the requested one if the corpus names none."""
    if config.origins["teacher"] == "default":
        return given.teacher
    requested = replace(teachers.resolve(config.teacher), path=None)
    if given.teacher is not None and requested.identity != given.teacher.identity:
        raise BadInput(
            f"teachers differ: {config.corpus} has {given.teacher}; requested {requested}",
            hint="Leave --teacher out.",
        )
    return given.teacher or requested


def _refuse_other(folder: Path, given: Shard) -> None:
    if (folder / PLAN).is_file():
        raise BadInput(f"{folder} has a corpus that this run makes", hint="Give another --out-dir.")
    if not (folder / shards.MANIFEST).is_file():
        return
    own = shards.read_manifest(folder)
    if own.corpus_sha256 != given.corpus_sha256:
        raise BadInput(
            f"{folder} has another corpus: {own.corpus_sha256[:12]}, expected {given.corpus_sha256[:12]}",
            hint="Give another --out-dir.",
        )


def _copy(given: Shard, folder: Path) -> None:
    """Copy every cell with its observations, and the report of the merge."""
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
            Row(cells=(box.name, box.platform or UNKNOWN, ", ".join(box.encoders), str(box.cells), str(box.rows)))
            for box in shard.boxes
        ],
    )
    session.ui.say(f"Corpus: {shard.totals}")
    if shard.unwaived:
        session.ui.say("The corpus is incomplete; --allow-partial continues without the failed cells.")
