"""Read clips: headerless ``.yuv``, ``.y4m`` and every container that ffmpeg decodes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import IO

from kit.core.errors import BadInput, ToolFailed
from kit.core.geometry import RawFormat, exact_rate, frame_bytes, parse_y4m_header
from kit.core.values import Geometry, SourceFile
from kit.system.proc import Processes
from kit.video.ffmpeg import Ffmpeg, damage, packets_command, y4m_command

#: Most bytes of a header line of a Y4M stream.
_LINE_LIMIT = 1024
#: ffmpeg's number for an unknown time (AV_NOPTS_VALUE).
_NO_TIME = -(1 << 63)
_READ_AGAIN = "Copy the clip again; it is damaged or truncated."


@dataclass(frozen=True, kw_only=True)
class Tools:
    """Tools for reading containers."""

    ffmpeg: Ffmpeg
    processes: Processes


def raw_frames(path: Path, geometry: Geometry) -> Iterator[bytes]:
    """Yield the frames of a headerless file.

    Raises:
        BadInput: the last frame is truncated.
    """
    size = frame_bytes(geometry.width, geometry.height, geometry.pix_fmt)
    with path.open("rb") as stream:
        while frame := stream.read(size):
            if len(frame) != size:
                raise BadInput(f"{path.name}: the last frame has {len(frame)} of {size} bytes", hint=_READ_AGAIN)
            yield frame


def y4m_frames(stream: IO[bytes], where: str) -> tuple[RawFormat, Iterator[bytes]]:
    """Return the format of a YUV4MPEG2 stream and an iterator over its frames.

    Raises:
        BadInput: an invalid header; during iteration, a truncated frame.
    """
    fmt = parse_y4m_header(_line(stream, where), where)
    return fmt, _y4m_body(stream, frame_bytes(fmt.width, fmt.height, fmt.pix_fmt), where)


def _line(stream: IO[bytes], where: str) -> bytes:
    line = stream.readline(_LINE_LIMIT)
    if line and not line.endswith(b"\n"):
        raise BadInput(f"{where}: a Y4M header line has no end", hint=_READ_AGAIN)
    return line[:-1]


def _y4m_body(stream: IO[bytes], size: int, where: str) -> Iterator[bytes]:
    index = 0
    while (line := stream.readline(_LINE_LIMIT)) != b"":
        frame = stream.read(size) if line.startswith(b"FRAME") and line.endswith(b"\n") else b""
        if len(frame) != size:
            raise BadInput(f"{where}: frame {index} has {len(frame)} of {size} bytes", hint=_READ_AGAIN)
        yield frame
        index += 1


def y4m_geometry(path: Path) -> Geometry:
    """Return the geometry of a Y4M file; frames are counted, not read.

    Raises:
        BadInput: an invalid header, or a truncated frame.
    """
    where, total = path.name, path.stat().st_size
    with path.open("rb") as stream:
        fmt = parse_y4m_header(_line(stream, where), where)
        size, frames = frame_bytes(fmt.width, fmt.height, fmt.pix_fmt), 0
        while (line := stream.readline(_LINE_LIMIT)) != b"":
            rest = total - stream.tell()
            if not line.startswith(b"FRAME") or rest < size:
                raise BadInput(f"{where}: frame {frames} has {rest} of {size} bytes", hint=_READ_AGAIN)
            stream.seek(size, 1)
            frames += 1
    return fmt.with_frames(frames)


def container_geometry(path: Path, tools: Tools) -> Geometry:
    """Return the geometry of a container's first video stream; packets are counted, not decoded.

    Raises:
        BadInput: unreadable, damaged, a variable frame rate, or an unsupported format.
    """
    stamps, tick = _packets(path, tools)
    fmt = _first_header(path, tools)
    check_constant_rate(stamps, tick, fmt.fps, path.name)
    return fmt.with_frames(len(stamps))


def _packets(path: Path, tools: Tools) -> tuple[list[int], Fraction]:
    """Return the sorted presentation times of all packets in ticks, and a tick in seconds."""
    try:
        done = tools.processes.run(
            packets_command(tools.ffmpeg, path), tried=f"reading the packets of {path.name}", timeout=600
        )
    except ToolFailed as error:
        raise BadInput(
            f"{path.name}: ffmpeg cannot read it\n    {_cause(error.stderr_tail)}",
            hint="Move files that are not videos out of the folder.",
        ) from error
    if line := damage(done.stderr):
        raise BadInput(f"{path.name}: is damaged or truncated\n    {line}", hint=_READ_AGAIN)
    text = done.stdout.decode("ascii", "replace")
    tick = re.search(r"^#tb 0: (\d+/\d+)", text, re.MULTILINE)
    rows = [line.split(",") for line in text.splitlines() if line and not line.startswith("#")]
    if tick is None or not rows:
        raise BadInput(f"{path.name}: has no video packets", hint=_READ_AGAIN)
    stamps = sorted(int(row[2]) for row in rows)
    if stamps[0] == _NO_TIME:
        raise BadInput(
            f"{path.name}: has packets without time stamps, so its frame rate is unknown",
            hint="Decode it into a lossless file, e.g. ffmpeg -r RATE -i IN -c:v ffv1 OUT.mkv",
        )
    return stamps, Fraction(tick[1])


def _cause(stderr: str) -> str:
    lines = [line for line in stderr.splitlines() if "rror" in line or "[fatal]" in line] or stderr.splitlines()
    return re.sub(r" @ 0x[0-9a-f]+", "", lines[0]) if lines else "no message"


def _first_header(path: Path, tools: Tools) -> RawFormat:
    """Return the format of the video stream from the Y4M header that ffmpeg writes without a conversion."""
    argv = y4m_command(tools.ffmpeg, path)
    argv[-1:-1] = ["-frames:v", "1"]
    try:
        done = tools.processes.run(argv, tried=f"decoding the first frame of {path.name}", timeout=120)
    except ToolFailed as error:
        if "yuv4mpeg can only handle" in error.stderr_tail:
            raise BadInput(
                f"{path.name}: its pixel format is not 4:2:0, 4:2:2 or 4:4:4 YUV of 8, 10 or 12 bits",
                hint="Convert it losslessly first, e.g. ffmpeg -i IN -pix_fmt yuv420p -c:v ffv1 OUT.mkv",
            ) from error
        message = f"{path.name}: cannot be decoded\n    {_cause(error.stderr_tail)}"
        raise BadInput(message, hint=_READ_AGAIN) from error
    fmt = parse_y4m_header(done.stdout.split(b"\n", 1)[0], path.name)
    return replace(fmt, fps=exact_rate(fmt.fps))


def check_constant_rate(stamps: list[int], tick: Fraction, fps: Fraction, where: str) -> None:
    """Check that every frame is within one tick (or a tenth of a frame) of its time at a constant rate.

    Args:
        stamps: sorted presentation times in ticks.
        tick: seconds.

    Raises:
        BadInput: a frame is not.
    """
    tolerance = max(tick, 1 / (10 * fps))
    for index, stamp in enumerate(stamps):
        off = abs((stamp - stamps[0]) * tick - index / fps)
        if off > tolerance:
            raise BadInput(
                f"{where}: variable frame rate: frame {index} is {float(off):.3f} s off {float(fps):.3f} fps",
                hint="Convert it to a constant rate first, e.g. ffmpeg -i IN -fps_mode cfr -c:v ffv1 OUT.mkv",
            )


def container_frames(path: Path, geometry: Geometry, tools: Tools) -> Iterator[bytes]:
    """Yield the decoded frames of a container.

    Raises:
        BadInput: an error before its end.
    """
    try:
        with tools.processes.stream(y4m_command(tools.ffmpeg, path), tried=f"decoding {path.name}") as (stdout, stderr):
            fmt, frames = y4m_frames(stdout, path.name)
            fmt = replace(fmt, fps=exact_rate(fmt.fps))
            if fmt.with_frames(geometry.frames) != geometry:
                raise BadInput(
                    f"{path.name}: has changed: {fmt}, expected {geometry}", hint="Run the same command again."
                )
            yield from frames
    except ToolFailed as error:
        raise BadInput(f"{path.name}: cannot be decoded\n    {_cause(error.stderr_tail)}", hint=_READ_AGAIN) from error
    if line := damage("\n".join(stderr)):
        raise BadInput(f"{path.name}: is damaged\n    {line}", hint=_READ_AGAIN)


def frames_of(file: SourceFile, tools: Tools) -> Iterator[bytes]:
    """Yield the planar frames of a source in presentation order."""
    if file.kind == "yuv":
        yield from raw_frames(file.path, file.geometry)
    elif file.kind == "y4m":
        with file.path.open("rb") as stream:
            yield from y4m_frames(stream, file.path.name)[1]
    else:
        yield from container_frames(file.path, file.geometry, tools)
