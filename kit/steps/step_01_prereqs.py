"""Step 1: check whether this box can do the run, and show all results at once, each with its remedy."""

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
    """Make all checks, show them, and write ``prereqs.json``.

    Raises:
        PrerequisiteFailed: one or more checks failed.
    """
    examined = examine(config, session)
    show(examined)
    write_json(config.out_dir / layout.PREREQS, as_json(examined))
    prereqs = examined.prereqs()
    if prereqs is None:
        raise failure(examined)
    return prereqs


def failure(examined: Examined) -> PrerequisiteFailed:
    """Return the failed checks as one error."""
    failed = [finding for finding in examined.findings if finding.status == "failure"]
    lines = [f"{len(failed)} of {len(examined.findings)} prerequisites failed"]
    for finding in failed:
        lines.append(f"  {finding.check}: {finding.found}")
        lines += [f"    {finding.remedy}"] if finding.remedy else []
    return PrerequisiteFailed("\n".join(lines))


def as_json(examined: Examined) -> dict[str, object]:
    """Return the content of ``prereqs.json``, without device arguments, which are local to the box."""
    redact, ffmpeg, scorer = examined.session.redact, examined.ffmpeg, examined.scorer
    return {
        "schema_version": contract.SCHEMA_VERSION,
        "kit_version": __version__,
        "box": examined.config.box,
        "teacher": None if examined.teacher is None else examined.teacher.described,
        "platform": {"tag": examined.platform.tag, "reason": examined.platform.reason},
        "facts": asdict(examined.facts),
        "ffmpeg": _ffmpeg_json(ffmpeg),
        "encoding_ffmpeg": _ffmpeg_json(examined.encoding),
        "path_ffmpeg": _ffmpeg_json(examined.path_ffmpeg),
        "scorer": None if scorer is None else asdict(scorer),
        "scored_by": None if examined.scored_by is None else choose.describe_scorer(examined.scored_by),
        "encoders": [{k: v for k, v in asdict(encoder).items() if k != "device"} for encoder in examined.encoders],
        "left_out": [{k: redact(v) for k, v in asdict(lost).items()} for lost in examined.left_out],
        "findings": [{k: redact(v) for k, v in asdict(finding).items()} for finding in examined.findings],
        "passed": not examined.failed,
    }


def _ffmpeg_json(ffmpeg: Ffmpeg | None) -> dict[str, object] | None:
    if ffmpeg is None:
        return None
    return {"version": ffmpeg.version, "origin": ffmpeg.origin, "lacks": list(ffmpeg.lacks)}


def _require_same(name: str, ffmpeg: Ffmpeg | None, stored: Any) -> None:
    version, checked = ffmpeg and ffmpeg.version, stored and stored["version"]
    if version != checked:
        raise BadInput(f"{name} has changed: version {version}, checked with {checked}", hint=_AGAIN)


def show(examined: Examined) -> None:
    """Show the findings as a table; the error that follows has what failed, in lines that a table would break."""
    styles: Mapping[str, str] = {"failure": "bold red", "warning": "yellow"}
    rows = []
    for finding in examined.findings:
        texts = ("see below", "") if finding.status == "failure" else (finding.found, finding.remedy)
        rows.append(Row(cells=(finding.check, finding.status, *texts), style=styles.get(finding.status, "")))
    examined.session.ui.table("Prerequisites", ("check", "result", "details", "what to do"), rows)


def load(config: RunConfig, session: Session) -> Prereqs:
    """Return the result of an earlier run of this step; clips are opened again, probes are not repeated.

    Raises:
        Missing: the step has not been run.
        BadInput: it failed, or the box or its tools have changed.
    """
    path = config.out_dir / layout.PREREQS
    value: Any = read_json(path, written_by="prereqs")
    try:
        return _from_json(value, config, session)
    except (KeyError, TypeError) as error:
        raise BadInput(f"{path} was not written by this version: {error!r}", hint=_AGAIN) from error


def _lasting(fact: Any) -> Any:
    """Return a fact without values that change from minute to minute."""
    return [{**item, "sessions": None} for item in fact] if isinstance(fact, list) else fact


def _from_json(value: Any, config: RunConfig, session: Session) -> Prereqs:
    if not value["passed"]:
        raise BadInput("the prerequisites failed when they were checked", hint=_AGAIN)
    encoding = locate(config.ffmpeg, origin=config.origins["ffmpeg"], processes=session.processes)
    ffmpeg = scoring_partner(encoding, session.processes)
    path_ffmpeg = on_path(session.processes) if value["path_ffmpeg"] else None
    _require_same("ffmpeg", ffmpeg, value["ffmpeg"])
    _require_same("the ffmpeg that encodes", encoding, value["encoding_ffmpeg"])
    _require_same("the ffmpeg on PATH", path_ffmpeg, value["path_ffmpeg"])
    scored_by = scorer_for(config, value["platform"]["tag"], ffmpeg, session)
    # the origin does not matter: an option or the run folder may name the same scorer
    now, checked = ({**scorer, "origin": ""} for scorer in (choose.describe_scorer(scored_by), value["scored_by"]))
    if now != checked:
        raise BadInput(f"the scorer has changed: {now}, checked with {checked}", hint=_AGAIN)
    teacher, checked_teacher = resolve(config.teacher), Teacher(**value["teacher"])
    if teacher.identity != checked_teacher.identity:
        raise BadInput(f"teachers differ: checked with {checked_teacher}; requested {teacher}", hint=_AGAIN)
    facts = facts_for(config, session)
    current = json.loads(json.dumps(asdict(facts)))
    if changed := [name for name in _DECIDING if _lasting(current[name]) != _lasting(value["facts"][name])]:
        raise BadInput(f"this box has changed since its prerequisites were checked: {', '.join(changed)}", hint=_AGAIN)
    encoders = tuple(
        ReadyEncoder(**encoder, device=family_of(encoder["name"]).device(facts)) for encoder in value["encoders"]
    )
    points = points_for(config, encoders)
    if missing := {name for name, _ in points} - {encoder.name for encoder in encoders}:
        raise BadInput(f"encoders were not probed: {', '.join(sorted(missing))}", hint=_AGAIN)
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
