"""Command lines for one ffmpeg that encodes and another one that decodes and scores, connected by a pipe."""

from __future__ import annotations

from kit.core.contract import CONVERT
from kit.core.values import NO_DEVICE, EncoderDevice, EncodeSettings, SourceFile
from kit.video.ffmpeg import (
    COMMON,
    PASSTHROUGH,
    SCORING_OUTPUTS,
    STREAM_HASH,
    Ffmpeg,
    distorted_filters,
    input_args,
    reference_filters,
    scoring_filter,
)

#: One line per packet, by the encoding ffmpeg (``-stats_enc_post`` needs 6.0).
PACKETS = "packets.crc"


def _container(encoder: str) -> str:
    """Return the format of the pipe; NUT supports every codec of the vocabulary but H.266."""
    return "vvc" if encoder == "libvvenc" else "nut"


def encode_command(
    encoding: Ffmpeg, file: SourceFile, settings: EncodeSettings, *, device: EncoderDevice = NO_DEVICE, keep: str = ""
) -> list[str]:
    """Return the command that encodes a source to stdout and writes the stream's hash and the packets' sizes.

    The ``tee`` muxer requests no global header, so the packets are those that the fused command hashes.

    Args:
        keep: name of a file for the stream; empty for none.
    """
    # before 7.1 no filter removes the position of chroma samples; an option of the encoder does
    filtered = "setparams=chroma_location" not in encoding.lacks
    filters = reference_filters(file.geometry, settings, chroma_location=filtered)
    if settings.encode_pix_fmt != settings.score_pix_fmt:
        filters += f",{CONVERT},format={settings.encode_pix_fmt}"
    ends = [f"[f=streamhash:hash=sha256]{STREAM_HASH}", f"[f=framecrc]{PACKETS}"]
    ends += [f"[f={_container(settings.encoder)}]{end}" for end in (keep, "pipe\\:1") if end]
    return [
        str(encoding.path),
        *COMMON,
        *device.opened,
        *input_args(file),
        "-filter_complex",
        f"[0:V:0]{filters}[e]",
        *("-map", "[e]", *PASSTHROUGH),
        *settings.argv,
        *device.chosen,
        *(() if filtered else ("-chroma_sample_location", "unknown")),
        *("-f", "tee", "|".join(ends)),
    ]


def stream_input(settings: EncodeSettings) -> list[str]:
    """Return the arguments that open the output of :func:`encode_command`."""
    return ["-f", _container(settings.encoder), "-i", "pipe:0"]


def score_command(
    scoring: Ffmpeg, file: SourceFile, settings: EncodeSettings, *, model: str, scorer_threads: int = 1
) -> list[str]:
    """Return the command that decodes a stream from stdin and compares it with the source, read a second time."""
    geometry = file.geometry
    return [
        str(scoring.path),
        *COMMON,
        *input_args(file),
        *stream_input(settings),
        "-filter_complex",
        f"[0:V:0]{reference_filters(geometry, settings)}[r];"
        f"[1:v:0]{distorted_filters(geometry, settings)},split[d][c];{scoring_filter(model, scorer_threads)}",
        *SCORING_OUTPUTS,
    ]


def packet_sizes(text: str) -> list[int]:
    """Return the bytes of every packet in the output of the ``framecrc`` muxer."""
    return [int(line.split(",")[4]) for line in text.splitlines() if line.strip() and not line.startswith("#")]
