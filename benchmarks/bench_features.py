"""Extracting features against libvmaf alone on all cores; side by side, taken in turn.

One 1080p source and stored encodes of it, as npd has them. libvmaf alone is ffmpeg's filter on the same files: one clip
after another with a thread for each core, and as many clips at once as there are cores. The kit starts without anything
kept: it hashes every clip, scores, checks counts, reads the logs and keeps the numbers.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from kit import contract
from kit.ffmpeg import COMMON, Ffmpeg, input_args, locate
from kit.platforms.detect import probe_host
from kit.proc import Processes
from kit.scorers.ffmpeg_filter import FilterScorer
from kit.scorers.teachers import CANONICAL
from kit.sources.read import Tools
from kit.sources.scan import inspect
from kit.tiny.extraction import extract
from kit.tiny.feature_cache import Cache
from kit.tiny.measuring import Instruments, Pair
from kit.types import Scorer, SourceFile

CRFS = (23, 31, 39, 47)
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True)
class Turn:
    """Wall seconds of one way, and CPU seconds of it and its processes."""

    wall: float
    cpu: float


def make_clips(ffmpeg: Ffmpeg, folder: Path, frames: int) -> tuple[SourceFile, list[SourceFile]]:
    """A fractal with grain, and what libx264 makes of it, as raw video."""
    head, size = [str(ffmpeg.path), *COMMON], "1920x1080_25fps_8bit_420"
    source = folder / f"Grain_{size}.yuv"
    raw = ("-f", "rawvideo")
    Processes().run(
        [*head, "-f", "lavfi", "-i", "mandelbrot=size=1920x1080:rate=25:start_scale=0.4",
         "-vf", "scale,format=yuv420p,noise=alls=6:allf=t:all_seed=1", "-frames:v", str(frames), *raw, str(source)],
        tried="drawing the source", timeout=600,
    )  # fmt: skip
    tools = Tools(ffmpeg=ffmpeg, processes=Processes())
    reference = inspect(source, "Grain", assumed=None, tools=tools)
    encodes = []
    for crf in CRFS:
        stream, path = folder / "encode.mkv", folder / f"Grain{crf}_{size}.yuv"
        encoder = ("-c:v", "libx264", "-preset", "veryfast", "-crf", str(crf))
        Processes().run([*head, *input_args(reference), *encoder, str(stream)], tried="encoding", timeout=600)
        Processes().run([*head, "-i", str(stream), *raw, str(path)], tried="decoding", timeout=600)
        encodes.append(inspect(path, path.stem, assumed=None, tools=tools))
    return reference, encodes


def alone(ffmpeg: Ffmpeg, reference: SourceFile, encodes: Sequence[SourceFile], *, at_once: int) -> None:
    """libvmaf as anybody calls it; as many threads as are left over for each clip."""

    def score(encode: SourceFile) -> None:
        with tempfile.TemporaryDirectory() as folder:
            Processes().run(
                [str(ffmpeg.path), *COMMON, *input_args(encode), *input_args(reference), "-lavfi",
                 f"[0:v][1:v]libvmaf=log_fmt=json:log_path={folder}/log.json:model=version={contract.CANONICAL_MODEL}"
                 f":n_threads={CORES // at_once}", "-f", "null", "-"], tried="libvmaf alone", timeout=3600,
            )  # fmt: skip

    with ThreadPoolExecutor(at_once) as pool:
        list(pool.map(score, encodes))


def by_kit(ffmpeg: Ffmpeg, reference: SourceFile, encodes: Sequence[SourceFile]) -> None:
    """The kit's way from nothing."""
    with tempfile.TemporaryDirectory() as folder:
        instruments = Instruments(
            scorer=FilterScorer(ffmpeg=ffmpeg), encoding=ffmpeg, proof=Scorer(id="cpu", version="", golden={}),
            teacher=CANONICAL, feature_set=contract.FEATURE_SET, processes=Processes(), identities=Path(folder),
        )  # fmt: skip
        pairs = [Pair(source="Grain", clip=file.label, reference=reference, distorted=file) for file in encodes]
        cache = Cache(folder=Path(folder) / "kept")
        done, failed = extract(pairs, instruments, cache=cache, facts=probe_host(instruments.processes))
        if failed or len(done) != len(encodes):
            raise SystemExit(f"clips failed: {failed}")


def taken(way: Callable[[], None]) -> Turn:
    """Run a way."""

    def used() -> float:
        both = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return sum(one.ru_utime + one.ru_stime for one in both)

    before, start = used(), time.perf_counter()
    way()
    return Turn(wall=time.perf_counter() - start, cpu=used() - before)


def main() -> None:
    """Print a line for each way, and how much of libvmaf's speed is left."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--turns", type=int, default=5)
    asked = parser.parse_args()
    ffmpeg = locate(None, origin="", processes=Processes())
    with tempfile.TemporaryDirectory() as folder:
        reference, encodes = make_clips(ffmpeg, Path(folder), asked.frames)
        ways: dict[str, Callable[[], None]] = {
            f"libvmaf, {CORES} threads": lambda: alone(ffmpeg, reference, encodes, at_once=1),
            f"libvmaf, {CORES} clips at once": lambda: alone(ffmpeg, reference, encodes, at_once=CORES),
            "the kit": lambda: by_kit(ffmpeg, reference, encodes),
        }
        turns: dict[str, list[Turn]] = {name: [] for name in ways}
        for _ in range(asked.turns):
            for name, way in ways.items():
                turns[name].append(taken(way))
    rows = asked.frames * len(encodes)
    print(f"{platform.machine()}, {CORES} cores, {len(encodes)} clips of {asked.frames} frames 1080p, "
          f"median of {asked.turns}; ffmpeg {ffmpeg.version}")  # fmt: skip
    medians = {name: statistics.median(turn.wall for turn in found) for name, found in turns.items()}
    for name, found in turns.items():
        cpu = statistics.median(turn.cpu for turn in found)
        print(f"{name:28} {medians[name]:7.2f} s {rows / medians[name]:7.1f} frames/s {cpu:7.2f} CPU s")
    *baseline, own = medians.values()
    print(f"the kit has {min(baseline) / own:.1%} of the speed of the faster one")


if __name__ == "__main__":
    main()
