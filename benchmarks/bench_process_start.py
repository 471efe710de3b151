"""What the guard beside every child costs: medians of starts with it and without, in turn."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from kit.system.proc import Processes
from kit.video.ffmpeg import locate

RUNS = 50


def plain(argv: Sequence[str]) -> None:
    """Start a process as it would be without a guard."""
    subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, start_new_session=True, check=True)


def main() -> None:
    """Print a table; with an argument, of a kit that uses so many megabytes."""
    ballast = bytes(range(256)) * (int(sys.argv[1]) * 4096) if len(sys.argv) > 1 else b""
    processes = Processes()
    ffmpeg = locate(None, origin="", processes=processes)
    ways: dict[str, Callable[[Sequence[str]], object]] = {
        "without": plain,
        "with its guard": lambda argv: processes.run(argv, tried="x", timeout=60),
    }
    print(f"{'start':20} {'way':16} {'median':>9}   ({RUNS} runs each, {len(ballast) >> 20} MB in use)")
    for name, argv in {"true": ["true"], "ffmpeg -version": [str(ffmpeg.path), "-version"]}.items():
        times: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(RUNS):
            for way, start in ways.items():
                begin = time.perf_counter()
                start(argv)
                times[way].append(time.perf_counter() - begin)
        for way, values in times.items():
            print(f"{name:20} {way:16} {statistics.median(values) * 1000:6.2f} ms")


if __name__ == "__main__":
    main()
