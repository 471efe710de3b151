"""SIGKILL at random moments of a corpus of 40 cells: what is finished stays, nothing is left over, the end is the same.

The Python process alone is killed, not its group. After each kill the same command runs again and has to end well; then
the shard must be that of an undisturbed run, byte for byte, no cell that was finished may have been made again, no
temporary file and no ffmpeg may be left. Exits 1 at the first miss.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from kit.system.fsio import TEMPORARY_PREFIX
from kit.system.proc import Processes
from kit.video.ffmpeg import COMMON, locate

CLIPS, FRAMES, CQS = 10, 12, "19,25,31,37"
#: Seconds after which no ffmpeg of a killed run may be left.
GRACE = 1.0


def kit(folder: Path, *words: str) -> subprocess.Popen[bytes]:
    """Start the kit for a run folder."""
    argv = [sys.executable, "-m", "kit", words[0], "--out-dir", str(folder), *words[1:]]
    return subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True)


def ended(process: subprocess.Popen[bytes], what: str) -> None:
    """Wait for an end that has to be a good one."""
    _, said = process.communicate(timeout=600)
    if process.returncode != 0:
        raise SystemExit(f"{what}: exit status {process.returncode}\n{said.decode()[-2000:]}")


def contents(folder: Path) -> dict[str, bytes]:
    """What has to be the same: all of the shard but what was observed."""
    shard = folder / "corpus"
    files = (path for path in shard.rglob("*") if path.is_file() and not path.name.endswith(".observed.json"))
    return {str(path.relative_to(shard)): path.read_bytes() for path in files}


def finished(folder: Path) -> dict[Path, tuple[int, int]]:
    """Cells that are there: file to inode and time."""
    return {
        path: (path.stat().st_ino, path.stat().st_mtime_ns)
        for path in (folder / "corpus").rglob("*.parquet")
        if not path.name.startswith(TEMPORARY_PREFIX)
    }


def working_in(folder: Path) -> list[int]:
    """Processes whose working folder is in the run folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if (entry / "cwd").readlink().is_relative_to(folder):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def trial(prepared: Path, folder: Path, moment: float, reference: dict[str, bytes]) -> int:
    """Kill a run at a moment, go on, compare; returns how many cells were finished when it was killed."""
    shutil.copytree(prepared, folder)
    process = kit(folder, "corpus")
    time.sleep(moment)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    time.sleep(GRACE)
    if left := working_in(folder):
        raise SystemExit(f"killed after {moment:.2f} s: processes {left} are left")
    before = finished(folder)
    ended(kit(folder, "corpus"), f"the restart after a kill at {moment:.2f} s")
    after = finished(folder)
    if again := [path.name for path, stamp in before.items() if after.get(path) != stamp]:
        raise SystemExit(f"killed after {moment:.2f} s: made again: {again}")
    if contents(folder) != reference:
        raise SystemExit(f"killed after {moment:.2f} s: another shard")
    if rest := [str(path) for path in folder.rglob(TEMPORARY_PREFIX + "*")]:
        raise SystemExit(f"killed after {moment:.2f} s: left over: {rest}")
    shutil.rmtree(folder)
    return len(before)


def main() -> None:
    """Print a summary."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    processes = Processes()
    ffmpeg = locate(None, origin="", processes=processes)
    with tempfile.TemporaryDirectory(prefix="stress-kill-") as name:
        base, clips = Path(name).resolve(), Path(name).resolve() / "ref"
        clips.mkdir()
        for number in range(CLIPS):
            argv = [
                str(ffmpeg.path),
                *COMMON,
                "-f",
                "lavfi",
                "-i",
                f"life=size=320x180:rate=25:seed={number}:mold=9",
                "-vf",
                "scale,format=yuv420p",
                "-frames:v",
                str(FRAMES),
                "-c:v",
                "ffv1",
                str(clips / f"Life{number}.mkv"),
            ]
            processes.run(argv, tried="drawing a clip", timeout=60)
        prepared, whole = base / "prepared", base / "whole"
        ended(kit(prepared, "prereqs", "--ref-dir", str(clips), "--cqs", CQS, "--box", "stress"), "prereqs")
        shutil.copytree(prepared, whole)
        start = time.monotonic()
        ended(kit(whole, "corpus"), "the undisturbed run")
        length, reference = time.monotonic() - start, contents(whole)
        rng = random.Random(asked.seed)  # noqa: S311 - moments, no secrets
        counts = []
        for number in range(asked.kills):
            counts.append(trial(prepared, base / f"run{number}", rng.uniform(0, length), reference))
            print(f"kill {number + 1}: {counts[-1]} of {CLIPS * 4} cells were finished", flush=True)
    print(
        f"{asked.kills} kills within {length:.1f} s: every restart ended well with the undisturbed run's shard "
        f"({len(reference)} files, byte for byte); finished at the kill: {min(counts)} to {max(counts)}, median "
        f"{statistics.median(counts):.0f}, none made again; nothing left over"
    )


if __name__ == "__main__":
    main()
