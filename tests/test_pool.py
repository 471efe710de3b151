"""Lanes: limits are kept, results stay in order, an error stops what runs."""

from __future__ import annotations

import threading
import time

import pytest

from kit.pool import Lane, run_lanes


def nothing() -> None:
    pass


def test_results_come_in_the_order_of_the_items() -> None:
    def action(item: int) -> int:
        time.sleep(0.05 * (3 - item % 4))
        return item * item

    seen: list[int] = []
    lanes = [Lane(workers=3, items=[0, 1, 2]), Lane(workers=1, items=[3, 4])]
    assert run_lanes(action, lanes, stop=nothing, done=lambda item, _: seen.append(item)) == [0, 1, 4, 9, 16]
    assert sorted(seen) == [0, 1, 2, 3, 4]


def test_each_lane_keeps_its_limit_and_runs_beside_the_others() -> None:
    lock, running, most = threading.Lock(), {"a": 0, "b": 0}, {"a": 0, "b": 0, "all": 0}

    def action(item: str) -> None:
        with lock:
            running[item] += 1
            most[item] = max(most[item], running[item])
            most["all"] = max(most["all"], sum(running.values()))
        time.sleep(0.03)
        with lock:
            running[item] -= 1

    run_lanes(action, [Lane(workers=3, items="a" * 12), Lane(workers=2, items="b" * 8)], stop=nothing)
    assert most == {"a": 3, "b": 2, "all": 5}


def test_an_error_stops_the_others_and_starts_no_more() -> None:
    ended, started = threading.Event(), []

    def action(item: int) -> None:
        started.append(item)
        if item == 0:
            raise ValueError("planted")
        ended.wait(20)

    begin = time.monotonic()
    with pytest.raises(ValueError, match="planted"):
        run_lanes(action, [Lane(workers=2, items=range(50))], stop=ended.set)
    assert time.monotonic() - begin < 10
    assert len(started) < 10


def test_an_interrupt_between_two_items_stops_too() -> None:
    stopped: list[bool] = []

    def interrupt(_item: int, _result: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_lanes(
            lambda item: item, [Lane(workers=1, items=range(5))], stop=lambda: stopped.append(True), done=interrupt
        )
    assert stopped == [True]
