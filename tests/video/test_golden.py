"""Golden pairs have known bytes; only a scorer that reproduces the golden table is used."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from kit.core import contract
from kit.core.errors import PrerequisiteFailed
from kit.core.geometry import frame_bytes
from kit.core.values import Teacher
from kit.system.proc import Processes
from kit.video.ffmpeg import Ffmpeg
from kit.video.scorers import ffmpeg_filter, golden
from kit.video.scorers.proof import GoldenMismatch
from kit.video.scorers.teachers import CANONICAL

#: SHA-256 of the two files of each pair, reference first. A change needs a new GOLDEN_VERSION.
BYTES = {
    "checkerboard-1": "7be3fa63818ec8ffd1e94530ef5c66ddc5a3cc4aee02950eba65ee78dfc91459",
    "checkerboard-10": "9d414b45bd55cef9a96f7c619895e421dce360097dee6c5ed9e1e89a979e2243",
    "flat": "b6bfb91baa91f86e18560f24dda36f96a3fdbff5f370958a205d73ad98678fd0",
    "natural-8bit": "b04dbbb1efeddcd67b53d67ce13e66e07e522c73dd24d7697d4a03c2597949fa",
    "natural-10bit": "67457a03c0e91e9a3804109a7c65e315a86a82e665aae3135c4c8bdf581e02ff",
}


@pytest.fixture(scope="module")
def pairs() -> tuple[golden.GoldenPair, ...]:
    return golden.pairs()


def test_the_bytes_of_every_pair_are_known(pairs: tuple[golden.GoldenPair, ...], tmp_path: Path) -> None:
    digests = {}
    for pair in pairs:
        digest = hashlib.sha256()
        for luma in (pair.reference, pair.distorted):
            path = tmp_path / "clip.yuv"
            golden.write_clip(path, luma, pair.bits)
            geometry = pair.geometry
            assert path.stat().st_size == geometry.frames * frame_bytes(
                geometry.width, geometry.height, geometry.pix_fmt
            )
            digest.update(path.read_bytes())
        digests[pair.name] = digest.hexdigest()
    assert golden.GOLDEN_VERSION == 1
    assert digests == BYTES


def test_pairs_are_integers_within_their_bits(pairs: tuple[golden.GoldenPair, ...]) -> None:
    for pair in pairs:
        for luma in (pair.reference, pair.distorted):
            assert luma.dtype == np.int64
            assert luma.shape == pair.reference.shape
            assert (luma.min() >= 0, luma.max() < 1 << pair.bits) == (True, True)


def test_pairs_are_deterministic(pairs: tuple[golden.GoldenPair, ...]) -> None:
    for first, second in zip(pairs, golden.pairs(), strict=True):
        assert np.array_equal(first.reference, second.reference)
        assert np.array_equal(first.distorted, second.distorted)


def test_the_10_bit_pair_is_not_the_8_bit_one_shifted(pairs: tuple[golden.GoldenPair, ...]) -> None:
    by_name = {pair.name: pair for pair in pairs}
    assert (by_name["natural-10bit"].reference % 4).any()
    assert by_name["natural-10bit"].geometry.pix_fmt == "yuv420p10le"


def test_the_table_has_scores_for_every_pair_and_no_other(pairs: tuple[golden.GoldenPair, ...]) -> None:
    assert [pair.name for pair in pairs] == list(golden.EXPECTED)
    assert len({pair.name for pair in pairs}) == len(pairs)
    for scores in golden.EXPECTED.values():
        assert len(scores) == len(contract.FEATURES) + 1
        assert 0 <= scores[-1] <= 100


def test_the_tolerance() -> None:
    assert contract.GOLDEN_TOLERANCE == 2e-3


@pytest.mark.essential
@pytest.mark.ffmpeg
def test_the_real_scorer_reproduces_the_table(ffmpeg: Ffmpeg) -> None:
    scorer = ffmpeg_filter.check(ffmpeg, teacher=CANONICAL, processes=Processes())
    assert scorer.id == "cpu/golden-1"
    assert scorer.version
    assert list(scorer.golden) == list(golden.EXPECTED)
    for name, score in scorer.golden.items():
        assert score == pytest.approx(golden.EXPECTED[name][-1], abs=2e-3)


@pytest.mark.ffmpeg
def test_another_known_teacher_is_accepted(ffmpeg: Ffmpeg) -> None:
    scorer = ffmpeg_filter.check(ffmpeg, teacher=Teacher(id="vmaf_v0.6.1neg"), processes=Processes())
    # the table is that of the canonical model for every teacher
    assert scorer.golden["natural-8bit"] == pytest.approx(golden.EXPECTED["natural-8bit"][-1], abs=2e-3)


@pytest.mark.ffmpeg
def test_an_unknown_teacher_is_refused(ffmpeg: Ffmpeg) -> None:
    with pytest.raises(PrerequisiteFailed, match="vmaf_v9") as error:
        ffmpeg_filter.check(ffmpeg, teacher=Teacher(id="vmaf_v9"), processes=Processes())
    assert "--teacher" in error.value.hint


@pytest.mark.ffmpeg
@pytest.mark.parametrize("column", [1, 5, 6], ids=["vif_scale0", "motion2", "vmaf"])
@pytest.mark.parametrize("sign", [-1, 1])
def test_another_expected_score_is_refused(
    ffmpeg: Ffmpeg, pairs: tuple[golden.GoldenPair, ...], monkeypatch: pytest.MonkeyPatch, column: int, sign: int
) -> None:
    # two small 8-bit pairs, for speed
    small = tuple(pair for pair in pairs if pair.name in ("flat", "natural-8bit"))
    monkeypatch.setattr(golden, "pairs", lambda: small)
    scores = list(golden.EXPECTED["natural-8bit"])
    scores[column] += sign * 0.0025
    monkeypatch.setattr(golden, "EXPECTED", dict(golden.EXPECTED) | {"natural-8bit": tuple(scores)})
    with pytest.raises(GoldenMismatch) as error:
        ffmpeg_filter.check(ffmpeg, teacher=CANONICAL, processes=Processes())
    assert "natural-8bit: measured" in error.value.message
    assert "flat:" not in error.value.message
