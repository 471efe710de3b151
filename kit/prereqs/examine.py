"""Check a box before a run. Every check is made, even after another one failed."""

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
from kit.platforms.probe import LeftOut, ProbeResult, probe
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
    """The results so far; a check that fails leaves its attributes empty and adds a failure.

    Attributes:
        ffmpeg: decodes and scores.
        encoding: encodes; mostly the same one.
        path_ffmpeg: the one on PATH, if an encoder works with it only.
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
    opened: ClipFolder | None = None
    encoders: tuple[ReadyEncoder, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    findings: list[Finding] = field(default_factory=list)

    def add(self, check: str, status: str, found: str, remedy: str = "") -> None:
        """Add a finding."""
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
        """Return what the next step needs; None if a check failed."""
        if self.failed or self.ffmpeg is None or self.encoding is None or self.opened is None:
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
            files=self.opened.files,
            encoding=self.encoding,
            scored_by=self.scored_by,
            path_ffmpeg=self.path_ffmpeg,
        )


def examine(config: RunConfig, session: Session) -> Examined:
    """Make all checks, without leaving files in the run folder."""
    facts = facts_for(config, session)
    examined = Examined(config=config, session=session, facts=facts, platform=classify(facts))
    _check_python(examined)
    _check_torch(examined)
    examined.add("platform", "pass", f"{examined.platform.tag}: {examined.platform.reason}")
    _check_writable(examined)
    _check_ffmpeg(examined)
    if examined.ffmpeg is not None:
        _check_scorer(examined, examined.ffmpeg)
        _check_sources(examined, examined.ffmpeg)
        check_encoders(examined, examined.ffmpeg)
        examined.findings += device_findings(examined.facts, examined.encoders)
        _check_capacity(examined)
    return examined


def facts_for(config: RunConfig, session: Session) -> HostFacts:
    """Return the facts of this machine, with the devices that the options choose.

    Raises:
        BadInput: no such device.
    """
    return narrowed(
        probe_host(session.processes), gpu=config.gpu, render_node=config.render_node, cuda_visible=config.cuda_visible
    )


def reference_folder(config: RunConfig, session: Session) -> Path:
    """Return the folder of clips: the given one, or the demo clips, which are made if needed."""
    if config.ref_dir is not None:
        return config.ref_dir
    folder = session.cache / f"demo-{demo.DEMO_VERSION}"
    demo.write_demo_sources(folder)
    return folder


def points_for(config: RunConfig, ready: tuple[ReadyEncoder, ...]) -> tuple[tuple[str, int], ...]:
    """Return (encoder, cq) of every encode of a source."""
    return quality_points(names_for(config, ready), config.cqs, anchor=config.anchor)


def names_for(config: RunConfig, ready: tuple[ReadyEncoder, ...]) -> tuple[str, ...]:
    """Return the encoders that make every quality point: the requested ones, else all that are ready.

    If there are others, libx264 is left out: it is there for the anchor only.
    """
    names = tuple(encoder.name for encoder in ready)
    others = tuple(name for name in names if name != contract.ANCHOR_ENCODER)
    return config.encoders or others or names


def _check_python(examined: Examined) -> None:
    supported = (3, 11) <= sys.version_info[:2] <= (3, 14)
    remedy = "" if supported else "Use Python 3.11 to 3.14."
    examined.add("python", "pass" if supported else "failure", platform.python_version(), remedy)
    if differing := _differing_package(examined.config):
        examined.add(
            "packages", "warning", differing, "Start with run_full_pipeline.py, which installs the pinned ones."
        )
    else:
        examined.add("packages", "pass", "as pinned in requirements-frozen.txt")


def _check_torch(examined: Examined) -> None:
    """Check for torch, which training needs and which has no build for some machines (Intel Macs since 2.3)."""
    if examined.config.shard_only or importlib.util.find_spec("torch") is not None:
        return
    remedy = "Make a shard without a verdict: --shard-only."
    examined.add("torch", "failure", f"no build for {sys.platform} on {examined.facts.machine}", remedy)


def _differing_package(config: RunConfig) -> str:
    """Return the first package whose version is not the pinned one, in words; empty if all are."""
    try:
        return difference(read_pins(KIT_ROOT), ("base",) if config.shard_only else ("base", "train"))
    except DamagedPins as error:
        return error.message


def _check_writable(examined: Examined) -> None:
    """Check that the run folder and its parent, which gets the bundle, can be written."""
    out_dir = examined.config.out_dir
    existing = [folder for folder in (out_dir, *out_dir.parents) if folder.is_dir()]
    for folder in existing[:2] if out_dir.is_dir() else existing[:1]:
        if error := write_error(folder):
            examined.add("write permission", "failure", f"{folder}: {error.strerror}", "Give another --out-dir.")
            return
    examined.add("write permission", "pass", str(out_dir))


def _check_ffmpeg(examined: Examined) -> None:
    config = examined.config
    processes = examined.session.processes
    encoding = examined.attempt(
        "ffmpeg", lambda: locate(config.ffmpeg, origin=config.origins["ffmpeg"], processes=processes)
    )
    if encoding is not None:
        examined.encoding, examined.ffmpeg = (
            encoding,
            examined.attempt("ffmpeg", lambda: scoring_partner(encoding, processes)),
        )
    if encoding is None or examined.ffmpeg is None:
        examined.add("scorer, sources, encoders", "failure", "not checked: they need ffmpeg", "Fix ffmpeg first.")
    elif encoding is examined.ffmpeg:
        examined.add("ffmpeg", "pass", f"{encoding.version}, {encoding.origin}")
    else:
        examined.add(
            "ffmpeg",
            "pass",
            f"{encoding.version}, {encoding.origin}: encodes; "
            f"{examined.ffmpeg.version}, {examined.ffmpeg.origin}: decodes and scores through a pipe, since "
            f"the first has no {', '.join(encoding.lacks)}",
        )


def scorer_for(config: RunConfig, tag: str, ffmpeg: Ffmpeg, session: Session) -> CellScorer:
    """Return the scorer for these options and this platform; its golden pairs are not checked yet.

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


def _check_scorer(examined: Examined, ffmpeg: Ffmpeg) -> None:
    teacher = examined.attempt("teacher", lambda: teachers.resolve(examined.config.teacher))
    scorer = examined.attempt(
        "scorer", lambda: scorer_for(examined.config, examined.platform.tag, ffmpeg, examined.session)
    )
    if teacher is None or scorer is None:
        return
    processes = examined.session.processes
    proof = examined.attempt("scorer", lambda: choose.verify_scorer(scorer, teacher=teacher, processes=processes))
    if proof is None:
        return
    examined.teacher, examined.scorer, examined.scored_by = teacher, proof, scorer
    golden = f"{len(proof.golden)} golden pairs reproduced"
    text = f"{scorer.name}: libvmaf {proof.version}, {proof.id}, teacher {teacher}: {golden}"
    examined.add("scorer", "pass", text)


def open_sources(config: RunConfig, session: Session, ffmpeg: Ffmpeg) -> ClipFolder:
    """Return the clips of the run, with their content groups.

    Raises:
        Several: unusable clips, or missing clips of the requested data set.
    """
    return open_folder(
        reference_folder(config, session),
        requested="dir" if config.demo else config.dataset,
        assumed=config.geometry,
        tools=Tools(ffmpeg=ffmpeg, processes=session.processes),
        cache=session.cache,
    )


def identify(prereqs: Prereqs, session: Session) -> tuple[Source, ...]:
    """Return every clip with its identity.

    Raises:
        Several: clips that cannot be decoded, or two with the same content.
    """
    tools, files = Tools(ffmpeg=prereqs.ffmpeg, processes=session.processes), prereqs.files
    with session.ui.progress("Identifying sources", len(files), "clips") as advance:
        return identify_all(files, tools, session.cache, workers=prereqs.facts.cores, advance=lambda: advance(""))


def _check_sources(examined: Examined, ffmpeg: Ffmpeg) -> None:
    examined.opened = examined.attempt("sources", lambda: open_sources(examined.config, examined.session, ffmpeg))
    if examined.opened is None:
        return
    files, ignored, groups = examined.opened.files, examined.opened.ignored, len(examined.opened.groups)
    least = int(contract.GATE_THRESHOLDS["groups_min"])
    few = groups < least and not examined.config.shard_only
    text = f"{len(files)} clips, {sum(file.geometry.frames for file in files)} frames"
    if groups != len(files):
        text += f", {groups} content groups"
    if ignored:
        text += f"; ignored files: {', '.join(ignored[:5])}" + (" …" if len(ignored) > 5 else "")
    remedy = f"A verdict needs at least {least} clips with different content." if few else ""
    examined.add("sources", "warning" if few else "pass", text, remedy)
    if not examined.config.demo:
        _report_data_set(examined, examined.opened)


def _report_data_set(examined: Examined, opened: ClipFolder) -> None:
    """Add the data set and the reason for it; missing clips of one that was not requested by name are no failure."""
    examined.add("data set", "pass", f"{opened.name}: {opened.reason}")
    if opened.missing:
        text = f"{counted(len(opened.missing), 'clip')} missing: {', '.join(opened.missing)}"
        examined.add(f"data set {opened.name}", "warning", text, "Get them, or continue without them.")
    if others := (*opened.missing_distorted, *opened.unusable):
        text = others[0] + (f", and {len(others) - 1} more" if len(others) > 1 else "")
        examined.add(
            f"data set {opened.name}", "warning", text, "A corpus does not need them; `dataset show` lists all."
        )
    for line in opened.notes:
        examined.add(f"data set {opened.name}", "warning", line, "Continue if you expected this.")


def check_encoders(examined: Examined, ffmpeg: Ffmpeg) -> None:
    """Probe the requested encoders, or those of the platform; a requested encoder that fails is a failure.

    Args:
        ffmpeg: scores, and encodes unless ``examined`` has another one for that.
    """
    requested = examined.config.encoders or ()
    wanted = requested or examined.platform.candidates
    anchor = (contract.ANCHOR_ENCODER,) if examined.config.anchor else ()
    names = tuple(dict.fromkeys((*wanted, *anchor)))
    _probe_all(examined, names, ffmpeg)
    if not requested and not {encoder.name for encoder in examined.encoders}.intersection(wanted):
        _probe_all(examined, tuple(name for name in examined.platform.fallback if name not in names), ffmpeg)
    for encoder in examined.encoders:
        if not encoder.on_path:
            examined.add(f"encoder {encoder.name}", "pass", _describe(encoder))
    for left_out in examined.left_out:
        status = "failure" if left_out.name in requested + anchor else "warning"
        examined.add(f"encoder {left_out.name}", status, f"left out: {left_out.reason}", left_out.remedy)
    if not examined.encoders:
        examined.add("encoders", "failure", "no encoder works here", "Give an ffmpeg that has libx264.")


def _probe_all(examined: Examined, names: tuple[str, ...], ffmpeg: Ffmpeg) -> None:
    """Probe encoders, with the ffmpeg on PATH too if the first cannot open them, and add the results."""
    probed = _probe(examined, names, encoding=examined.encoding or ffmpeg, scoring=ffmpeg)
    if probed.remembered:
        text = f"{', '.join(probed.remembered)}: cached less than a day ago, same ffmpeg and driver"
        examined.add("probe", "pass", text)
    on_path, left_out = _try_path(examined, probed.left_out, ffmpeg)
    examined.encoders += tuple(sorted(probed.ready + on_path, key=lambda encoder: names.index(encoder.name)))
    examined.left_out += left_out


def _probe(examined: Examined, names: tuple[str, ...], *, encoding: Ffmpeg, scoring: Ffmpeg) -> ProbeResult:
    files = examined.opened.files if examined.opened else ()
    return probe(
        names,
        sorted({file.geometry.pix_fmt for file in files}) or ["yuv420p"],
        ffmpeg=encoding,
        scoring=scoring,
        facts=examined.facts,
        processes=examined.session.processes,
        cache=examined.session.cache,
    )


def _try_path(
    examined: Examined, left_out: tuple[LeftOut, ...], scoring: Ffmpeg
) -> tuple[tuple[ReadyEncoder, ...], tuple[LeftOut, ...]]:
    """Probe hardware encoders that the bundled ffmpeg cannot open with the ffmpeg on PATH.

    Returns:
        Those that work with it, and those that are still left out.
    """
    reasons = {one.name: one.reason for one in left_out if family_of(one.name).name != "software"}
    if not reasons or examined.config.ffmpeg is not None:
        return (), left_out
    try:
        other = on_path(examined.session.processes)
    except PrerequisiteFailed as error:
        examined.add("ffmpeg on PATH", "warning", error.message, "If it ran, it could replace the bundled one.")
        return (), left_out
    if other is None:
        return (), left_out
    probed = _probe(examined, tuple(reasons), encoding=other, scoring=scoring)
    if probed.ready:
        examined.path_ffmpeg = other
    for encoder in probed.ready:
        text = (
            f"{_describe(encoder)}; encoded by the ffmpeg on PATH ({other.version}), since the bundled one reports: "
            f"{reasons[encoder.name]}"
        )
        examined.add(f"encoder {encoder.name}", "pass", text)
    failures = {one.name: one.reason for one in probed.left_out}
    ready = {encoder.name for encoder in probed.ready}
    still_out = (
        replace(one, reason=f"{one.reason}; with the ffmpeg on PATH ({other.version}): {failures[one.name]}")
        if one.name in failures
        else one
        for one in left_out
        if one.name not in ready
    )
    return tuple(replace(encoder, on_path=True) for encoder in probed.ready), tuple(still_out)


def _describe(encoder: ReadyEncoder) -> str:
    """Return the build, and the rate control that replaces one that the device lacks."""
    best = family_of(encoder.name).variants[0]
    return encoder.build + (f"; {encoder.variant}, since the device has no {best}" if encoder.variant != best else "")


def _check_capacity(examined: Examined) -> None:
    """Compare disk and memory with the plan."""
    if examined.opened is None or not examined.encoders:
        return
    files, cores = examined.opened.files, examined.facts.cores
    points = len(points_for(examined.config, examined.encoders))
    frames = [file.geometry.frames for file in files]
    need = _SPARE + disk_bytes(
        rows=sum(frames) * points, cells=len(files) * points, longest=max(frames), parallel=cores
    )
    free = free_bytes(examined.config.out_dir)
    remedy = "" if free >= need else "Free some space, or give an --out-dir on another disk."
    examined.add("disk", "failure" if remedy else "pass", f"{size(free)} free, the plan needs {size(need)}", remedy)
    if examined.facts.memory_bytes is not None:
        fit = cells_at_once(cores=cores, memory_bytes=examined.facts.memory_bytes, largest_frame=largest_frame(files))
        remedy = "" if fit == cores else "More memory would let all cores work."
        text = f"{size(examined.facts.memory_bytes)} installed, enough for {fit} cells at once on {cores} cores"
        examined.add("memory", "warning" if remedy else "pass", text, remedy)
