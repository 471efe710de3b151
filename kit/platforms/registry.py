"""The registry of encoder families."""

from __future__ import annotations

from collections.abc import Sequence

from kit.core.contract import ENCODER_VOCAB
from kit.core.errors import BadInput
from kit.core.values import EncodeSettings, Finding, ReadyEncoder
from kit.platforms.amf import Amf
from kit.platforms.base import EncoderFamily
from kit.platforms.facts import HostFacts
from kit.platforms.nvenc import Nvenc
from kit.platforms.qsv import Qsv
from kit.platforms.software import Software
from kit.platforms.videotoolbox import VideoToolbox

FAMILIES: tuple[EncoderFamily, ...] = (
    Software(),
    Nvenc(),
    Qsv(),
    Amf(),
    VideoToolbox(),
)


def family_of(encoder: str) -> EncoderFamily:
    """Return the family of an encoder.

    Raises:
        BadInput: the name is not in the vocabulary.
    """
    for family in FAMILIES:
        if encoder in family.encoders:
            return family
    raise BadInput(f"unknown encoder {encoder!r}", hint=f"Use one of {', '.join(ENCODER_VOCAB)}.")


def device_findings(facts: HostFacts, ready: Sequence[ReadyEncoder]) -> tuple[Finding, ...]:
    """Return the findings of every family about devices and drivers of this box."""
    working = {encoder.family for encoder in ready}
    return tuple(finding for family in FAMILIES for finding in family.findings(facts, works=family.name in working))


def settings_for(encoder: ReadyEncoder, cq: int, pix_fmt: str) -> EncodeSettings:
    """Return the settings of one encode."""
    return family_of(encoder.name).settings(encoder.name, cq, pix_fmt, encoder.variant)
