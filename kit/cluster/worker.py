"""Run ``kit worker``: a box that makes cells for others until it or its scheduler is stopped."""

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
#: Seconds between two checks of the workers, and seconds in which they hand over their cells at the end.
_POLL, _HANDOVER = 0.2, 5.0


def serve(config: RunConfig, prereqs: Prereqs, link: Link, folder: Path, session: Session) -> None:
    """Offer this box's encoders and clips, and make requested cells, until the scheduler stops.

    Args:
        folder: for unfinished cells; nothing stays in it.

    Raises:
        Several: clips that cannot be decoded, or two with the same content.
        PrerequisiteFailed: no scheduler answers.
        DiskFull: no space in ``folder``, and none in time; other workers make the cells.
    """
    sources = identify(prereqs, session)
    facts = prereqs.facts
    places = cells_at_once(
        cores=facts.cores, memory_bytes=facts.memory_bytes, largest_frame=largest_frame(prereqs.files)
    )
    offers = offer.offers_of(
        box=config.box,
        platform_tag=prereqs.platform.tag,
        teacher=prereqs.teacher,
        scorer=prereqs.scorer,
        encoders=prereqs.encoders,
        everywhere=names_for(config, prereqs.encoders),
        places=places,
        sources=[source.sha256 for source in sources],
    )
    maker = _maker(config, prereqs, sources, folder=folder, places=places, session=session)
    with _loop() as run:
        workers = run(_started(offers, maker, link, folder))
        try:
            _say_ready(offers, sources, link, session)
            _watch(workers, maker, session)
        finally:
            # hand over to the other workers before the cells that are being made here are stopped
            run(_close(workers))
            session.processes.stop()
    session.ui.say(f"The scheduler has stopped; this worker made {maker.made} cells.")


def _maker(
    config: RunConfig, prereqs: Prereqs, sources: Sequence[Source], *, folder: Path, places: int, session: Session
) -> Maker:
    limits = {encoder.family: encoder.max_parallel for encoder in prereqs.encoders}
    return Maker(
        bench=prereqs.bench(config, session, folder),
        disk=DiskWait(folder, say=session.ui.say, pause=session.processes.pause, patience=config.disk_wait),
        schedule=Schedule([], cost=lambda _: 0.0, limits=limits, workers=places, cores=prereqs.facts.cores),
        sources=sources,
        encoders=prereqs.encoders,
        teacher=prereqs.teacher,
        scorer=prereqs.scorer,
    )


@contextlib.contextmanager
def _loop() -> Iterator[Run[Any]]:
    """Run an event loop in its own thread, so that no callback swallows a signal, which the main thread receives."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="dask", daemon=True)
    thread.start()
    try:
        yield lambda coroutine: asyncio.run_coroutine_threadsafe(coroutine, loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _started(offers: Mapping[str, Offer], maker: Maker, link: Link, folder: Path) -> list[Any]:
    """Start and return one Dask worker per family of encoders."""
    dask = engine.load()
    workers: list[Any] = []
    try:
        reach(link)
        for one in offers.values():
            worker = dask.Worker(
                link.address,
                host=link.listen,
                security=engine.security(link),
                nthreads=one.places,
                resources=one.resources,
                startup_information={offer.STARTUP: _information(one)},
                memory_limit=0,
                local_directory=str(folder),
                death_timeout=TIMEOUT,
            )
            worker.maker = maker
            # statistics over HTTP, which nobody reads here, would be neither encrypted nor protected
            worker.start_http_server = _no_http
            workers.append(worker)
            await worker
    except (OSError, TimeoutError) as error:
        await _close(workers)
        raise unreachable(link, error) from error
    return workers


def _no_http(*_: object, **__: object) -> None:
    return


def _information(one: Offer) -> Callable[[Any], Mapping[str, object]]:
    return lambda _worker: one.as_json


async def _close(workers: Sequence[Any]) -> None:
    """Hand over unfinished cells to other workers, and close."""
    for worker in workers:
        with contextlib.suppress(OSError, TimeoutError):
            await asyncio.wait_for(worker.close_gracefully(), _HANDOVER)
    for worker in workers:
        await worker.close(timeout=1, executor_wait=False)


def _say_ready(offers: Mapping[str, Offer], sources: Sequence[Source], link: Link, session: Session) -> None:
    encoders = "; ".join(
        f"{', '.join(encoder.name for encoder in one.encoders)} ({one.places} at once)" for one in offers.values()
    )
    session.ui.say(f"Ready at {link.address}: {encoders}; {len(sources)} clips. Ctrl-C ends this worker.")


def _watch(workers: Sequence[Any], maker: Maker, session: Session) -> None:
    """Show the number of cells made from time to time; return when the scheduler has stopped."""
    shown, last = 0, time.monotonic()
    while all(worker.status.name == "running" for worker in workers):
        if maker.full is not None:
            raise maker.full
        if maker.made > shown and time.monotonic() - last >= LINE_EVERY:
            shown, last = maker.made, time.monotonic()
            session.ui.say(f"{shown} cells made")
        session.processes.pause(_POLL)
