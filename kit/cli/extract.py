"""``extract-features``: the features of a data set's clips, frame by frame."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kit.cli.opening import environment, ffmpeg_session
from kit.cli.output import MOST_LINES, Result, Table, json_option, names_line, option_texts, row
from kit.core import contract, exits
from kit.core.errors import BadInput, KitError
from kit.options.click_options import options, texts
from kit.options.command_tables import FEATURES
from kit.options.run_table import RUN
from kit.system.ui import counted

if TYPE_CHECKING:
    from kit.features.extraction import Failure
    from kit.features.extraction import Result as Scored
    from kit.features.feature_cache import Cache
    from kit.features.measuring import ClipPair, Instruments
    from kit.options.resolve import RunConfig
    from kit.options.session import Session
    from kit.platforms.facts import HostFacts
    from kit.video.datasets.load import ClipFolder
    from kit.video.ffmpeg import Ffmpeg

_CACHE = FEATURES["cache"].env


@click.command("extract-features")
@options(*FEATURES.pick("dataset", "ref_dir", "out", "feature_set", "max_pairs", "assume_dims"))
@texts(*RUN.pick("teacher", "ffmpeg", "vmaf_bin"))
@json_option
def extract_features(
    *, out: Path, feature_set: str, max_pairs: int | None, assume_dims: str | None, **given: str | None
) -> Result:
    """Extract features of a data set's clips, frame by frame.

    Clips in dis/ of npd are scaled to and compared with their reference; other clips are compared with their own
    encode (libx264, CRF 35). Measured pairs are kept, so a stopped command continues; VMAF_TINY_AI_CACHE sets
    where.

    Exit codes: 0 done, 2 bad input, 3 some clips failed, 4 disk full.
    """
    from kit.features import extraction, manifest
    from kit.models.registry import refuse_listed
    from kit.prereqs.examine import facts_for

    refuse_listed([out, manifest.manifest_path(out)])
    manifest.check_destination(out)
    geometry = {} if assume_dims is None else {"geometry": f"{assume_dims}@25"}
    config, session, encoding = ffmpeg_session({**given, **geometry})
    cache = _open_cache(session)
    facts = facts_for(config, session)
    instruments = _instruments(config, session, encoding, facts, feature_set)
    data, refused = _open_data_set(config, session, instruments)
    pairs = extraction.pairs_of(data)[:max_pairs]
    scored, failed = _score(pairs, instruments, session, facts, cache) if pairs else ([], [])
    failed = [*refused, *failed]
    if not scored:
        raise extraction.nothing_scored(failed, data.folder)
    table = extraction.to_table(scored, corpus=data.name, teacher=instruments.teacher.text)
    from_config = {name: getattr(config, name) for name in ("dataset", "ref_dir", "teacher", "ffmpeg", "vmaf_bin")}
    own = {"feature_set": feature_set, "max_pairs": max_pairs, "assume_dims": assume_dims, "out": out}
    document = manifest.write(
        out,
        table,
        _facts(data, instruments, scored, failed, pairs),
        args=option_texts(from_config | own),
        session=session,
        inputs={},
    )
    summary = (
        f"{out}: {counted(len(table), 'row')} of {counted(len(scored), 'clip')}, "
        f"{counted(len(table.features), 'feature')}; {len(failed)} failed"
    )
    code = exits.INVALID if failed else exits.OK
    return Result(code=code, shown=(*_remarks(data, scored, failed), summary), data=document)


def _open_cache(session: Session) -> Cache:
    """Open the cache of scored pairs."""
    from kit.features.feature_cache import Cache
    from kit.system.outputs import require_writable

    folder = Path(environment().get(_CACHE) or session.cache / "features").absolute()
    require_writable(folder, option=_CACHE, hint=f"Set {_CACHE} to a folder that can be written.")
    return Cache(folder=folder)


def _instruments(
    config: RunConfig, session: Session, encoding: Ffmpeg, facts: HostFacts, feature_set: str
) -> Instruments:
    """Choose the scorer for this box and verify it."""
    from kit.features.measuring import Instruments
    from kit.platforms.detect import classify
    from kit.prereqs.examine import scorer_for
    from kit.video.ffmpeg import scoring_partner
    from kit.video.scorers import choose, teachers

    scoring = scoring_partner(encoding, session.processes)
    scorer = scorer_for(config, classify(facts).tag, scoring, session)
    teacher = teachers.resolve(config.teacher)
    proof = choose.verify_scorer(scorer, teacher=teacher, processes=session.processes)
    session.ui.say(f"Features by {scorer.name} ({proof.id}), teacher {teacher}")
    return Instruments(
        scorer=scorer,
        encoding=encoding,
        proof=proof,
        teacher=teacher,
        feature_set=feature_set,
        processes=session.processes,
        identities=session.cache,
    )


def _open_data_set(config: RunConfig, session: Session, instruments: Instruments) -> tuple[ClipFolder, list[Failure]]:
    """Open the data set; return it with the clips that cannot be used."""
    from kit.features.extraction import Failure, describe
    from kit.prereqs.examine import reference_folder
    from kit.video.datasets.load import open_folder
    from kit.video.sources.read import Tools

    refused: list[Failure] = []

    def note(path: Path, problem: KitError) -> None:
        refused.append(Failure(clip=path.name, reason=session.redact(describe(problem))))

    data = open_folder(
        reference_folder(config, session),
        requested=config.dataset,
        assumed=config.geometry,
        cache=session.cache,
        whole=False,
        tools=Tools(ffmpeg=instruments.scorer.ffmpeg, processes=session.processes),
        refused=note,
    )
    session.ui.say(f"{data.name}: {data.reason}")
    if config.geometry is not None and not any(file.kind == "yuv" for file in data.files):
        raise BadInput("--assume-dims: none of the clips is a .yuv", hint="Leave it out.")
    return data, refused


def _score(
    pairs: Sequence[ClipPair], instruments: Instruments, session: Session, facts: HostFacts, cache: Cache
) -> tuple[list[Scored], list[Failure]]:
    from kit.features import extraction
    from kit.system.fsio import remove_abandoned, scratch_folders, temporaries

    remove_abandoned((*temporaries(cache.folder), *scratch_folders()))
    with session.ui.progress("Features", len(pairs), "clips") as advance:
        scored, failed = extraction.extract(pairs, instruments, cache=cache, facts=facts, advance=advance)
    for one in scored:
        if one.warning:
            session.ui.say(one.warning)
    if cached := sum(one.cached for one in scored):
        session.ui.say(f"From the cache: {cached} of {counted(len(pairs), 'clip')}")
    return scored, [replace(one, reason=session.redact(one.reason)) for one in failed]


def _facts(
    data: ClipFolder,
    instruments: Instruments,
    scored: Sequence[Scored],
    failed: Sequence[Failure],
    pairs: Sequence[ClipPair],
) -> dict[str, object]:
    """What the manifest of the table records of the extraction."""
    from dataclasses import asdict

    from kit.features.measuring import ROUND_TRIP

    stored = any(pair.distorted is not None for pair in pairs)
    encoder, cq = ROUND_TRIP
    return {
        "dataset": data.name,
        "reason": data.reason,
        "missing": list(data.missing),
        "notes": list(data.notes),
        "wanting": list(data.missing_distorted),
        "ignored": list(data.ignored),
        "feature_set": instruments.feature_set,
        "teacher_model": instruments.teacher.described,
        "scorer": {"id": instruments.proof.id, "version": instruments.proof.version, "name": instruments.scorer.name},
        "scaling": contract.CONVERT if stored else None,
        "round_trip": None if stored else {"encoder": encoder, "crf": cq, "ffmpeg": instruments.encoding.version},
        "counts": {
            "pairs": len(pairs),
            "measured": sum(not one.cached for one in scored),
            "kept": sum(one.cached for one in scored),
            "failed": len(failed),
        },
        "failed": [asdict(one) for one in failed],
        "identities": {one.pair.name: one.identity for one in scored},
    }


def _remarks(data: ClipFolder, scored: Sequence[Scored], failed: Sequence[Failure]) -> Iterator[str | Table]:
    formats = sorted({one.pair.reference.geometry.pix_fmt for one in scored if _converted(one)})
    if formats:
        yield f"Clips of {', '.join(formats)} were converted for the encoder, and compared in the converted format"
    if data.missing:
        yield f"Missing: {counted(len(data.missing), 'clip')} of {data.name}, listed in the manifest"
    yield from names_line("Ignored, not clips", data.ignored)
    yield from data.notes
    rows = [row(one.clip, one.reason, style="red") for one in failed]
    yield Table(
        title="Failed",
        columns=("clip", "reason"),
        rows=rows,
        limit=MOST_LINES,
        complete_in="the manifest lists all",
    )


def _converted(one: Scored) -> bool:
    from kit.features.measuring import round_trip

    reference = one.pair.reference
    return one.pair.distorted is None and round_trip(reference).score_pix_fmt != reference.geometry.pix_fmt
