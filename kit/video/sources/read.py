"""Reading clips: headerless ``.yuv``, ``.y4m`` and every container that ffmpeg decodes."""

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

#: Longest header line a Y4M stream may have.
_LINE_LIMIT = 1024
#: How ffmpeg writes a time that is not known (AV_NOPTS_VALUE).
_NO_TIME = -(1 << 63)
_READ_AGAIN = "Get the clip again; it is damaged or was not copied to its end."


@dataclass(frozen=True, kw_only=True)
class Tools:
    """What reading a container needs."""

    ffmpeg: Ffmpeg
    processes: Processes


def raw_frames(path: Path, geometry: Geometry) -> Iterator[bytes]:
    """Frames of a headerless file."""
    size = frame_bytes(geometry.width, geometry.height, geometry.pix_fmt)
    with path.open("rb") as stream:
        while frame := stream.read(size):
            if len(frame) != size:
                raise BadInput(f"{path.name}: ends within a frame: {len(frame)} of {size} bytes", hint=_READ_AGAIN)
            yield frame


def y4m_frames(stream: IO[bytes], where: str) -> tuple[RawFormat, Iterator[bytes]]:
    """The format and the frames of a YUV4MPEG2 stream.

    Raises:
        BadInput: the header cannot be read; while iterating, a frame is cut short.
    """
    fmt = parse_y4m_header(_line(stream, where), where)
    return fmt, _y4m_body(stream, frame_bytes(fmt.width, fmt.height, fmt.pix_fmt), where)


def _line(stream: IO[bytes], where: str) -> bytes:
    line = stream.readline(_LINE_LIMIT)
    if line and not line.endswith(b"\n"):
        raise BadInput(f"{where}: a Y4M header line does not end", hint=_READ_AGAIN)
    return line[:-1]


def _y4m_body(stream: IO[bytes], size: int, where: str) -> Iterator[bytes]:
    index = 0
    while (line := stream.readline(_LINE_LIMIT)) != b"":
        frame = stream.read(size) if line.startswith(b"FRAME") and line.endswith(b"\n") else b""
        if len(frame) != size:
            raise BadInput(
                f"{where}: frame {index} is cut short: {len(frame)} bytes, expected {size}", hint=_READ_AGAIN
            )
        yield frame
        index += 1


def y4m_geometry(path: Path) -> Geometry:
    """Geometry of a Y4M file, its frames counted by skipping over them.

    Raises:
        BadInput: the header cannot be read, or the last frame is cut short.
    """
    where, total = path.name, path.stat().st_size
    with path.open("rb") as stream:
        fmt = parse_y4m_header(_line(stream, where), where)
        size, frames = frame_bytes(fmt.width, fmt.height, fmt.pix_fmt), 0
        while (line := stream.readline(_LINE_LIMIT)) != b"":
            rest = total - stream.tell()
            if not line.startswith(b"FRAME") or rest < size:
                raise BadInput(f"{where}: frame {frames} is cut short: {rest} bytes, expected {size}", hint=_READ_AGAIN)
            stream.seek(size, 1)
            frames += 1
    return fmt.with_frames(frames)


def container_geometry(path: Path, tools: Tools) -> Geometry:
    """Geometry of a container's first real video stream; frames counted by packets, not decoded.

    Raises:
        BadInput: ffmpeg cannot read it, it is damaged, its frame rate varies, or its format is not supported.
    """
    stamps, tick = _packets(path, tools)
    fmt = _first_header(path, tools)
    check_constant_rate(stamps, tick, fmt.fps, path.name)
    return fmt.with_frames(len(stamps))


def _packets(path: Path, tools: Tools) -> tuple[list[int], Fraction]:
    """Presentation times of all packets, sorted, in ticks; and the length of a tick in seconds."""
    try:
        done = tools.processes.run(
            packets_command(tools.ffmpeg, path), tried=f"reading the packets of {path.name}", timeout=600
        )
    except ToolFailed as error:
        raise BadInput(
            f"{path.name}: ffmpeg cannot read it\n    {_cause(error.stderr_tail)}",
            hint="Expected a video file; move other files out of the folder.",
        ) from error
    if line := damage(done.stderr):
        raise BadInput(f"{path.name}: is damaged or cut short\n    {line}", hint=_READ_AGAIN)
    text = done.stdout.decode("ascii", "replace")
    tick = re.search(r"^#tb 0: (\d+/\d+)", text, re.MULTILINE)
    rows = [line.split(",") for line in text.splitlines() if line and not line.startswith("#")]
    if tick is None or not rows:
        raise BadInput(f"{path.name}: holds no video packet", hint=_READ_AGAIN)
    stamps = sorted(int(row[2]) for row in rows)
    if stamps[0] == _NO_TIME:
        raise BadInput(
            f"{path.name}: holds packets without time stamps, so its frame rate cannot be checked",
            hint="Decode it into a lossless file, e.g. ffmpeg -r RATE -i IN -c:v ffv1 OUT.mkv",
        )
    return stamps, Fraction(tick[1])


def _cause(stderr: str) -> str:
    lines = [line for line in stderr.splitlines() if "rror" in line or "[fatal]" in line] or stderr.splitlines()
    return re.sub(r" @ 0x[0-9a-f]+", "", lines[0]) if lines else "it says nothing"


def _first_header(path: Path, tools: Tools) -> RawFormat:
    """The stream's format as ffmpeg's own Y4M header gives it, without a conversion."""
    argv = y4m_command(tools.ffmpeg, path)
    argv[-1:-1] = ["-frames:v", "1"]
    try:
        done = tools.processes.run(argv, tried=f"decoding the first frame of {path.name}", timeout=120)
    except ToolFailed as error:
        wrong_format = "yuv4mpeg can only handle" in error.stderr_tail
        raise BadInput(
            f"{path.name}: "
            + (
                "its pixel format is not 4:2:0, 4:2:2 or 4:4:4 YUV of 8, 10 or 12 bits"
                if wrong_format
                else f"cannot be decoded\n    {_cause(error.stderr_tail)}"
            ),
            hint="Convert it losslessly first, e.g. ffmpeg -i IN -pix_fmt yuv420p -c:v ffv1 OUT.mkv"
            if wrong_format
            else _READ_AGAIN,
        ) from error
    fmt = parse_y4m_header(done.stdout.split(b"\n", 1)[0], path.name)
    return replace(fmt, fps=exact_rate(fmt.fps))


def check_constant_rate(stamps: list[int], tick: Fraction, fps: Fraction, where: str) -> None:
    """Every frame lies within one tick (or a tenth of a frame) of where a constant rate puts it.

    Args:
        stamps: sorted presentation times in ticks.

    Raises:
        BadInput: the first frame that does not.
    """
    tolerance = max(tick, 1 / (10 * fps))
    for index, stamp in enumerate(stamps):
        off = abs((stamp - stamps[0]) * tick - index / fps)
        if off > tolerance:
            raise BadInput(
                f"{where}: the frame rate varies: frame {index} is {float(off):.3f} s away from where a constant "
                f"{float(fps):.3f} fps puts it",
                hint="Make it constant first, e.g. ffmpeg -i IN -fps_mode cfr -c:v ffv1 OUT.mkv",
            )


def container_frames(path: Path, geometry: Geometry, tools: Tools) -> Iterator[bytes]:
    """Decoded frames of a container.

    Raises:
        BadInput: it cannot be decoded to its end without an error.
    """
    try:
        with tools.processes.stream(y4m_command(tools.ffmpeg, path), tried=f"decoding {path.name}") as (stdout, stderr):
            fmt, frames = y4m_frames(stdout, path.name)
            fmt = replace(fmt, fps=exact_rate(fmt.fps))
            if fmt.with_frames(geometry.frames) != geometry:
                raise BadInput(f"{path.name}: changed while it was read: {fmt}, expected {geometry}")
            yield from frames
    except ToolFailed as error:
        raise BadInput(f"{path.name}: cannot be decoded\n    {_cause(error.stderr_tail)}", hint=_READ_AGAIN) from error
    if line := damage("\n".join(stderr)):
        raise BadInput(f"{path.name}: is damaged\n    {line}", hint=_READ_AGAIN)


def frames_of(file: SourceFile, tools: Tools) -> Iterator[bytes]:
    """Frames of a source, planar, in presentation order."""
    if file.kind == "yuv":
        yield from raw_frames(file.path, file.geometry)
    elif file.kind == "y4m":
        with file.path.open("rb") as stream:
            yield from y4m_frames(stream, file.path.name)[1]
    else:
        yield from container_frames(file.path, file.geometry, tools)
