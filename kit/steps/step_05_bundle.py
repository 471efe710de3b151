"""Step 5: the bundle, one file to send back, read back and compared before it gets its name."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
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
from kit.system.archive import ArchiveFile, read_hashes, write_tar_gz
from kit.system.fsio import atomic_path, json_bytes, read_json, sha256_file, write_json
from kit.system.signature import sign
from kit.system.ui import size
from kit.verdict.out_of_fold import ENSEMBLE
from kit.verdict.seed_report import report_file

NAME = "bundle"


def run(config: RunConfig, previous: Verdict | None, session: Session) -> Bundle:
    """Pack verdict, models, reports, predictions, shard, prereqs and logs.

    Args:
        previous: the verdict; None for a shard alone.

    Raises:
        Missing: a file that belongs in the bundle does not exist.
        CheckFailed: the archive, read back, differs from the run folder.
    """
    now = datetime.now(UTC)
    target = config.out_dir.parent / f"ensemble-results-{config.box}-{now:%Y%m%dT%H%M%SZ}.tar.gz"
    manifest = pack(config, previous, session, target, now)
    # last: a run folder with a manifest is a finished run
    write_json(config.out_dir / layout.MANIFEST, manifest)
    bundle = Bundle(
        path=target,
        size=target.stat().st_size,
        sha256=sha256_file(target),
        verdict=None if previous is None else previous.word,
    )
    signed = config.sign is not None
    files = f"{len(manifest['files']) + 1 + signed} files, SHA-256 {bundle.sha256[:16]}…{', signed' if signed else ''}"
    session.ui.say(f"Bundle: {bundle.path} ({size(bundle.size)}, {files})")
    return bundle


def pack(config: RunConfig, previous: Verdict | None, session: Session, target: Path, now: datetime) -> dict[str, Any]:
    """Write the bundle of a run folder, which stays as it is, and return its manifest; raises the errors of `run`."""
    word, seeds = _word_and_seeds(previous)
    members = [_member(config.out_dir, name) for name in contents(config, word, seeds)]
    described = [_described(member) for member in members]
    manifest: dict[str, Any] = {
        "schema_version": contract.SCHEMA_VERSION,
        "kit_version": __version__,
        "box": config.box,
        "verdict": word,
        "demo": shards.read_manifest(config.out_dir / layout.CORPUS).demo,
        "created_at_utc": utc_now(),
        "files": described,
    }
    unlisted = [ArchiveFile(name=layout.MANIFEST, data=json_bytes(manifest))]
    if config.sign is not None:
        signature = sign(json_bytes(manifest), config.sign, session.processes)
        unlisted.append(ArchiveFile(name=layout.SIGNATURE, data=signature))
    _write_archive(target, [*unlisted, *members], [*map(_described, unlisted), *described], now)
    return manifest


def _write_archive(
    target: Path, members: Sequence[ArchiveFile], described: Sequence[Mapping[str, object]], now: datetime
) -> None:
    """Write the archive, read it back and compare it with path, size and hash of every member."""
    top = target.name.removesuffix(".tar.gz")
    packed = [ArchiveFile(name=f"{top}/{member.name}", data=member.data) for member in members]
    expected = [(f"{top}/{file['path']}", file["size"], file["sha256"]) for file in described]
    with atomic_path(target) as temporary:
        write_tar_gz(temporary, packed, mtime=int(now.timestamp()))
        if list(read_hashes(temporary)) != expected:
            raise CheckFailed("the bundle, read back, differs from the run folder", hint="Run `bundle` again.")


def listing(config: RunConfig, previous: Verdict | None) -> dict[str, int]:
    """Return path and size in bytes of every file of a bundle except its manifest."""
    return {name: len(_member(config.out_dir, name).read()) for name in contents(config, *_word_and_seeds(previous))}


def _word_and_seeds(verdict: Verdict | None) -> tuple[str | None, Sequence[int]]:
    return (None, ()) if verdict is None else (verdict.word, verdict.document["seeds"])


def contents(config: RunConfig, word: str | None, seeds: Sequence[int]) -> list[str]:
    """Return the relative paths of every file of the bundle except ``manifest.json``, sorted."""
    run_dir = config.out_dir
    shard = shards.read_manifest(run_dir / layout.CORPUS)
    names = [f"{layout.CORPUS}/{shards.MANIFEST}", f"{layout.CORPUS}/{shards.GROUPS}"]
    # a corpus from elsewhere needs no prerequisites here, and a merged one has a report
    names += [layout.PREREQS] if config.corpus is None else []
    names += [layout.MERGE_REPORT] if (run_dir / layout.MERGE_REPORT).is_file() else []
    for entry, _ in shards.read_rows(shard):  # raises where a cell differs from the manifest
        observed = shards.observed_path(run_dir / layout.CORPUS, entry.path)
        names += [f"{layout.CORPUS}/{entry.path}", str(observed.relative_to(run_dir))]
    if word is not None:
        names += [layout.verdict_file(word), layout.TRAINING]
        names += [name for name in _trained(config, seeds) if word != "INVALID" or (run_dir / name).is_file()]
        # the page is only for reading: a verdict is packed without it if it could not be made
        names += [str(path.relative_to(run_dir)) for path in (run_dir / layout.REPORT).rglob("*") if path.is_file()]
    if word == "PROMOTE":
        from kit.steps import exports  # late: it needs torch

        names += exports.listed(config, seeds, shard.corpus_sha256)
    names += [str(path.relative_to(run_dir)) for path in (run_dir / layout.LOGS).glob("*.log")]
    return sorted(names)


def _trained(config: RunConfig, seeds: Sequence[int]) -> list[str]:
    """Return the paths of the predictions and reports of a valid training."""
    names = [layout.PREDICTIONS, *map(report_file, (*seeds, ENSEMBLE))]
    for by in config.holdout:
        names += [layout.holdout_predictions(by), layout.holdout_report(by)]
    summary: Any = read_json(config.out_dir / layout.TRAINING, written_by="train")
    predicted = [name for name, entry in summary["baselines"].items() if entry["predictions_sha256"] is not None]
    unseen = [arch for arch, entry in (summary.get("unseen") or {}).items() if entry["predictions_sha256"] is not None]
    names += [layout.unseen_predictions(arch) for arch in unseen]
    return names + [layout.baseline_predictions(name) for name in predicted]


def _member(run_dir: Path, name: str) -> ArchiveFile:
    """Return a file of the run; a log is read now, since it may grow while the bundle is written."""
    path = run_dir / name
    if not path.is_file():
        raise Missing(f"{path} belongs in the bundle and does not exist", hint="Run the step that writes it again.")
    return ArchiveFile(name=name, data=path.read_bytes() if path.suffix == ".log" else path)


def _described(member: ArchiveFile) -> dict[str, object]:
    data = member.read()
    return {"path": member.name, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
