"""Locate ffmpeg, detect its abilities, and build the command lines of the kit."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kit.core.contract import CONVERT
from kit.core.errors import PrerequisiteFailed, ToolFailed
from kit.core.values import NO_DEVICE, EncoderDevice, EncodeSettings, Geometry, SourceFile
from kit.system.proc import Processes
from kit.video.conversion import conversion

#: Arguments of every command: no console, no banner, messages with their level, existing files replaced (without
#: ``-y`` ffmpeg leaves an existing file alone and exits 0), and no implicit conversion of pixel formats.
COMMON = ("-hide_banner", "-nostdin", "-y", "-loglevel", "level+warning", "-noauto_conversion_filters")

#: Files of a fused run in its scratch folder.
SCORE_LOG, STREAM_HASH, ENCODED_STATS, DECODED_STATS = "vmaf.json", "stream.sha256", "encoded.txt", "decoded.txt"
#: Output of a stream of which only the hash is needed.
STREAM_HASHED = ("-f", "streamhash", "-hash", "sha256", STREAM_HASH)
#: Every frame once.
PASSTHROUGH = ("-fps_mode", "passthrough")
#: Frames as YUV4MPEG2, in any pixel format.
Y4M = (*PASSTHROUGH, "-strict", "-1", "-f", "yuv4mpegpipe")
#: One line for every decoded frame.
COUNT_DECODED = ("-stats_enc_pre", DECODED_STATS, "-stats_enc_pre_fmt", "{n}")
_DISCARD = ("-f", "null", "-")
#: Outputs of the scoring filters: nothing but the log, and the number of decoded frames.
SCORING_OUTPUTS = ("-map", "[o]", *PASSTHROUGH, *_DISCARD, "-map", "[c]", *PASSTHROUGH, *COUNT_DECODED, *_DISCARD)


@dataclass(frozen=True, kw_only=True)
class Ffmpeg:
    """A working ffmpeg.

    Attributes:
        version: the word after "ffmpeg version", e.g. ``n9.0.2-17-g2a571b6068``.
        origin: its origin, in words.
        lacks: entries of :data:`FUSED_NEEDS` that it lacks.
    """

    path: Path
    version: str
    origin: str
    lacks: tuple[str, ...] = ()


def locate(explicit: Path | None, *, origin: str, processes: Processes) -> Ffmpeg:
    """Return the ffmpeg to use: the explicit one, else the one in the pinned ``imageio-ffmpeg`` wheel.

    Raises:
        PrerequisiteFailed: it does not exist or does not run.
    """
    if explicit is None:
        explicit, origin = _bundled(), "imageio-ffmpeg wheel"
    if not explicit.is_file():
        raise PrerequisiteFailed(
            f"ffmpeg ({origin}): {explicit} is not a file",
            hint="Give the path of an ffmpeg program, or omit the option to use the bundled one.",
        )
    try:
        done = processes.run([str(explicit), "-version"], tried="reading the version of ffmpeg", timeout=30)
    except ToolFailed as error:
        raise PrerequisiteFailed(
            f"ffmpeg ({origin}) does not run\n  {error.message}", hint="Give another one with --ffmpeg."
        ) from error
    match = re.match(rb"ffmpeg version (\S+)", done.stdout)
    if not match:
        raise PrerequisiteFailed(
            f"ffmpeg ({origin}): {explicit} is another program", hint="Give an ffmpeg with --ffmpeg."
        )
    return Ffmpeg(
        path=explicit,
        version=match[1].decode("utf-8", "replace"),
        origin=origin,
        lacks=_missing_abilities(explicit, processes),
    )


def scoring_partner(encoding: Ffmpeg, processes: Processes) -> Ffmpeg:
    """Return the ffmpeg that decodes and scores the output of ``encoding``: itself, or the bundled one.

    Raises:
        PrerequisiteFailed: the bundled one is needed and does not exist.
    """
    return locate(None, origin="", processes=processes) if encoding.lacks else encoding


def on_path(processes: Processes) -> Ffmpeg | None:
    """Return the ffmpeg on PATH, if there is one.

    Raises:
        PrerequisiteFailed: it does not run.
    """
    path = shutil.which("ffmpeg")
    return None if path is None else locate(Path(path).absolute(), origin="on PATH", processes=processes)


#: Requirements for encoding, decoding and scoring in one process: the filter, the loopback decoder (7.1), and a filter
#: that removes the position of chroma samples (7.1).
FUSED_NEEDS = ("libvmaf", "-dec", "setparams=chroma_location")


def _missing_abilities(path: Path, processes: Processes) -> tuple[str, ...]:
    """Return which of :data:`FUSED_NEEDS` an ffmpeg lacks; tried out, since versions of own builds are arbitrary."""
    ask = [str(path), "-hide_banner", "-nostdin"]
    tried = "reading the abilities of ffmpeg"
    scores = processes.run([*ask, "-h", "filter=libvmaf"], tried=tried, timeout=30)
    params = processes.run([*ask, "-h", "filter=setparams"], tried=tried, timeout=30)
    try:
        processes.run([*ask, "-dec", "0:0"], tried=tried, timeout=30)
        loopback = True
    except ToolFailed as error:
        loopback = "Unrecognized option 'dec'" not in error.stderr_tail
    has = (b"Filter libvmaf" in scores.stdout, loopback, b"chroma_location" in params.stdout)
    return tuple(need for need, present in zip(FUSED_NEEDS, has, strict=True) if not present)


def _bundled() -> Path:
    import imageio_ffmpeg

    # get_ffmpeg_exe follows IMAGEIO_FFMPEG_EXE; only the wheel's own file is pinned
    folder = Path(imageio_ffmpeg.__file__).parent / "binaries"
    programs = sorted(path for path in folder.glob("ffmpeg*") if path.is_file())
    if not programs:
        raise PrerequisiteFailed(
            "the imageio-ffmpeg package has no ffmpeg for this system",
            hint="Give an ffmpeg of 7.1 or later with libvmaf: --ffmpeg PATH.",
        )
    return programs[0]


def input_args(file: SourceFile) -> list[str]:
    """Return the arguments that open a source, without the rotation that a container may store."""
    path = f"file:{file.path.absolute()}"
    if file.kind != "yuv":
        return ["-noautorotate", "-i", path]
    geometry = file.geometry
    size, rate = f"{geometry.width}x{geometry.height}", f"{geometry.fps.numerator}/{geometry.fps.denominator}"
    options = ["-f", "rawvideo", "-pixel_format", geometry.pix_fmt, "-video_size", size, "-framerate", rate]
    return [*options, "-i", path]


def normalise(geometry: Geometry, *, chroma_location: bool = True) -> str:
    """Return filters that remove everything of a source file that is not part of the source's identity.

    Containers round time stamps and have colour, aspect and chroma-position tags; encoders write some of them into
    their streams, and x264 plans with durations.

    Args:
        chroma_location: remove the position of chroma samples too, which an ffmpeg before 7.1 cannot.
    """
    fps = geometry.fps
    return (
        f"settb={fps.denominator}/{fps.numerator},setpts=N,setsar=1,"
        f"setparams=range={geometry.range}:color_primaries=unknown:color_trc=unknown:colorspace=unknown"
        f"{':chroma_location=unspecified' if chroma_location else ''}:field_mode=prog"
    )


def fused_command(
    ffmpeg: Ffmpeg,
    file: SourceFile,
    settings: EncodeSettings,
    *,
    model: str,
    device: EncoderDevice = NO_DEVICE,
    encoded_to: Sequence[str] = STREAM_HASHED,
    scorer_threads: int = 1,
) -> list[str]:
    """Return the command that reads a source once, encodes it, decodes the stream and scores every frame.

    Only logs are written; the stream is hashed. The command has to run in a scratch folder, where it writes
    ``SCORE_LOG``, ``STREAM_HASH``, ``ENCODED_STATS`` (one line per packet, its bytes) and ``DECODED_STATS`` (one line
    per frame). Decoded frames are paired with the reference by their order, since some encoders shift time stamps;
    additional or missing frames change one of the three counts.
    """
    geometry = file.geometry
    same_format = settings.encode_pix_fmt == settings.score_pix_fmt
    to_encode = "" if same_format else f";[e0]{CONVERT},format={settings.encode_pix_fmt}[e]"
    split = "[e][r]" if same_format else "[e0][r]"
    return [
        str(ffmpeg.path),
        *COMMON,
        *device.opened,
        *input_args(file),
        "-filter_complex",
        f"[0:V:0]{reference_filters(geometry, settings)},split{split}{to_encode}",
        *("-map", "[e]", *PASSTHROUGH),
        *settings.argv,
        *device.chosen,
        *("-stats_enc_post", ENCODED_STATS, "-stats_enc_post_fmt", "{n} {size}"),
        *encoded_to,
        *("-dec", "0:0"),
        "-filter_complex",
        f"[dec:0]{distorted_filters(geometry, settings)},split[d][c];{scoring_filter(model, scorer_threads)}",
        *SCORING_OUTPUTS,
    ]


def with_one_thread(argv: Sequence[str]) -> list[str]:
    """Return the command with one thread for each decoder and filter graph; encoders have their own option."""
    words = [argv[0], "-filter_threads", "1", "-filter_complex_threads", "1"]
    for word in argv[1:]:
        words += ["-threads", "1", word] if word in ("-i", "-dec") else [word]
    return words


def scoring_filter(model: str, threads: int) -> str:
    """Return the filter that compares ``[d]`` with ``[r]`` up to the end of the shorter one."""
    return f"[d][r]{libvmaf(model, threads)}[o]"


def libvmaf(model: str, threads: int) -> str:
    """Return the filter without its pads, which compares its first input with its second."""
    return f"libvmaf=log_fmt=json:log_path={SCORE_LOG}:{model}:n_threads={threads}:shortest=1:repeatlast=0"


def _usual_name(geometry: Geometry, pix_fmt: str) -> str:
    # decoders call 8-bit full-range formats yuvj420p etc., which encoders and libvmaf refuse
    return f"scale=in_range=pc:out_range=pc,format={pix_fmt}," if geometry.range == "pc" else ""


def source_filters(geometry: Geometry, *, chroma_location: bool = True) -> str:
    """Return filters that reduce a clip to its samples, with the usual name of its pixel format."""
    return f"{_usual_name(geometry, geometry.pix_fmt)}{normalise(geometry, chroma_location=chroma_location)}"


def distorted_source_filters(distorted: Geometry, reference: Geometry) -> str:
    """Return these filters for a distorted clip, scaled to the size of its reference if it differs."""
    filters = source_filters(distorted)
    if (distorted.width, distorted.height) == (reference.width, reference.height):
        return filters
    return f"{filters},{CONVERT}:w={reference.width}:h={reference.height},setsar=1"


def reference_filters(geometry: Geometry, settings: EncodeSettings, *, chroma_location: bool = True) -> str:
    """Return the filters between a source and the frames to be encoded and compared."""
    converted = conversion(settings, geometry.pix_fmt)
    to_score = f",{converted}" if converted else ""
    return f"{source_filters(geometry, chroma_location=chroma_location)}{to_score}"


def distorted_filters(geometry: Geometry, settings: EncodeSettings) -> str:
    """Return the filters between decoder and comparison; frames are numbered by their order."""
    time = f"settb={geometry.fps.denominator}/{geometry.fps.numerator},setpts=N"
    return f"{_usual_name(geometry, settings.score_pix_fmt)}{time}"


def y4m_command(ffmpeg: Ffmpeg, path: Path) -> list[str]:
    """Return the command that decodes a container's first video stream to YUV4MPEG2 on stdout, every frame once."""
    return [
        str(ffmpeg.path),
        *COMMON,
        *("-noautorotate", "-i", f"file:{path.absolute()}", "-map", "0:V:0"),
        *(*Y4M, "pipe:1"),
    ]


def lossless_command(ffmpeg: Ffmpeg, file: SourceFile, codec: Sequence[str], target: Path) -> list[str]:
    """Return the command that copies a source losslessly into Matroska: frames, rate and range only.

    The encoder needs the range too: FFV1 assumes limited range otherwise.
    """
    geometry = file.geometry
    renamed = f",scale=in_range=pc:out_range=pc,format={geometry.pix_fmt}" if geometry.range == "pc" else ""
    return [
        str(ffmpeg.path),
        *COMMON,
        *input_args(file),
        *("-map", "0:V:0", "-map_metadata", "-1", "-map_chapters", "-1"),
        *("-vf", normalise(geometry) + renamed, *PASSTHROUGH),
        *codec,
        *("-color_range", geometry.range, "-fflags", "+bitexact", "-flags:v", "+bitexact"),
        *("-f", "matroska", f"file:{target}"),
    ]


def packets_command(ffmpeg: Ffmpeg, path: Path) -> list[str]:
    """Return the command that lists the packets of a container's first video stream with time stamps, not decoded."""
    return [
        str(ffmpeg.path),
        *COMMON,
        *("-i", f"file:{path.absolute()}", "-map", "0:V:0"),
        *("-c", "copy", "-f", "framecrc", "pipe:1"),
    ]


#: Warnings of demuxers about truncated or damaged files.
_DAMAGE = ("File ended prematurely", "partial file", "Packet corrupt", "corrupt input packet", "Truncating packet")


def damage(stderr: str) -> str:
    """Return the first line of ffmpeg's stderr about a damaged input, or an empty string."""
    for line in stderr.splitlines():
        if "[error]" in line or "[fatal]" in line or any(text in line for text in _DAMAGE):
            return re.sub(r"0x[0-9a-f]+", "0x…", line.strip())
    return ""


def first_error(stderr: str) -> str:
    """Return the first error message, without component and level; later ones are its consequences."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    error = next((line for line in lines if "[error]" in line or "[fatal]" in line), lines[0] if lines else "")
    return plain(error)


def plain(line: str) -> str:
    """Return a message of ffmpeg without component and level."""
    return line.rsplit("] ", 1)[-1]


def stats_column(text: str, column: int) -> list[int]:
    """Return a column of integers from a statistics file of :func:`fused_command`."""
    return [int(line.split()[column]) for line in text.splitlines() if line.strip()]


REMEDIES: Mapping[str, str] = {
    "No space left on device": "The disk is full.",
    "could not load libvmaf model": "This scorer does not have that teacher; see --teacher.",
    "No such filter: 'libvmaf'": "This ffmpeg has no libvmaf; omit --ffmpeg to use the bundled one.",
    "Unrecognized option 'dec'": "This ffmpeg is older than 7.1; omit --ffmpeg to use the bundled one.",
}


def remedy(stderr: str) -> str:
    """Return the remedy for a known message of ffmpeg; empty for an unknown one."""
    return next((hint for text, hint in REMEDIES.items() if text in stderr), "")
