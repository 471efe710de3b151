"""The client's side of a cluster: list workers, submit cells, collect results."""

from __future__ import annotations

import contextlib
import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

from kit.cluster import engine, offer, work
from kit.cluster.maker import CellRequest
from kit.cluster.offer import Offer
from kit.cluster.security import TIMEOUT, Link, reach
from kit.core.canon import sha256_json
from kit.core.errors import PrerequisiteFailed
from kit.core.values import Cell

log = logging.getLogger(__name__)

#: Times a cell is submitted after Dask gave it up: Dask does so when four workers that had it, running or waiting, have
#: died, and the cell need not be the cause.
_ROUNDS = 3
_START = "Start a scheduler in the kit's folder, then the workers, as docs/clusters.md shows."


class _Submitted(NamedTuple):
    cell: Cell
    request: CellRequest
    needs: Mapping[str, float]
    priority: float


class Cluster:
    """A connection to a scheduler. Each submitted cell comes back once."""

    def __init__(self, client: Any, link: Link) -> None:
        self._client, self._address = client, link.address
        self._completed = engine.load().as_completed(loop=client.loop)
        self._pending: dict[Any, _Submitted] = {}
        self._deaths: Counter[str] = Counter()

    def workers(self) -> tuple[dict[str, Offer], int]:
        """Return address to offer of the current workers, and the number of workers without an offer.

        Raises:
            PrerequisiteFailed: the scheduler has stopped.
        """
        try:
            workers = self._client.scheduler_info(n_workers=-1)["workers"]
        except (OSError, TimeoutError) as error:
            raise self._stopped() from error
        offers = {address: offer.read(worker) for address, worker in workers.items()}
        readable = {address: one for address, one in offers.items() if one is not None}
        return readable, len(offers) - len(readable)

    def submit(self, cell: Cell, request: CellRequest, needs: Mapping[str, float], priority: float) -> None:
        """Have a cell made; if two clients submit the same cell, it is made once.

        Args:
            needs: the resources of the workers that can make it.
            priority: higher ones come first.
        """
        values = asdict(request)
        turn = self._deaths[cell.key]
        future = self._client.submit(
            work.make,
            values,
            key=f"cell-{sha256_json({**values, 'turn': turn})}",
            resources=dict(needs),
            pure=False,
            priority=priority,
        )
        self._pending[future] = _Submitted(cell, request, needs, priority)
        self._completed.add(future)

    @property
    def waiting(self) -> dict[str, tuple[Cell, Mapping[str, float]]]:
        """Cell key to cell and needs of the submitted cells that have not come back."""
        return {one.cell.key: (one.cell, one.needs) for one in self._pending.values()}

    def cancel(self, keys: Sequence[str]) -> None:
        """Cancel submitted cells."""
        cancelled = [future for future, one in self._pending.items() if one.cell.key in set(keys)]
        for future in cancelled:
            del self._pending[future]
        self._client.cancel(cancelled)

    def results(self) -> Iterator[tuple[Cell, Any]]:
        """Yield what came back since the last call: a worker's reply, or the exception that too many workers died.

        Raises:
            PrerequisiteFailed: the scheduler has stopped, or was started without the kit.
        """
        dask = engine.load()
        for future in self._completed.next_batch(block=False):
            if future not in self._pending:
                continue  # cancelled meanwhile
            try:
                reply = future.result(timeout=TIMEOUT)
            except (TimeoutError, OSError):
                # its worker died before the result was fetched: the cell is made again
                self._completed.add(future)
            except dask.client.FutureCancelledError as error:
                raise self._stopped() from error
            except RuntimeError as error:
                # what Dask raises if its scheduler cannot import the task
                raise PrerequisiteFailed(f"the scheduler cannot do this work: {error}", hint=_START) from error
            except dask.scheduler.KilledWorker as error:
                yield from self._resubmit(error, self._pending.pop(future))
            else:
                yield self._pending.pop(future).cell, reply

    def _resubmit(self, error: Exception, lost: _Submitted) -> Iterator[tuple[Cell, Exception]]:
        """Submit a cell whose workers died again; yield the error if that was done often enough."""
        log.warning("%s: %s", lost.cell.id, error)
        self._deaths[lost.cell.key] += 1
        if self._deaths[lost.cell.key] < _ROUNDS:
            self.submit(*lost)
        else:
            yield lost.cell, error

    def _stopped(self) -> PrerequisiteFailed:
        return PrerequisiteFailed(
            f"the scheduler at {self._address} has stopped; finished cells are kept",
            hint="Start it and the workers, then the same command to continue.",
        )


@contextlib.contextmanager
def connected(link: Link) -> Iterator[Cluster]:
    """Connect for the duration of the block; pending cells are cancelled at its end.

    Raises:
        PrerequisiteFailed: no scheduler answers, or its certificates do not match.
    """
    dask = engine.load()
    try:
        reach(link)
        client = dask.Client(
            link.address,
            security=engine.security(link),
            timeout=TIMEOUT,
            set_as_default=False,
            direct_to_workers=False,
            name="vmaf-kit",
        )
    except (OSError, TimeoutError) as error:
        raise unreachable(link, error) from error
    try:
        yield Cluster(client, link)
    finally:
        client.close(timeout=5)


def unreachable(link: Link, error: Exception) -> PrerequisiteFailed:
    """Return the error for a scheduler that does not answer."""
    reason = f": {error}" if str(error) else ""
    return PrerequisiteFailed(f"no scheduler answers at {link.address}{reason}", hint=_START)
