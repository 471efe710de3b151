"""Extracting features against libvmaf alone on all cores; side by side, taken in turn.

One 1080p source and stored encodes of it, or the clips of an npd folder (``--npd DIR``). libvmaf alone is ffmpeg's
filter on the same files, behind the same scaler: one clip after another with a thread for each core, and as many clips
at once as there are cores. The kit starts without anything kept: it hashes every clip, scores, checks counts, reads the
logs and keeps the numbers.
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

from kit.core import contract
from kit.core.values import Scorer
from kit.features.extraction import extract, pairs_of
from kit.features.feature_cache import Cache
from kit.features.measuring import ClipPair, Instruments
from kit.platforms.detect import probe_host
from kit.system.proc import Processes
from kit.video.datasets.load import open_folder
from kit.video.ffmpeg import COMMON, Ffmpeg, distorted_source_filters, input_args, locate
from kit.video.scorers.ffmpeg_filter import FilterScorer
from kit.video.scorers.teachers import CANONICAL
from kit.video.sources.read import Tools
from kit.video.sources.scan import inspect

CRFS = (23, 31, 39, 47)
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True)
class Turn:
    """Wall seconds of one way, and CPU seconds of it and its processes."""

    wall: float
    cpu: float


def make_pairs(ffmpeg: Ffmpeg, folder: Path, frames: int) -> list[ClipPair]:
    """A fractal with grain, and what libx264 makes of it, as raw video."""
    head, size = [str(ffmpeg.path), *COMMON], "1920x1080_25fps_8bit_420"
    source = folder / f"Grain_{size}.yuv"
    raw = ("-f", "rawvideo")
    Processes().run(
        [
            *head,
            "-f",
            "lavfi",
            "-i",
            "mandelbrot=size=1920x1080:rate=25:start_scale=0.4",
            "-vf",
            "scale,format=yuv420p,noise=alls=6:allf=t:all_seed=1",
            "-frames:v",
            str(frames),
            *raw,
            str(source),
        ],
        tried="drawing the source",
        timeout=600,
    )
    tools = Tools(ffmpeg=ffmpeg, processes=Processes())
    reference = inspect(source, "Grain", assumed=None, tools=tools)
    pairs = []
    for crf in CRFS:
        stream, path = folder / "encode.mkv", folder / f"Grain{crf}_{size}.yuv"
        encoder = ("-c:v", "libx264", "-preset", "veryfast", "-crf", str(crf))
        Processes().run([*head, *input_args(reference), *encoder, str(stream)], tried="encoding", timeout=600)
        Processes().run([*head, "-i", str(stream), *raw, str(path)], tried="decoding", timeout=600)
        encode = inspect(path, path.stem, assumed=None, tools=tools)
        pairs.append(ClipPair(source="Grain", clip=encode.label, reference=reference, distorted=encode))
    return pairs


def pairs_in(ffmpeg: Ffmpeg, npd: Path, cache: Path) -> list[ClipPair]:
    """The clips of an npd folder, all of which can be used."""
    tools = Tools(ffmpeg=ffmpeg, processes=Processes())
    return list(pairs_of(open_folder(npd, requested="npd", assumed=None, tools=tools, cache=cache, whole=False)))


def alone(ffmpeg: Ffmpeg, pairs: Sequence[ClipPair], *, at_once: int) -> None:
    """libvmaf as anybody calls it; as many threads as are left over for each clip."""

    def score(pair: ClipPair) -> None:
        if pair.distorted is None:
            raise SystemExit(f"{pair.name} has no stored encode")
        scaler = distorted_source_filters(pair.distorted.geometry, pair.reference.geometry)
        with tempfile.TemporaryDirectory() as folder:
            Processes().run(
                [
                    str(ffmpeg.path),
                    *COMMON,
                    *input_args(pair.distorted),
                    *input_args(pair.reference),
                    "-lavfi",
                    f"[0:v]{scaler}[d];[d][1:v]libvmaf=log_fmt=json:log_path={folder}/log.json"
                    f":model=version={contract.CANONICAL_MODEL}:n_threads={CORES // at_once}",
                    "-f",
                    "null",
                    "-",
                ],
                tried="libvmaf alone",
                timeout=3600,
            )

    with ThreadPoolExecutor(at_once) as pool:
        list(pool.map(score, pairs))


def by_kit(ffmpeg: Ffmpeg, pairs: Sequence[ClipPair]) -> None:
    """The kit's way from nothing."""
    with tempfile.TemporaryDirectory() as folder:
        instruments = Instruments(
            scorer=FilterScorer(ffmpeg=ffmpeg),
            encoding=ffmpeg,
            proof=Scorer(id="cpu", version="", golden={}),
            teacher=CANONICAL,
            feature_set=contract.FEATURE_SET,
            processes=Processes(),
            identities=Path(folder),
        )
        cache = Cache(folder=Path(folder) / "kept")
        done, failed = extract(pairs, instruments, cache=cache, facts=probe_host(instruments.processes))
        if failed or len(done) != len(pairs):
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
    parser.add_argument("--npd", type=Path, help="Folder with ref/ and dis/, instead of clips that are made.")
    asked = parser.parse_args()
    ffmpeg = locate(None, origin="", processes=Processes())
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        pairs = pairs_in(ffmpeg, asked.npd, folder) if asked.npd else make_pairs(ffmpeg, folder, asked.frames)
        ways: dict[str, Callable[[], None]] = {
            f"libvmaf, {CORES} threads": lambda: alone(ffmpeg, pairs, at_once=1),
            f"libvmaf, {CORES} clips at once": lambda: alone(ffmpeg, pairs, at_once=CORES),
            "the kit": lambda: by_kit(ffmpeg, pairs),
        }
        turns: dict[str, list[Turn]] = {name: [] for name in ways}
        for _ in range(asked.turns):
            for name, way in ways.items():
                turns[name].append(taken(way))
    rows = sum(pair.reference.geometry.frames for pair in pairs)
    print(
        f"{platform.machine()}, {CORES} cores, {len(pairs)} clips of {len({pair.source for pair in pairs})} sources, "
        f"{rows} frames, median of {asked.turns}; ffmpeg {ffmpeg.version}"
    )
    medians = {name: statistics.median(turn.wall for turn in found) for name, found in turns.items()}
    for name, found in turns.items():
        cpu = statistics.median(turn.cpu for turn in found)
        print(f"{name:28} {medians[name]:7.2f} s {rows / medians[name]:7.1f} frames/s {cpu:7.2f} CPU s")
    *baseline, own = medians.values()
    print(f"the kit has {min(baseline) / own:.1%} of the speed of the faster one")


if __name__ == "__main__":
    main()
