"""Doing many things at once in threads, so that a signal is heard at once and nothing runs on after it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")

#: Seconds between two looks for signals; Python runs their handlers in the main thread only.
_LOOK = 0.2


@dataclass(frozen=True, kw_only=True)
class Lane(Generic[T]):
    """Items that share a limit: at most ``workers`` of them at once, in the given order."""

    workers: int
    items: Sequence[T]


def run_lanes(
    action: Callable[[T], R],
    lanes: Sequence[Lane[T]],
    *,
    stop: Callable[[], None],
    done: Callable[[T, R], None] = lambda _item, _result: None,
) -> list[R]:
    """Apply ``action`` to every item of every lane, the lanes beside each other.

    Args:
        stop: called when anything goes wrong, also on Ctrl-C; must make running actions end.
        done: called in the main thread after each item.

    Returns:
        The results, lane by lane, in the order of the items.

    Raises:
        Exception: what the first failing action raised; the others have ended then.
    """
    pools = [ThreadPoolExecutor(max_workers=max(1, lane.workers)) for lane in lanes]
    futures: list[Future[R]] = []
    try:
        item_of: dict[Future[R], T] = {}
        for pool, lane in zip(pools, lanes, strict=True):
            for item in lane.items:
                futures.append(pool.submit(action, item))
                item_of[futures[-1]] = item
        rest = set(futures)
        while rest:
            finished, rest = wait(rest, timeout=_LOOK, return_when=FIRST_COMPLETED)
            for future in finished:
                done(item_of[future], future.result())
    except BaseException:
        for future in futures:
            future.cancel()
        stop()
        raise
    finally:
        for pool in pools:
            pool.shutdown(wait=True, cancel_futures=True)
    return [future.result() for future in futures]
