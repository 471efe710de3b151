"""Step 1: can this box do the run? Every finding is shown at once, each with its remedy."""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from kit import __version__, bootstrap, bootstrap_pins, contract, layout
from kit.bootstrap_pins import BadPins
from kit.config import RunConfig
from kit.errors import BadInput, KitError, PrerequisiteFailed
from kit.ffmpeg import Ffmpeg, locate
from kit.fsio import free_bytes, read_json, write_bytes, write_json
from kit.geometry import frame_bytes
from kit.plan import disk_bytes, quality_points
from kit.platforms.base import HostFacts
from kit.platforms.detect import Platform, classify, probe_host
from kit.platforms.probe import LeftOut, probe
from kit.platforms.registry import family_of
from kit.results import Prereqs
from kit.scorers import ffmpeg_filter
from kit.session import KIT_ROOT, Session
from kit.sources import demo
from kit.sources.read import Tools
from kit.sources.scan import Found, scan
from kit.types import Finding, ReadyEncoder, Scorer, SourceFile
from kit.ui import Row, size

NAME = "prereqs"
_T = TypeVar("_T")
#: Bytes that must stay free besides what the plan needs.
_SPARE = 100_000_000
#: Bytes of memory one running cell takes besides its frames, and frames it holds (look-ahead and references).
_CELL_MEMORY, _HELD_FRAMES = 200_000_000, 120


class Checks:
    """Findings gathered one after another; a check that raises is a failure and the others go on."""

    def __init__(self) -> None:
        self.findings: list[Finding] = []

    def add(self, check: str, status: str, found: str, remedy: str = "") -> None:
        self.findings.append(Finding(check=check, status=status, found=found, remedy=remedy))

    def attempt(self, check: str, action: Callable[[], _T]) -> _T | None:
        """Run an action; its error becomes a failure of ``check``."""
        try:
            return action()
        except KitError as error:
            self.add(check, "failure", error.message, error.hint)
            return None

    @property
    def failed(self) -> list[Finding]:
        return [finding for finding in self.findings if finding.status == "failure"]


def reference_folder(config: RunConfig, session: Session) -> Path:
    """The folder of clips: the one given, or the demo clips, made where they are not there yet."""
    if config.ref_dir is not None:
        return config.ref_dir
    folder = session.cache / f"demo-{demo.DEMO_VERSION}"
    demo.write_demo_sources(folder)
    return folder


def run(config: RunConfig, previous: None, session: Session) -> Prereqs:
    """Check everything, report everything, write ``prereqs.json``.

    Raises:
        PrerequisiteFailed: one or more checks failed.
    """
    prereqs, checks, value = examine(config, session)
    show(checks, session)
    write_json(config.out_dir / layout.PREREQS, value)
    if prereqs is None:
        raise PrerequisiteFailed(
            f"{len(checks.failed)} of {len(checks.findings)} prerequisites failed: "
            + ", ".join(finding.check for finding in checks.failed),
            hint="The table above says what to do about each.",
        )
    return prereqs


def examine(config: RunConfig, session: Session) -> tuple[Prereqs | None, Checks, dict[str, object]]:
    """All checks, without writing into the run folder.

    Returns:
        What the next step needs (None if a check failed), the findings, and the content of ``prereqs.json``.
    """
    checks = Checks()
    facts = probe_host(session.processes)
    found_platform = classify(facts)
    _check_python(checks)
    checks.add("platform", "pass", f"{found_platform.tag}: {found_platform.reason}")
    _check_writable(checks, config.out_dir)
    ffmpeg = checks.attempt("ffmpeg", lambda: locate(
        config.ffmpeg, origin=config.origins["ffmpeg"], processes=session.processes))  # fmt: skip
    scorer, encoders, left_out, found = None, (), (), None
    if ffmpeg is not None:
        checks.add("ffmpeg", "pass", f"{ffmpeg.version}, {ffmpeg.origin}")
        scorer = _check_scorer(checks, config, ffmpeg, session)
        found = _check_sources(checks, config, ffmpeg, session)
        pix_fmts = sorted({file.geometry.pix_fmt for file in found.files}) if found else ["yuv420p"]
        encoders, left_out = _check_encoders(checks, config, found_platform, facts, ffmpeg, pix_fmts, session)
    points = quality_points(_chosen(config, encoders), config.cqs, anchor=config.anchor)
    if found:
        _check_room(checks, config, facts, found.files, len(points))
    value = _as_json(config, facts, found_platform, ffmpeg, scorer, encoders, left_out, checks, session)
    if checks.failed or ffmpeg is None or scorer is None or found is None:
        return None, checks, value
    prereqs = Prereqs(
        facts=facts, platform=found_platform, ffmpeg=ffmpeg, scorer=scorer, encoders=encoders, points=points,
        files=found.files,
    )  # fmt: skip
    return prereqs, checks, value


def _chosen(config: RunConfig, ready: tuple[ReadyEncoder, ...]) -> tuple[str, ...]:
    """Encoders that get every quality point: those asked for, else all that are ready but the anchor's helper."""
    if config.encoders is not None:
        return config.encoders
    hardware = tuple(encoder.name for encoder in ready if encoder.name != contract.ANCHOR_ENCODER)
    return hardware or tuple(encoder.name for encoder in ready)


def _check_python(checks: Checks) -> None:
    version, supported = platform.python_version(), (3, 11) <= sys.version_info[:2] <= (3, 14)
    checks.add("python", "pass" if supported else "failure", version, "" if supported else "Use Python 3.11 to 3.14.")
    wanting = _package_that_differs()
    if wanting:
        checks.add("packages", "warning", wanting, "Start with run_full_pipeline.py, which sets up the pinned ones.")
    else:
        checks.add("packages", "pass", "as pinned in requirements-frozen.txt")


def _package_that_differs() -> str:
    """The first package that is not as pinned, in words; empty when all are."""
    try:
        pins = bootstrap.read_requirements(KIT_ROOT).on(bootstrap.this_platform())
    except BadPins as error:
        return f"the pins cannot be read: {error}"
    return bootstrap_pins.lacking(pins, bootstrap.installed_version)


def _check_writable(checks: Checks, out_dir: Path) -> None:
    try:
        probe_file = out_dir / ".write-test"
        write_bytes(probe_file, b"")
        probe_file.unlink()
    except OSError as error:
        checks.add("write permission", "failure", f"{out_dir}: {error.strerror}", "Give another --out-dir.")
    else:
        checks.add("write permission", "pass", str(out_dir))


def _check_scorer(checks: Checks, config: RunConfig, ffmpeg: Ffmpeg, session: Session) -> Scorer | None:
    def action() -> Scorer:
        return ffmpeg_filter.check(ffmpeg, teacher=config.teacher, processes=session.processes)

    scorer = checks.attempt("scorer", action)
    if scorer is not None:
        checks.add("scorer", "pass", f"libvmaf {scorer.version}, {scorer.id}, teacher {config.teacher}: "
                   f"{len(scorer.golden)} golden pairs reproduced")  # fmt: skip
    return scorer


def _check_sources(checks: Checks, config: RunConfig, ffmpeg: Ffmpeg, session: Session) -> Found | None:
    tools = Tools(ffmpeg=ffmpeg, processes=session.processes)

    def action() -> Found:
        return scan(reference_folder(config, session), assumed=config.geometry, tools=tools)

    found = checks.attempt("sources", action)
    if found is not None:
        groups, least = len(found.files), int(contract.GATE_THRESHOLDS["groups_min"])
        few = groups < least and not config.shard_only
        text = f"{groups} clips, {sum(file.geometry.frames for file in found.files)} frames"
        if found.ignored:
            text += f"; not taken as clips: {', '.join(found.ignored[:5])}" + (" …" if len(found.ignored) > 5 else "")
        checks.add("sources", "warning" if few else "pass", text,
                   f"A verdict needs at least {least} clips that show different things." if few else "")  # fmt: skip
    return found


def _check_encoders(
    checks: Checks, config: RunConfig, found: Platform, facts: HostFacts, ffmpeg: Ffmpeg, pix_fmts: list[str],
    session: Session,
) -> tuple[tuple[ReadyEncoder, ...], tuple[LeftOut, ...]]:  # fmt: skip
    """Probe what is asked for, or what the platform calls for; a named encoder that fails is a failure."""
    wanted = config.encoders or found.candidates
    helper = (contract.ANCHOR_ENCODER,) if config.anchor else ()
    names = tuple(dict.fromkeys((*wanted, *helper)))
    ready, left_out = probe(names, pix_fmts, ffmpeg=ffmpeg, facts=facts, processes=session.processes)
    if not config.encoders and not {encoder.name for encoder in ready}.intersection(wanted):
        more = tuple(name for name in found.fallback if name not in names)
        extra, also_out = probe(more, pix_fmts, ffmpeg=ffmpeg, facts=facts, processes=session.processes)
        ready, left_out = ready + extra, left_out + also_out
    for encoder in ready:
        checks.add(f"encoder {encoder.name}", "pass", encoder.build)
    for lost in left_out:
        needed = lost.name in (config.encoders or ()) or lost.name in helper
        checks.add(f"encoder {lost.name}", "failure" if needed else "warning", f"left out: {lost.reason}", lost.remedy)
    if not ready:
        checks.add("encoders", "failure", "none works here", "Give an ffmpeg that has libx264.")
    claimed = {"nvenc"} if facts.gpus else set()
    if claimed and not claimed.intersection(encoder.family for encoder in ready):
        checks.add("GPU", "warning", f"{facts.gpus[0]} is there, and NVENC does not work", "See the encoders above.")
    elif facts.gpus:
        checks.add("GPU", "pass", facts.gpus[0])
    return ready, left_out


def _check_room(
    checks: Checks, config: RunConfig, facts: HostFacts, files: tuple[SourceFile, ...], points: int
) -> None:
    """Disk and memory against the plan."""
    frames = [file.geometry.frames for file in files]
    need = _SPARE + disk_bytes(
        rows=sum(frames) * points, cells=len(files) * points, longest=max(frames), parallel=facts.cores
    )
    free = free_bytes(config.out_dir)
    enough = free >= need
    checks.add("disk", "pass" if enough else "failure", f"{size(free)} free, the plan needs {size(need)}",
               "" if enough else "Make room, or give an --out-dir on another disk.")  # fmt: skip
    largest = max(frame_bytes(f.geometry.width, f.geometry.height, f.geometry.pix_fmt) for f in files)
    wanted = facts.cores * (_CELL_MEMORY + _HELD_FRAMES * largest)
    if facts.memory_bytes is not None:
        fits = facts.memory_bytes >= wanted
        checks.add("memory", "pass" if fits else "warning",
                   f"{size(facts.memory_bytes)} installed, {facts.cores} cells at once take about {size(wanted)}",
                   "" if fits else "The run may swap; close other programs.")  # fmt: skip


def _as_json(
    config: RunConfig, facts: HostFacts, found: Platform, ffmpeg: Ffmpeg | None, scorer: Scorer | None,
    encoders: tuple[ReadyEncoder, ...], left_out: tuple[LeftOut, ...], checks: Checks, session: Session,
) -> dict[str, object]:  # fmt: skip
    def told(finding: Finding) -> dict[str, str]:
        return {key: session.redact(text) for key, text in asdict(finding).items()}

    return {
        "schema_version": contract.SCHEMA_VERSION,
        "kit_version": __version__,
        "box": config.box,
        "platform": {"tag": found.tag, "reason": found.reason},
        "facts": asdict(facts),
        "ffmpeg": None if ffmpeg is None else {"version": ffmpeg.version, "origin": ffmpeg.origin},
        "scorer": None if scorer is None else asdict(scorer),
        "encoders": [{k: v for k, v in asdict(encoder).items() if k != "device_args"} for encoder in encoders],
        "left_out": [asdict(lost) for lost in left_out],
        "findings": [told(finding) for finding in checks.findings],
        "passed": not checks.failed,
    }


def show(checks: Checks, session: Session) -> None:
    """The findings as a table."""
    styles: Mapping[str, str] = {"failure": "bold red", "warning": "yellow"}
    rows = [Row(cells=(f.check, f.status, f.found, f.remedy), style=styles.get(f.status, "")) for f in checks.findings]
    session.ui.table("Prerequisites", ("check", "result", "found", "what to do"), rows)


def load(config: RunConfig, session: Session) -> Prereqs:
    """What an earlier run of this step left; the clips are looked at again, the probes are not repeated.

    Raises:
        Missing: the step has not been run.
        BadInput: it failed, or another ffmpeg is found now.
    """
    path = config.out_dir / layout.PREREQS
    value: Any = read_json(path, left_by="prereqs")
    try:
        return _from_json(value, config, session)
    except (KeyError, TypeError) as error:
        raise BadInput(f"{path} was not written by this version: {error!r}", hint="Run `prereqs` again.") from error


def _from_json(value: Any, config: RunConfig, session: Session) -> Prereqs:
    if not value["passed"]:
        raise BadInput("the prerequisites failed when they were checked", hint="Run `prereqs` again.")
    ffmpeg = locate(config.ffmpeg, origin=config.origins["ffmpeg"], processes=session.processes)
    if ffmpeg.version != value["ffmpeg"]["version"]:
        raise BadInput(
            f"ffmpeg is {ffmpeg.version}, the prerequisites were checked with {value['ffmpeg']['version']}",
            hint="Run `prereqs` again.",
        )
    facts = HostFacts(**{key: tuple(v) if isinstance(v, list) else v for key, v in value["facts"].items()})
    encoders = tuple(
        ReadyEncoder(**encoder, device_args=family_of(encoder["name"]).device_args(facts))
        for encoder in value["encoders"]
    )
    tools = Tools(ffmpeg=ffmpeg, processes=session.processes)
    return Prereqs(
        facts=facts, platform=classify(facts), ffmpeg=ffmpeg, scorer=Scorer(**value["scorer"]), encoders=encoders,
        points=quality_points(_chosen(config, encoders), config.cqs, anchor=config.anchor),
        files=scan(reference_folder(config, session), assumed=config.geometry, tools=tools).files,
    )  # fmt: skip
