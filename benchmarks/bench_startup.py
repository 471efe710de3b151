"""What a start costs beyond that of the interpreter: medians of several runs, side by side, taken in turn."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RUNS = 15

CASES = {
    "python3 -c pass": ["-c", "pass"],
    "python3 run_full_pipeline.py --help": [str(ROOT / "run_full_pipeline.py"), "--help"],
    "python3 -m kit corpus --help": ["-m", "kit", "corpus", "--help"],
    "python3 -m kit (second start, to the command line's answer)": ["-m", "kit"],
}


def seconds(python: str, arguments: list[str]) -> float:
    """Wall time of one start."""
    start = time.perf_counter()
    subprocess.run([python, *arguments], cwd=ROOT, capture_output=True, check=False)
    return time.perf_counter() - start


def main() -> None:
    """Print a table; the interpreter is the first argument, else the running one's base."""
    python = sys.argv[1] if len(sys.argv) > 1 else str(Path(sys.base_prefix) / "bin" / "python3")
    # the environment is there afterwards
    seconds(python, CASES["python3 -m kit (second start, to the command line's answer)"])
    times: dict[str, list[float]] = {name: [] for name in CASES}
    for _ in range(RUNS):
        for name, arguments in CASES.items():
            times[name].append(seconds(python, arguments))
    plain = statistics.median(times["python3 -c pass"])
    print(f"{'start':62} {'median':>8} {'over plain':>11}   ({RUNS} runs each)")
    for name, values in times.items():
        median = statistics.median(values)
        print(f"{name:62} {median * 1000:5.0f} ms {(median - plain) * 1000:8.0f} ms")


if __name__ == "__main__":
    main()
