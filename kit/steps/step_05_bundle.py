"""Step 5: the one file that goes back, read back and verified before it gets its name."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kit import __version__
from kit.core import contract, layout
from kit.core.errors import CheckFailed, Missing
from kit.corpus.store import shard as shards
from kit.options.provenance import utc_now
from kit.options.resolve import RunConfig
from kit.options.session import Session
from kit.steps.results import Bundle, Verdict
from kit.system.archive import Member, read_hashes, write_tar_gz
from kit.system.fsio import atomic_path, json_bytes, read_json, sha256_file, write_json
from kit.system.signature import sign
from kit.system.ui import size

NAME = "bundle"


def run(config: RunConfig, previous: Verdict | None, session: Session) -> Bundle:
    """Pack verdict, models, reports, predictions, shard, prereqs and logs.

    Args:
        previous: the verdict; None for a shard alone.

    Raises:
        Missing: a file that belongs in the bundle is not there.
        CheckFailed: the archive, read back, differs from what was put in.
    """
    word = previous.word if previous is not None else None
    seeds = previous.document["seeds"] if previous is not None else ()
    now = datetime.now(UTC)
    members = [_member(config.out_dir, name) for name in contents(config, word, seeds)]
    described = [_described(member) for member in members]
    manifest = {
        "schema_version": contract.SCHEMA_VERSION,
        "kit_version": __version__,
        "box": config.box,
        "verdict": word,
        "demo": shards.read_manifest(config.out_dir / layout.CORPUS).demo,
        "created_at_utc": utc_now(),
        "files": described,
    }
    members.insert(0, Member(name=layout.MANIFEST, data=json_bytes(manifest)))
    if config.sign is not None:
        signature = sign(json_bytes(manifest), config.sign, session.processes)
        members.insert(1, Member(name=layout.SIGNATURE, data=signature))
    target = config.out_dir.parent / f"ensemble-results-{config.box}-{now:%Y%m%dT%H%M%SZ}.tar.gz"
    top = target.name.removesuffix(".tar.gz")
    packed = [Member(name=f"{top}/{member.name}", data=member.data) for member in members]
    unlisted = map(_described, members[: len(members) - len(described)])
    expected = [(f"{top}/{name}", *rest) for name, *rest in map(_told, (*unlisted, *described))]
    with atomic_path(target) as temporary:
        write_tar_gz(temporary, packed, mtime=int(now.timestamp()))
        if list(read_hashes(temporary)) != expected:
            raise CheckFailed("the bundle, read back, differs from the run folder", hint="Run `bundle` again.")
    # last: a run with a manifest has come to its end
    write_json(config.out_dir / layout.MANIFEST, manifest)
    bundle = Bundle(path=target, size=target.stat().st_size, sha256=sha256_file(target), verdict=word)
    session.ui.say(
        f"Bundle: {bundle.path} ({size(bundle.size)}, {len(members)} files, SHA-256 {bundle.sha256[:16]}…"
        f"{', signed' if config.sign else ''})"
    )
    return bundle


def listing(config: RunConfig, previous: Verdict | None) -> dict[str, int]:
    """Relative path and size in bytes of everything that a bundle would hold besides its manifest."""
    word, seeds = (None, ()) if previous is None else (previous.word, previous.document["seeds"])
    return {name: len(_member(config.out_dir, name).read()) for name in contents(config, word, seeds)}


def contents(config: RunConfig, word: str | None, seeds: Sequence[int]) -> list[str]:
    """Relative paths of everything that belongs in the bundle, sorted, ``manifest.json`` not among them."""
    run_dir = config.out_dir
    shard = shards.read_manifest(run_dir / layout.CORPUS)
    names = [f"{layout.CORPUS}/{shards.MANIFEST}", f"{layout.CORPUS}/{shards.GROUPS}"]
    # a corpus that was made elsewhere needs no prerequisites here, and a merged one has a report
    names += [layout.PREREQS] if config.corpus is None else []
    names += [layout.MERGE_REPORT] if (run_dir / layout.MERGE_REPORT).is_file() else []
    for entry, _ in shards.read_rows(shard):  # raises where a cell is not what the manifest says
        observed = shards.observed_path(run_dir / layout.CORPUS, entry.path)
        names += [f"{layout.CORPUS}/{entry.path}", str(observed.relative_to(run_dir))]
    if word is not None:
        names += [layout.verdict_file(word), layout.TRAINING]
        trained = [layout.PREDICTIONS, layout.ENSEMBLE_REPORT, *map(layout.seed_report, seeds)]
        for by in config.holdout:
            trained += [layout.holdout_predictions(by), layout.holdout_report(by)]
        trained += [layout.baseline_predictions(name) for name in _baselines(run_dir)]
        names += [name for name in trained if word != "INVALID" or (run_dir / name).is_file()]
    if word == "PROMOTE":
        from kit.steps import exports  # late: it needs torch

        names += exports.listed(config, seeds, shard.corpus_sha256)
    if word is not None:
        # for reading alone: a page that could not be made keeps no evidence back
        names += [str(path.relative_to(run_dir)) for path in (run_dir / layout.REPORT).rglob("*") if path.is_file()]
    names += [str(path.relative_to(run_dir)) for path in (run_dir / layout.LOGS).glob("*.log")]
    return sorted(names)


def _baselines(run_dir: Path) -> list[str]:
    """What the ensemble was compared with and has predictions."""
    told: Any = read_json(run_dir / layout.TRAINING, written_by="train")
    return [name for name, found in told["baselines"].items() if found["predictions_sha256"] is not None]


def _member(run_dir: Path, name: str) -> Member:
    """A file of the run, read now: a log may still grow while the bundle is written."""
    path = run_dir / name
    if not path.is_file():
        raise Missing(f"{path} belongs in the bundle and is not there", hint="Run the step that writes it again.")
    return Member(name=name, data=path.read_bytes() if path.suffix == ".log" else path)


def _described(member: Member) -> dict[str, object]:
    data = member.read()
    return {"path": member.name, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def _told(described: dict[str, object]) -> tuple[object, ...]:
    return described["path"], described["size"], described["sha256"]
