"""The protocol of scorers, and the input and output of a cell's processes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from kit.core.values import NO_DEVICE, EncoderDevice, EncodeSettings, SourceFile, Teacher
from kit.system.proc import Command, Processes
from kit.system.stall import TimeLimits
from kit.video.ffmpeg import DECODED_STATS, ENCODED_STATS, STREAM_HASH, Ffmpeg, stats_column, with_one_thread
from kit.video.relay import PACKETS, packet_sizes
from kit.video.scorers import log, teachers

#: Progress report of the decoding ffmpeg. In a separate folder: it grows also when ffmpeg hangs, and a growing file
#: next to the results counts as progress.
PROGRESS = "live/frames"


@dataclass(frozen=True, kw_only=True)
class Work:
    """One encode to be scored.

    Attributes:
        keep: name of a file for the encoded stream; empty for none.
        scorer_threads: threads of the scorer; changes no number.
        one_thread: one thread for each filter graph and decoder; changes no number.
    """

    file: SourceFile
    settings: EncodeSettings
    teacher: Teacher
    device: EncoderDevice = NO_DEVICE
    keep: str = ""
    scorer_threads: int = 1
    one_thread: bool = False


@dataclass(frozen=True, kw_only=True)
class EncodeResult:
    """Results of the processes: sizes of packets, number of decoded frames, hash of the stream, scores."""

    packets: tuple[int, ...]
    decoded: int
    stream_sha256: str
    scores: log.Scores


class CellScorer(Protocol):
    """A way of scoring. All give the same rows."""

    @property
    def name(self) -> str:
        """Its name, in words."""

    @property
    def ffmpeg(self) -> Ffmpeg:
        """The ffmpeg that reads sources and decodes."""

    def prepare(self, scratch: Path) -> None:
        """Create the files that the processes need in their scratch folder."""

    def commands(self, work: Work, encoding: Ffmpeg) -> tuple[Command, ...]:
        """Return the processes that encode with ``encoding`` and score, to run together in a scratch folder."""

    def pair_commands(
        self, reference: SourceFile, distorted: SourceFile, teacher: Teacher, *, scorer_threads: int
    ) -> tuple[Command, ...]:
        """Return the processes that compare two clips, to run together in a scratch folder.

        The distorted clip is scaled to the size of its reference; the rest of their geometry has to be equal.
        """

    def scores(self, scratch: Path, stderr: str) -> log.Scores:
        """Read the log.

        Raises:
            OSError: the log is missing.
            LogError: the log is invalid, or the scorer ignored an option.
        """


def commands(scorer: CellScorer, work: Work, encoding: Ffmpeg) -> tuple[Command, ...]:
    """Return the processes of one encode, in the order of their pipes."""
    ffmpegs = (str(encoding.path), str(scorer.ffmpeg.path))

    def completed(argv: Sequence[str]) -> Sequence[str]:
        if DECODED_STATS in argv:
            argv = [argv[0], "-progress", PROGRESS, "-stats_period", "1", *argv[1:]]
        return with_one_thread(argv) if work.one_thread and argv[0] in ffmpegs else argv

    return tuple(replace(command, argv=completed(command.argv)) for command in scorer.commands(work, encoding))


def run(
    scorer: CellScorer,
    work: Work,
    encoding: Ffmpeg,
    *,
    processes: Processes,
    scratch: Path,
    tried: str,
    limit: TimeLimits,
) -> str:
    """Run the processes of one encode and return their stderr.

    Raises:
        ToolFailed: a process failed, or a time limit was exceeded.
        BadInput: the teacher's file has changed.
    """
    teachers.copy_model(work.teacher, scratch)
    (scratch / PROGRESS).parent.mkdir()
    scorer.prepare(scratch)
    return processes.run_together(commands(scorer, work, encoding), tried=tried, limit=limit, cwd=scratch)


def collect(scorer: CellScorer, scratch: Path, stderr: str) -> EncodeResult:
    """Read the results of :func:`run` in its scratch folder.

    Raises:
        OSError: a file is missing.
        ValueError, IndexError: a file cannot be parsed.
        LogError: the log is invalid, or the scorer ignored an option.
    """
    scores = scorer.scores(scratch, stderr)
    crcs = scratch / PACKETS
    packets = (
        packet_sizes(crcs.read_text()) if crcs.exists() else stats_column((scratch / ENCODED_STATS).read_text(), 1)
    )
    return EncodeResult(
        packets=tuple(packets),
        decoded=len(stats_column((scratch / DECODED_STATS).read_text(), 0)),
        stream_sha256=(scratch / STREAM_HASH).read_text().strip().rpartition("=")[2],
        scores=scores,
    )
