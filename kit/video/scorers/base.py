"""The shape of a scorer, and what a cell's processes are given and leave behind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from kit.core.values import NO_DEVICE, Device, EncodeSettings, SourceFile, Teacher
from kit.system.proc import Command, Processes
from kit.system.stall import TimeLimits
from kit.video.ffmpeg import DECODED_STATS, ENCODED_STATS, STREAM_HASH, Ffmpeg, stats_column, with_one_thread
from kit.video.relay import PACKETS, packet_sizes
from kit.video.scorers import log, teachers

#: Where the ffmpeg that decodes reports its frames. In a folder of its own: it reports when it hangs, too, and a file
#: that grows beside its results is taken for progress.
PROGRESS = "live/frames"


@dataclass(frozen=True, kw_only=True)
class Work:
    """One encode to be scored.

    Attributes:
        keep: name of a file that gets the encoded stream; empty to keep none.
        scorer_threads: threads that score; one_thread: filters and decoders get one thread each. Neither changes a
            number.
    """

    file: SourceFile
    settings: EncodeSettings
    teacher: Teacher
    device: Device = NO_DEVICE
    keep: str = ""
    scorer_threads: int = 1
    one_thread: bool = False


@dataclass(frozen=True, kw_only=True)
class Left:
    """What the processes left: sizes of packets, number of decoded frames, hash of the stream, scores."""

    packets: tuple[int, ...]
    decoded: int
    stream_sha256: str
    scores: log.Scores


class CellScorer(Protocol):
    """One way of scoring. Whatever the way, the same rows."""

    @property
    def name(self) -> str:
        """What it is, in words."""

    @property
    def ffmpeg(self) -> Ffmpeg:
        """The ffmpeg that reads sources and decodes for it."""

    def prepare(self, scratch: Path) -> None:
        """Make what the processes need to find in their scratch folder."""

    def commands(self, work: Work, encoding: Ffmpeg) -> tuple[Command, ...]:
        """The processes that encode with ``encoding`` and score, to be run together in a scratch folder."""

    def pair_commands(
        self, reference: SourceFile, distorted: SourceFile, teacher: Teacher, *, scorer_threads: int
    ) -> tuple[Command, ...]:
        """The processes that score one clip against another, to be run together in a scratch folder.

        The distorted clip is brought to the size of its reference; all else of their geometry is the same.
        """

    def scores(self, scratch: Path, stderr: str) -> log.Scores:
        """Read the log; raises as :meth:`collect` does."""

    def collect(self, scratch: Path, stderr: str) -> Left:
        """Read what they left.

        Raises:
            OSError: a file is missing.
            ValueError, IndexError: a file cannot be read.
            LogError: the log cannot be used, or the scorer did not do what it was told.
        """


def commands(scorer: CellScorer, work: Work, encoding: Ffmpeg) -> tuple[Command, ...]:
    """The processes of one encode, in the order in which they feed each other."""
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
    """Run the processes of one encode; returns their stderr.

    Raises:
        ToolFailed: one of them failed, or they came to the limit.
        BadInput: the teacher's file is not what it was.
    """
    teachers.place(work.teacher, scratch)
    (scratch / PROGRESS).parent.mkdir()
    scorer.prepare(scratch)
    return processes.run_together(commands(scorer, work, encoding), tried=tried, limit=limit, cwd=scratch)


def left_in(scratch: Path, scores: log.Scores) -> Left:
    """Packets, decoded frames and stream hash from the files of either path, beside the scores."""
    crcs = scratch / PACKETS
    packets = (
        packet_sizes(crcs.read_text()) if crcs.exists() else stats_column((scratch / ENCODED_STATS).read_text(), 1)
    )
    return Left(
        packets=tuple(packets),
        decoded=len(stats_column((scratch / DECODED_STATS).read_text(), 0)),
        stream_sha256=(scratch / STREAM_HASH).read_text().strip().rpartition("=")[2],
        scores=scores,
    )
