"""Fingerprints: which planted copies are found, how far different clips are from a match, and what it costs.

    python benchmarks/bench_fingerprints.py [--clips DIR] [--quick]

The clips are the demo clips and those of ``--clips``. Of each clip copies are made: compressed, graded, scaled,
cropped, mirrored, begun later, with half the frame rate, and several of these at once. The margin is the similarity
less its threshold: a copy with a margin below 0 is missed, a pair of different clips with one of 0 or more is a false
match.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import partial
from itertools import combinations
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from kit.core.canon import sha256_chunks
from kit.core.values import Geometry, SourceFile
from kit.system.proc import Processes
from kit.video.ffmpeg import COMMON, locate
from kit.video.fingerprints.compare import Clip, find_pairs, similarity, threshold
from kit.video.fingerprints.fingerprint import GRID, Fingerprint, Fingerprinter
from kit.video.sources.demo import write_demo_sources
from kit.video.sources.read import Tools, frames_of
from kit.video.sources.scan import inspect_all, list_folder

_FINE = ("-crf", "18")
_EVEN = "trunc(iw/4)*2:trunc(ih/4)*2"
#: Copy to its filters and the options of libx264.
COPIES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "crf 40": ("null", ("-crf", "40")),
    "crf 51": ("null", ("-crf", "51")),
    "brighter, contrast, gamma, colour": ("eq=brightness=0.1:contrast=1.3:gamma=1.4:saturation=1.6", _FINE),
    "darker, flat, gamma, grey": ("eq=brightness=-0.12:contrast=0.7:gamma=0.7:saturation=0.3", _FINE),
    "noise, crf 30": ("noise=alls=20:allf=t:all_seed=1", ("-crf", "30")),
    "half the size": (f"scale={_EVEN}", _FINE),
    "1280x720": ("scale=1280:720", _FINE),
    "480x360": ("scale=480:360", _FINE),
    "cropped by 10 %, centre": ("crop=iw*0.9:ih*0.9", _FINE),
    "cropped by 10 %, corner": ("crop=iw*0.9:ih*0.9:0:0", _FINE),
    "cropped by 10 %, left": ("crop=iw*0.9:ih:iw*0.1:0", _FINE),
    "cropped by 10 %, top": ("crop=iw:ih*0.9:0:ih*0.1", _FINE),
    "cropped by 10 % at every side": ("crop=iw*0.8:ih*0.8", _FINE),
    "mirrored": ("hflip", _FINE),
    "mirrored, cropped": ("hflip,crop=iw*0.9:ih*0.9:0:0", _FINE),
    "5 frames later": ("trim=start_frame=5,setpts=PTS-STARTPTS", _FINE),
    "8 frames later": ("trim=start_frame=8,setpts=PTS-STARTPTS", _FINE),
    "half the frame rate": ("fps=source_fps/2", _FINE),
    "6 later, cropped, mirrored, graded, scaled, crf 36": (
        "trim=start_frame=6,setpts=PTS-STARTPTS,crop=iw*0.9:ih*0.9,hflip,eq=brightness=0.06:contrast=1.2:gamma=1.2,"
        "scale=480:270",
        ("-crf", "36"),
    ),
}


def fingerprint(file: SourceFile, tools: Tools) -> Fingerprint:
    """Decode a clip and return its fingerprint."""
    fingerprinter = Fingerprinter(file.geometry)
    for frame in frames_of(file, tools):
        fingerprinter.add(frame)
    return fingerprinter.result()


def copy(file: SourceFile, name: str, folder: Path, tools: Tools) -> SourceFile:
    """Write a copy of a clip."""
    filters, options = COPIES[name]
    filters = filters.replace("source_fps", str(file.geometry.fps))
    geometry = file.geometry
    raw = ("-f", "rawvideo", "-pixel_format", geometry.pix_fmt, "-video_size", f"{geometry.width}x{geometry.height}")
    given = (*raw, "-framerate", str(geometry.fps)) if file.kind == "yuv" else ()
    path = folder / "copy.mkv"
    argv = (str(tools.ffmpeg.path), *COMMON, "-y", *given, "-i", str(file.path), "-vf", filters)
    encoder = ("-c:v", "libx264", "-preset", "veryfast", "-threads", "1", "-pix_fmt", "yuv420p", "-an")
    tools.processes.run((*argv, *encoder, *options, str(path)), tried=f"making a copy: {name}", timeout=300)
    (made,) = inspect_all([path], folder, assumed=None, tools=tools)
    return made


def margin(one: Clip, two: Clip) -> float:
    """Return how far two clips are above the threshold of a match."""
    best = similarity(one, two)
    return -1.0 if best is None else best[0] - threshold(one, two)


def accuracy(title: str, files: Sequence[SourceFile], tools: Tools, copies: Sequence[str]) -> dict[str, Clip]:
    """Print a table of the copies of some clips, and the nearest different clips."""
    clips = {file.label: Clip(fingerprint(file, tools)) for file in files}
    margins: defaultdict[str, list[tuple[float, str]]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        for file in files:
            for name in copies:
                made = Clip(fingerprint(copy(file, name, Path(folder), tools), tools))
                margins[name].append((margin(clips[file.label], made), file.label))
    print(f"\n{title}: {len(clips)} clips\n\n| copy | found | smallest margin | of |\n|---|---|---|---|")
    for name, values in margins.items():
        least, label = min(values)
        print(f"| {name} | {sum(value >= 0 for value, _ in values)} of {len(values)} | {least:+.3f} | {label} |")
    nearest(title, clips)
    return clips


def nearest(title: str, clips: Mapping[str, Clip]) -> None:
    """Print how far different clips are from a match."""
    pairs = sorted(((margin(clips[one], clips[two]), one, two) for one, two in combinations(clips, 2)), reverse=True)
    false = sum(value >= 0 for value, _, _ in pairs)
    print(f"\n{title}: {false} of {len(pairs)} pairs of different clips match. The nearest:")
    for value, one, two in pairs[:5]:
        print(f"    {value:+.3f}  {one} and {two}")


def milliseconds(work: Callable[[], object]) -> float:
    """Return the median time of 15 calls."""
    turns = []
    for _ in range(15):
        begin = time.perf_counter()
        work()
        turns.append(time.perf_counter() - begin)
    return 1000 * float(np.median(turns))


def cost() -> None:
    """Print the time of a frame in the hash of the identity and in the fingerprint, and the time of comparisons."""
    print("\n| frame | SHA-256, ms | fingerprint, ms |\n|---|---|---|")
    for width, height, depth in ((640, 360, 8), (1920, 1080, 8), (1920, 1080, 10), (3840, 2160, 10)):
        size = width * height * 3 // 2 * (1 if depth == 8 else 2)
        frame = np.random.default_rng(0).integers(0, 200 if depth == 8 else 4, size, dtype=np.uint8).tobytes()
        pix_fmt = "yuv420p" if depth == 8 else "yuv420p10le"
        geometry = Geometry(width=width, height=height, pix_fmt=pix_fmt, range="tv", fps=Fraction(25), frames=100)
        hashing = milliseconds(partial(sha256_chunks, b"", [frame]))
        printing = milliseconds(partial(Fingerprinter(geometry).add, frame))
        print(f"| {width}x{height}, {depth} bits | {hashing:.2f} | {printing:.2f} |")
    generator = np.random.default_rng(1)
    for count in (19, 100, 300):
        made = {}
        for number in range(count):  # pictures that move slowly, as unlike as pictures can be
            noise = np.cumsum(generator.normal(size=(54, GRID, GRID)), axis=0)
            made[f"{number}"] = Fingerprint(fps=Fraction(25), every=1, hashes=np.sign(noise).astype(np.int8))
        begin = time.perf_counter()
        found = find_pairs(made, {name: name for name in made})
        seconds = time.perf_counter() - begin
        print(f"{count} clips of 54 frames, {found.compared} pairs compared: {seconds:.1f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=Path, help="a folder of clips beside the demo clips")
    parser.add_argument("--quick", action="store_true", help="three demo clips and five copies")
    options = parser.parse_args()
    processes = Processes()
    tools = Tools(ffmpeg=locate(None, origin="default", processes=processes), processes=processes)
    copies = list(COPIES)[::4] if options.quick else list(COPIES)
    cost()
    with tempfile.TemporaryDirectory() as folder:
        paths = write_demo_sources(Path(folder))
        files = inspect_all(paths[: 3 if options.quick else None], Path(folder), assumed=None, tools=tools)
        every = accuracy("demo", files, tools, copies)
    if options.clips is not None:
        own = inspect_all(list_folder(options.clips).clips, options.clips, assumed=None, tools=tools)
        every |= accuracy("own", [replace(file, label=f"own {file.label}") for file in own], tools, copies)
        nearest("all", every)


if __name__ == "__main__":
    main()
