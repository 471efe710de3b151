"""Parallel actions: limit, order of results, errors."""

from __future__ import annotations

import threading
import time

import pytest

from kit.system.pool import run_many


def nothing() -> None:
    pass


def test_results_come_in_the_order_of_the_items() -> None:
    def action(item: int) -> int:
        time.sleep(0.05 * (3 - item % 4))
        return item * item

    finished: list[int] = []
    results = run_many(action, range(5), workers=3, stop=nothing, done=lambda item, _: finished.append(item))
    assert results == [0, 1, 4, 9, 16]
    assert sorted(finished) == [0, 1, 2, 3, 4]


def test_the_limit_is_kept_and_used() -> None:
    lock, running, most, ticks = threading.Lock(), 0, 0, 0

    def action(_item: int) -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.03)
        with lock:
            running -= 1

    def tick() -> None:
        nonlocal ticks
        ticks += 1

    run_many(action, range(20), workers=3, stop=nothing, tick=tick)
    assert most == 3
    assert ticks >= 1


def test_an_error_stops_the_others_and_starts_no_more() -> None:
    ended, started = threading.Event(), []

    def action(item: int) -> None:
        started.append(item)
        if item == 0:
            raise ValueError("planted")
        ended.wait(20)

    begin = time.monotonic()
    with pytest.raises(ValueError, match="planted"):
        run_many(action, range(50), workers=2, stop=ended.set)
    assert time.monotonic() - begin < 10
    assert len(started) < 10


def test_an_interrupt_between_two_items_stops_too() -> None:
    stopped: list[bool] = []

    def interrupt(_item: int, _result: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_many(lambda item: item, range(5), workers=1, stop=lambda: stopped.append(True), done=interrupt)
    assert stopped == [True]
