"""Settings, devices and findings of every encoder family."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from kit.core.contract import ENCODER_VOCAB
from kit.core.errors import BadInput
from kit.core.geometry import PIXEL_FORMATS
from kit.core.values import NO_DEVICE, EncoderDevice, EncodeSettings
from kit.platforms.base import score_format
from kit.platforms.detect import narrowed
from kit.platforms.facts import HostFacts, NvidiaGpu, RenderNode, parse_nvidia_smi
from kit.platforms.registry import FAMILIES, device_findings, family_of
from kit.training.codec_block import preset_ordinal
from tests.platforms.builders import ready

NVENC = ("h264_nvenc", "hevc_nvenc", "av1_nvenc")
QSV = ("h264_qsv", "hevc_qsv", "av1_qsv")
APPLE = ("h264_videotoolbox", "hevc_videotoolbox")
GPU = {"gpus": (NvidiaGpu(index=0, name="NVIDIA GeForce RTX 4070", driver="580.1"),)}
ARC = RenderNode(name="renderD129", driver="iHD", version="23.4")
IHD = {"nodes": (RenderNode(name="renderD128", driver="Mesa"), ARC)}


def facts(system: str = "Linux", machine: str = "x86_64", **own: Any) -> HostFacts:
    default: dict[str, Any] = {"cores": 4, "memory_bytes": None, "nvidia_problem": "nvidia-smi is not installed"}
    return HostFacts(system=system, machine=machine, **(default | own))


def settings_for(encoder: str, cq: int, pix_fmt: str, place: int = 0) -> EncodeSettings:
    """Settings of an encoder's variant; 0 is the best."""
    family = family_of(encoder)
    return family.settings(encoder, cq, pix_fmt, family.variants[place])


def test_every_entry_of_the_vocabulary_is_of_one_family() -> None:
    by_family = [name for family in FAMILIES for name in family.encoders]
    assert sorted(by_family) == sorted(ENCODER_VOCAB)
    assert len({family.name for family in FAMILIES}) == len(FAMILIES)
    for family in FAMILIES:
        for name in family.encoders:
            assert family_of(name) is family


@pytest.mark.parametrize("name", ["", "x264", "LIBX264", "h264_vaapi"])
def test_an_unknown_encoder_is_refused(name: str) -> None:
    with pytest.raises(BadInput) as error:
        family_of(name)
    assert "libx264" in error.value.hint


#: Arguments at the lowest, the anchor's and the highest quality point, ``{}`` for the knob's value.
ARGV = {
    "libx264": ("-preset medium -crf {} -threads 1", (0, 31, 51)),
    "libx265": ("-preset medium -crf {} -threads 1", (0, 31, 51)),
    "libaom-av1": ("-cpu-used 6 -crf {} -threads 1", (0, 38, 63)),
    "libsvtav1": ("-preset 8 -crf {} -threads 1", (1, 38, 63)),
    "libvvenc": ("-preset faster -qp {} -pix_fmt yuv420p10le -threads 1", (0, 31, 51)),
    "h264_nvenc": ("-rc vbr -cq {} -b:v 0 -preset p4", (1, 31, 51)),
    "hevc_nvenc": ("-rc vbr -cq {} -b:v 0 -preset p4", (1, 31, 51)),
    "av1_nvenc": ("-rc vbr -cq {} -b:v 0 -preset p4", (1, 38, 63)),
    "h264_qsv": ("-global_quality {} -preset medium", (1, 31, 51)),
    "hevc_qsv": ("-global_quality {} -preset medium", (1, 31, 51)),
    "av1_qsv": ("-global_quality {} -preset medium", (1, 31, 51)),
    "h264_amf": ("-usage transcoding -quality balanced -rc cqp -qp_i {} -qp_p {} -qp_b {}", (0, 31, 51)),
    "hevc_amf": ("-usage transcoding -quality balanced -rc cqp -qp_i {} -qp_p {}", (0, 31, 51)),
    "av1_amf": ("-usage transcoding -quality balanced -rc cqp -qp_i {} -qp_p {} -qp_b {}", (0, 155, 255)),
    "h264_videotoolbox": ("-q:v {} -realtime 0 -allow_sw 0", (99, 38, 1)),
    "hevc_videotoolbox": ("-q:v {} -realtime 0 -allow_sw 0", (99, 38, 1)),
}
#: The knob, and the native values it takes: 0 is "automatic" for nvenc, and no constant quality for svt.
KNOB = {
    "libx264": ("-crf", 0, 51),
    "libx265": ("-crf", 0, 51),
    "libaom-av1": ("-crf", 0, 63),
    "libsvtav1": ("-crf", 1, 63),
    "libvvenc": ("-qp", 0, 63),
    "h264_nvenc": ("-cq", 1, 51),
    "hevc_nvenc": ("-cq", 1, 51),
    "av1_nvenc": ("-cq", 1, 63),
    "h264_qsv": ("-global_quality", 1, 51),
    "hevc_qsv": ("-global_quality", 1, 51),
    "av1_qsv": ("-global_quality", 1, 51),
    "h264_amf": ("-qp_i", 0, 51),
    "hevc_amf": ("-qp_i", 0, 51),
    "av1_amf": ("-qp_i", 0, 255),
    "h264_videotoolbox": ("-q:v", 1, 99),
    "hevc_videotoolbox": ("-q:v", 1, 99),
}


def test_the_tables_of_this_test_are_whole() -> None:
    assert set(ARGV) == set(KNOB) == set(ENCODER_VOCAB)


@pytest.mark.parametrize("encoder", ENCODER_VOCAB)
@pytest.mark.parametrize(("place", "cq"), list(enumerate((0, 31, 51))))
def test_arguments(encoder: str, place: int, cq: int) -> None:
    text, values = ARGV[encoder]
    settings = settings_for(encoder, cq, "yuv420p")
    assert " ".join(settings.argv) == f"-c:v {encoder} " + text.replace("{}", str(values[place]))
    assert (settings.encoder, settings.cq) == (encoder, cq)


#: Where the device has no ICQ: the knob and its ends.
CQP = {"h264_qsv": ("-q:v", 1, 51), "hevc_qsv": ("-q:v", 1, 51), "av1_qsv": ("-q:v", 5, 255)}


@pytest.mark.parametrize(
    ("encoder", "place"), [*((name, 0) for name in ENCODER_VOCAB), *((name, 1) for name in (*NVENC, *QSV))]
)
def test_more_cq_never_means_more_quality_and_stays_within_the_range(encoder: str, place: int) -> None:
    knob, low, high = CQP[encoder] if place and encoder in CQP else KNOB[encoder]
    values = []
    for cq in range(52):
        argv = settings_for(encoder, cq, "yuv420p", place).argv
        values.append(int(argv[argv.index(knob) + 1]))
    assert low <= min(values) <= max(values) <= high
    falling = "videotoolbox" in encoder
    assert values == sorted(values, reverse=falling)
    # only the ends, where a range is left, may give one value twice
    inner = values[1:51]
    assert len(set(inner)) == len(inner)


@pytest.mark.parametrize("encoder", ENCODER_VOCAB)
def test_the_preset_is_in_the_arguments(encoder: str) -> None:
    settings = settings_for(encoder, 31, "yuv420p")
    assert settings.preset == "" or settings.preset in settings.argv
    # and has a value in the codec block
    assert 0 <= preset_ordinal(encoder, settings.preset) <= 9


@pytest.mark.parametrize("encoder", ["libx264", "libx265", "libaom-av1", "libsvtav1", "libvvenc"])
def test_software_encoders_run_with_one_thread(encoder: str) -> None:
    argv = settings_for(encoder, 31, "yuv420p").argv
    assert argv[argv.index("-threads") + 1] == "1"


def test_vvenc_is_never_given_a_crf() -> None:
    assert "-crf" not in settings_for("libvvenc", 31, "yuv420p").argv


def test_arguments_have_no_device_and_no_path() -> None:
    for encoder, cq, pix_fmt in itertools.product(ENCODER_VOCAB, (0, 51), PIXEL_FORMATS):
        text = " ".join(settings_for(encoder, cq, pix_fmt).argv)
        assert "/" not in text
        assert "device" not in text


EIGHT_TEN = {f"yuv{c}p{d}": "yuv420p10le" if d else "yuv420p" for c in (420, 422, 444) for d in ("", "10le", "12le")}
EIGHT = dict.fromkeys(PIXEL_FORMATS, "yuv420p")
#: Which format each encoder is scored in, for every format a source may have.
SCORED = {
    "libx264": {name: name.replace("12le", "10le") for name in PIXEL_FORMATS},
    "libx265": {name: name for name in PIXEL_FORMATS},
    "libaom-av1": {name: name for name in PIXEL_FORMATS},
    "libsvtav1": EIGHT_TEN,
    "libvvenc": dict.fromkeys(PIXEL_FORMATS, "yuv420p10le"),
    **dict.fromkeys(("h264_qsv", "h264_amf", APPLE[0]), EIGHT),
    **dict.fromkeys(
        ("h264_nvenc", "hevc_nvenc", "av1_nvenc", "hevc_qsv", "av1_qsv", "hevc_amf", "av1_amf", APPLE[1]), EIGHT_TEN
    ),
}
P010 = {"yuv420p10le": "p010le"}
NV12_P010 = {"yuv420p": "nv12", **P010}
#: Semi-planar input formats of hardware: the same samples as the planar format for scoring.
FED = {
    **dict.fromkeys(("h264_qsv", "hevc_qsv", "av1_qsv", "h264_amf", "hevc_amf", "av1_amf"), NV12_P010),
    **dict.fromkeys(("h264_nvenc", "hevc_nvenc", "av1_nvenc", *APPLE), P010),
}


@pytest.mark.parametrize("encoder", ENCODER_VOCAB)
def test_pixel_formats(encoder: str) -> None:
    for pix_fmt in PIXEL_FORMATS:
        settings = settings_for(encoder, 31, pix_fmt)
        scored = SCORED[encoder][pix_fmt]
        assert settings.score_pix_fmt == scored
        assert settings.encode_pix_fmt == FED.get(encoder, {}).get(scored, scored)


@pytest.mark.parametrize(
    ("pix_fmt", "accepted", "expected"),
    [
        ("yuv420p10le", ("yuv420p", "yuv420p12le"), "yuv420p12le"),
        ("yuv420p12le", ("yuv420p", "yuv420p10le"), "yuv420p10le"),
        ("yuv422p", ("yuv444p", "yuv420p"), "yuv420p"),
        ("yuv422p10le", ("yuv422p", "yuv420p10le"), "yuv420p10le"),
        ("yuv420p", ("yuv444p12le",), "yuv444p12le"),
    ],
)
def test_the_nearest_format_keeps_bits_before_chroma(pix_fmt: str, accepted: tuple[str, ...], expected: str) -> None:
    assert score_format("x", pix_fmt, accepted) == expected
    assert score_format("x", pix_fmt, accepted[::-1]) == expected


def test_no_format_at_all_is_refused() -> None:
    with pytest.raises(BadInput, match="yuv420p"):
        score_format("x", "yuv420p", ())


def test_ten_bits_from_videotoolbox_need_their_profile() -> None:
    assert settings_for("hevc_videotoolbox", 31, "yuv422p12le").argv[-2:] == ("-profile:v", "main10")
    assert "-profile:v" not in settings_for("hevc_videotoolbox", 31, "yuv422p").argv


@pytest.mark.parametrize(
    ("host", "device"),
    [
        (facts(**IHD), "qsv=hw,child_device=/dev/dri/renderD129"),
        (facts(nodes=(RenderNode(name="renderD128"),)), "qsv=hw,child_device=/dev/dri/renderD128"),
        (facts(), "qsv=hw"),
    ],
)
def test_quick_sync_opens_intels_node(host: HostFacts, device: str) -> None:
    assert family_of("h264_qsv").device(host) == EncoderDevice(opened=("-init_hw_device", device))


@pytest.mark.parametrize("encoder", ["libx264", "hevc_nvenc", "av1_amf", "hevc_videotoolbox"])
def test_the_others_need_no_device_arguments_for_a_single_device(encoder: str) -> None:
    assert family_of(encoder).device(facts(**GPU, **IHD)) == NO_DEVICE


def test_the_eight_bit_variant_encodes_eight_bits() -> None:
    for encoder in NVENC:
        assert settings_for(encoder, 31, "yuv420p10le", 1).score_pix_fmt == "yuv420p"
        assert settings_for(encoder, 31, "yuv420p", 1) == settings_for(encoder, 31, "yuv420p", 0)


TWO = parse_nvidia_smi(
    "0, NVIDIA GeForce RTX 4080 SUPER, 595.71.05, 8.9, 16376 MiB, 0, [N/A]\n"
    "1, NVIDIA H100 80GB HBM3, 590.48.01, 9.0, 81559 MiB, 2, Enabled"
)


@pytest.mark.parametrize(
    ("gpu", "visible", "index", "chosen"),
    [
        (None, "", 0, ("-gpu", "0")),
        (0, "", 0, ("-gpu", "0")),
        (1, "", 1, ("-gpu", "1")),
        (None, "1", 1, ("-gpu", "0")),
        (1, "1,0", 1, ("-gpu", "0")),
        (0, "1,0", 0, ("-gpu", "1")),
        (None, "GPU-8f4c", 0, ()),
    ],
)
def test_a_gpu_is_chosen_by_cudas_number(gpu: int | None, visible: str, index: int, chosen: tuple[str, ...]) -> None:
    host = narrowed(facts(gpus=TWO, nvidia_problem=""), gpu=gpu, render_node=None, cuda_visible=visible)
    assert host.gpus[0].index == index
    assert family_of("hevc_nvenc").device(host).chosen == chosen
    assert str(TWO[index]) in family_of("hevc_nvenc").build(b"", "9", host)


def test_a_render_node_is_chosen_by_name() -> None:
    two = facts(nodes=(ARC, RenderNode(name="renderD130", driver="iHD", version="24.1")))
    host = narrowed(two, gpu=None, render_node="renderD130")
    assert family_of("av1_qsv").device(host).opened == ("-init_hw_device", "qsv=hw,child_device=/dev/dri/renderD130")
    assert family_of("av1_qsv").build(b"", "9", host) == "ffmpeg 9, iHD 24.1"


@pytest.mark.parametrize(
    ("request_", "message", "hint"),
    [
        ({"gpu": 7, "render_node": None}, "--gpu 7", "1: NVIDIA H100"),
        ({"gpu": 0, "render_node": None, "cuda_visible": "1"}, "CUDA_VISIBLE_DEVICES", "0: NVIDIA GeForce"),
        ({"gpu": None, "render_node": "renderD200"}, "renderD200", "renderD129 (iHD)"),
    ],
)
def test_an_unknown_device_is_refused_with_the_known_ones(request_: dict[str, Any], message: str, hint: str) -> None:
    with pytest.raises(BadInput) as error:
        narrowed(facts(gpus=TWO, nodes=(ARC,)), **request_)
    assert message in error.value.message
    assert hint in error.value.hint


OLD = {"gpus": (NvidiaGpu(index=0, name="NVIDIA L4", driver="570.10"),)}
NO_DRIVER = {"nodes": (RenderNode(name="renderD128", problem="vainfo is not installed"),)}


@pytest.mark.parametrize(
    ("host", "works", "expected"),
    [
        (facts(), False, []),
        (facts(**GPU), True, [("GPU", "pass", "RTX 4070, driver 580.1", "")]),
        (facts(**OLD), False, [("GPU", "warning", "NVENC does not work", "driver 610 or later")]),
        (facts(gpus=TWO), True, [("GPU", "pass", "the first of 0: NVIDIA GeForce RTX 4080 SUPER; 1: NVIDIA H100", "")]),
        (
            facts(gpus=TWO[1:]),
            False,
            [
                ("GPU", "warning", "NVENC does not work", "driver 610"),
                ("GPU partitions", "warning", "split (MIG)", "MIG off"),
                ("NVENC sessions", "warning", "2 open encode sessions", "Close them"),
            ],
        ),
        (facts(**IHD), True, [("Intel GPU", "pass", "renderD129: iHD 23.4", "")]),
        (facts(**IHD), False, [("Intel GPU", "warning", "Quick Sync does not work", "encoders above")]),
        (facts(**NO_DRIVER), False, [("render nodes", "warning", "vainfo is not installed", "group render")]),
        (facts(**NO_DRIVER, **GPU), True, [("GPU", "pass", "RTX 4070", "")]),
        (facts("Darwin", "arm64", chip="Apple M4"), True, [("VideoToolbox", "pass", "Apple M4", "")]),
        (
            facts("Darwin", "x86_64", chip="Apple M2", translated=True),
            False,
            [("VideoToolbox", "warning", "Apple M2: does not work", "arm64 Python")],
        ),
        (facts("Darwin", "x86_64"), False, [("VideoToolbox", "warning", "x86_64", "libx264 is used")]),
    ],
)
def test_findings(
    host: HostFacts,
    works: bool,
    expected: list[tuple[str, str, str, str]],
) -> None:
    findings = [finding for family in FAMILIES for finding in family.findings(host, works=works)]
    assert len(findings) == len(expected)
    for finding, (check, status, text, remedy) in zip(findings, expected, strict=True):
        assert (finding.check, finding.status) == (check, status)
        assert text in finding.found
        assert remedy in finding.remedy
        assert bool(finding.remedy) == (status != "pass")


def test_findings_depend_on_working_encoders() -> None:
    encoder = ready("hevc_nvenc", family="nvenc")
    assert [finding.status for finding in device_findings(facts(**GPU), [encoder])] == ["pass"]
    assert [finding.status for finding in device_findings(facts(**GPU), [])] == ["warning"]


@pytest.mark.parametrize(
    ("encoder", "stream", "build"),
    [
        ("libx264", b"\x00x264 - core 165 r3222 b35605a - H.264/MPEG-4 AVC", "x264 - core 165 r3222 b35605a"),
        ("libx264", b"..x264 - core 165 - H.264/MPEG-4 AVC codec", "x264 - core 165"),
        ("libx265", b"..x265 (build 217) - 4.3+49-abc:[Linux]", "x265 (build 217) - 4.3+49-abc"),
        ("libsvtav1", b"\x00\x01", "ffmpeg 9"),
        ("libx264", b"", "ffmpeg 9"),
        ("hevc_nvenc", b"", "ffmpeg 9, NVIDIA GeForce RTX 4070, driver 580.1"),
        ("hevc_qsv", b"", "ffmpeg 9, iHD 23.4"),
        ("hevc_amf", b"", "ffmpeg 9, AMF"),
        ("hevc_videotoolbox", b"", "ffmpeg 9, VideoToolbox x86_64"),
    ],
)
def test_builds(encoder: str, stream: bytes, build: str) -> None:
    assert family_of(encoder).build(stream, "9", facts(**GPU, **IHD)) == build


def test_hardware_sessions_are_limited_and_software_is_not() -> None:
    for family in FAMILIES:
        limit = family.max_parallel(facts())
        assert (limit is None) == (family.name == "software")
        assert limit is None or limit >= 1
