"""The codec block: the inputs of a network that describe the encode. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kit.core import contract
from kit.core.errors import BadInput

_X26X = {
    "ultrafast": 0,
    "superfast": 1,
    "veryfast": 2,
    "faster": 3,
    "fast": 4,
    "medium": 5,
    "slow": 6,
    "slower": 7,
    "veryslow": 8,
    "placebo": 9,
}
_NVENC = {"p1": 0, "p2": 2, "p3": 3, "p4": 5, "p5": 6, "p6": 7, "p7": 9}
_QSV = {"veryfast": 2, "faster": 3, "fast": 4, "medium": 5, "slow": 6, "slower": 7, "veryslow": 8}
_VVENC = {"faster": 1, "fast": 3, "medium": 5, "slow": 7, "slower": 8}

#: Middle of the scale: for an encoder without presets, and for a preset that an import did not record.
NO_PRESET = 5

#: Preset name to ordinal 0 (fastest) … 9 (slowest). libsvtav1 and libaom-av1 name their presets with numbers.
PRESETS: Mapping[str, Mapping[str, int]] = {
    "libx264": _X26X,
    "libx265": _X26X,
    "h264_nvenc": _NVENC,
    "hevc_nvenc": _NVENC,
    "av1_nvenc": _NVENC,
    "h264_qsv": _QSV,
    "hevc_qsv": _QSV,
    "av1_qsv": _QSV,
    "libvvenc": _VVENC,
    "libsvtav1": {str(n): min(n, 9) for n in range(14)},
}


def preset_ordinal(encoder: str, preset: str | None) -> int:
    """Return the ordinal of a preset, 0 to 9; ``NO_PRESET`` for an encoder without presets and for None.

    Raises:
        BadInput: the encoder has no preset of that name.
    """
    if encoder not in PRESETS or preset is None:
        return NO_PRESET
    if preset not in PRESETS[encoder]:
        raise BadInput(f"{encoder} has no preset {preset!r}; expected one of {', '.join(PRESETS[encoder])}")
    return PRESETS[encoder][preset]


def codec_block(encoder: str, preset: str | None, cq: int, encoder_vocab: Sequence[str]) -> tuple[float, ...]:
    """Return the one-hot encoder, ``preset_norm`` and ``crf_norm``.

    ``crf_norm`` is cq/63 for every corpus: scaled by the observed range it would carry the held-out rows into training
    and be another number at run time. An encoder outside the vocabulary has no bit set.
    """
    one_hot = [1.0 if encoder == name else 0.0 for name in encoder_vocab]
    return (*one_hot, preset_ordinal(encoder, preset) / contract.PRESET_SCALE, cq / contract.CRF_SCALE)
