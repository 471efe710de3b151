"""Score with the ``vmaf`` command-line tool, which reads from named pipes.

The exit status of the tool is not reliable: for an unknown option it writes to stderr and exits with 0. It does not
report whether CUDA is in use; a failure of CUDA is one line on stderr. So the kit reads its help before it uses an
option, checks stderr after every call, and derives the backend from the log.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

from kit.core.errors import PrerequisiteFailed, ToolFailed
from kit.core.values import Scorer, SourceFile, Teacher
from kit.system.fsio import scratch_folder
from kit.system.proc import Command, Processes
from kit.video.ffmpeg import (
    COMMON,
    COUNT_DECODED,
    SCORE_LOG,
    Y4M,
    Ffmpeg,
    distorted_filters,
    distorted_source_filters,
    input_args,
    reference_filters,
    source_filters,
)
from kit.video.relay import encode_command, stream_input
from kit.video.scorers import golden, log, proof, teachers
from kit.video.scorers.base import Work

REFERENCE, DISTORTED = "reference.y4m", "distorted.y4m"
#: Metrics of a CPU log since 3.2.0, which a CUDA log lacks.
_CPU_ONLY = ("integer_aim", "integer_adm3", "integer_motion3")
_NO_CUDA = "problem during vmaf_cuda_state_init"
#: Messages of the tool for an invalid command line.
_REFUSED = ("unrecognized option", "invalid option", "Usage: vmaf")
_HINT = "Omit --vmaf-bin and LIBVMAF_BIN to use ffmpeg's filter."


@dataclass(frozen=True, kw_only=True)
class VmafTool:
    """A ``vmaf`` tool.

    Attributes:
        version: output of ``--version``.
        origin: its origin, in words.
        ffmpeg: reads sources and decodes.
        masks_gpu: its help lists ``--gpumask``.
        backend: one of ``contract.SCORER_BACKENDS``.
        instead: the hint of an error: what to do without it.
    """

    path: Path
    version: str
    origin: str
    ffmpeg: Ffmpeg
    masks_gpu: bool
    backend: str = "cpu"
    instead: str = _HINT

    @property
    def name(self) -> str:
        """Version, origin and backend."""
        return f"vmaf tool {self.version}, {self.origin}, {self.backend}"

    def _argv(self, teacher: Teacher, *inputs: str, threads: int = 1) -> list[str]:
        models = [word for model in teachers.models(teacher) for word in ("--model", model)]
        # 0, the default, uses CUDA if the tool has it; -1 does not
        mask = ["--gpumask", "-1"] if self.masks_gpu and self.backend == "cpu" else []
        return [str(self.path), *inputs, *models, "--json", "--output", SCORE_LOG, "--threads", str(threads), *mask]

    def prepare(self, scratch: Path) -> None:
        """Create the named pipes."""
        for name in (REFERENCE, DISTORTED):
            os.mkfifo(scratch / name)

    def commands(self, work: Work, encoding: Ffmpeg) -> tuple[Command, ...]:
        """Return four processes: encode, decode to a named pipe, read the source into another, compare.

        A separate process reads the reference: an encoder looks ahead by many frames, and one process for both pipes
        would wait for the tool to read a reference frame while the tool waits for a distorted one.
        """
        geometry, settings = work.file.geometry, work.settings
        ffmpeg = [str(self.ffmpeg.path), *COMMON]
        decode = [
            *ffmpeg,
            *stream_input(settings),
            "-filter_complex",
            f"[0:v:0]{distorted_filters(geometry, settings)}[d]",
            *("-map", "[d]", *COUNT_DECODED, *Y4M, DISTORTED),
        ]
        read = [
            *ffmpeg,
            *input_args(work.file),
            "-filter_complex",
            f"[0:V:0]{reference_filters(geometry, settings)}[r]",
            *("-map", "[r]", *Y4M, REFERENCE),
        ]
        encode = encode_command(encoding, work.file, settings, device=work.device, keep=work.keep)
        return (
            Command(argv=encode, feeds=True),
            Command(argv=decode),
            Command(argv=read),
            Command(
                argv=self._argv(
                    work.teacher, "--reference", REFERENCE, "--distorted", DISTORTED, threads=work.scorer_threads
                )
            ),
        )

    def pair_commands(
        self, reference: SourceFile, distorted: SourceFile, teacher: Teacher, *, scorer_threads: int
    ) -> tuple[Command, ...]:
        """Return three processes: read each clip into a named pipe, compare."""
        scaled = distorted_source_filters(distorted.geometry, reference.geometry)
        reads = [
            [
                str(self.ffmpeg.path),
                *COMMON,
                *input_args(file),
                "-filter_complex",
                f"[0:V:0]{filters}[o]",
                *("-map", "[o]", *counting, *Y4M, pipe),
            ]
            for file, filters, counting, pipe in (
                (distorted, scaled, COUNT_DECODED, DISTORTED),
                (reference, source_filters(reference.geometry), (), REFERENCE),
            )
        ]
        compare = self._argv(teacher, "--reference", REFERENCE, "--distorted", DISTORTED, threads=scorer_threads)
        return (*(Command(argv=read) for read in reads), Command(argv=compare))

    def scores(self, scratch: Path, stderr: str) -> log.Scores:
        """Read the log and check options and backend."""
        text = (scratch / SCORE_LOG).read_text(encoding="utf-8")
        check_used(self, text, stderr)
        return log.parse(text)

    def score_pair(
        self, pair: golden.GoldenPair, teacher: Teacher, *, processes: Processes, scratch: Path
    ) -> log.Scores:
        """Score a golden pair from two headerless files.

        Raises:
            ToolFailed: the tool failed.
            LogError: the log is invalid, or the tool ignored an option.
        """
        teachers.copy_model(teacher, scratch)
        geometry, inputs = pair.geometry, []
        for option, luma in (("--reference", pair.reference), ("--distorted", pair.distorted)):
            name = f"{option.lstrip('-')}.yuv"
            golden.write_clip(scratch / name, luma, pair.bits)
            inputs += [option, name]
        inputs += ["--width", str(geometry.width), "--height", str(geometry.height)]
        inputs += ["--pixel_format", "420", "--bitdepth", str(pair.bits)]
        (scratch / SCORE_LOG).unlink(missing_ok=True)
        done = processes.run(
            self._argv(teacher, *inputs), tried=f"scoring the golden pair {pair.name}", timeout=120, cwd=scratch
        )
        try:
            text = (scratch / SCORE_LOG).read_text(encoding="utf-8")
        except FileNotFoundError as error:
            refuse(done.stderr)
            raise log.LogError("the vmaf tool exited with 0 without a log") from error
        check_used(self, text, done.stderr)
        return log.parse(text)


def refuse(stderr: str) -> None:
    """Check stderr for errors that the tool reports with exit status 0.

    Raises:
        LogError: an invalid command line.
    """
    if line := next((line for line in stderr.splitlines() if any(text in line for text in _REFUSED)), ""):
        raise log.LogError(f"the vmaf tool ignored an option: {line.strip()}")


def backend_of(log_text: str, stderr: str, version: str) -> str:
    """Return the backend of a log: ``cpu``, ``cuda``, or empty if unknown (before 3.2.0)."""
    if _NO_CUDA in stderr:
        return "cpu"
    try:
        metrics = json.loads(log_text)["frames"][0]["metrics"]
    except (ValueError, KeyError, IndexError, TypeError):
        return ""
    if all(name in metrics for name in _CPU_ONLY):
        return "cpu"
    match = re.match(r"v?(\d+)\.(\d+)", version)
    return "cuda" if match and (int(match[1]), int(match[2])) >= (3, 2) else ""


def check_used(tool: VmafTool, log_text: str, stderr: str) -> None:
    """Check that the tool used its options and its backend.

    Raises:
        LogError: an ignored option, or another backend.
    """
    refuse(stderr)
    used = backend_of(log_text, stderr, tool.version)
    # unknown before 3.2.0; then a tool without GPU support, or with -1 as its mask, has used the CPU
    if not used and tool.backend == "cuda":
        raise log.LogError(f"vmaf {tool.version} does not report whether it used CUDA; needs 3.2.0 or later")
    if used and used != tool.backend:
        raise log.LogError(f"the vmaf tool used {used}; requested {tool.backend}")


def locate(
    path: Path, *, origin: str, ffmpeg: Ffmpeg, processes: Processes, backend: str = "cpu", instead: str = _HINT
) -> VmafTool:
    """Return the tool at ``path``, not verified yet.

    Raises:
        PrerequisiteFailed: it does not exist, does not run, or is another program.
    """
    if not path.is_file():
        raise PrerequisiteFailed(f"vmaf tool ({origin}): {path} is not a file", hint=instead)
    tried = "reading the version of the vmaf tool"
    try:
        version = processes.run([str(path), "--version"], tried=tried, timeout=30)
        # --help is an unknown option: the tool lists the known ones, with any exit status
        usage = processes.run([str(path), "--help"], tried=tried, timeout=30, any_status=True)
    except ToolFailed as error:
        raise PrerequisiteFailed(f"vmaf tool ({origin}) does not run\n  {error.message}", hint=instead) from error
    word = (version.stdout.decode("utf-8", "replace") + version.stderr).strip()
    listed = usage.stdout.decode("utf-8", "replace") + usage.stderr
    if not re.fullmatch(r"[\w.+-]{1,60}", word) or "--distorted" not in listed:
        raise PrerequisiteFailed(f"vmaf tool ({origin}): {path} is another program", hint=instead)
    return VmafTool(
        path=path,
        version=word,
        origin=origin,
        ffmpeg=ffmpeg,
        masks_gpu="--gpumask" in listed,
        backend=backend,
        instead=instead,
    )


def check(tool: VmafTool, *, teacher: Teacher, processes: Processes) -> Scorer:
    """Verify the tool with the golden table, its backend and the teacher.

    Raises:
        GoldenMismatch: other scores.
        PrerequisiteFailed: it cannot score.
    """
    with scratch_folder() as folder:

        def score(pair: golden.GoldenPair, model: Teacher) -> log.Scores:
            return tool.score_pair(pair, model, processes=processes, scratch=folder)

        hint = tool.instead if tool.backend == "cpu" else "Omit --scorer-backend to score on the CPU."
        return proof.prove(score, name=tool.name, backend=tool.backend, teacher=teacher, hint=hint)
