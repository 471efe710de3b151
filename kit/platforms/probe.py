"""Probe encoders: encode and decode a generated clip with each."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from kit.core.contract import PROBE_FPS, PROBE_FRAMES, PROBE_HEIGHT, PROBE_WIDTH
from kit.core.errors import ToolFailed
from kit.core.geometry import PIXEL_FORMATS
from kit.core.values import Geometry, ReadyEncoder, SourceFile
from kit.platforms.facts import HostFacts
from kit.platforms.probe_cache import ProbeCache
from kit.platforms.registry import family_of
from kit.system.fsio import scratch_folder
from kit.system.pool import run_many
from kit.system.proc import Processes
from kit.system.stall import TimeLimits
from kit.video.ffmpeg import DECODED_STATS, Ffmpeg, first_error, plain, remedy, stats_column
from kit.video.scorers import base, teachers
from kit.video.scorers.ffmpeg_filter import FilterScorer

#: A quality point in the middle of the range.
PROBE_CQ = 31
_STREAM = "stream.mkv"


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """An encoder that does not work on this box, with the reason."""

    name: str
    reason: str
    remedy: str


@dataclass(frozen=True, kw_only=True)
class ProbeResult:
    """Result of a probe, in the order of the requested names.

    Attributes:
        remembered: names in ``ready`` whose result is from the cache.
    """

    ready: tuple[ReadyEncoder, ...]
    left_out: tuple[LeftOut, ...]
    remembered: tuple[str, ...] = ()


def probe(
    names: Sequence[str],
    pix_fmts: Sequence[str],
    *,
    ffmpeg: Ffmpeg,
    facts: HostFacts,
    processes: Processes,
    scoring: Ffmpeg | None = None,
    cache: Path | None = None,
) -> ProbeResult:
    """Try every encoder with every pixel format and its production arguments, several in parallel.

    Args:
        ffmpeg: encodes.
        scoring: decodes and scores; None for ``ffmpeg``.
        cache: folder of earlier results; None to probe everything.
    """
    bench = _Bench(ffmpeg=ffmpeg, scoring=scoring or ffmpeg, facts=facts, processes=processes)
    memory = cache and ProbeCache(
        folder=cache / "probes", pix_fmts=pix_fmts, ffmpeg=ffmpeg, scoring=bench.scoring, facts=facts
    )
    recalled = {name: memory.recall(name) for name in names} if memory else {}
    known = {name: encoder for name, encoder in recalled.items() if encoder is not None}
    rest = [name for name in names if name not in known]
    results: dict[str, ReadyEncoder | LeftOut] = dict(known)
    if rest:
        with scratch_folder() as folder:
            clips = [_clip(folder, fmt) for fmt in pix_fmts]
            outcomes = run_many(
                lambda name: _probe_one(name, clips, bench), rest, workers=max(2, facts.cores), stop=processes.stop
            )
            results |= zip(rest, outcomes, strict=True)
    every = [results[name] for name in names]
    ready = tuple(result for result in every if isinstance(result, ReadyEncoder))
    for encoder in ready:
        if memory and encoder.name not in known:
            memory.keep(encoder)
    left_out = tuple(result for result in every if isinstance(result, LeftOut))
    return ProbeResult(ready=ready, left_out=left_out, remembered=tuple(known))


@dataclass(frozen=True, kw_only=True)
class _Bench:
    """Tools and facts of all probes."""

    ffmpeg: Ffmpeg
    scoring: Ffmpeg
    facts: HostFacts
    processes: Processes


def _clip(folder: Path, pix_fmt: str) -> SourceFile:
    """Write one second of moving gradients and noise."""
    fmt = PIXEL_FORMATS[pix_fmt]
    y, x = np.mgrid[0:PROBE_HEIGHT, 0:PROBE_WIDTH].astype(np.int64)
    noise = np.random.Philox(key=1).random_raw(x.size).astype(np.int64).reshape(x.shape) & 15
    chroma = np.full(
        2 * (PROBE_WIDTH >> fmt.log2_w) * (PROBE_HEIGHT >> fmt.log2_h), 1 << (fmt.bits - 1), dtype=np.int64
    )
    path = folder / f"probe_{pix_fmt}.yuv"
    dtype = "<u1" if fmt.bits == 8 else "<u2"
    with path.open("wb") as stream:
        for t in range(PROBE_FRAMES):
            luma = (32 + ((x + 3 * t) // 4 + y // 3) % 160 + np.roll(noise, t, axis=1)) << (fmt.bits - 8)
            stream.write(luma.astype(dtype).tobytes() + chroma.astype(dtype).tobytes())
    geometry = Geometry(
        width=PROBE_WIDTH,
        height=PROBE_HEIGHT,
        pix_fmt=pix_fmt,
        range="tv",
        fps=Fraction(PROBE_FPS),
        frames=PROBE_FRAMES,
    )
    return SourceFile(path=path, kind="yuv", label="probe", geometry=geometry)


def _probe_one(name: str, clips: Sequence[SourceFile], bench: _Bench) -> ReadyEncoder | LeftOut:
    """Probe the variants until one works."""
    family = family_of(name)
    *better, last = family.variants
    for variant in better:
        result = _try_variant(name, variant, clips, bench)
        if isinstance(result, ReadyEncoder) or not any(text in result.reason for text in family.lacking):
            return result
    return _try_variant(name, last, clips, bench)


def _try_variant(name: str, variant: str, clips: Sequence[SourceFile], bench: _Bench) -> ReadyEncoder | LeftOut:
    """Encode and decode every clip and count the frames."""
    family, stream, seconds = family_of(name), b"", 0.0
    device = family.device(bench.facts)
    for clip in clips:
        settings = family.settings(name, PROBE_CQ, clip.geometry.pix_fmt, variant)
        with tempfile.TemporaryDirectory(dir=clip.path.parent) as folder:
            work = base.Work(file=clip, settings=settings, teacher=teachers.CANONICAL, device=device, keep=_STREAM)
            start = time.monotonic()
            try:
                stderr = base.run(
                    FilterScorer(ffmpeg=bench.scoring),
                    work,
                    bench.ffmpeg,
                    processes=bench.processes,
                    scratch=Path(folder),
                    tried=f"probing {name}",
                    limit=TimeLimits(total=60),
                )
            except ToolFailed as error:
                return _left_out(name, error.stderr_tail or error.message)
            seconds = time.monotonic() - start
            try:
                decoded = len(stats_column((Path(folder) / DECODED_STATS).read_text(), 0))
                stream = (Path(folder) / _STREAM).read_bytes()
            except (OSError, ValueError) as error:
                return _left_out(name, f"exit status 0, but no result: {error}")
            if "has not been used for any stream" in stderr:
                return _left_out(name, stderr)
            if decoded != PROBE_FRAMES:
                return _left_out(name, f"{PROBE_FRAMES} frames in, {decoded} frames out")
    return ReadyEncoder(
        name=name,
        family=family.name,
        build=family.build(stream, bench.ffmpeg.version, bench.facts),
        variant=variant,
        device=device,
        max_parallel=family.max_parallel(bench.facts),
        megapixels_per_second=PROBE_WIDTH * PROBE_HEIGHT * PROBE_FRAMES / 1e6 / seconds,
    )


def _left_out(name: str, stderr: str) -> LeftOut:
    """Use the line with a known remedy as the reason, else the first error: later ones are consequences."""
    for text, hint in family_of(name).remedies.items():
        if known := next((line.strip() for line in stderr.splitlines() if text in line), ""):
            return LeftOut(name=name, reason=plain(known), remedy=hint)
    return LeftOut(name=name, reason=first_error(stderr), remedy=remedy(stderr))
