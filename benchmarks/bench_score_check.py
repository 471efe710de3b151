"""The comparison of scores with the teacher's formula, beside the reading of the same rows.

python benchmarks/bench_score_check.py [--cells 400] [--frames 500]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from kit.corpus.store.received import read_cell, read_shard
from kit.corpus.store.score_check import ScoreCheck
from kit.corpus.store.shard import read_rows
from kit.video.scorers.teachers import CANONICAL
from tests.corpus.builders import formula_rows, plan, shard_of

TURNS = 5


def microseconds(work: Callable[[], object], rows: int) -> float:
    """Return the shortest time of some turns, microseconds a row."""
    times = []
    for _ in range(TURNS):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times) / rows * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, default=400)
    parser.add_argument("--frames", type=int, default=500)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        cells = plan([f"s{n}" for n in range(given.cells)], cqs=(31,), frames=given.frames, teacher=CANONICAL)
        shard = shard_of(Path(folder, "corpus"), cells, teacher=CANONICAL, rows=formula_rows)
        received = read_shard(shard.folder, "corpus")
        read = list(read_rows(shard))

        def check() -> None:
            own = ScoreCheck(CANONICAL)
            for entry, rows in read:
                own.add(entry.id, rows.features, rows.vmaf)
            if own.problem is not None:
                raise ValueError(own.problem)

        figures = {
            "read with hashes (run --corpus)": microseconds(lambda: list(read_rows(shard)), shard.rows),
            "read with all checks (merge, verify)": microseconds(
                lambda: [read_cell(received, entry) for entry in received.cells], shard.rows
            ),
            "compare with the formula": microseconds(check, shard.rows),
        }
        print(f"{shard.rows} rows in {len(cells)} cells")
        for name, value in figures.items():
            print(f"{name}: {value:.2f} us a row")


if __name__ == "__main__":
    main()
