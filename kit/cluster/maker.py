"""Make a requested cell on a worker and return its bytes."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from kit.core.errors import CheckFailed, DiskFull, KitError
from kit.core.values import Cell, ReadyEncoder, Scorer, Source, Teacher
from kit.corpus.make.attempts import produce_with_retries
from kit.corpus.make.diskwait import DiskWait
from kit.corpus.make.produce import Bench
from kit.corpus.make.schedule import Schedule
from kit.corpus.plan import plan_cells
from kit.corpus.store.shard import FailedCell, cell_path, observed_path
from kit.platforms.registry import family_of, settings_for
from kit.system.proc import Stopped


@dataclass(frozen=True, kw_only=True)
class CellRequest:
    """A cell that a client requests, as JSON values, so that a worker can read it without the client's classes.

    Attributes:
        key: the cell's key, which the worker must get too.
        label, group, corpus: the client's names, which the rows get.
        stall_timeout: seconds without progress after which processes are stopped.
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
    """Makes the cells that clients request of this box.

    Attributes:
        made: number of cells made.
        full: set if the disk stays full; the worker then ends.
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

    def make(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Make a cell.

        Args:
            values: those of a :class:`CellRequest`.

        Returns:
            ``{parquet: bytes, observed: bytes, golden}``, or ``{failed}`` with the failure as JSON.

        Raises:
            Reschedule: this worker is ending; another one is to make the cell.
        """
        from distributed import Reschedule

        request = CellRequest(**values)
        try:
            return self._reply(self._planned(request), request)
        except Stopped as error:
            raise Reschedule from error
        except DiskFull as error:
            self.full = error
            raise Reschedule from error
        except KitError as error:
            return _failure(request, self._bench.processes.redact(error.message))

    def _planned(self, request: CellRequest) -> Cell:
        """Return the cell as this box plans it.

        Raises:
            CheckFailed: this box cannot make the requested cell.
        """
        source = self._sources.get(request.src_sha256)
        if source is None:
            raise CheckFailed(f"{self._bench.box} has no clip with the SHA-256 {request.src_sha256[:12]}")
        named = replace(source, file=replace(source.file, label=request.label), group=request.group)
        (cell,) = plan_cells(
            [named],
            [(request.encoder, request.cq)],
            encoders=self._encoders,
            settings_for=settings_for,
            architecture=platform.machine(),
            teacher=self._teacher,
            scorer_id=self._scorer.id,
        )
        if cell.key != request.key:
            raise CheckFailed(f"{self._bench.box} has another cell: key {cell.key[:12]}, expected {request.key[:12]}")
        return cell

    def _reply(self, cell: Cell, request: CellRequest) -> dict[str, Any]:
        bench = replace(self._bench, corpus=request.corpus, stall_timeout=request.stall_timeout)
        with self._schedule.admit(cell) as slot:
            result = produce_with_retries(slot, bench, family_of(cell.encoder.name).busy, disk=self._disk)
        if isinstance(result, FailedCell):
            return {"failed": asdict(result)}
        self.made += 1
        files = (bench.folder / cell_path(cell), observed_path(bench.folder, cell_path(cell)))
        parquet, observed = (path.read_bytes() for path in files)
        for path in files:
            path.unlink()
        return {"parquet": parquet, "observed": observed, "golden": dict(self._scorer.golden)}


def _failure(request: CellRequest, reason: str) -> dict[str, Any]:
    failed = FailedCell(key=request.key, source=request.label, encoder=request.encoder, cq=request.cq, reason=reason)
    return {"failed": asdict(failed)}
