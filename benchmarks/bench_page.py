"""The report page of runs of up to 500,000 rows and 300 sources: its size, and the time with its process."""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from kit.core import layout
from kit.corpus.store.shard import read_manifest
from kit.page.make import make
from kit.system.proc import Processes
from tests.steps.builders import judged_run

TURNS = 3
ENCODERS = ("libx264", "libx265", "libsvtav1")


def main() -> None:
    """Print the table."""
    print("\n| rows | sources | figures | `report.html` | whole folder | time |\n|---|---|---|---|---|---|")
    for sources, frames in ((4, 14), (14, 400), (40, 1400), (300, 30)):
        with tempfile.TemporaryDirectory() as folder:
            run = judged_run(
                Path(folder) / "run",
                sources=sources,
                encoders=ENCODERS,
                frames=frames,
                seeds=(0, 1, 2, 3, 4),
                epochs=200,
            )
            times = []
            for _ in range(TURNS):
                start = time.perf_counter()
                page = make(run, Path(folder) / layout.REPORT, Processes())
                times.append(time.perf_counter() - start)
            files = [path for path in page.parent.rglob("*") if path.is_file()]
            figures = sum(path.suffix == ".png" for path in files)
            print(
                f"| {read_manifest(run / layout.CORPUS).rows:,} | {sources} | {figures} | "
                f"{page.stat().st_size / 1e6:.2f} MB | {sum(p.stat().st_size for p in files) / 1e6:.2f} MB | "
                f"{statistics.median(times):.1f} s |"
            )
    print(f"\nmedians of {TURNS}; load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
