"""Making cells: the kit's ways against encode, decode to .yuv, score; side by side, taken in turn.

One source of 1080p 8 bit, four quality points of libx264 medium, all cores. The kit's way, and one process for all
quality points, are compared with the way of the scripts before it, which wrote every encode as raw video and scored it
with one thread: one cell at a time, and two.
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
from dataclasses import dataclass, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from kit.core.values import NO_DEVICE, Cell, ReadyEncoder
from kit.corpus.make.produce import Bench, produce
from kit.corpus.make.schedule import Schedule
from kit.corpus.plan import plan_cells
from kit.corpus.store.cellfile import CellRows
from kit.corpus.store.shard import FailedCell
from kit.platforms.registry import settings_for
from kit.system.pool import run_many
from kit.system.proc import Processes
from kit.video.ffmpeg import COMMON, Ffmpeg, distorted_filters, input_args, locate, reference_filters
from kit.video.scorers.teachers import CANONICAL
from kit.video.sources.identity import identify
from kit.video.sources.read import Tools
from kit.video.sources.scan import inspect_all, list_folder

CQS = (19, 25, 31, 37)
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True)
class Turn:
    """What one way took: wall seconds, CPU seconds of its processes, bytes of raw video it wrote."""

    wall: float
    cpu: float
    raw: int


def make_source(ffmpeg: Ffmpeg, folder: Path, frames: int) -> None:
    """A fractal with grain: as hard to encode as a film, different in every frame."""
    argv = [
        str(ffmpeg.path),
        *COMMON,
        "-f",
        "lavfi",
        "-i",
        "mandelbrot=size=1920x1080:rate=25:start_scale=0.4",
        "-vf",
        "scale,format=yuv420p,noise=alls=6:allf=t:all_seed=1",
        "-frames:v",
        str(frames),
        "-f",
        "rawvideo",
        str(folder / "Grain_1920x1080_25fps.yuv"),
    ]
    Processes().run(argv, tried="drawing the source", timeout=600)


def cells_of(folder: Path, ffmpeg: Ffmpeg) -> tuple[Cell, ...]:
    """The four cells."""
    tools = Tools(ffmpeg=ffmpeg, processes=Processes())
    files = inspect_all(list_folder(folder).clips, folder, assumed=None, tools=tools)
    sources = [identify(file, tools, folder.parent / "cache") for file in files]
    encoder = ReadyEncoder(
        name="libx264",
        family="software",
        build="x264",
        variant="",
        device=NO_DEVICE,
        max_parallel=None,
        megapixels_per_second=1.0,
    )
    return plan_cells(
        sources,
        [("libx264", cq) for cq in CQS],
        encoders=[encoder],
        settings_for=settings_for,
        architecture=platform.machine(),
        teacher=CANONICAL,
        scorer_id="cpu",
    )


def old_way(cell: Cell, ffmpeg: Ffmpeg, scratch: Path) -> int:
    """Encode to a file, decode it to raw video, score that with one thread; returns the raw bytes."""
    stream, raw, log = (scratch / f"{cell.settings.cq}.{end}" for end in ("mp4", "yuv", "json"))
    head, source = [str(ffmpeg.path), *COMMON], input_args(cell.source.file)
    geometry = cell.source.geometry
    decoded = input_args(replace(cell.source.file, path=raw, geometry=geometry))
    model = f"model=version={cell.teacher.id}"
    for argv in (
        [*head, *source, "-c:v", "libx264", "-preset", "medium", "-crf", str(cell.settings.cq), str(stream)],
        [*head, "-i", str(stream), "-f", "rawvideo", str(raw)],
        [
            *head,
            *decoded,
            *source,
            "-lavfi",
            f"[0:v][1:v]libvmaf=log_fmt=json:log_path={log}:{model}:n_threads=1",
            "-f",
            "null",
            "-",
        ],
    ):
        Processes().run(argv, tried="the old way", timeout=3600)
    size = raw.stat().st_size
    raw.unlink()
    return size


def new_way(cells: Sequence[Cell], bench: Bench) -> int:
    """The kit's own way, a cell for every core."""
    schedule = Schedule(cells, cost=lambda _cell: 1.0, limits={"software": None}, workers=CORES, cores=CORES)

    def make(_turn: int) -> CellRows | FailedCell:
        with schedule.take() as place:
            return produce(place.cell, bench, scorer_threads=place.threads)

    made = run_many(make, range(len(cells)), workers=CORES, stop=bench.processes.stop)
    if not all(isinstance(rows, CellRows) for rows in made):
        raise SystemExit(f"a cell failed: {made}")
    return 0


def grouped_way(cells: Sequence[Cell], ffmpeg: Ffmpeg, scratch: Path) -> int:
    """One process for all quality points of a source: it is read once for all of them."""
    source, count = cells[0].source, len(cells)
    heads = "".join(f"[e{i}][r{i}]" for i in range(count))
    argv = [
        str(ffmpeg.path),
        *COMMON,
        *input_args(source.file),
        "-filter_complex",
        f"[0:V:0]{reference_filters(source.geometry, cells[0].settings)},split={2 * count}{heads}",
    ]
    for i, cell in enumerate(cells):
        argv += ["-map", f"[e{i}]", "-fps_mode", "passthrough", *cell.settings.argv, "-f", "streamhash", f"hash{i}"]
    for i, cell in enumerate(cells):
        argv += [
            "-dec",
            f"{i}:0",
            "-filter_complex",
            f"[dec:{i}]{distorted_filters(source.geometry, cell.settings)}[d{i}];[d{i}][r{i}]libvmaf=log_fmt=json:"
            f"log_path=log{i}.json:model=version={cell.teacher.id}:n_threads=1:shortest=1:repeatlast=0[o{i}]",
            "-map",
            f"[o{i}]",
            "-fps_mode",
            "passthrough",
            "-f",
            "null",
            "-",
        ]
    Processes().run(argv, tried="a group of cells", timeout=3600, cwd=scratch)
    return 0


def taken(way: Callable[[Path], int], folder: Path) -> Turn:
    """Run a way in a folder of its own."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        raw = way(Path(scratch))
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return Turn(wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, raw)


def ways(cells: Sequence[Cell], ffmpeg: Ffmpeg) -> dict[str, Callable[[Path], int]]:
    """What is compared, by name; the first is the measure."""

    def old(at_once: int) -> Callable[[Path], int]:
        def way(scratch: Path) -> int:
            with ThreadPoolExecutor(at_once) as pool:
                return sum(pool.map(lambda cell: old_way(cell, ffmpeg, scratch), cells))

        return way

    def new(scratch: Path) -> int:
        bench = Bench(ffmpeg=ffmpeg, processes=Processes(), folder=scratch, box="b", platform="p", corpus="c")
        return new_way(cells, bench)

    return {
        "old way, one at a time": old(1),
        "old way, two at a time": old(2),
        f"kit, {CORES} cells at once": new,
        "one process for all cells": lambda scratch: grouped_way(cells, ffmpeg, scratch),
    }


def main() -> None:
    """Print a table of medians and ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=100)
    parser.add_argument("--turns", type=int, default=5)
    asked = parser.parse_args()
    ffmpeg = locate(None, origin="", processes=Processes())
    with tempfile.TemporaryDirectory(prefix="bench-corpus-") as name:
        folder = Path(name)
        (folder / "ref").mkdir()
        make_source(ffmpeg, folder / "ref", asked.frames)
        compared = ways(cells_of(folder / "ref", ffmpeg), ffmpeg)
        turns: dict[str, list[Turn]] = {way: [] for way in compared}
        for _ in range(asked.turns):
            for way, action in compared.items():
                turns[way].append(taken(action, folder))
    print(
        f"1080p 8 bit, {asked.frames} frames, libx264 medium, crf {', '.join(map(str, CQS))}; {CORES} cores, "
        f"medians of {asked.turns} turns"
    )
    measure = statistics.median(turn.wall for turn in next(iter(turns.values())))
    print(f"{'way':26} {'wall s':>8} {'CPU s':>8} {'wall/(CPU/cores)':>17} {'raw MB':>8} {'speed':>7}")
    for way, seen in turns.items():
        wall, cpu = (statistics.median(getattr(turn, what) for turn in seen) for what in ("wall", "cpu"))
        idle = statistics.median(turn.wall / (turn.cpu / CORES) for turn in seen)
        print(f"{way:26} {wall:8.2f} {cpu:8.2f} {idle:17.2f} {seen[0].raw / 1e6:8.0f} {measure / wall:7.2f}")


if __name__ == "__main__":
    main()
