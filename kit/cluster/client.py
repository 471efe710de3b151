"""The client's side of a cluster: who is there, cells out, cells in."""

from __future__ import annotations

import contextlib
import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from kit.cluster import engine, offer, work
from kit.cluster.maker import Job
from kit.cluster.offer import Offer
from kit.cluster.security import TIMEOUT, Link, reach
from kit.core.canon import sha256_json
from kit.core.errors import PrerequisiteFailed
from kit.core.values import Cell

log = logging.getLogger(__name__)

#: How often a cell is given to the cluster again after Dask gave it up: it does so when four workers that had it,
#: running or waiting, have died, and that need not be the cell's fault.
_ROUNDS = 3
_START = 'Start one in the kit\'s folder, as the README shows under "Many machines", and the workers after it.'


class Cluster:
    """A connection to a scheduler. A cell that is asked for comes back once, whoever makes it."""

    def __init__(self, client: Any, link: Link) -> None:
        self._client, self._address = client, link.address
        self._results = engine.load().as_completed(loop=client.loop)
        self._asked: dict[Any, tuple[Cell, Job, Mapping[str, float], float]] = {}
        self._deaths: Counter[str] = Counter()

    def workers(self) -> tuple[dict[str, Offer], int]:
        """Address to offer of the workers that are there, and how many others there are.

        Raises:
            PrerequisiteFailed: the scheduler has gone.
        """
        try:
            told = self._client.scheduler_info(n_workers=-1)["workers"]
        except (OSError, TimeoutError) as error:
            raise self._gone() from error
        found = {address: offer.read(worker) for address, worker in told.items()}
        known = {address: one for address, one in found.items() if one is not None}
        return known, len(found) - len(known)

    def ask(self, cell: Cell, job: Job, needs: Mapping[str, float], priority: float) -> None:
        """Have a cell made; the same cell of two clients is made once.

        Args:
            needs: the resources of the workers that can.
            priority: higher ones come first.
        """
        told = asdict(job)
        turn = self._deaths[cell.key]
        future = self._client.submit(
            work.make,
            told,
            key=f"cell-{sha256_json({**told, 'turn': turn})}",
            resources=dict(needs),
            pure=False,
            priority=priority,
        )
        self._asked[future] = (cell, job, needs, priority)
        self._results.add(future)

    @property
    def waiting(self) -> dict[str, tuple[Cell, Mapping[str, float]]]:
        """Cell key to cell and needs of what was asked for and has not come back."""
        return {cell.key: (cell, needs) for cell, _, needs, _ in self._asked.values()}

    def forget(self, keys: Sequence[str]) -> None:
        """Ask no more for cells."""
        dropped = [future for future, (cell, *_) in self._asked.items() if cell.key in set(keys)]
        for future in dropped:
            del self._asked[future]
        self._client.cancel(dropped)

    def came(self) -> Iterator[tuple[Cell, Any]]:
        """What has come back since the last call: a worker's reply, or the exception that too many workers died.

        Raises:
            PrerequisiteFailed: the scheduler has gone, or was started without the kit.
        """
        dask = engine.load()
        for future in self._results.next_batch(block=False):
            if future not in self._asked:
                continue  # forgotten meanwhile
            try:
                found = future.result(timeout=TIMEOUT)
            except (TimeoutError, OSError):
                # whoever held it died before it was fetched: it is made again
                self._results.add(future)
            except dask.client.FutureCancelledError as error:
                raise self._gone() from error
            except RuntimeError as error:
                # what Dask raises where its scheduler cannot import what the task is
                raise PrerequisiteFailed(f"the scheduler cannot do this work: {error}", hint=_START) from error
            except dask.scheduler.KilledWorker as error:
                yield from self._killed(error, *self._asked.pop(future))
            else:
                yield self._asked.pop(future)[0], found

    def _killed(
        self, error: Exception, cell: Cell, job: Job, needs: Mapping[str, float], priority: float
    ) -> Iterator[tuple[Cell, Exception]]:
        """Ask again for a cell whose workers died; the error when that has been done often enough."""
        log.warning("%s: %s", cell.id, error)
        self._deaths[cell.key] += 1
        if self._deaths[cell.key] < _ROUNDS:
            self.ask(cell, job, needs, priority)
        else:
            yield cell, error

    def _gone(self) -> PrerequisiteFailed:
        return PrerequisiteFailed(
            f"the scheduler at {self._address} has gone; what was finished is kept",
            hint="Start it and the workers, then the same command to go on.",
        )


@contextlib.contextmanager
def connected(link: Link) -> Iterator[Cluster]:
    """A connection for as long as the block runs; what was asked for and has not come is called off.

    Raises:
        PrerequisiteFailed: no scheduler answers, or not with certificates that fit.
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
    """The error for a scheduler that does not answer."""
    why = f": {error}" if str(error) else ""
    return PrerequisiteFailed(f"no scheduler answers at {link.address}{why}", hint=_START)
