"""The cost of a verdict in processor time: 19 content groups, 5 seeds, 4,256 rows of one encoder or 12,768 of three."""

from __future__ import annotations

import cProfile
import os
import pstats
import statistics
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from kit.core import layout
from kit.steps import loso_folder
from kit.verdict.judge import judge
from tests.corpus.builders import plan, shard_of
from tests.options.builders import run_in
from tests.steps.builders import write_training

GROUPS, FRAMES, TURNS = 19, 56, 5


def main() -> None:
    """Print the table; with ``--profile`` what takes the time."""
    print("| rows | encoders | first | median of the others |\n|---|---|---|---|")
    for encoders in (("libx264",), ("libx264", "libx265", "libsvtav1")):
        with tempfile.TemporaryDirectory() as folder:
            run = Path(folder) / "run"
            cells = plan([f"Clip{number}" for number in range(GROUPS)], encoders, (19, 25, 31, 37), frames=FRAMES)
            shard = shard_of(run / layout.CORPUS, cells)
            config, session = run_in(run, epochs=3, seeds=(0, 1, 2, 3, 4))
            write_training(config, session, shard, 1.0)
            training = loso_folder.load(config)
            times = []
            for _ in range(1 + TURNS):
                start = time.process_time()
                judge(training, ())
                times.append(time.process_time() - start)
            print(f"| {shard.rows:,} | {len(encoders)} | {times[0]:.2f} s | {statistics.median(times[1:]):.2f} s |")
            if "--profile" in sys.argv:
                with cProfile.Profile() as profile:
                    judge(training, ())
                pstats.Stats(profile).sort_stats("cumulative").print_stats(25)
    print(f"\nmedians of {TURNS}; load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
