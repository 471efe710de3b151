"""Every adapter's arguments exist in the real ffmpeg and are within its ranges, hardware or not."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from kit.core.contract import ENCODER_VOCAB
from kit.core.values import EncodeSettings
from kit.platforms.nvenc import Nvenc
from kit.platforms.options import OptionHelp, check_options, parse_help, used_values
from kit.system.proc import Processes
from kit.video.ffmpeg import Ffmpeg
from tests.cli.builders import Kit

HELP = """Encoder h264_nvenc [NVIDIA NVENC H.264 encoder]:
    Supported pixel formats: yuv420p nv12
h264_nvenc AVOptions:
  -preset            <int>        E..V....... Set the encoding preset (from 0 to 18) (default p4)
     p1              12           E..V....... fastest (lowest quality)
     p4              15           E..V....... medium (default)
  -cq                <float>      E..V....... Set target quality level (from 0 to 51) (default 0)
  -cpu-used          <int>        E..V....... Quality/Speed ratio modifier (from 0 to 8) (default 1)
  -params            <string>     E..V....... any text
-q[:<stream_spec>] <q>  use fixed quality scale (VBR)
  -b                 <int64>      E..VA...... set bitrate (from 0 to I64_MAX) (default 200000)
"""


def test_help_is_read() -> None:
    options = parse_help(HELP)
    assert options["-preset"] == OptionHelp(low=0, high=18, names=frozenset({"p1", "p4"}))
    assert (options["-cq"].low, options["-cq"].high) == (0, 51)
    assert options["-b"].high == 2.0**63
    assert options["-params"] == OptionHelp()
    assert {"-cpu-used", "-q"} <= options.keys()


@pytest.mark.ffmpeg
def test_every_argument_is_one_that_ffmpeg_has(ffmpeg: Ffmpeg) -> None:
    checks = check_options(ffmpeg, Processes())
    assert [check for check in checks if check.problem] == []
    compiled = {check.encoder for check in checks if check.option}
    assert {"h264_nvenc", "av1_nvenc", "hevc_qsv", "av1_amf", "libx264", "libvvenc"} <= compiled
    for encoder in compiled:
        assert {check.option for check in checks if check.encoder == encoder} == used_values(encoder).keys()


@pytest.mark.ffmpeg
@pytest.mark.parametrize(
    ("argv", "problem"),
    [
        (("-qc", "31"), "no such option"),
        (("-cq", "52"), "not allowed: 52"),
        (("-preset", "p9"), "not allowed: p9"),
        (("-rc", "vbr_hq2"), "not allowed: vbr_hq2"),
    ],
)
def test_a_planted_mistake_is_found(
    argv: tuple[str, str], problem: str, ffmpeg: Ffmpeg, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = Nvenc.settings

    def planted(self: Nvenc, encoder: str, cq: int, pix_fmt: str, variant: str) -> EncodeSettings:
        settings = honest(self, encoder, cq, pix_fmt, variant)
        return replace(settings, argv=("-c:v", encoder, *argv)) if encoder == "h264_nvenc" else settings

    monkeypatch.setattr(Nvenc, "settings", planted)
    wrong = [check for check in check_options(ffmpeg, Processes()) if check.problem]
    assert [(check.encoder, check.option, check.problem) for check in wrong] == [("h264_nvenc", argv[0], problem)]


@pytest.mark.ffmpeg
def test_the_command(tmp_path: Path, kit_here: Kit) -> None:
    done = kit_here("platform", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    value = json.loads(done.stdout)
    assert "libx264" in {encoder["name"] for encoder in value["encoders"]}
    assert all(lost["reason"] for lost in value["left_out"])
    assert {encoder["name"] for encoder in value["encoders"] + value["left_out"]} == set(ENCODER_VOCAB)
    done = kit_here("platform", "--options", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.iterdir()) == []
