"""Order of cells, limits of encoder families, and scorer threads for the cores that no other cell uses."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from kit.core.values import Cell
from kit.corpus.make.schedule import Schedule, Slot
from tests.corpus.builders import planned as cell


def cost(one: Cell) -> float:
    return float(one.source.geometry.frames)


def schedule(cells: list[Cell], *, workers: int = 2, cores: int = 2, **limits: int | None) -> Schedule:
    return Schedule(cells, cost=cost, limits=limits or {"software": None}, workers=workers, cores=cores)


def test_the_longest_comes_first() -> None:
    plan = schedule([cell("b", 20), cell("c", 10), cell("a", 30)])
    assert [plan.take().cell.key for _ in range(2)] == ["a", "b"]


def test_a_shorter_cell_of_another_family_passes_a_full_one() -> None:
    plan = schedule(
        [cell("n1", 50, "nvenc"), cell("n2", 40, "nvenc"), cell("s", 10)], workers=4, nvenc=1, software=None
    )
    with plan.take() as first, plan.take() as second:
        assert (first.cell.key, second.cell.key) == ("n1", "s")
    assert plan.take().cell.key == "n2"


@pytest.mark.parametrize(
    ("cells", "workers", "cores", "limit", "threads"),
    [
        (4, 2, 2, None, [1, 1]),
        (1, 2, 2, None, [2]),
        (3, 16, 16, None, [5, 5, 5]),
        (40, 16, 16, 3, [5, 5, 5]),
        (40, 3, 16, None, [5, 5, 5]),
    ],
)
def test_a_scorer_gets_the_cores_that_no_other_cell_uses(
    cells: int, workers: int, cores: int, limit: int | None, threads: list[int]
) -> None:
    plan = schedule([cell(f"{i:02}", 9) for i in range(cells)], workers=workers, cores=cores, software=limit)
    assert [plan.take().threads for _ in threads] == threads


def test_an_admitted_cell_starts_within_the_same_limits() -> None:
    plan = schedule([], workers=3, cores=4, nvenc=1, software=None)
    with plan.admit(cell("n1", 9, "nvenc")) as first, plan.admit(cell("s1", 9)) as second:
        assert (first.threads, second.threads) == (4, 2)
        with ThreadPoolExecutor(3) as pool:
            later = [pool.submit(plan.admit, one) for one in (cell("n2", 9, "nvenc"), cell("s2", 9), cell("s3", 9))]
            time.sleep(0.1)
            # one of the software cells gets the third slot, the other one and the device's second cell wait
            started = [future.result() for future in later if future.done()]
            assert [slot.cell.encoder.family for slot in started] == ["software"]
            for slot in (first, second, *started):
                slot.__exit__()
            assert {future.result().cell.key for future in later} == {"n2", "s2", "s3"}
            first._running = second._running = False


def test_the_last_cells_share_all_cores() -> None:
    plan = schedule([cell(str(i), 9) for i in range(3)], workers=2, cores=8)
    with plan.take() as first, plan.take() as second:
        assert (first.threads, second.threads) == (4, 4)
    assert plan.take().threads == 8


def test_a_refused_encode_lowers_the_limit_down_to_one() -> None:
    plan = schedule([cell(str(i), 9, "nvenc") for i in range(6)], workers=8, nvenc=4)
    taken = [plan.take() for _ in range(4)]
    taken.pop().give_up()
    assert plan.limits == {"nvenc": 3}
    for slot in taken:
        slot.give_up()
    assert plan.limits == {"nvenc": 1}


def test_a_cell_that_left_waits_for_a_slot() -> None:
    plan = schedule([cell(str(i), 9, "nvenc") for i in range(2)], workers=2, nvenc=2)
    back = threading.Event()

    def again(slot: Slot) -> None:
        slot.wait()
        back.set()

    with plan.take() as first:
        with plan.take():
            first.give_up()
            threading.Thread(target=again, args=(first,), daemon=True).start()
            assert not back.wait(0.1)
        assert back.wait(5)


def test_a_slot_is_returned_after_an_error() -> None:
    plan = schedule([cell(str(i), 9) for i in range(2)], workers=1)
    with pytest.raises(KeyError), plan.take():
        raise KeyError
    with plan.take() as slot:
        slot.give_up()
    assert plan.at_once == 1


def test_taking_too_many_cells_is_an_error() -> None:
    plan = schedule([cell("a", 9)])
    plan.take()
    with pytest.raises(ValueError, match="empty"):
        plan.take()


@pytest.mark.parametrize("seed", range(5))
def test_every_cell_runs_once_within_all_limits(seed: int) -> None:
    rng = random.Random(seed)  # noqa: S311 - draws cases
    limits = {"software": None, "nvenc": rng.randint(1, 3), "qsv": 2}
    cells = [cell(str(i), rng.randint(1, 9), rng.choice(list(limits))) for i in range(40)]
    workers = rng.randint(1, 6)
    plan = schedule(cells, workers=workers, cores=4, **limits)
    running, most, lock = Counter[str](), Counter[str](), threading.Lock()

    def work(_turn: int) -> str:
        with plan.take() as slot:
            family = slot.cell.encoder.family
            with lock:
                running[family] += 1
                most[family] = max(most[family], running[family])
                most["all"] = max(most["all"], running.total())
            time.sleep(0.001)
            with lock:
                running[family] -= 1
        assert slot.threads >= 1
        return slot.cell.key

    with ThreadPoolExecutor(workers) as pool:
        done = list(pool.map(work, range(len(cells))))
    assert sorted(done, key=int) == [str(i) for i in range(40)]
    assert most["all"] <= workers
    assert all(most[family] <= (limit or workers) for family, limit in limits.items())
