"""Step 1: can this box do the run? Every finding is shown at once, each with its remedy."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from kit import __version__
from kit.core import contract, layout
from kit.core.errors import BadInput, PrerequisiteFailed
from kit.core.values import ReadyEncoder, Scorer, Teacher
from kit.options.resolve import RunConfig
from kit.options.session import Session
from kit.platforms.detect import classify
from kit.platforms.registry import family_of
from kit.prereqs.examine import Examined, examine, facts_for, open_sources, points_for, scorer_for
from kit.prereqs.report import Prereqs
from kit.system.fsio import read_json, write_json
from kit.system.ui import Row
from kit.video.ffmpeg import Ffmpeg, locate, on_path, scoring_partner
from kit.video.scorers import choose
from kit.video.scorers.teachers import resolve

NAME = "prereqs"
_AGAIN = "Run `prereqs` again."
#: Facts that encoder builds and cell keys depend on.
_DECIDING = ("system", "machine", "gpus", "nodes")


def run(config: RunConfig, previous: None, session: Session) -> Prereqs:
    """Check everything, report everything, write ``prereqs.json``.

    Raises:
        PrerequisiteFailed: one or more checks failed.
    """
    seen = examine(config, session)
    show(seen)
    write_json(config.out_dir / layout.PREREQS, as_json(seen))
    prereqs = seen.prereqs()
    if prereqs is None:
        raise failure(seen)
    return prereqs


def failure(seen: Examined) -> PrerequisiteFailed:
    """The failed checks as one error."""
    failed = [finding for finding in seen.findings if finding.status == "failure"]
    lines = [f"{len(failed)} of {len(seen.findings)} prerequisites failed"]
    for finding in failed:
        lines.append(f"  {finding.check}: {finding.found}")
        lines += [f"    {finding.remedy}"] if finding.remedy else []
    return PrerequisiteFailed("\n".join(lines))


def as_json(seen: Examined) -> dict[str, object]:
    """The content of ``prereqs.json``; devices' arguments are left out, since they are local to the box."""
    redact, ffmpeg, scorer = seen.session.redact, seen.ffmpeg, seen.scorer
    return {
        "schema_version": contract.SCHEMA_VERSION,
        "kit_version": __version__,
        "box": seen.config.box,
        "teacher": None if seen.teacher is None else seen.teacher.described,
        "platform": {"tag": seen.platform.tag, "reason": seen.platform.reason},
        "facts": asdict(seen.facts),
        "ffmpeg": _told(ffmpeg),
        "encoding_ffmpeg": _told(seen.encoding),
        "path_ffmpeg": _told(seen.path_ffmpeg),
        "scorer": None if scorer is None else asdict(scorer),
        "scored_by": None if seen.scored_by is None else choose.describe_scorer(seen.scored_by),
        "encoders": [{k: v for k, v in asdict(encoder).items() if k != "device"} for encoder in seen.encoders],
        "left_out": [{k: redact(v) for k, v in asdict(lost).items()} for lost in seen.left_out],
        "findings": [{k: redact(v) for k, v in asdict(finding).items()} for finding in seen.findings],
        "passed": not seen.failed,
    }


def _told(ffmpeg: Ffmpeg | None) -> dict[str, object] | None:
    if ffmpeg is None:
        return None
    return {"version": ffmpeg.version, "origin": ffmpeg.origin, "lacks": list(ffmpeg.lacks)}


def _same(what: str, found: Ffmpeg | None, stored: Any) -> None:
    version = None if found is None else found.version
    if version != (stored and stored["version"]):
        raise BadInput(
            f"{what} is {version}, the prerequisites were checked with {stored and stored['version']}", hint=_AGAIN
        )


def show(seen: Examined) -> None:
    """Show the findings as a table; the error that follows has what failed, in lines that a table would break."""
    styles: Mapping[str, str] = {"failure": "bold red", "warning": "yellow"}
    rows = []
    for finding in seen.findings:
        texts = ("see below", "") if finding.status == "failure" else (finding.found, finding.remedy)
        rows.append(Row(cells=(finding.check, finding.status, *texts), style=styles.get(finding.status, "")))
    seen.session.ui.table("Prerequisites", ("check", "result", "details", "what to do"), rows)


def load(config: RunConfig, session: Session) -> Prereqs:
    """What an earlier run of this step left; the clips are looked at again, the probes are not repeated.

    Raises:
        Missing: the step has not been run.
        BadInput: it failed, or another ffmpeg is found now.
    """
    path = config.out_dir / layout.PREREQS
    value: Any = read_json(path, written_by="prereqs")
    try:
        return _from_json(value, config, session)
    except (KeyError, TypeError) as error:
        raise BadInput(f"{path} was not written by this version: {error!r}", hint=_AGAIN) from error


def _lasting(fact: Any) -> Any:
    """A fact without what changes from minute to minute."""
    return [{**item, "sessions": None} for item in fact] if isinstance(fact, list) else fact


def _from_json(value: Any, config: RunConfig, session: Session) -> Prereqs:
    if not value["passed"]:
        raise BadInput("the prerequisites failed when they were checked", hint=_AGAIN)
    encoding = locate(config.ffmpeg, origin=config.origins["ffmpeg"], processes=session.processes)
    ffmpeg = scoring_partner(encoding, session.processes)
    path_ffmpeg = on_path(session.processes) if value["path_ffmpeg"] else None
    _same("ffmpeg", ffmpeg, value["ffmpeg"])
    _same("the ffmpeg that encodes", encoding, value["encoding_ffmpeg"])
    _same("the ffmpeg on PATH", path_ffmpeg, value["path_ffmpeg"])
    scored_by = scorer_for(config, value["platform"]["tag"], ffmpeg, session)
    # what it is counts, not whether an option or the run folder names it
    if {**choose.describe_scorer(scored_by), "origin": ""} != {**value["scored_by"], "origin": ""}:
        raise BadInput("the scorer is another one than when the prerequisites were checked", hint=_AGAIN)
    teacher, checked = resolve(config.teacher), Teacher(**value["teacher"])
    if teacher.identity != checked.identity:
        raise BadInput(f"the scorer was checked with the teacher {checked}, not {teacher}", hint=_AGAIN)
    facts = facts_for(config, session)
    now = json.loads(json.dumps(asdict(facts)))
    if changed := [name for name in _DECIDING if _lasting(now[name]) != _lasting(value["facts"][name])]:
        raise BadInput(f"this box has changed since its prerequisites were checked: {', '.join(changed)}", hint=_AGAIN)
    encoders = tuple(
        ReadyEncoder(**encoder, device=family_of(encoder["name"]).device(facts)) for encoder in value["encoders"]
    )
    points = points_for(config, encoders)
    if lacking := {name for name, _ in points} - {encoder.name for encoder in encoders}:
        raise BadInput(f"{', '.join(sorted(lacking))}: not probed when the prerequisites were checked", hint=_AGAIN)
    return Prereqs(
        facts=facts,
        platform=classify(facts),
        ffmpeg=ffmpeg,
        teacher=teacher,
        scorer=Scorer(**value["scorer"]),
        encoders=encoders,
        points=points,
        files=open_sources(config, session, ffmpeg).files,
        encoding=encoding,
        scored_by=scored_by,
        path_ffmpeg=path_ffmpeg,
    )
