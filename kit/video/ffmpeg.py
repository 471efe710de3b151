"""The one door to ffmpeg: which one, what it can do, and the command lines the kit gives it."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kit.core.contract import CONVERT
from kit.core.errors import PrerequisiteFailed, ToolFailed
from kit.core.values import NO_DEVICE, Device, EncodeSettings, Geometry, SourceFile
from kit.system.proc import Processes
from kit.video.conversion import conversion

#: Every command: no console, no banner, messages with their level, existing files replaced (without ``-y`` ffmpeg
#: leaves an existing file alone and exits 0), and no conversion of pixel formats that is not written down.
COMMON = ("-hide_banner", "-nostdin", "-y", "-loglevel", "level+warning", "-noauto_conversion_filters")

#: Files a fused run leaves in its scratch folder.
SCORE_LOG, STREAM_HASH, ENCODED_STATS, DECODED_STATS = "vmaf.json", "stream.sha256", "encoded.txt", "decoded.txt"
#: Where a stream goes that nobody needs: its hash stays.
STREAM_HASHED = ("-f", "streamhash", "-hash", "sha256", STREAM_HASH)


@dataclass(frozen=True, kw_only=True)
class Ffmpeg:
    """An ffmpeg that was found.

    Attributes:
        version: the word after "ffmpeg version", e.g. ``n9.0.2-17-g2a571b6068``.
        origin: where it came from, in words.
        lacks: what scoring in the process that encodes needs and this one has not, of :data:`FUSED_NEEDS`.
    """

    path: Path
    version: str
    origin: str
    lacks: tuple[str, ...] = ()


def locate(explicit: Path | None, *, origin: str, processes: Processes) -> Ffmpeg:
    """The ffmpeg to use: the one asked for, else the one inside the pinned ``imageio-ffmpeg`` wheel.

    Raises:
        PrerequisiteFailed: it is not there or does not run.
    """
    if explicit is None:
        explicit, origin = _bundled(), "imageio-ffmpeg wheel"
    if not explicit.is_file():
        raise PrerequisiteFailed(
            f"ffmpeg ({origin}): {explicit} is not a file",
            hint="Give the path of an ffmpeg program, or leave the option out to use the bundled one.",
        )
    try:
        done = processes.run([str(explicit), "-version"], tried="asking ffmpeg for its version", timeout=30)
    except ToolFailed as error:
        raise PrerequisiteFailed(
            f"ffmpeg ({origin}) does not run\n  {error.message}", hint="Give another one with --ffmpeg."
        ) from error
    found = re.match(rb"ffmpeg version (\S+)", done.stdout)
    if not found:
        raise PrerequisiteFailed(f"ffmpeg ({origin}): {explicit} answers -version like another program")
    return Ffmpeg(
        path=explicit,
        version=found[1].decode("utf-8", "replace"),
        origin=origin,
        lacks=_lacking(explicit, processes),
    )


def scoring_partner(encoding: Ffmpeg, processes: Processes) -> Ffmpeg:
    """The ffmpeg that reads, decodes and scores what ``encoding`` encodes: itself, or the bundled one.

    Raises:
        PrerequisiteFailed: it lacks something, and there is no bundled one.
    """
    return locate(None, origin="", processes=processes) if encoding.lacks else encoding


def on_path(processes: Processes) -> Ffmpeg | None:
    """The ffmpeg on PATH; None where there is none.

    Raises:
        PrerequisiteFailed: it does not run.
    """
    found = shutil.which("ffmpeg")
    return None if found is None else locate(Path(found).absolute(), origin="on PATH", processes=processes)


#: What one process for encoding, decoding and scoring takes: the filter, the loopback decoder (7.1), and removing the
#: position of chroma samples by a filter (7.1).
FUSED_NEEDS = ("libvmaf", "-dec", "setparams=chroma_location")


def _lacking(path: Path, processes: Processes) -> tuple[str, ...]:
    """Which of :data:`FUSED_NEEDS` an ffmpeg has not; asked of itself, since versions of own builds tell nothing."""
    ask = [str(path), "-hide_banner", "-nostdin"]
    tried = "asking ffmpeg what it can do"
    scores = processes.run([*ask, "-h", "filter=libvmaf"], tried=tried, timeout=30)
    params = processes.run([*ask, "-h", "filter=setparams"], tried=tried, timeout=30)
    try:
        processes.run([*ask, "-dec", "0:0"], tried=tried, timeout=30)
        loopback = True
    except ToolFailed as error:
        loopback = "Unrecognized option 'dec'" not in error.stderr_tail
    has = (b"Filter libvmaf" in scores.stdout, loopback, b"chroma_location" in params.stdout)
    return tuple(need for need, there in zip(FUSED_NEEDS, has, strict=True) if not there)


def _bundled() -> Path:
    import imageio_ffmpeg

    # IMAGEIO_FFMPEG_EXE would redirect get_ffmpeg_exe to another program; the wheel's own file is what is pinned
    folder = Path(imageio_ffmpeg.__file__).parent / "binaries"
    found = sorted(path for path in folder.glob("ffmpeg*") if path.is_file())
    if not found:
        raise PrerequisiteFailed(
            "the imageio-ffmpeg package brings no ffmpeg for this system",
            hint="Give an ffmpeg of 7.1 or later with libvmaf: --ffmpeg PATH.",
        )
    return found[0]


def input_args(file: SourceFile) -> list[str]:
    """How ffmpeg opens a source. Rotation stored in a container is not applied: the stored frames count."""
    path = f"file:{file.path.absolute()}"
    if file.kind != "yuv":
        return ["-noautorotate", "-i", path]
    geometry = file.geometry
    return [
        "-f",
        "rawvideo",
        "-pixel_format",
        geometry.pix_fmt,
        "-video_size",
        f"{geometry.width}x{geometry.height}",
        "-framerate",
        f"{geometry.fps.numerator}/{geometry.fps.denominator}",
        "-i",
        path,
    ]


def normalise(geometry: Geometry, *, chroma_location: bool = True) -> str:
    """Filters after which a source looks the same whatever file it came from.

    Containers round time stamps and carry colour, aspect and chroma-position tags; encoders write some of them
    into their streams and x264 plans with durations. Only what is in the source's identity may stay.

    Args:
        chroma_location: remove the position of chroma samples too; an ffmpeg before 7.1 cannot.
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
    device: Device = NO_DEVICE,
    encoded_to: Sequence[str] = STREAM_HASHED,
    scorer_threads: int = 1,
) -> list[str]:
    """One process that reads the source once, encodes it, decodes the stream again and scores every frame.

    Nothing but logs touches the disk: the stream itself is only hashed. It is to be run inside a scratch folder
    of its own, where it leaves ``SCORE_LOG``, ``STREAM_HASH``, ``ENCODED_STATS`` (one line a packet, its bytes)
    and ``DECODED_STATS`` (one line a frame). Decoded frames are paired with the reference by their order, so that
    an encoder that shifts time stamps is compared rightly; a surplus or a lack shows in the three counts.
    """
    geometry = file.geometry
    fed_as_scored = settings.encode_pix_fmt == settings.score_pix_fmt
    to_encode = "" if fed_as_scored else f";[e0]{CONVERT},format={settings.encode_pix_fmt}[e]"
    split = "[e][r]" if fed_as_scored else "[e0][r]"
    return [
        str(ffmpeg.path),
        *COMMON,
        *device.opened,
        *input_args(file),
        "-filter_complex",
        f"[0:V:0]{reference_filters(geometry, settings)},split{split}{to_encode}",
        "-map",
        "[e]",
        "-fps_mode",
        "passthrough",
        *settings.argv,
        *device.chosen,
        "-stats_enc_post",
        ENCODED_STATS,
        "-stats_enc_post_fmt",
        "{n} {size}",
        *encoded_to,
        "-dec",
        "0:0",
        "-filter_complex",
        f"[dec:0]{distorted_filters(geometry, settings)},split[d][c];{scoring_filter(model, scorer_threads)}",
        *SCORING_OUTPUTS,
    ]


def with_one_thread(argv: Sequence[str]) -> list[str]:
    """The same command with one thread for each decoder and each graph of filters; encoders say theirs themselves."""
    words = [argv[0], "-filter_threads", "1", "-filter_complex_threads", "1"]
    for word in argv[1:]:
        words += ["-threads", "1", word] if word in ("-i", "-dec") else [word]
    return words


#: What follows the filters that score: nothing is written but the log and one line for every decoded frame.
SCORING_OUTPUTS = (
    "-map",
    "[o]",
    "-fps_mode",
    "passthrough",
    "-f",
    "null",
    "-",
    "-map",
    "[c]",
    "-fps_mode",
    "passthrough",
    "-stats_enc_pre",
    DECODED_STATS,
    "-stats_enc_pre_fmt",
    "{n}",
    "-f",
    "null",
    "-",
)


def scoring_filter(model: str, threads: int) -> str:
    """The filter that compares ``[d]`` with ``[r]``; it stops at the end of the shorter one."""
    return f"[d][r]libvmaf=log_fmt=json:log_path={SCORE_LOG}:{model}:n_threads={threads}:shortest=1:repeatlast=0[o]"


def _renamed(geometry: Geometry, pix_fmt: str) -> str:
    # full-range 8-bit frames travel under names of their own (yuvj420p), which encoders and libvmaf do not take
    return f"scale=in_range=pc:out_range=pc,format={pix_fmt}," if geometry.range == "pc" else ""


def source_filters(geometry: Geometry, *, chroma_location: bool = True) -> str:
    """Filters after which a clip is its samples alone, under the usual name of its format."""
    return f"{_renamed(geometry, geometry.pix_fmt)}{normalise(geometry, chroma_location=chroma_location)}"


def distorted_source_filters(distorted: Geometry, reference: Geometry) -> str:
    """The same for a distorted clip, which is brought to the size of its reference where it is stored at another."""
    filters = source_filters(distorted)
    if (distorted.width, distorted.height) == (reference.width, reference.height):
        return filters
    return f"{filters},{CONVERT}:w={reference.width}:h={reference.height},setsar=1"


def reference_filters(geometry: Geometry, settings: EncodeSettings, *, chroma_location: bool = True) -> str:
    """Filters between a source and what is encoded and compared."""
    converted = conversion(settings, geometry.pix_fmt)
    to_score = f",{converted}" if converted else ""
    return f"{source_filters(geometry, chroma_location=chroma_location)}{to_score}"


def distorted_filters(geometry: Geometry, settings: EncodeSettings) -> str:
    """Filters between the decoder and the comparison: frames count by their order."""
    time = f"settb={geometry.fps.denominator}/{geometry.fps.numerator},setpts=N"
    return f"{_renamed(geometry, settings.score_pix_fmt)}{time}"


def y4m_command(ffmpeg: Ffmpeg, path: Path) -> list[str]:
    """Decode a container's first real video stream to YUV4MPEG2 on stdout, every stored frame once."""
    return [
        str(ffmpeg.path),
        *COMMON,
        "-noautorotate",
        "-i",
        f"file:{path.absolute()}",
        "-map",
        "0:V:0",
        "-fps_mode",
        "passthrough",
        "-strict",
        "-1",
        "-f",
        "yuv4mpegpipe",
        "pipe:1",
    ]


def lossless_command(ffmpeg: Ffmpeg, file: SourceFile, codec: Sequence[str], target: Path) -> list[str]:
    """Copy a source without loss into Matroska: its frames, rate and range, nothing else of the file.

    The range has to be said to the encoder too: FFV1 takes limited range only, unless it is told otherwise. Some
    decoders call 8-bit full range by a pixel format of its own (``yuvj420p``); the same samples get their usual name.
    """
    geometry = file.geometry
    renamed = f",scale=in_range=pc:out_range=pc,format={geometry.pix_fmt}" if geometry.range == "pc" else ""
    return [
        str(ffmpeg.path),
        *COMMON,
        *input_args(file),
        "-map",
        "0:V:0",
        "-map_metadata",
        "-1",
        "-map_chapters",
        "-1",
        "-vf",
        normalise(geometry) + renamed,
        "-fps_mode",
        "passthrough",
        *codec,
        "-color_range",
        geometry.range,
        "-fflags",
        "+bitexact",
        "-flags:v",
        "+bitexact",
        "-f",
        "matroska",
        f"file:{target}",
    ]


def packets_command(ffmpeg: Ffmpeg, path: Path) -> list[str]:
    """List the packets of a container's first real video stream with their time stamps, without decoding."""
    return [
        str(ffmpeg.path),
        *COMMON,
        "-i",
        f"file:{path.absolute()}",
        "-map",
        "0:V:0",
        "-c",
        "copy",
        "-f",
        "framecrc",
        "pipe:1",
    ]


#: What a demuxer says of a file that ends too early or is damaged, at the level of a warning.
_DAMAGE = ("File ended prematurely", "partial file", "Packet corrupt", "corrupt input packet", "Truncating packet")


def damage(stderr: str) -> str:
    """The first line of ffmpeg's stderr that tells of a damaged input, empty if none does."""
    for line in stderr.splitlines():
        if "[error]" in line or "[fatal]" in line or any(text in line for text in _DAMAGE):
            return re.sub(r"0x[0-9a-f]+", "0x…", line.strip())
    return ""


def first_error(stderr: str) -> str:
    """The first line that tells of an error, without the component and level before it: the cause of the others."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    marked = next((line for line in lines if "[error]" in line or "[fatal]" in line), lines[0] if lines else "")
    return plain(marked)


def plain(line: str) -> str:
    """A line of ffmpeg's without the component and level in brackets before it."""
    return line.rsplit("] ", 1)[-1]


def stats_column(text: str, column: int) -> list[int]:
    """One column of whole numbers from a statistics file written by :func:`fused_command`."""
    return [int(line.split()[column]) for line in text.splitlines() if line.strip()]


REMEDIES: Mapping[str, str] = {
    "No space left on device": "The disk is full.",
    "could not load libvmaf model": "This scorer does not have that teacher; see --teacher.",
    "No such filter: 'libvmaf'": "This ffmpeg has no libvmaf; leave --ffmpeg out to use the bundled one.",
    "Unrecognized option 'dec'": "This ffmpeg is older than 7.1; leave --ffmpeg out to use the bundled one.",
}


def remedy(stderr: str) -> str:
    """What helps against a known message of ffmpeg, empty for an unknown one."""
    return next((hint for text, hint in REMEDIES.items() if text in stderr), "")
