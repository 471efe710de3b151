"""Doing many things at once in threads, so that a signal is heard at once and nothing runs on after it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

#: Seconds between two looks for signals; Python runs their handlers in the main thread only.
_LOOK = 0.2


def run_many(
    action: Callable[[T], R],
    items: Sequence[T],
    *,
    workers: int,
    stop: Callable[[], None] = lambda: None,
    done: Callable[[T, R], None] = lambda _item, _result: None,
    tick: Callable[[], None] = lambda: None,
) -> list[R]:
    """Apply ``action`` to every item, at most ``workers`` at once, begun in their order.

    Args:
        stop: called when anything goes wrong, also on Ctrl-C; must make running actions end, where they can be ended.
        done: called in the main thread after each item; tick: called there several times a second.

    Returns:
        The results in the order of the items.

    Raises:
        Exception: what the first failing action raised; the others have ended then.
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
            finished, rest = wait(rest, timeout=_LOOK, return_when=FIRST_COMPLETED)
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
