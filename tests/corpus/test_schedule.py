"""Which cell starts when: the longest that has a place, and threads for the cores that nobody else uses."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from kit.core.values import Cell
from kit.corpus.make.schedule import Place, Schedule
from tests.corpus.builders import planned as cell


def cost(one: Cell) -> float:
    return float(one.source.geometry.frames)


def schedule(cells: list[Cell], *, workers: int = 2, cores: int = 2, **places: int | None) -> Schedule:
    return Schedule(cells, cost=cost, places=places or {"software": None}, workers=workers, cores=cores)


def test_the_longest_comes_first() -> None:
    plan = schedule([cell("b", 20), cell("c", 10), cell("a", 30)])
    assert [plan.take().cell.key for _ in range(2)] == ["a", "b"]


def test_a_family_without_a_place_lets_a_shorter_cell_pass() -> None:
    plan = schedule(
        [cell("n1", 50, "nvenc"), cell("n2", 40, "nvenc"), cell("s", 10)], workers=4, nvenc=1, software=None
    )
    with plan.take() as first, plan.take() as second:
        assert (first.cell.key, second.cell.key) == ("n1", "s")
    assert plan.take().cell.key == "n2"


@pytest.mark.parametrize(
    ("cells", "workers", "cores", "places", "threads"),
    [
        (4, 2, 2, None, [1, 1]),
        (1, 2, 2, None, [2]),
        (3, 16, 16, None, [5, 5, 5]),
        (40, 16, 16, 3, [5, 5, 5]),
        (40, 3, 16, None, [5, 5, 5]),
    ],
)
def test_a_scorer_gets_the_cores_that_no_other_cell_will_use(
    cells: int, workers: int, cores: int, places: int | None, threads: list[int]
) -> None:
    plan = schedule([cell(f"{i:02}", 9) for i in range(cells)], workers=workers, cores=cores, software=places)
    assert [plan.take().threads for _ in threads] == threads


def test_a_cell_from_outside_starts_within_the_same_limits() -> None:
    plan = schedule([], workers=3, cores=4, nvenc=1, software=None)
    with plan.admit(cell("n1", 9, "nvenc")) as first, plan.admit(cell("s1", 9)) as second:
        assert (first.threads, second.threads) == (4, 2)
        with ThreadPoolExecutor(3) as pool:
            later = [pool.submit(plan.admit, one) for one in (cell("n2", 9, "nvenc"), cell("s2", 9), cell("s3", 9))]
            time.sleep(0.1)
            # one of the software cells has the third place, the other one and the device's second cell wait
            started = [future.result() for future in later if future.done()]
            assert [place.cell.encoder.family for place in started] == ["software"]
            for place in (first, second, *started):
                place.__exit__()
            assert {future.result().cell.key for future in later} == {"n2", "s2", "s3"}
            first._held = second._held = False


def test_the_last_cells_share_all_cores() -> None:
    plan = schedule([cell(str(i), 9) for i in range(3)], workers=2, cores=8)
    with plan.take() as first, plan.take() as second:
        assert (first.threads, second.threads) == (4, 4)
    assert plan.take().threads == 8


def test_a_place_that_does_not_exist_is_given_up_and_one_stays() -> None:
    plan = schedule([cell(str(i), 9, "nvenc") for i in range(6)], workers=8, nvenc=4)
    taken = [plan.take() for _ in range(4)]
    taken.pop().give_up()
    assert plan.places == {"nvenc": 3}
    for place in taken:
        place.give_up()
    assert plan.places == {"nvenc": 1}


def test_a_cell_that_had_to_leave_waits_for_a_place() -> None:
    plan = schedule([cell(str(i), 9, "nvenc") for i in range(2)], workers=2, nvenc=2)
    back = threading.Event()

    def again(place: Place) -> None:
        place.wait()
        back.set()

    with plan.take() as first:
        with plan.take():
            first.give_up()
            threading.Thread(target=again, args=(first,), daemon=True).start()
            assert not back.wait(0.1)
        assert back.wait(5)


def test_a_place_is_given_back_whatever_happens() -> None:
    plan = schedule([cell(str(i), 9) for i in range(2)], workers=1)
    with pytest.raises(KeyError), plan.take():
        raise KeyError
    with plan.take() as place:
        place.give_up()
    assert plan.at_once == 1


def test_more_than_there_are_is_a_fault() -> None:
    plan = schedule([cell("a", 9)])
    plan.take()
    with pytest.raises(ValueError, match="empty"):
        plan.take()


@pytest.mark.parametrize("seed", range(5))
def test_whatever_the_mix_every_cell_runs_once_and_no_limit_is_passed(seed: int) -> None:
    rng = random.Random(seed)  # noqa: S311 - draws cases
    limits = {"software": None, "nvenc": rng.randint(1, 3), "qsv": 2}
    cells = [cell(str(i), rng.randint(1, 9), rng.choice(list(limits))) for i in range(40)]
    workers = rng.randint(1, 6)
    plan = schedule(cells, workers=workers, cores=4, **limits)
    running, most, lock = Counter[str](), Counter[str](), threading.Lock()

    def work(_turn: int) -> str:
        with plan.take() as place:
            family = place.cell.encoder.family
            with lock:
                running[family] += 1
                most[family] = max(most[family], running[family])
                most["all"] = max(most["all"], running.total())
            time.sleep(0.001)
            with lock:
                running[family] -= 1
        assert place.threads >= 1
        return place.cell.key

    with ThreadPoolExecutor(workers) as pool:
        done = list(pool.map(work, range(len(cells))))
    assert sorted(done, key=int) == [str(i) for i in range(40)]
    assert most["all"] <= workers
    assert all(most[family] <= (limit or workers) for family, limit in limits.items())
