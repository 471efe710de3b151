"""Making one cell: encode, decode and score without a raw file, then count, check and keep."""

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
from kit.corpus.make.keep import keep
from kit.corpus.make.tally import Tally
from kit.corpus.store import cellfile
from kit.corpus.store.shard import FailedCell, cell_path
from kit.options.run_table import STALL_TIMEOUT
from kit.system.fsio import NO_ROOM, TEMPORARY_PREFIX, free_bytes
from kit.system.proc import Processes, excerpt
from kit.system.stall import TimeLimits
from kit.video.ffmpeg import Ffmpeg, first_error, remedy
from kit.video.scorers import base, log
from kit.video.scorers.base import CellScorer, Work
from kit.video.scorers.ffmpeg_filter import FilterScorer

#: Free space below which a failed write is a full disk, whatever ffmpeg or libvmaf said of it.
_ALMOST_FULL = 1 << 20
#: What the system says of a full disk or a used-up quota.
_FULL = ("No space left on device", "Disk quota exceeded")
#: Frames an encoder may take in before the first one comes out, and seconds it may work on a megapixel of each (the
#: slowest one takes about one): so long may a cell be busy with nothing to show.
_LOOKAHEAD, _PER_MEGAPIXEL = 64, 4.0


class CellError(KitError):
    """A cell came out wrong: counts that differ, a log that cannot be used, an option that was ignored."""


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What every cell of a run is made with.

    Attributes:
        ffmpeg: encodes, unless the encoder needs the one on PATH.
        path_ffmpeg: the one on PATH, for encoders that were found to work with it only.
        scorer: decodes and scores; None for the filter of ``ffmpeg``.
        tally: where it is told which cells run; None to tell nobody.
        stall_timeout: seconds after which processes without progress are stopped.
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
        """What scores."""
        return self.scorer or FilterScorer(ffmpeg=self.ffmpeg)

    def encodes(self, cell: Cell) -> Ffmpeg:
        """The ffmpeg that encodes a cell."""
        return self.path_ffmpeg if cell.encoder.on_path and self.path_ffmpeg is not None else self.ffmpeg


def geometry_facts(geometry: Geometry) -> dict[str, object]:
    """A geometry as JSON, its rate as ``num/den``."""
    return {**asdict(geometry), "fps": f"{geometry.fps.numerator}/{geometry.fps.denominator}"}


def produce(
    cell: Cell, bench: Bench, *, scorer_threads: int = 1, one_thread: bool = False
) -> cellfile.CellRows | FailedCell:
    """Make a cell and keep it. A failure is a value, not an exception: the others go on.

    Args:
        scorer_threads: threads that score; the numbers are the same with any number.
        one_thread: use one thread wherever there may be several; for a cell that has failed with more.

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
        reason, tail = _told(error)
        command = error.command if isinstance(error, ToolFailed) else _described(work, cell, bench)
        reason = bench.processes.redact(f"{reason}. {remedy(error.message)}".rstrip(" ."))
        return FailedCell(
            key=cell.key,
            source=cell.source.label,
            encoder=cell.settings.encoder,
            cq=cell.settings.cq,
            reason=reason,
            command=command,
            stderr_tail=tail,
        )


def _disk_full(cell: Cell) -> DiskFull:
    return DiskFull(f"the disk filled up at {cell.id}")


def _described(work: Work, cell: Cell, bench: Bench) -> str:
    """The command lines of a cell."""
    commands = base.commands(bench.scored_by, work, bench.encodes(cell))
    return " | ".join(bench.processes.describe(command.argv) for command in commands)


def _told(error: ToolFailed | CellError) -> tuple[str, str]:
    """Why a cell failed, in one line, and the excerpt of stderr."""
    if isinstance(error, ToolFailed):
        said = first_error(error.stderr_tail)
        return f"{error.tried}: {error.status}" + (f": {said}" if said else ""), error.stderr_tail
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
    keep(bench.folder, cell_path(cell), rows, [observed])
    return rows


def _collect(cell: Cell, bench: Bench, scratch: Path, stderr: str) -> tuple[cellfile.CellRows, str, str]:
    """Read what the process left, and hold it against what it should have left.

    Returns:
        The rows, the scorer's version and the hash of the encoded stream.
    """
    try:
        left = base.collect(bench.scored_by, scratch, stderr)
    except OSError as error:
        raise CellError(f"{cell.id}: exit status 0, but {Path(str(error.filename)).name} is missing") from error
    except (ValueError, IndexError, log.LogError) as error:
        raise CellError(f"{cell.id}: exit status 0, but its results cannot be used: {error}") from error
    expected = cell.source.geometry.frames
    counts = {"encoded": len(left.packets), "decoded": left.decoded, "scored": len(left.scores.vmaf)}
    if set(counts.values()) != {expected}:
        seen = ", ".join(f"{what} {count}" for what, count in counts.items())
        raise CellError(f"{cell.id}: frame counts differ: source {expected}, {seen}")
    rows = cellfile.CellRows(
        labels={
            "cell_key": cell.key,
            "src": cell.source.label,
            "src_sha256": cell.source.sha256,
            "group": cell.source.group,
            "corpus": bench.corpus,
            "encoder": cell.settings.encoder,
            "preset": cell.settings.preset,
        },
        cq=cell.settings.cq,
        features=left.scores.features,
        vmaf=left.scores.vmaf,
        facts={},
    )
    facts = {
        **cell.keyed,
        "geometry": geometry_facts(cell.source.geometry),
        "converted": cell.settings.score_pix_fmt != cell.source.geometry.pix_fmt,
        "encoded_bytes": sum(left.packets),
        "content_sha256": rows.content_sha256(),
    }
    return replace(rows, facts=facts), left.scores.version, left.stream_sha256
