"""Looking at a box before a run: every check is made, whatever the others found."""

from __future__ import annotations

import importlib.util
import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from kit.bootstrap.pins import DamagedPins, difference, read_pins
from kit.core import contract
from kit.core.errors import KitError, PrerequisiteFailed, Terminated
from kit.core.geometry import largest_frame
from kit.core.values import Finding, ReadyEncoder, Scorer, Source, Teacher
from kit.corpus.plan import cells_at_once, disk_bytes, quality_points
from kit.options.resolve import RunConfig
from kit.options.session import KIT_ROOT, Session
from kit.platforms.detect import Platform, classify, narrowed, probe_host
from kit.platforms.facts import HostFacts
from kit.platforms.probe import LeftOut, probe
from kit.platforms.registry import device_findings, family_of
from kit.prereqs.report import Prereqs
from kit.system.fsio import free_bytes
from kit.system.outputs import write_error
from kit.system.ui import counted, size
from kit.video.datasets.load import ClipFolder, open_folder
from kit.video.ffmpeg import Ffmpeg, locate, on_path, scoring_partner
from kit.video.scorers import choose, own, teachers
from kit.video.scorers.base import CellScorer
from kit.video.sources import demo
from kit.video.sources.identity import identify_all
from kit.video.sources.read import Tools

#: Bytes that must stay free besides what the plan needs.
_SPARE = 100_000_000
_T = TypeVar("_T")


@dataclass(kw_only=True)
class Examined:
    """What was found so far; a check whose tool is missing leaves its part empty and a failure.

    Attributes:
        ffmpeg: reads and scores.
        encoding: encodes; mostly the same one.
        path_ffmpeg: the one on PATH, once an encoder was found to work with it only.
    """

    config: RunConfig
    session: Session
    facts: HostFacts
    platform: Platform
    ffmpeg: Ffmpeg | None = None
    encoding: Ffmpeg | None = None
    path_ffmpeg: Ffmpeg | None = None
    teacher: Teacher | None = None
    scorer: Scorer | None = None
    scored_by: CellScorer | None = None
    found: ClipFolder | None = None
    encoders: tuple[ReadyEncoder, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    findings: list[Finding] = field(default_factory=list)

    def add(self, check: str, status: str, found: str, remedy: str = "") -> None:
        """Note a finding."""
        self.findings.append(Finding(check=check, status=status, found=found, remedy=remedy))

    def attempt(self, check: str, action: Callable[[], _T]) -> _T | None:
        """Run an action; its error becomes a failure of ``check``."""
        try:
            return action()
        except Terminated:
            raise
        except KitError as error:
            self.add(check, "failure", error.message, error.hint)
            return None

    @property
    def failed(self) -> bool:
        """Whether any check failed."""
        return any(finding.status == "failure" for finding in self.findings)

    def prereqs(self) -> Prereqs | None:
        """What the next step needs; None if a check failed."""
        if self.failed or self.ffmpeg is None or self.encoding is None or self.found is None:
            return None
        if self.teacher is None or self.scorer is None or self.scored_by is None:
            return None
        return Prereqs(
            facts=self.facts,
            platform=self.platform,
            ffmpeg=self.ffmpeg,
            teacher=self.teacher,
            scorer=self.scorer,
            encoders=self.encoders,
            points=points_for(self.config, self.encoders),
            files=self.found.files,
            encoding=self.encoding,
            scored_by=self.scored_by,
            path_ffmpeg=self.path_ffmpeg,
        )


def examine(config: RunConfig, session: Session) -> Examined:
    """Make all checks. Nothing is left in the run folder."""
    facts = facts_for(config, session)
    seen = Examined(config=config, session=session, facts=facts, platform=classify(facts))
    _check_python(seen)
    _check_torch(seen)
    seen.add("platform", "pass", f"{seen.platform.tag}: {seen.platform.reason}")
    _check_writable(seen)
    _check_ffmpeg(seen)
    if seen.ffmpeg is not None:
        _check_scorer(seen, seen.ffmpeg)
        _check_sources(seen, seen.ffmpeg)
        check_encoders(seen, seen.ffmpeg)
        seen.findings += device_findings(seen.facts, seen.encoders)
        _check_room(seen)
    return seen


def facts_for(config: RunConfig, session: Session) -> HostFacts:
    """The machine, with the devices that the options choose.

    Raises:
        BadInput: there is no such device.
    """
    return narrowed(
        probe_host(session.processes), gpu=config.gpu, render_node=config.render_node, cuda_visible=config.cuda_visible
    )


def reference_folder(config: RunConfig, session: Session) -> Path:
    """The folder of clips: the one given, or the demo clips, made where they are not there yet."""
    if config.ref_dir is not None:
        return config.ref_dir
    folder = session.cache / f"demo-{demo.DEMO_VERSION}"
    demo.write_demo_sources(folder)
    return folder


def points_for(config: RunConfig, ready: tuple[ReadyEncoder, ...]) -> tuple[tuple[str, int], ...]:
    """(encoder, cq) of every encode of a source."""
    return quality_points(names_for(config, ready), config.cqs, anchor=config.anchor)


def names_for(config: RunConfig, ready: tuple[ReadyEncoder, ...]) -> tuple[str, ...]:
    """The encoders that make every quality point: those asked for, else all that are ready.

    libx264 that is there for the anchor alone is none of them.
    """
    names = tuple(encoder.name for encoder in ready)
    others = tuple(name for name in names if name != contract.ANCHOR_ENCODER)
    return config.encoders or others or names


def _check_python(seen: Examined) -> None:
    supported = (3, 11) <= sys.version_info[:2] <= (3, 14)
    remedy = "" if supported else "Use Python 3.11 to 3.14."
    seen.add("python", "pass" if supported else "failure", platform.python_version(), remedy)
    if problem := _package_that_differs(seen.config):
        seen.add("packages", "warning", problem, "Start with run_full_pipeline.py, which sets up the pinned ones.")
    else:
        seen.add("packages", "pass", "as pinned in requirements-frozen.txt")


def _check_torch(seen: Examined) -> None:
    """Training needs torch, which has no build for some machines (Intel Macs since 2.3)."""
    if seen.config.shard_only or importlib.util.find_spec("torch") is not None:
        return
    remedy = "Give your shard without a verdict: --shard-only."
    seen.add("torch", "failure", f"there is none for {sys.platform} on {seen.facts.machine}", remedy)


def _package_that_differs(config: RunConfig) -> str:
    """Describe the first package that is not as pinned; empty when all are."""
    try:
        return difference(read_pins(KIT_ROOT), ("base",) if config.shard_only else ("base", "train"))
    except DamagedPins as error:
        return error.message


def _check_writable(seen: Examined) -> None:
    """The run folder, and the folder beside it that the bundle goes into."""
    out_dir = seen.config.out_dir
    existing = [folder for folder in (out_dir, *out_dir.parents) if folder.is_dir()]
    for folder in existing[:2] if out_dir.is_dir() else existing[:1]:
        if error := write_error(folder):
            seen.add("write permission", "failure", f"{folder}: {error.strerror}", "Give another --out-dir.")
            return
    seen.add("write permission", "pass", str(out_dir))


def _check_ffmpeg(seen: Examined) -> None:
    config = seen.config
    processes = seen.session.processes
    encoding = seen.attempt(
        "ffmpeg", lambda: locate(config.ffmpeg, origin=config.origins["ffmpeg"], processes=processes)
    )
    if encoding is not None:
        seen.encoding, seen.ffmpeg = encoding, seen.attempt("ffmpeg", lambda: scoring_partner(encoding, processes))
    if encoding is None or seen.ffmpeg is None:
        seen.add("scorer, sources, encoders", "failure", "not checked: they need ffmpeg", "Mend ffmpeg first.")
    elif encoding is seen.ffmpeg:
        seen.add("ffmpeg", "pass", f"{encoding.version}, {encoding.origin}")
    else:
        seen.add(
            "ffmpeg",
            "pass",
            f"{encoding.version}, {encoding.origin}: encodes; "
            f"{seen.ffmpeg.version}, {seen.ffmpeg.origin}: decodes and scores what comes through a pipe, since "
            f"the first lacks {', '.join(encoding.lacks)}",
        )


def scorer_for(config: RunConfig, tag: str, ffmpeg: Ffmpeg, session: Session) -> CellScorer:
    """The scorer that these options and this platform call for, not proven yet.

    Raises:
        PrerequisiteFailed: it does not run.
    """
    return choose.locate_scorer(
        config.vmaf_bin,
        origin=config.origins.get("vmaf_bin", ""),
        folder=own.tool_folder(KIT_ROOT, tag),
        backend=config.scorer_backend,
        ffmpeg=ffmpeg,
        processes=session.processes,
    )


def _check_scorer(seen: Examined, ffmpeg: Ffmpeg) -> None:
    teacher = seen.attempt("teacher", lambda: teachers.resolve(seen.config.teacher))
    scorer = seen.attempt("scorer", lambda: scorer_for(seen.config, seen.platform.tag, ffmpeg, seen.session))
    if teacher is None or scorer is None:
        return
    processes = seen.session.processes
    proof = seen.attempt("scorer", lambda: choose.verify_scorer(scorer, teacher=teacher, processes=processes))
    if proof is None:
        return
    seen.teacher, seen.scorer, seen.scored_by = teacher, proof, scorer
    golden = f"{len(proof.golden)} golden pairs reproduced"
    found = f"{scorer.name}: libvmaf {proof.version}, {proof.id}, teacher {teacher}: {golden}"
    seen.add("scorer", "pass", found)


def open_sources(config: RunConfig, session: Session, ffmpeg: Ffmpeg) -> ClipFolder:
    """The clips of the run, with their content groups.

    Raises:
        Several: clips that cannot be used, or clips of the data set asked for that are not there.
    """
    return open_folder(
        reference_folder(config, session),
        requested="dir" if config.demo else config.dataset,
        assumed=config.geometry,
        tools=Tools(ffmpeg=ffmpeg, processes=session.processes),
        cache=session.cache,
    )


def identify(found: Prereqs, session: Session) -> tuple[Source, ...]:
    """The identity of every clip.

    Raises:
        Several: clips that cannot be decoded, or two with the same content.
    """
    tools = Tools(ffmpeg=found.ffmpeg, processes=session.processes)
    with session.ui.progress("Identifying sources", len(found.files), "clips") as advance:
        return identify_all(found.files, tools, session.cache, workers=found.facts.cores, advance=lambda: advance(""))


def _check_sources(seen: Examined, ffmpeg: Ffmpeg) -> None:
    seen.found = seen.attempt("sources", lambda: open_sources(seen.config, seen.session, ffmpeg))
    if seen.found is None:
        return
    files, ignored, groups = seen.found.files, seen.found.ignored, len(seen.found.groups)
    least = int(contract.GATE_THRESHOLDS["groups_min"])
    few = groups < least and not seen.config.shard_only
    text = f"{len(files)} clips, {sum(file.geometry.frames for file in files)} frames"
    if groups != len(files):
        text += f", {groups} content groups"
    if ignored:
        text += f"; not taken as clips: {', '.join(ignored[:5])}" + (" …" if len(ignored) > 5 else "")
    remedy = f"A verdict needs at least {least} clips that show different things." if few else ""
    seen.add("sources", "warning" if few else "pass", text, remedy)
    if not seen.config.demo:
        _tell_data_set(seen, seen.found)


def _tell_data_set(seen: Examined, found: ClipFolder) -> None:
    """Which data set it is and why; what is missing of one that was not asked for by name is no failure."""
    seen.add("data set", "pass", f"{found.name}: {found.reason}")
    if found.missing:
        text = f"{counted(len(found.missing), 'clip')} not there: {', '.join(found.missing)}"
        seen.add(f"data set {found.name}", "warning", text, "Get them, or go on without them.")
    if lacking := (*found.missing_distorted, *found.unusable):
        text = lacking[0] + (f", and {len(lacking) - 1} more" if len(lacking) > 1 else "")
        seen.add(f"data set {found.name}", "warning", text, "A corpus does not need them; `dataset show` lists all.")
    for line in found.notes:
        seen.add(f"data set {found.name}", "warning", line, "Go on if you expected this.")


def check_encoders(seen: Examined, ffmpeg: Ffmpeg) -> None:
    """Probe what is asked for, or what the platform calls for; a named encoder that fails is a failure."""
    asked = seen.config.encoders or ()
    wanted = asked or seen.platform.candidates
    helper = (contract.ANCHOR_ENCODER,) if seen.config.anchor else ()
    pix_fmts = sorted({file.geometry.pix_fmt for file in seen.found.files}) if seen.found else ["yuv420p"]

    def try_out(names: tuple[str, ...]) -> None:
        probed = probe(
            names,
            pix_fmts,
            ffmpeg=seen.encoding or ffmpeg,
            scoring=ffmpeg,
            facts=seen.facts,
            processes=seen.session.processes,
            cache=seen.session.cache,
        )
        if probed.remembered:
            text = f"{', '.join(probed.remembered)}: remembered from less than a day ago, same ffmpeg and driver"
            seen.add("probe", "pass", text)
        more, lost = _try_path(seen, probed.left_out, pix_fmts, ffmpeg)
        seen.encoders += tuple(sorted(probed.ready + more, key=lambda encoder: names.index(encoder.name)))
        seen.left_out += lost

    names = tuple(dict.fromkeys((*wanted, *helper)))
    try_out(names)
    if not asked and not {encoder.name for encoder in seen.encoders}.intersection(wanted):
        try_out(tuple(name for name in seen.platform.fallback if name not in names))
    for encoder in seen.encoders:
        if encoder.on_path:
            continue
        seen.add(f"encoder {encoder.name}", "pass", _in_words(encoder))
    for lost in seen.left_out:
        needed = lost.name in asked + helper
        status = "failure" if needed else "warning"
        seen.add(f"encoder {lost.name}", status, f"left out: {lost.reason}", lost.remedy)
    if not seen.encoders:
        seen.add("encoders", "failure", "none works here", "Give an ffmpeg that has libx264.")


def _try_path(
    seen: Examined, left_out: tuple[LeftOut, ...], pix_fmts: list[str], scoring: Ffmpeg
) -> tuple[tuple[ReadyEncoder, ...], tuple[LeftOut, ...]]:
    """Try the hardware encoders that the bundled ffmpeg cannot open with the one on PATH.

    Returns:
        Those that work so, and those that are left out still.
    """
    why = {lost.name: lost for lost in left_out if family_of(lost.name).name != "software"}
    if not why or seen.config.ffmpeg is not None:
        return (), left_out
    try:
        other = on_path(seen.session.processes)
    except PrerequisiteFailed as error:
        seen.add("ffmpeg on PATH", "warning", error.message, "It could stand in for the bundled one if it ran.")
        return (), left_out
    if other is None:
        return (), left_out
    probed = probe(
        tuple(why),
        pix_fmts,
        ffmpeg=other,
        scoring=scoring,
        facts=seen.facts,
        processes=seen.session.processes,
        cache=seen.session.cache,
    )
    if probed.ready:
        seen.path_ffmpeg = other
    for encoder in probed.ready:
        seen.add(
            f"encoder {encoder.name}",
            "pass",
            f"{_in_words(encoder)}; encoded by the ffmpeg on PATH "
            f"({other.version}), since the bundled one says: {why[encoder.name].reason}",
        )
    said = {lost.name: lost.reason for lost in probed.left_out}
    works = {encoder.name for encoder in probed.ready}
    still = (
        replace(lost, reason=f"{lost.reason}; with the ffmpeg on PATH ({other.version}): {said[lost.name]}")
        if lost.name in said
        else lost
        for lost in left_out
        if lost.name not in works
    )
    return tuple(replace(encoder, on_path=True) for encoder in probed.ready), tuple(still)


def _in_words(encoder: ReadyEncoder) -> str:
    """What encodes, and what its device could not do."""
    best = family_of(encoder.name).variants[0]
    return encoder.build + (f"; {encoder.variant}, since the device has no {best}" if encoder.variant != best else "")


def _check_room(seen: Examined) -> None:
    """Disk and memory against the plan."""
    if seen.found is None or not seen.encoders:
        return
    files, cores = seen.found.files, seen.facts.cores
    points = len(points_for(seen.config, seen.encoders))
    frames = [file.geometry.frames for file in files]
    need = _SPARE + disk_bytes(
        rows=sum(frames) * points, cells=len(files) * points, longest=max(frames), parallel=cores
    )
    free = free_bytes(seen.config.out_dir)
    remedy = "" if free >= need else "Make room, or give an --out-dir on another disk."
    seen.add("disk", "failure" if remedy else "pass", f"{size(free)} free, the plan needs {size(need)}", remedy)
    if seen.facts.memory_bytes is not None:
        fit = cells_at_once(cores=cores, memory_bytes=seen.facts.memory_bytes, largest_frame=largest_frame(files))
        remedy = "" if fit == cores else "More memory would let all cores work."
        text = f"{size(seen.facts.memory_bytes)} installed, enough for {fit} cells at once on {cores} cores"
        seen.add("memory", "warning" if remedy else "pass", text, remedy)
