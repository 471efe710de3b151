"""The worker's side of a cell: from what a client asks for to the bytes that go back."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from kit.core.errors import DiskFull, KitError
from kit.core.values import Cell, ReadyEncoder, Scorer, Source, Teacher
from kit.corpus.make.attempts import produce_at
from kit.corpus.make.diskwait import DiskWait
from kit.corpus.make.produce import Bench
from kit.corpus.make.schedule import Schedule
from kit.corpus.plan import plan_cells
from kit.corpus.store.shard import FailedCell, cell_path, observed_path
from kit.platforms.registry import family_of, settings_for
from kit.system.proc import Stopped


@dataclass(frozen=True, kw_only=True)
class Job:
    """A cell as it is asked for: JSON values, so that nothing of the client's is needed to read it.

    Attributes:
        key: what the cell's key must be here, too.
        label, group, corpus: the client's names, which stand in the rows.
        stall_timeout: seconds after which processes without progress are stopped.
    """

    key: str
    src_sha256: str
    encoder: str
    cq: int
    label: str
    group: str
    corpus: str
    stall_timeout: float


class Maker:
    """Makes the cells that are asked of this box.

    Attributes:
        made: how many it has made.
        full: set when the disk was full and stayed so; the worker is to end.
    """

    def __init__(
        self,
        *,
        bench: Bench,
        disk: DiskWait,
        schedule: Schedule,
        sources: Sequence[Source],
        encoders: Sequence[ReadyEncoder],
        teacher: Teacher,
        scorer: Scorer,
    ) -> None:
        self._bench, self._disk, self._schedule = bench, disk, schedule
        self._sources = {source.sha256: source for source in sources}
        self._encoders, self._teacher, self._scorer = encoders, teacher, scorer
        self.made = 0
        self.full: DiskFull | None = None

    def make(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Make a cell.

        Returns:
            ``{parquet: bytes, observed: bytes, golden}``, or ``{failed}`` with the failure as JSON.

        Raises:
            Reschedule: this worker is ending; another one is to make the cell.
        """
        from distributed import Reschedule

        job = Job(**asked)
        try:
            cell = self._cell(job)
            return self._sent(cell, job) if isinstance(cell, Cell) else {"failed": asdict(cell)}
        except Stopped as error:
            raise Reschedule from error
        except DiskFull as error:
            self.full = error
            raise Reschedule from error
        except KitError as error:
            return {"failed": asdict(_failed(job, self._bench.processes.redact(error.message)))}

    def _cell(self, job: Job) -> Cell | FailedCell:
        """The cell as this box would plan it."""
        source = self._sources.get(job.src_sha256)
        if source is None:
            return _failed(job, f"{self._bench.box} has no clip with the content {job.src_sha256[:12]}")
        named = replace(source, file=replace(source.file, label=job.label), group=job.group)
        (cell,) = plan_cells(
            [named],
            [(job.encoder, job.cq)],
            encoders=self._encoders,
            settings_for=settings_for,
            architecture=platform.machine(),
            teacher=self._teacher,
            scorer_id=self._scorer.id,
        )
        if cell.key != job.key:
            return _failed(job, f"on {self._bench.box} it is another cell: {cell.key[:12]}, expected {job.key[:12]}")
        return cell

    def _sent(self, cell: Cell, job: Job) -> dict[str, Any]:
        bench = replace(self._bench, corpus=job.corpus, stall_timeout=job.stall_timeout)
        with self._schedule.admit(cell) as place:
            result = produce_at(place, bench, family_of(cell.encoder.name).busy, disk=self._disk)
        if isinstance(result, FailedCell):
            return {"failed": asdict(result)}
        self.made += 1
        files = (bench.folder / cell_path(cell), observed_path(bench.folder, cell_path(cell)))
        parquet, observed = (path.read_bytes() for path in files)
        for path in files:
            path.unlink()
        return {"parquet": parquet, "observed": observed, "golden": dict(self._scorer.golden)}


def _failed(job: Job, reason: str) -> FailedCell:
    return FailedCell(
        key=job.key, source=job.label, encoder=job.encoder, cq=job.cq, reason=reason, command="", stderr_tail=""
    )
