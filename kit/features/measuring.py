"""Score every frame of a pair: a stored distorted clip, or the libx264 encode of the reference itself."""

from __future__ import annotations

import platform
import threading
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kit.core import contract
from kit.core.canon import sha256_json
from kit.core.errors import BadInput
from kit.core.geometry import identity_header
from kit.core.values import EncodeSettings, Scorer, Source, SourceFile, Teacher
from kit.corpus.plan import encode_argv
from kit.options.run_table import STALL_TIMEOUT
from kit.platforms.base import ONLY
from kit.platforms.registry import family_of
from kit.system.fsio import scratch_folder
from kit.system.proc import Processes
from kit.system.stall import TimeLimits
from kit.system.ui import counted
from kit.video.ffmpeg import Ffmpeg, distorted_source_filters
from kit.video.scorers import base, log, pair
from kit.video.scorers.base import CellScorer, Work
from kit.video.sources.identity import file_digest, identify
from kit.video.sources.read import Tools

#: Encoder and quality point for a reference without distorted clips.
ROUND_TRIP = ("libx264", 35)


@dataclass(frozen=True, kw_only=True)
class ClipPair:
    """A reference and a distorted clip.

    Attributes:
        source: label of the reference; clip: name of the distorted clip, unique within the source.
        distorted: the stored clip; None to encode the reference.
    """

    source: str
    clip: str
    reference: SourceFile
    distorted: SourceFile | None = None

    @property
    def name(self) -> str:
        """``source/clip``, for messages."""
        return f"{self.source}/{self.clip}"

    @property
    def cost(self) -> int:
        """Luma samples to score; used to order pairs."""
        geometry = self.reference.geometry
        return geometry.width * geometry.height * geometry.frames

    @property
    def codec(self) -> str | None:
        """The encoder, where known."""
        return ROUND_TRIP[0] if self.distorted is None else None


@dataclass(frozen=True, kw_only=True)
class FrameScores:
    """Scores in presentation order.

    Attributes:
        names: feature names, the six canonical ones first.
        features: float64 [frames, len(names)]; vmaf: float64 [frames], VMAF points.
    """

    names: tuple[str, ...]
    features: NDArray[np.float64]
    vmaf: NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Instruments:
    """The tools that score every pair.

    Attributes:
        encoding: the ffmpeg that encodes references; proof: id and version of the checked scorer.
        feature_set: one of ``contract.FEATURE_SETS``; identities: cache folder for the hashes of clips.
    """

    scorer: CellScorer
    encoding: Ffmpeg
    proof: Scorer
    teacher: Teacher
    feature_set: str
    processes: Processes
    identities: Path


class Identities:
    """Hashes of decoded references; a reference of several pairs is hashed once. Thread-safe."""

    def __init__(self, instruments: Instruments) -> None:
        self._tools = Tools(ffmpeg=instruments.scorer.ffmpeg, processes=instruments.processes)
        self._cache = instruments.identities
        self._guard = threading.Lock()
        self._locks: defaultdict[Path, threading.Lock] = defaultdict(threading.Lock)
        self._known: dict[Path, Source] = {}

    def of(self, file: SourceFile) -> Source:
        """Return the clip with its hash and its counted frames.

        Raises:
            BadInput: it cannot be decoded to its end.
        """
        with self._guard:
            lock = self._locks[file.path]
        with lock:
            if file.path not in self._known:
                self._known[file.path] = identify(file, self._tools, self._cache)
            return self._known[file.path]


def round_trip(file: SourceFile) -> EncodeSettings:
    """Return the encoder settings for a reference without distorted clips."""
    encoder, cq = ROUND_TRIP
    return family_of(encoder).settings(encoder, cq, file.geometry.pix_fmt, ONLY)


def cache_key(reference: Source, distorted: SourceFile | None, instruments: Instruments) -> str:
    """Hash everything that decides the scores: same key, same numbers."""
    if distorted is None:
        distortion: dict[str, object] = {
            "argv": encode_argv(round_trip(reference.file), reference.geometry.pix_fmt),
            "encoder": instruments.encoding.version,
        }
    else:
        filters = distorted_source_filters(distorted.geometry, reference.geometry)
        distortion = {
            "blake3": file_digest(distorted, instruments.identities),
            "geometry": identity_header(distorted.geometry).decode(),
            "filters": filters,
        }
    return sha256_json(
        {
            "version": 1,
            "reference": reference.sha256,
            "distorted": distortion,
            "feature_set": instruments.feature_set,
            "scorer": instruments.proof.id,
            "libvmaf": instruments.proof.version,
            "ffmpeg": instruments.scorer.ffmpeg.version,
            "teacher": instruments.teacher.identity,
            "architecture": platform.machine(),
        }
    )


def measure(reference: Source, distorted: SourceFile | None, instruments: Instruments, *, threads: int) -> FrameScores:
    """Score a pair; no raw video is written to disk.

    Args:
        threads: threads of the scorer; the scores do not depend on it.

    Raises:
        BadInput: the clips differ in more than size, or frames are missing.
        ToolFailed: a process failed.
        LogError: the scorer left no usable log.
    """
    if distorted is None:
        scores = _round_trip(reference.file, instruments, threads=threads)
    else:
        scores = pair.extract(
            instruments.scorer,
            reference.file,
            distorted,
            processes=instruments.processes,
            threads=threads,
            teacher=instruments.teacher,
            scale=True,
        )
    names, columns = list(contract.FEATURES), list(scores.features.T)
    if instruments.feature_set != contract.FEATURE_SET:
        names, columns = [*names, *scores.others], [*columns, *scores.others.values()]
    features = np.stack(columns, axis=1)
    if frames := int((~np.isfinite(features)).any(axis=1).sum()):
        raise log.LogError(f"a feature is not finite in {counted(frames, 'frame')}")
    return FrameScores(names=tuple(names), features=features, vmaf=scores.vmaf)


def _round_trip(file: SourceFile, instruments: Instruments, *, threads: int) -> log.Scores:
    """Encode, decode and score the reference like a cell of a corpus."""
    work = Work(file=file, settings=round_trip(file), teacher=instruments.teacher, scorer_threads=threads)
    with scratch_folder() as scratch:
        stderr = base.run(
            instruments.scorer,
            work,
            instruments.encoding,
            processes=instruments.processes,
            scratch=scratch,
            tried=f"encoding and scoring {file.path.name}",
            limit=TimeLimits(idle=STALL_TIMEOUT),
        )
        left = base.collect(instruments.scorer, scratch, stderr)
    counts = {"encoded": len(left.packets), "decoded": left.decoded, "scored": len(left.scores.vmaf)}
    if set(counts.values()) != {file.geometry.frames}:
        counted_frames = ", ".join(f"{what} {count}" for what, count in counts.items())
        raise BadInput(f"{file.path.name}: frame counts differ: source {file.geometry.frames}, {counted_frames}")
    return left.scores
