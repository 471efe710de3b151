"""Make one cell: encode, decode and score without a raw file, then count, check and store."""

from __future__ import annotations

import contextlib
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from kit import __version__
from kit.core.errors import DiskFull, KitError, ToolFailed
from kit.core.values import Cell, Geometry
from kit.corpus.make.tally import Tally
from kit.corpus.store import cellfile
from kit.corpus.store.shard import FailedCell, cell_path, facts_of, row_labels, write_cell
from kit.options.run_table import STALL_TIMEOUT
from kit.system.fsio import NO_ROOM, TEMPORARY_PREFIX, free_bytes
from kit.system.proc import Processes, excerpt
from kit.system.stall import TimeLimits
from kit.video.ffmpeg import Ffmpeg, first_error, remedy
from kit.video.scorers import base, log
from kit.video.scorers.base import CellScorer, Work
from kit.video.scorers.ffmpeg_filter import FilterScorer

#: Free space below which a failed write counts as a full disk, even if ffmpeg or libvmaf report another error.
_ALMOST_FULL = 1 << 20
#: Messages of the system for a full disk or an exhausted quota.
_FULL = ("No space left on device", "Disk quota exceeded")
#: Frames an encoder may buffer before its first output, and seconds per megapixel of each (the slowest takes about
#: one): a cell may be busy for their product without any progress.
_LOOKAHEAD, _PER_MEGAPIXEL = 64, 4.0


#: What is observed each time that a cell is made.
OBSERVATION = (
    "box",
    "platform",
    "kit_version",
    "ffmpeg_version",
    "scorer_version",
    "stream_sha256",
    "started_at_utc",
    "seconds",
)


class CellError(KitError):
    """A cell is invalid: frame counts differ, its log cannot be used, or ffmpeg ignored an option."""


@dataclass(frozen=True, kw_only=True)
class Bench:
    """The tools and settings with which every cell of a run is made.

    Attributes:
        ffmpeg: encodes, unless the encoder needs the one on PATH.
        path_ffmpeg: the one on PATH, for encoders that work with it only.
        scorer: decodes and scores; None for the filter of ``ffmpeg``.
        tally: counts the progress of running cells; None for no count.
        stall_timeout: seconds without progress after which processes are stopped.
    """

    ffmpeg: Ffmpeg
    processes: Processes
    folder: Path
    box: str
    platform: str
    corpus: str
    path_ffmpeg: Ffmpeg | None = None
    scorer: CellScorer | None = None
    tally: Tally | None = None
    stall_timeout: float = STALL_TIMEOUT

    @property
    def scored_by(self) -> CellScorer:
        """The scorer, by default the filter of ``ffmpeg``."""
        return self.scorer or FilterScorer(ffmpeg=self.ffmpeg)

    def encodes(self, cell: Cell) -> Ffmpeg:
        """Return the ffmpeg that encodes a cell."""
        return self.path_ffmpeg if cell.encoder.on_path and self.path_ffmpeg is not None else self.ffmpeg


def geometry_facts(geometry: Geometry) -> dict[str, object]:
    """Return a geometry as JSON, its rate as ``num/den``."""
    return {**asdict(geometry), "fps": f"{geometry.fps.numerator}/{geometry.fps.denominator}"}


def produce(
    cell: Cell, bench: Bench, *, scorer_threads: int = 1, one_thread: bool = False
) -> cellfile.CellRows | FailedCell:
    """Make and store a cell. A failure is returned, not raised, so that other cells continue.

    Args:
        scorer_threads: threads that score; they do not change the numbers.
        one_thread: use a single thread everywhere, for a cell that failed with several.

    Raises:
        DiskFull: nothing more can be written.
        Stopped: the run is ending.
    """
    work = Work(
        file=cell.source.file,
        settings=cell.settings,
        teacher=cell.teacher,
        device=cell.encoder.device,
        scorer_threads=scorer_threads,
        one_thread=one_thread,
    )
    try:
        return _make(cell, work, bench)
    except OSError as error:
        if error.errno in NO_ROOM:
            raise _disk_full(cell) from error
        raise
    except (ToolFailed, CellError) as error:
        if free_bytes(bench.folder) < _ALMOST_FULL or any(text in error.message for text in _FULL):
            raise _disk_full(cell) from error
        reason, tail = _reason(error)
        command = error.command if isinstance(error, ToolFailed) else _command_lines(work, cell, bench)
        reason = bench.processes.redact(f"{reason}. {remedy(error.message)}".rstrip(" ."))
        return FailedCell.of(cell, reason, command=command, stderr_tail=tail)


def _disk_full(cell: Cell) -> DiskFull:
    return DiskFull(f"the disk filled up at {cell.id}")


def _command_lines(work: Work, cell: Cell, bench: Bench) -> str:
    commands = base.commands(bench.scored_by, work, bench.encodes(cell))
    return " | ".join(bench.processes.describe(command.argv) for command in commands)


def _reason(error: ToolFailed | CellError) -> tuple[str, str]:
    """Return why a cell failed, in one line, and the excerpt of stderr."""
    if isinstance(error, ToolFailed):
        message = first_error(error.stderr_tail)
        return f"{error.tried}: {error.status}" + (f": {message}" if message else ""), error.stderr_tail
    return error.message, ""


def _make(cell: Cell, work: Work, bench: Bench) -> cellfile.CellRows:
    geometry = cell.source.geometry
    first_frame = _LOOKAHEAD * _PER_MEGAPIXEL * geometry.width * geometry.height / 1e6
    started = datetime.now(UTC)
    with contextlib.ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=TEMPORARY_PREFIX, dir=bench.folder)))
        if bench.tally is not None:
            stack.enter_context(bench.tally.running(cell, scratch / base.PROGRESS))
        clock = time.monotonic()
        stderr = base.run(
            bench.scored_by,
            work,
            bench.encodes(cell),
            processes=bench.processes,
            scratch=scratch,
            tried=f"encoding and scoring {cell.id}",
            limit=TimeLimits(idle=bench.stall_timeout, busy=bench.stall_timeout + first_frame),
        )
        seconds = time.monotonic() - clock
        if "has not been used for any stream" in stderr:
            raise CellError(f"{cell.id}: ffmpeg ignored an option\n{excerpt(stderr)}")
        rows, scorer_version, stream_sha256 = _collect(cell, bench, scratch, stderr)
    observed = {
        "box": bench.box,
        "platform": bench.platform,
        "kit_version": __version__,
        "ffmpeg_version": bench.encodes(cell).version,
        "scorer_version": scorer_version,
        "stream_sha256": stream_sha256,
        "started_at_utc": started.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "seconds": round(seconds, 3),
    }
    write_cell(bench.folder, cell_path(cell), rows, [observed])
    return rows


def _collect(cell: Cell, bench: Bench, scratch: Path, stderr: str) -> tuple[cellfile.CellRows, str, str]:
    """Read the output of the processes and check its frame counts.

    Returns:
        The rows, the scorer's version and the hash of the encoded stream.
    """
    try:
        output = base.collect(bench.scored_by, scratch, stderr)
    except OSError as error:
        raise CellError(f"{cell.id}: exit status 0, but {Path(str(error.filename)).name} is missing") from error
    except (ValueError, IndexError, log.LogError) as error:
        raise CellError(f"{cell.id}: exit status 0, but its results cannot be used: {error}") from error
    expected = cell.source.geometry.frames
    counts = {"encoded": len(output.packets), "decoded": output.decoded, "scored": len(output.scores.vmaf)}
    if set(counts.values()) != {expected}:
        listed = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise CellError(f"{cell.id}: frame counts differ: source {expected}, {listed}")
    rows = cellfile.CellRows(
        labels=row_labels(facts_of(cell), bench.corpus),
        cq=cell.settings.cq,
        features=output.scores.features,
        vmaf=output.scores.vmaf,
        facts={},
    )
    facts = {**footer_facts(cell), "encoded_bytes": sum(output.packets), "content_sha256": rows.content_sha256()}
    return replace(rows, facts=facts), output.scores.version, output.stream_sha256


def footer_facts(cell: Cell) -> dict[str, object]:
    """Return the facts in the footer of a cell's file that are known before it is made."""
    return {
        **cell.keyed,
        "geometry": geometry_facts(cell.source.geometry),
        "converted": cell.settings.score_pix_fmt != cell.source.geometry.pix_fmt,
    }
