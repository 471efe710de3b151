"""`verify` of a whole bundle: 45 members, 40,000 rows, models and all."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # before onnxruntime is loaded

from kit.core import exits, layout
from kit.corpus.store.shard import read_manifest
from kit.steps import step_03_train, step_04_verdict, step_05_bundle
from kit.system.fsio import write_json
from kit.system.proc import Processes
from kit.verify import bundle as verification
from kit.verify.check import Check
from kit.verify.checks import run_checks
from kit.verify.received_run import ReceivedRun
from tests.corpus.builders import plan, shard_of
from tests.options.builders import run_in

SOURCES, CELLS, FRAMES, TURNS = 9, 27, 165, 5


@dataclass(frozen=True, kw_only=True)
class Made:
    """A bundle and how many rows it has."""

    path: Path
    rows: int


def make(folder: Path) -> Made:
    """A run on made-up rows, trained for as long as it takes to come to PROMOTE."""
    run = folder / "run"
    write_json(run / layout.PREREQS, {"box": "bench"})
    cells = plan([f"s{number}" for number in range(SOURCES)], cqs=range(19, 19 + CELLS), frames=FRAMES)
    shard_of(run / layout.CORPUS, cells)
    config, session = run_in(run, seeds=(0, 1, 2, 3, 4), epochs=4)
    trained = step_03_train.run(config, read_manifest(run / layout.CORPUS), session)
    verdict = step_04_verdict.run(config, trained, session)
    return Made(path=step_05_bundle.run(config, verdict, session).path, rows=trained.shard.rows)


def seconds(made: Made) -> tuple[float, bool]:
    """Time of the whole command, its start included, and whether all was well."""
    command = (sys.executable, "-c", "import sys; from kit.cli.main import main; sys.exit(main(sys.argv[1:]))")
    start = time.perf_counter()
    ended = subprocess.run([*command, "verify", made.path], cwd=ROOT, capture_output=True, check=False)
    return time.perf_counter() - start, ended.returncode == exits.OK


def by_check(made: Made) -> Iterator[tuple[Check, float]]:
    """Every check and its time, in this process."""
    with tempfile.TemporaryDirectory() as scratch:
        verification.verify(made.path, Path(scratch), Processes())
        last = time.perf_counter()
        for check in run_checks(ReceivedRun(verification.unpacked_folder(Path(scratch)))):
            yield check, time.perf_counter() - last
            last = time.perf_counter()


def main() -> None:
    """Print the tables."""
    with tempfile.TemporaryDirectory() as folder:
        made = make(Path(folder))
        turns = [seconds(made) for _ in range(TURNS)]
        size = made.path.stat().st_size / 1e6
        print(f"\n{made.rows} rows, {SOURCES * CELLS} cells, {SOURCES * 5} members, {size:.1f} MB")
        print(
            f"verify, median of {TURNS}: {statistics.median(time for time, _ in turns):.2f} s; "
            f"valid: {all(valid for _, valid in turns)}; load {os.getloadavg()[0]:.1f}"
        )
        for check, took in by_check(made):
            print(f"  {check.name:20} {took:6.2f} s  {check.found}")


if __name__ == "__main__":
    main()
