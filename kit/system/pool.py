"""Run many actions in threads; a signal is handled at once and ends them all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

#: Seconds between two chances for signal handlers, which Python runs in the main thread only.
_INTERVAL = 0.2


def run_many(
    action: Callable[[T], R],
    items: Sequence[T],
    *,
    workers: int,
    stop: Callable[[], None] = lambda: None,
    done: Callable[[T, R], None] = lambda _item, _result: None,
    tick: Callable[[], None] = lambda: None,
) -> list[R]:
    """Apply ``action`` to every item, at most ``workers`` at once, started in their order.

    Args:
        stop: called on any error, also on Ctrl-C; has to end running actions, where possible.
        done: called in the main thread after each item.
        tick: called in the main thread several times a second.

    Returns:
        The results in the order of the items.

    Raises:
        Exception: that of the first action that failed, after the others have ended.
    """
    pool = ThreadPoolExecutor(max_workers=max(1, workers))
    futures: list[Future[R]] = []
    try:
        item_of: dict[Future[R], T] = {}
        for item in items:
            futures.append(pool.submit(action, item))
            item_of[futures[-1]] = item
        rest = set(futures)
        while rest:
            finished, rest = wait(rest, timeout=_INTERVAL, return_when=FIRST_COMPLETED)
            for future in finished:
                done(item_of[future], future.result())
            tick()
    except BaseException:
        for future in futures:
            future.cancel()
        stop()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    return [future.result() for future in futures]
