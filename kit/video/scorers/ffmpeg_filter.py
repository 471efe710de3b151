"""Score with ffmpeg's libvmaf filter."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from kit.core.values import Scorer, SourceFile, Teacher
from kit.system.fsio import scratch_folder
from kit.system.proc import Command, Processes
from kit.video.ffmpeg import (
    COMMON,
    SCORE_LOG,
    SCORING_OUTPUTS,
    STREAM_HASHED,
    Ffmpeg,
    distorted_source_filters,
    fused_command,
    input_args,
    libvmaf,
    scoring_filter,
    source_filters,
)
from kit.video.relay import encode_command, score_command
from kit.video.scorers import golden, log, proof, teachers
from kit.video.scorers.base import Work

BACKEND = "cpu"


@dataclass(frozen=True, kw_only=True)
class FilterScorer:
    """The libvmaf filter of an ffmpeg.

    Attributes:
        fused: encode, decode and score in one process, if the encoding ffmpeg is this one and lacks nothing.
    """

    ffmpeg: Ffmpeg
    fused: bool = True

    @property
    def name(self) -> str:
        """The ffmpeg of the filter."""
        return f"libvmaf filter of ffmpeg {self.ffmpeg.version}, {self.ffmpeg.origin}"

    def prepare(self, scratch: Path) -> None:
        """Do nothing: the filter needs no files."""

    def commands(self, work: Work, encoding: Ffmpeg) -> tuple[Command, ...]:
        """Return one process if possible, else two with a pipe."""
        model = model_option(work.teacher)
        if self.fused and encoding == self.ffmpeg and not encoding.lacks:
            encoded_to = ("-f", "matroska", work.keep) if work.keep else STREAM_HASHED
            argv = fused_command(
                encoding,
                work.file,
                work.settings,
                model=model,
                device=work.device,
                encoded_to=encoded_to,
                scorer_threads=work.scorer_threads,
            )
            return (Command(argv=argv),)
        encode = encode_command(encoding, work.file, work.settings, device=work.device, keep=work.keep)
        score = score_command(self.ffmpeg, work.file, work.settings, model=model, scorer_threads=work.scorer_threads)
        return Command(argv=encode, feeds=True), Command(argv=score)

    def pair_commands(
        self, reference: SourceFile, distorted: SourceFile, teacher: Teacher, *, scorer_threads: int
    ) -> tuple[Command, ...]:
        """Return one process that reads both clips."""
        filters = (
            f"[0:V:0]{source_filters(reference.geometry)}[r];"
            f"[1:V:0]{distorted_source_filters(distorted.geometry, reference.geometry)},split[d][c];"
            f"{scoring_filter(model_option(teacher), scorer_threads)}"
        )
        inputs = (*input_args(reference), *input_args(distorted))
        return (Command(argv=[str(self.ffmpeg.path), *COMMON, *inputs, "-filter_complex", filters, *SCORING_OUTPUTS]),)

    def scores(self, scratch: Path, stderr: str) -> log.Scores:  # noqa: ARG002
        """Read the log."""
        return log.parse((scratch / SCORE_LOG).read_text(encoding="utf-8"))


def model_option(teacher: Teacher) -> str:
    """Return the ``model`` option of the filter, quoted for a filter graph."""
    return "model='" + "|".join(model.replace(":", "\\:") for model in teachers.models(teacher)) + "'"


def score_pair(
    ffmpeg: Ffmpeg, pair: golden.GoldenPair, *, teacher: Teacher, processes: Processes, scratch: Path
) -> log.Scores:
    """Score a golden pair.

    Raises:
        ToolFailed: ffmpeg failed, e.g. for an unknown teacher.
        LogError: the log is invalid.
    """
    teachers.copy_model(teacher, scratch)
    files = []
    for role, luma in (("distorted", pair.distorted), ("reference", pair.reference)):
        path = scratch / f"{pair.name}-{role}.yuv"
        golden.write_clip(path, luma, pair.bits)
        files.append(SourceFile(path=path, kind="yuv", label=role, geometry=pair.geometry))
    inputs = (*input_args(files[0]), *input_args(files[1]))
    filters = f"[0:v][1:v]{libvmaf(model_option(teacher), 1)}"
    argv = [str(ffmpeg.path), *COMMON, *inputs, "-filter_complex", filters, "-f", "null", "-"]
    processes.run(argv, tried=f"scoring the golden pair {pair.name}", timeout=120, cwd=scratch)
    for file in files:
        file.path.unlink()
    return log.parse((scratch / SCORE_LOG).read_text(encoding="utf-8"))


def check(ffmpeg: Ffmpeg, *, teacher: Teacher, processes: Processes) -> Scorer:
    """Verify this ffmpeg with the golden table and the teacher.

    Raises:
        PrerequisiteFailed: it cannot score, a score differs from the golden table by more than the tolerance, or the
            teacher is unknown.
    """
    with scratch_folder() as folder:

        def score(pair: golden.GoldenPair, model: Teacher) -> log.Scores:
            return score_pair(ffmpeg, pair, teacher=model, processes=processes, scratch=folder)

        return proof.prove(
            score,
            name=f"ffmpeg {ffmpeg.version}, {ffmpeg.origin}",
            backend=BACKEND,
            teacher=teacher,
            hint="Omit --ffmpeg to use the bundled one.",
        )
