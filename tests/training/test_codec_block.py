"""The codec block, its vocabulary and its scales, pinned literally."""

from __future__ import annotations

from itertools import pairwise

import pytest

from kit.core import contract
from kit.core.errors import BadInput
from kit.core.inputs import DEFAULT_INPUTS, known_inputs, read_inputs
from kit.training.codec_block import PRESETS, codec_block, preset_ordinal
from tests.training.builders import OTHER_INPUTS

VOCABULARY = [
    "libx264",
    "libaom-av1",
    "libx265",
    "h264_nvenc",
    "hevc_nvenc",
    "av1_nvenc",
    "h264_amf",
    "hevc_amf",
    "av1_amf",
    "h264_qsv",
    "hevc_qsv",
    "av1_qsv",
    "libvvenc",
    "libsvtav1",
    "h264_videotoolbox",
    "hevc_videotoolbox",
]

X26X = ["ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow", "placebo"]
#: A preset of each encoder that has presets.
KNOWN = {
    "libx264": "medium",
    "libx265": "medium",
    "h264_nvenc": "p4",
    "hevc_nvenc": "p4",
    "av1_nvenc": "p4",
    "h264_qsv": "medium",
    "hevc_qsv": "medium",
    "av1_qsv": "medium",
    "libvvenc": "medium",
    "libsvtav1": "5",
}


def test_the_vocabulary_is_version_3_in_its_order() -> None:
    assert list(contract.ENCODER_VOCABS[3]) == VOCABULARY
    assert len(VOCABULARY) == 16
    assert contract.ENCODER_VOCAB_VERSION == 3
    assert known_inputs(encoder_vocab_version=3).codec_width == 18


def test_a_version_keeps_the_slots_of_those_before_it() -> None:
    versions = sorted(contract.ENCODER_VOCABS)
    for older, newer in pairwise(versions):
        assert contract.ENCODER_VOCABS[newer][: len(contract.ENCODER_VOCABS[older])] == contract.ENCODER_VOCABS[older]


def test_a_known_version_is_not_read_with_other_names() -> None:
    document = DEFAULT_INPUTS.as_dict()
    assert read_inputs(document) == DEFAULT_INPUTS
    assert read_inputs(OTHER_INPUTS.as_dict()) == OTHER_INPUTS
    for name in ("features", "encoder_vocab"):
        with pytest.raises(BadInput):
            read_inputs(document | {name: ["other"]})
    with pytest.raises(BadInput, match="2"):
        known_inputs(encoder_vocab_version=2)


def test_the_block_of_another_vocabulary_has_its_width() -> None:
    assert codec_block("xeve", None, 63, OTHER_INPUTS.encoder_vocab) == (0.0, 1.0, 0.0, 5 / 9, 1.0)
    assert OTHER_INPUTS.codec_width == 5
    assert OTHER_INPUTS.width(codec_aware=True) == 9
    assert OTHER_INPUTS.codec_block_layout[1:] == (
        "encoder_onehot[xeve]",
        "encoder_onehot[libx265]",
        "preset_norm",
        "crf_norm",
    )


@pytest.mark.parametrize(("index", "encoder"), list(enumerate(VOCABULARY)))
def test_each_encoder_has_one_slot_of_its_own(index: int, encoder: str) -> None:
    block = codec_block(encoder, KNOWN.get(encoder, "anything"), 0, VOCABULARY)
    assert block == (*(float(slot == index) for slot in range(16)), 5 / 9, 0.0)


@pytest.mark.parametrize("encoder", ["libx266", "", "LIBX264", "h264_vaapi", "libx264 "])
def test_an_encoder_outside_the_vocabulary_is_all_zeros(encoder: str) -> None:
    assert codec_block(encoder, "medium", 31, VOCABULARY) == (*[0.0] * 16, 5 / 9, 31 / 63)


@pytest.mark.parametrize(("cq", "norm"), [(0, 0.0), (21, 1 / 3), (51, 51 / 63), (63, 1.0)])
def test_crf_norm_is_absolute(cq: int, norm: float) -> None:
    assert codec_block("libx264", "medium", cq, VOCABULARY)[-1] == norm


@pytest.mark.parametrize(
    ("encoders", "ordinals"),
    [
        (["libx264", "libx265"], dict(zip(X26X, range(10), strict=True))),
        (["h264_nvenc", "hevc_nvenc", "av1_nvenc"], {"p1": 0, "p2": 2, "p3": 3, "p4": 5, "p5": 6, "p6": 7, "p7": 9}),
        (
            ["h264_qsv", "hevc_qsv", "av1_qsv"],
            {"veryfast": 2, "faster": 3, "fast": 4, "medium": 5, "slow": 6, "slower": 7, "veryslow": 8},
        ),
        (["libvvenc"], {"faster": 1, "fast": 3, "medium": 5, "slow": 7, "slower": 8}),
        (["libsvtav1"], {"0": 0, "1": 1, "8": 8, "9": 9, "10": 9, "13": 9}),
        (["libaom-av1", "h264_amf", "hevc_amf", "av1_amf", "h264_videotoolbox", "unheard-of"], {"": 5, "6": 5}),
    ],
)
def test_presets(encoders: list[str], ordinals: dict[str, int]) -> None:
    for encoder in encoders:
        assert {preset: preset_ordinal(encoder, preset) for preset in ordinals} == ordinals
        assert codec_block(encoder, next(iter(ordinals)), 31, VOCABULARY)[16] == next(iter(ordinals.values())) / 9


@pytest.mark.parametrize("encoder", sorted(PRESETS))
def test_an_unknown_preset_is_refused_and_the_known_ones_are_named(encoder: str) -> None:
    with pytest.raises(BadInput, match=f"{encoder}.*best") as error:
        codec_block(encoder, "best", 31, VOCABULARY)
    assert all(preset in error.value.message for preset in PRESETS[encoder])


@pytest.mark.parametrize("encoder", sorted(PRESETS))
def test_ordinals_rise_from_fastest_to_slowest_within_0_to_9(encoder: str) -> None:
    ordinals = list(PRESETS[encoder].values())
    assert ordinals == sorted(ordinals)
    assert set(ordinals) <= set(range(10))
