"""Scoring with the ``vmaf`` command-line tool, fed through named pipes.

What the tool says cannot be taken at its word: an unknown option is reported on stderr and the exit status is 0; CUDA
that works is not mentioned; CUDA that does not is one line on stderr. So its help is read before an option is used, its
stderr is read after every call, and the backend is told from what stands in its log.
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
    DECODED_STATS,
    SCORE_LOG,
    Ffmpeg,
    distorted_filters,
    distorted_source_filters,
    input_args,
    reference_filters,
    source_filters,
)
from kit.video.relay import encode_command, stream_input
from kit.video.scorers import golden, log, proof, teachers
from kit.video.scorers.base import Left, Work, left_in

REFERENCE, DISTORTED = "reference.y4m", "distorted.y4m"
#: How frames travel through a pipe: every one, in whatever format.
_Y4M = ("-fps_mode", "passthrough", "-strict", "-1", "-f", "yuv4mpegpipe")
#: What a CPU log has since 3.2.0 and a CUDA log has not.
_CPU_ONLY = ("integer_aim", "integer_adm3", "integer_motion3")
_NO_CUDA = "problem during vmaf_cuda_state_init"
#: What the tool writes when it did not take its command line.
_REFUSED = ("unrecognized option", "invalid option", "Usage: vmaf")
_HINT = "Leave --vmaf-bin and LIBVMAF_BIN out to use ffmpeg's filter."


@dataclass(frozen=True, kw_only=True)
class VmafTool:
    """A ``vmaf`` tool.

    Attributes:
        version: what ``--version`` says.
        origin: where it came from, in words.
        ffmpeg: reads sources and decodes for it.
        masks_gpu: its help lists ``--gpumask``.
        backend: one of ``contract.SCORER_BACKENDS``, what it is to use.
        instead: what to do without it, for errors.
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
        """Which tool."""
        return f"vmaf tool {self.version}, {self.origin}, {self.backend}"

    def _argv(self, teacher: Teacher, *inputs: str, threads: int = 1) -> list[str]:
        models = [word for model in teachers.models(teacher) for word in ("--model", model)]
        # 0, the default, leaves CUDA on where it is built in; -1 skips it
        mask = ["--gpumask", "-1"] if self.masks_gpu and self.backend == "cpu" else []
        return [str(self.path), *inputs, *models, "--json", "--output", SCORE_LOG, "--threads", str(threads), *mask]

    def prepare(self, scratch: Path) -> None:
        """Make the named pipes."""
        for name in (REFERENCE, DISTORTED):
            os.mkfifo(scratch / name)

    def commands(self, work: Work, encoding: Ffmpeg) -> tuple[Command, ...]:
        """Encode, decode to a named pipe, read the source into another, compare.

        A process of its own reads the reference: an encoder looks ahead by many frames, and one process that fed
        both pipes would wait for the tool to take a reference frame while the tool waits for a distorted one.
        """
        geometry, settings = work.file.geometry, work.settings
        ffmpeg = [str(self.ffmpeg.path), *COMMON]
        decode = [
            *ffmpeg,
            *stream_input(settings),
            "-filter_complex",
            f"[0:v:0]{distorted_filters(geometry, settings)}[d]",
            "-map",
            "[d]",
            "-stats_enc_pre",
            DECODED_STATS,
            "-stats_enc_pre_fmt",
            "{n}",
            *_Y4M,
            DISTORTED,
        ]
        read = [
            *ffmpeg,
            *input_args(work.file),
            "-filter_complex",
            f"[0:V:0]{reference_filters(geometry, settings)}[r]",
            "-map",
            "[r]",
            *_Y4M,
            REFERENCE,
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
        """Read each clip into a named pipe and compare."""
        counted = ("-stats_enc_pre", DECODED_STATS, "-stats_enc_pre_fmt", "{n}")
        scaled = distorted_source_filters(distorted.geometry, reference.geometry)
        reads = [
            [
                str(self.ffmpeg.path),
                *COMMON,
                *input_args(file),
                "-filter_complex",
                f"[0:V:0]{filters}[o]",
                "-map",
                "[o]",
                *counting,
                *_Y4M,
                pipe,
            ]
            for file, filters, counting, pipe in (
                (distorted, scaled, counted, DISTORTED),
                (reference, source_filters(reference.geometry), (), REFERENCE),
            )
        ]
        compare = self._argv(teacher, "--reference", REFERENCE, "--distorted", DISTORTED, threads=scorer_threads)
        return (*(Command(argv=read) for read in reads), Command(argv=compare))

    def scores(self, scratch: Path, stderr: str) -> log.Scores:
        """Read the log, and see that the tool did what it was told."""
        text = (scratch / SCORE_LOG).read_text(encoding="utf-8")
        check_used(self, text, stderr)
        return log.parse(text)

    def collect(self, scratch: Path, stderr: str) -> Left:
        """Read the log and the counts."""
        return left_in(scratch, self.scores(scratch, stderr))

    def score_pair(self, pair: golden.Pair, teacher: Teacher, *, processes: Processes, scratch: Path) -> log.Scores:
        """Score a generated pair from two headerless files.

        Raises:
            ToolFailed: the tool failed.
            LogError: it left no usable log, or did not do what it was told.
        """
        teachers.place(teacher, scratch)
        geometry, inputs = pair.geometry, []
        for option, luma in (("--reference", pair.reference), ("--distorted", pair.distorted)):
            name = f"{option.lstrip('-')}.yuv"
            golden.write_clip(scratch / name, luma, pair.bits)
            inputs += [option, name]
        inputs += [
            "--width",
            str(geometry.width),
            "--height",
            str(geometry.height),
            "--pixel_format",
            "420",
            "--bitdepth",
            str(pair.bits),
        ]
        (scratch / SCORE_LOG).unlink(missing_ok=True)
        done = processes.run(
            self._argv(teacher, *inputs), tried=f"scoring the golden pair {pair.name}", timeout=120, cwd=scratch
        )
        try:
            text = (scratch / SCORE_LOG).read_text(encoding="utf-8")
        except FileNotFoundError as error:
            refuse(done.stderr)
            raise log.LogError("the vmaf tool exited with 0 and left no log") from error
        check_used(self, text, done.stderr)
        return log.parse(text)


def refuse(stderr: str) -> None:
    """Raise what the tool reports and then exits with 0.

    Raises:
        LogError: it did not take its command line.
    """
    if line := next((line for line in stderr.splitlines() if any(text in line for text in _REFUSED)), ""):
        raise log.LogError(f"the vmaf tool ignored an option: {line.strip()}")


def backend_of(log_text: str, stderr: str, version: str) -> str:
    """The backend that made a log: ``cpu``, ``cuda``, or empty where it cannot be told (before 3.2.0)."""
    if _NO_CUDA in stderr:
        return "cpu"
    try:
        metrics = json.loads(log_text)["frames"][0]["metrics"]
    except (ValueError, KeyError, IndexError, TypeError):
        return ""
    if all(name in metrics for name in _CPU_ONLY):
        return "cpu"
    found = re.match(r"v?(\d+)\.(\d+)", version)
    return "cuda" if found and (int(found[1]), int(found[2])) >= (3, 2) else ""


def check_used(tool: VmafTool, log_text: str, stderr: str) -> None:
    """Hold what the tool did against what it was told.

    Raises:
        LogError: it ignored an option or used another backend.
    """
    refuse(stderr)
    used = backend_of(log_text, stderr, tool.version)
    # before 3.2.0 a log does not tell; a tool that knows no GPU, or was told to skip it, has used the CPU
    if not used and tool.backend == "cuda":
        raise log.LogError(f"vmaf {tool.version} does not tell whether it used CUDA; 3.2.0 and later do")
    if used and used != tool.backend:
        raise log.LogError(f"the vmaf tool was to use {tool.backend} and used {used}")


def locate(
    path: Path, *, origin: str, ffmpeg: Ffmpeg, processes: Processes, backend: str = "cpu", instead: str = _HINT
) -> VmafTool:
    """The tool at ``path``.

    Raises:
        PrerequisiteFailed: it is not there, does not run, or is another program.
    """
    if not path.is_file():
        raise PrerequisiteFailed(f"vmaf tool ({origin}): {path} is not a file", hint=instead)
    tried = "asking the vmaf tool what it is"
    try:
        version = processes.run([str(path), "--version"], tried=tried, timeout=30)
        # it has no --help: it reports the unknown option, lists the known ones and exits with 0 or not
        usage = processes.run([str(path), "--help"], tried=tried, timeout=30, any_status=True)
    except ToolFailed as error:
        raise PrerequisiteFailed(f"vmaf tool ({origin}) does not run\n  {error.message}", hint=instead) from error
    word = (version.stdout.decode("utf-8", "replace") + version.stderr).strip()
    listed = usage.stdout.decode("utf-8", "replace") + usage.stderr
    if not re.fullmatch(r"[\w.+-]{1,60}", word) or "--distorted" not in listed:
        raise PrerequisiteFailed(f"vmaf tool ({origin}): {path} answers like another program", hint=instead)
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
    """Prove that the tool scores as expected with its backend, and knows the teacher.

    Raises:
        Mismatch: its answers are others.
        PrerequisiteFailed: it cannot score.
    """
    with scratch_folder() as folder:

        def score(pair: golden.Pair, model: Teacher) -> log.Scores:
            return tool.score_pair(pair, model, processes=processes, scratch=folder)

        hint = tool.instead if tool.backend == "cpu" else "Leave --scorer-backend out to score on the CPU."
        return proof.prove(score, name=tool.name, backend=tool.backend, teacher=teacher, hint=hint)
