"""Scoring with ffmpeg's libvmaf filter: the golden check and what a cell's command needs."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kit import contract
from kit.errors import PrerequisiteFailed, ToolFailed
from kit.ffmpeg import COMMON, SCORE_LOG, Ffmpeg, input_args, model_option, remedy
from kit.proc import Processes
from kit.scorers import golden, log
from kit.types import Scorer, SourceFile

BACKEND = "cpu"


def scorer_id() -> str:
    """Backend and version of the golden table."""
    return f"{BACKEND}/golden-{golden.GOLDEN_VERSION}"


def score_pair(ffmpeg: Ffmpeg, pair: golden.Pair, *, teacher: str, processes: Processes, scratch: Path) -> log.Scores:
    """Score a generated pair.

    Raises:
        ToolFailed: ffmpeg failed, for example because it does not know the teacher.
        LogError: it left no usable log.
    """
    files = []
    for role, luma in (("distorted", pair.distorted), ("reference", pair.reference)):
        path = scratch / f"{pair.name}-{role}.yuv"
        golden.write_clip(path, luma, pair.bits)
        files.append(SourceFile(path=path, kind="yuv", label=role, geometry=pair.geometry))
    argv = [
        str(ffmpeg.path), *COMMON, *input_args(files[0]), *input_args(files[1]), "-filter_complex",
        f"[0:v][1:v]libvmaf=log_fmt=json:log_path={SCORE_LOG}"
        f":{model_option(teacher, contract.CANONICAL_MODEL)}:n_threads=1:shortest=1:repeatlast=0",
        "-f", "null", "-",
    ]  # fmt: skip
    processes.run(argv, tried=f"scoring the golden pair {pair.name}", timeout=120, cwd=scratch)
    for file in files:
        file.path.unlink()
    return log.parse((scratch / SCORE_LOG).read_text(encoding="utf-8"))


def means(scores: log.Scores) -> NDArray[np.float64]:
    """Mean over frames of the six features and the score, float64 [7]."""
    return np.append(scores.features.mean(axis=0), scores.vmaf.mean())


def check(ffmpeg: Ffmpeg, *, teacher: str, processes: Processes) -> Scorer:
    """Prove that this ffmpeg scores as expected and knows the teacher.

    Raises:
        PrerequisiteFailed: it cannot score, an answer differs from the golden table by more than the tolerance,
            or the teacher is unknown.
    """
    answers: dict[str, float] = {}
    wrong = []
    with tempfile.TemporaryDirectory(prefix="vmaf-kit-") as folder:
        try:
            for pair in golden.pairs():
                scores = score_pair(
                    ffmpeg, pair, teacher=contract.CANONICAL_MODEL, processes=processes, scratch=Path(folder)
                )
                found, expected = means(scores), np.array(golden.EXPECTED[pair.name])
                answers[pair.name] = float(found[-1])
                if np.abs(found - expected).max() > contract.GOLDEN_TOLERANCE:
                    wrong.append(f"{pair.name}: found {found.round(6)}, expected {expected}")
            if teacher != contract.CANONICAL_MODEL:
                other = score_pair(ffmpeg, pair, teacher=teacher, processes=processes, scratch=Path(folder))
                answers[f"{pair.name} {teacher}"] = float(other.vmaf.mean())
        except (ToolFailed, log.LogError) as error:
            raise PrerequisiteFailed(
                f"the scorer (ffmpeg {ffmpeg.version}, {ffmpeg.origin}) cannot score with {teacher}\n  {error.message}",
                hint=remedy(error.message) or "Leave --ffmpeg out to use the bundled one.",
            ) from error
    if wrong:
        raise PrerequisiteFailed(
            "the scorer does not reproduce the golden table within "
            f"{contract.GOLDEN_TOLERANCE} VMAF\n  " + "\n  ".join(wrong),
            hint="This libvmaf computes something else; use the bundled ffmpeg.",
        )
    return Scorer(id=scorer_id(), version=scores.version, golden=answers)
