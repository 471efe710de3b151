"""``kit worker``: a box that makes cells for others until it is told to stop or its scheduler goes."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from kit.cluster import engine, offer
from kit.cluster.client import unreachable
from kit.cluster.maker import Maker
from kit.cluster.offer import Offer
from kit.cluster.security import TIMEOUT, Link, reach
from kit.core.geometry import largest_frame
from kit.core.values import Source
from kit.corpus.make.diskwait import DiskWait
from kit.corpus.make.produce import Bench
from kit.corpus.make.schedule import Schedule
from kit.corpus.plan import cells_at_once
from kit.options.resolve import RunConfig
from kit.options.session import Session
from kit.prereqs.examine import identify, names_for
from kit.prereqs.report import Prereqs
from kit.system.ui import LINE_EVERY

_T = TypeVar("_T")
#: Runs a coroutine in the loop of Dask's workers and returns its value.
Run = Callable[[Coroutine[Any, Any, _T]], _T]
#: Seconds between two looks at what the workers do, and seconds they get to hand over their cells.
_LOOK, _FAREWELL = 0.2, 5.0


def serve(config: RunConfig, found: Prereqs, way: Link, folder: Path, session: Session) -> None:
    """Offer this box's encoders and clips, and make what is asked for, until the scheduler goes.

    Args:
        folder: for cells in the making; nothing stays in it.

    Raises:
        Several: clips that cannot be decoded, or two with the same content.
        PrerequisiteFailed: no scheduler answers.
        DiskFull: there is no room in ``folder`` and came none; the cells are made elsewhere.
    """
    sources = identify(found, session)
    places = cells_at_once(
        cores=found.facts.cores, memory_bytes=found.facts.memory_bytes, largest_frame=largest_frame(found.files)
    )
    offers = offer.offers_of(
        box=config.box,
        platform_tag=found.platform.tag,
        teacher=found.teacher,
        scorer=found.scorer,
        encoders=found.encoders,
        everywhere=names_for(config, found.encoders),
        places=places,
        sources=[source.sha256 for source in sources],
    )
    maker = _maker(config, found, sources, folder=folder, places=places, session=session)
    with _loop() as run:
        workers = run(_started(offers, maker, way, folder))
        try:
            _say_ready(offers, sources, way, session)
            _watch(workers, maker, session)
        finally:
            # first the others are told, then what is being made here ends
            run(_ended(workers))
            session.processes.stop()
    session.ui.say(f"The scheduler has gone; {maker.made} cells were made here.")


def _maker(
    config: RunConfig, found: Prereqs, sources: Sequence[Source], *, folder: Path, places: int, session: Session
) -> Maker:
    limits = {encoder.family: encoder.max_parallel for encoder in found.encoders}
    return Maker(
        bench=Bench(
            ffmpeg=found.encoding,
            path_ffmpeg=found.path_ffmpeg,
            scorer=found.scored_by,
            processes=session.processes,
            folder=folder,
            box=config.box,
            platform=found.platform.tag,
            corpus="",
        ),
        disk=DiskWait(folder, say=session.ui.say, pause=session.processes.pause, patience=config.disk_wait),
        schedule=Schedule([], cost=lambda _: 0.0, places=limits, workers=places, cores=found.facts.cores),
        sources=sources,
        encoders=found.encoders,
        teacher=found.teacher,
        scorer=found.scorer,
    )


@contextlib.contextmanager
def _loop() -> Iterator[Run[Any]]:
    """A loop in a thread of its own: signals are heard in the main thread, where no callback swallows them."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="dask", daemon=True)
    thread.start()
    try:
        yield lambda coroutine: asyncio.run_coroutine_threadsafe(coroutine, loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _started(offers: Mapping[str, Offer], maker: Maker, way: Link, folder: Path) -> list[Any]:
    """One Dask worker a family of encoders."""
    dask = engine.load()
    workers: list[Any] = []
    try:
        reach(way)
        for one in offers.values():
            worker = dask.Worker(
                way.address,
                host=way.listen,
                security=engine.security(way),
                nthreads=one.places,
                resources=one.resources,
                startup_information={offer.STARTUP: _telling(one)},
                memory_limit=0,
                local_directory=str(folder),
                death_timeout=TIMEOUT,
            )
            worker.maker = maker
            # statistics over HTTP: nobody here reads them, and they would be neither encrypted nor guarded
            worker.start_http_server = _no_http
            workers.append(worker)
            await worker
    except (OSError, TimeoutError) as error:
        await _ended(workers)
        raise unreachable(way, error) from error
    return workers


def _no_http(*_: object, **__: object) -> None:
    return


def _telling(one: Offer) -> Callable[[Any], Mapping[str, object]]:
    return lambda _worker: one.told


async def _ended(workers: Sequence[Any]) -> None:
    """Hand over to other workers what is not finished, and close."""
    for worker in workers:
        with contextlib.suppress(OSError, TimeoutError):
            await asyncio.wait_for(worker.close_gracefully(), _FAREWELL)
    for worker in workers:
        await worker.close(timeout=1, executor_wait=False)


def _say_ready(offers: Mapping[str, Offer], sources: Sequence[Source], way: Link, session: Session) -> None:
    told = "; ".join(
        f"{', '.join(encoder.name for encoder in one.encoders)} ({one.places} at once)" for one in offers.values()
    )
    session.ui.say(f"Ready at {way.address}: {told}; {len(sources)} clips. Ctrl-C ends this worker.")


def _watch(workers: Sequence[Any], maker: Maker, session: Session) -> None:
    """Return when the scheduler has gone; meanwhile say now and then what was made."""
    told, last = 0, time.monotonic()
    while all(worker.status.name == "running" for worker in workers):
        if maker.full is not None:
            raise maker.full
        if maker.made > told and time.monotonic() - last >= LINE_EVERY:
            told, last = maker.made, time.monotonic()
            session.ui.say(f"{told} cells made")
        session.processes.pause(_LOOK)
