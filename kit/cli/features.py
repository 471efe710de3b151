"""Commands about feature tables: extract them from data sets, combine several, join subjective scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kit.cli.opening import command_session, environment, ffmpeg_session
from kit.cli.output import Outcome, print_json
from kit.core import contract, exits
from kit.core.errors import BadInput, KitError
from kit.options.click_options import json, options, texts
from kit.options.command_tables import FEATURES
from kit.options.run_table import RUN

if TYPE_CHECKING:
    from kit.features.extraction import Failure, Result
    from kit.features.feature_cache import Cache
    from kit.features.measuring import ClipPair, Instruments
    from kit.options.resolve import RunConfig
    from kit.options.session import Session
    from kit.platforms.facts import HostFacts
    from kit.video.datasets.load import Opened
    from kit.video.ffmpeg import Ffmpeg

#: Lines of a table; the manifest has them all.
_MOST_LINES = 20
_CACHE = FEATURES["cache"].env


@click.command("extract-features")
@options(*FEATURES.pick("dataset", "ref_dir", "out", "feature_set", "max_pairs", "assume_dims"))
@texts(*RUN.pick("teacher", "ffmpeg", "vmaf_bin"))
@json
def extract_features(
    *,
    out: Path,
    feature_set: str,
    max_pairs: int | None,
    assume_dims: str | None,
    as_json: bool,
    **given: str | None,
) -> Outcome:
    """Extract features of a data set's clips, frame by frame.

    Clips in dis/ of npd are scaled to and compared with their reference; other clips are compared with their own
    encode (libx264, CRF 35). Measured pairs are kept, so a stopped command continues; VMAF_TINY_AI_CACHE sets
    where.

    Exit codes: 0 done, 2 bad input, 3 some clips failed, 4 disk full.
    """
    from kit.features import extraction, manifest
    from kit.models.registry import refuse_listed
    from kit.prereqs.examine import facts_for
    from kit.system.ui import counted

    refuse_listed([out, manifest.manifest_path(out)])
    manifest.check_destination(out)
    texts = {name: text for name, text in given.items() if text is not None}
    if assume_dims is not None:
        texts["geometry"] = f"{assume_dims}@25"
    here, session, found = ffmpeg_session(texts)
    cache = _cache(session, environment())
    facts = facts_for(here, session)
    instruments = _instruments(here, session, found, facts, feature_set)
    refused: list[extraction.Failure] = []
    data = _open(here, session, instruments, refused)
    pairs = extraction.pairs_of(data)[:max_pairs]
    done, failed = _extract(pairs, instruments, session, facts, cache) if pairs else ([], [])
    failed = [*refused, *failed]
    if not done:
        raise extraction.nothing_scored(failed, data.folder)
    made = extraction.to_table(done, corpus=data.name, teacher=instruments.teacher.text)
    told = _told(data, instruments, done, failed, pairs)
    args = _texts(
        {
            **{name: getattr(here, name) for name in ("dataset", "ref_dir", "teacher", "ffmpeg", "vmaf_bin")},
            "feature_set": feature_set,
            "max_pairs": max_pairs,
            "assume_dims": assume_dims,
            "out": out,
        }
    )
    whole = manifest.write(out, made, told, args=args, session=session, inputs={})
    _show_extracted(session, data, done, failed)
    session.ui.say(
        f"{out}: {counted(len(made), 'row')} of {counted(len(done), 'clip')}, "
        f"{counted(len(made.features), 'feature')}; {len(failed)} failed"
    )
    if as_json:
        print_json(whole)
    return Outcome(code=exits.INVALID if failed else exits.OK)


def _cache(session: Session, environ: Mapping[str, str]) -> Cache:
    """What is kept of measured pairs."""
    from kit.features.feature_cache import Cache
    from kit.system.outputs import require_writable

    folder = Path(environ.get(_CACHE) or session.cache / "features").absolute()
    require_writable(folder, option=_CACHE, hint=f"Set {_CACHE} to a folder that can be written.")
    return Cache(folder=folder)


def _instruments(
    here: RunConfig, session: Session, encoding: Ffmpeg, facts: HostFacts, feature_set: str
) -> Instruments:
    """The scorer that this box calls for, proven."""
    from kit.features.measuring import Instruments
    from kit.platforms.detect import classify
    from kit.prereqs.examine import scorer_for
    from kit.video.ffmpeg import scoring_partner
    from kit.video.scorers import choose, teachers

    scoring = scoring_partner(encoding, session.processes)
    scorer = scorer_for(here, classify(facts).tag, scoring, session)
    teacher = teachers.resolve(here.teacher)
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


def _open(here: RunConfig, session: Session, instruments: Instruments, refused: list[Failure]) -> Opened:
    """The data set as far as it is there; clips that cannot be used are noted."""
    from kit.features.extraction import Failure, describe
    from kit.prereqs.examine import reference_folder
    from kit.video.datasets.load import open_folder
    from kit.video.sources.read import Tools

    def note(path: Path, problem: KitError) -> None:
        refused.append(Failure(clip=path.name, reason=session.redact(describe(problem))))

    data = open_folder(
        reference_folder(here, session),
        asked=here.dataset,
        assumed=here.geometry,
        cache=session.cache,
        whole=False,
        tools=Tools(ffmpeg=instruments.scorer.ffmpeg, processes=session.processes),
        refused=note,
    )
    session.ui.say(f"{data.name}: {data.reason}")
    if here.geometry is not None and not any(file.kind == "yuv" for file in data.files):
        raise BadInput("--assume-dims: there is no .yuv among the clips", hint="Leave it out.")
    return data


def _extract(
    pairs: Sequence[ClipPair], instruments: Instruments, session: Session, facts: HostFacts, cache: Cache
) -> tuple[list[Result], list[Failure]]:
    from dataclasses import replace

    from kit.features import extraction
    from kit.system.fsio import remove_abandoned, scratch_folders, temporaries
    from kit.system.ui import counted

    remove_abandoned((*temporaries(cache.folder), *scratch_folders()))
    with session.ui.progress("Features", len(pairs), "clips") as advance:
        done, failed = extraction.extract(pairs, instruments, cache=cache, facts=facts, advance=advance)
    for one in done:
        if one.warning:
            session.ui.say(one.warning)
    if kept := sum(one.cached for one in done):
        session.ui.say(f"There already: {kept} of {counted(len(pairs), 'clip')}")
    return done, [replace(one, reason=session.redact(one.reason)) for one in failed]


def _told(
    data: Opened, instruments: Instruments, done: Sequence[Result], failed: Sequence[Failure], pairs: Sequence[ClipPair]
) -> dict[str, object]:
    """What the manifest says besides what the table is."""
    from dataclasses import asdict

    from kit.features.measuring import ROUND_TRIP

    stored = any(pair.distorted is not None for pair in pairs)
    encoder, cq = ROUND_TRIP
    return {
        "dataset": data.name,
        "reason": data.reason,
        "missing": list(data.missing),
        "notes": list(data.notes),
        "wanting": list(data.wanting),
        "ignored": list(data.ignored),
        "feature_set": instruments.feature_set,
        "teacher_model": instruments.teacher.described,
        "scorer": {"id": instruments.proof.id, "version": instruments.proof.version, "name": instruments.scorer.name},
        "scaling": contract.CONVERT if stored else None,
        "round_trip": None if stored else {"encoder": encoder, "crf": cq, "ffmpeg": instruments.encoding.version},
        "counts": {
            "pairs": len(pairs),
            "measured": sum(not one.cached for one in done),
            "kept": sum(one.cached for one in done),
            "failed": len(failed),
        },
        "failed": [asdict(one) for one in failed],
        "identities": {one.pair.name: one.identity for one in done},
    }


def _show_extracted(session: Session, data: Opened, done: Sequence[Result], failed: Sequence[Failure]) -> None:
    from kit.system.ui import Row, counted

    converted = sorted({one.pair.reference.geometry.pix_fmt for one in done if _converted(one)})
    if converted:
        session.ui.say(f"Clips of {', '.join(converted)} were converted for the encoder, and compared so")
    if data.missing:
        session.ui.say(f"Not there: {counted(len(data.missing), 'clip')} of {data.name}, listed in the manifest")
    _list(session, "Not taken as clips", data.ignored)
    for note in data.notes:
        session.ui.say(note)
    if failed:
        session.ui.table(
            "Failed", ("clip", "why"), [Row(cells=(one.clip, one.reason), style="red") for one in failed[:_MOST_LINES]]
        )


def _converted(one: Result) -> bool:
    from kit.features.measuring import round_trip

    reference = one.pair.reference
    return one.pair.distorted is None and round_trip(reference).score_pix_fmt != reference.geometry.pix_fmt


@click.command()
@click.argument("inputs", metavar="NAME=FILE ...", nargs=-1, required=True)
@options(*FEATURES.pick("out", "fill_missing"))
@json
def combine(*, inputs: tuple[str, ...], out: Path, fill_missing: bool, as_json: bool) -> Outcome:
    """Combine feature tables or run folders into one table.

    NAME becomes the corpus of its rows.

    Exit codes: 0 done, 2 bad input, 3 teachers differ or rows are invalid, 4 disk full.
    """
    from kit.features import combining, manifest, table
    from kit.models.registry import refuse_listed
    from kit.system.ui import Row, counted

    paths = combining.parse_inputs(inputs)
    refuse_listed([out, manifest.manifest_path(out)])
    manifest.check_destination(out, paths.values())
    _, session = command_session()
    tables = {name: table.read(path) for name, path in paths.items()}
    done = combining.combine(tables, fill_missing=fill_missing)
    told: dict[str, object] = {
        "inputs": {
            name: {
                "sha256": one.sha256,
                "rows": len(one),
                "clips": sum(1 for _ in one.clips()),
                "nan": dict(done.missing[name]),
            }
            for name, one in tables.items()
        },
        "shared_groups": list(done.shared),
    }
    args = _texts({"inputs": inputs, "fill_missing": fill_missing, "out": out})
    whole = manifest.write(out, done.table, told, args=args, session=session, inputs=paths)
    session.ui.table(
        "Combined",
        ("corpus", "file", "sources", "clips", "rows", "NaN in"),
        [
            Row(
                cells=(
                    name,
                    paths[name].name,
                    str(len(set(one.sources))),
                    str(sum(1 for _ in one.clips())),
                    str(len(one)),
                    ", ".join(done.missing[name]) or "nothing",
                )
            )
            for name, one in tables.items()
        ],
    )
    _list(session, "Content groups of several inputs, held out together", done.shared)
    session.ui.say(
        f"{out}: {counted(len(done.table), 'row')}, {counted(len(done.table.features), 'feature')}, teacher "
        f"{done.table.teacher or 'not told'}"
    )
    if as_json:
        print_json(whole)
    return Outcome(code=exits.OK)


@click.command("join-mos")
@options(*FEATURES.pick("features", "scores", "on", "pattern", "score", "out"))
@json
def join_mos(
    *,
    features: Path,
    scores: Path,
    on: tuple[str, ...],
    pattern: str | None,
    score: str,
    out: Path,
    as_json: bool,
) -> Outcome:
    """Join subjective scores to the clips of a feature table.

    They become the column mos; clips without a score are left out.

    Exit codes: 0 done, 2 bad input, 3 no clip has a score, 4 disk full.
    """
    from kit.features import manifest, mos, table
    from kit.models.registry import refuse_listed
    from kit.system.ui import counted

    if bool(on) == (pattern is not None):
        raise click.UsageError("Give either --on or --pattern.")
    paths = {"features": features, "mos": scores}
    refuse_listed([out, manifest.manifest_path(out)])
    manifest.check_destination(out, paths.values())
    rule = mos.by_columns(on) if pattern is None else mos.by_pattern(pattern)
    _, session = command_session()
    lines = mos.read_scores(scores, rule, score)
    done = mos.join(table.read(features), lines, rule)
    told = {
        "matched_clips": done.clips,
        "unmatched_clips": list(done.unmatched_clips),
        "unmatched_scores": list(done.unmatched_scores),
        "duplicate_scores": list(done.duplicate_scores),
        "shared_scores": list(done.shared_scores),
    }
    args = _texts({**paths, "on": on, "pattern": pattern, "score": score, "out": out})
    whole = manifest.write(out, done.table, told, args=args, session=session, inputs=paths)
    for title, found in (
        ("Clips without a score, left out", done.unmatched_clips),
        ("Scores without a clip", done.unmatched_scores),
        ("Scores that several lines have, joined to nothing", done.duplicate_scores),
        ("Scores that several clips have", done.shared_scores),
    ):
        _list(session, title, found)
    session.ui.say(f"{out}: {counted(done.clips, 'clip')} with a score, {counted(len(done.table), 'row')}")
    if as_json:
        print_json(whole)
    return Outcome(code=exits.OK)


def _texts(options: Mapping[str, object]) -> dict[str, str | tuple[str, ...]]:
    """The options of a command as texts, for the provenance, without those that were not given and have no default."""
    texts: dict[str, str | tuple[str, ...]] = {}
    for name, value in options.items():
        if isinstance(value, tuple) and value:
            texts[name] = tuple(map(str, value))
        elif value not in (None, ()):
            texts[name] = str(value).lower() if isinstance(value, bool) else str(value)
    return texts


def _list(session: Session, title: str, names: Sequence[str]) -> None:
    if names:
        more = f" and {len(names) - _MOST_LINES} more, in the manifest" if len(names) > _MOST_LINES else ""
        session.ui.say(f"{title} ({len(names)}): {'; '.join(names[:_MOST_LINES])}{more}")


FEATURE_COMMANDS = (extract_features, combine, join_mos)
