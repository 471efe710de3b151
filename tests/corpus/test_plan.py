"""Cell keys, quality points and the plan."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from kit.core.canon import sha256_json
from kit.core.values import EncoderDevice, EncodeSettings, Geometry, ReadyEncoder, Source, SourceFile, Teacher
from kit.corpus.plan import disk_bytes, keyed_facts, plan_cells, quality_points
from kit.platforms.registry import settings_for
from tests.platforms.builders import ready

SETTINGS = EncodeSettings(
    encoder="libx264",
    preset="medium",
    cq=31,
    argv=("-c:v", "libx264", "-crf", "31"),
    encode_pix_fmt="yuv420p",
    score_pix_fmt="yuv420p",
)
TEACHER = Teacher(id="vmaf_v0.6.1")
FACTS: dict[str, Any] = {
    "src_sha256": "a" * 64,
    "pix_fmt": "yuv420p",
    "settings": SETTINGS,
    "encoder_build": "x264 - core 165",
    "architecture": "x86_64",
    "teacher": TEACHER,
    "scorer_id": "cpu/golden-1",
}


def cell_key(**facts: Any) -> str:
    return sha256_json(keyed_facts(**facts))


def test_the_key_is_the_hash_of_these_facts() -> None:
    facts = {
        "src_sha256": "a" * 64,
        "encoder": "libx264",
        "preset": "medium",
        "cq": 31,
        "argv": ["-i", "<ref>", "-c:v", "libx264", "-crf", "31", "<out>"],
        "encode_pix_fmt": "yuv420p",
        "encoder_build": "x264 - core 165",
        "architecture": "x86_64",
        "teacher": {"id": "vmaf_v0.6.1", "sha256": None},
        "scorer_id": "cpu/golden-1",
        "feature_set": "canonical-6",
        "schema_version": 1,
    }
    text = json.dumps(facts, sort_keys=True, separators=(",", ":"))
    assert cell_key(**FACTS) == hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize(
    "change",
    [
        {"src_sha256": "b" * 64},
        {"pix_fmt": "yuv422p"},
        {"encoder_build": "x264 - core 164"},
        {"architecture": "aarch64"},
        {"teacher": Teacher(id="vmaf_v0.6.1neg")},
        {"teacher": Teacher(id="vmaf_v0.6.1", sha256="c" * 64)},
        {"scorer_id": "cuda/golden-1"},
        {"settings": replace(SETTINGS, encoder="libx265")},
        {"settings": replace(SETTINGS, preset="slow")},
        {"settings": replace(SETTINGS, cq=30)},
        {"settings": replace(SETTINGS, argv=("-c:v", "libx264", "-crf", "30"))},
        {"settings": replace(SETTINGS, argv=("-c:v", "libx264 -crf", "31"))},
        {"settings": replace(SETTINGS, encode_pix_fmt="yuv420p10le")},
    ],
)
def test_each_fact_is_in_the_key(change: dict[str, object]) -> None:
    assert cell_key(**(FACTS | change)) != cell_key(**FACTS)


def test_a_model_file_is_keyed_by_its_content_only() -> None:
    def key(name: str, sha256: str) -> str:
        return cell_key(**(FACTS | {"teacher": Teacher(id=name, sha256=sha256, path=Path(f"/{name}.json"))}))

    assert key("mine", "c" * 64) == key("yours", "c" * 64)
    assert key("mine", "c" * 64) != key("mine", "d" * 64)


@pytest.mark.parametrize(
    ("encoders", "cqs", "anchor", "expected"),
    [
        (("av1_nvenc",), (19, 31), True, [("av1_nvenc", 19), ("av1_nvenc", 31), ("libx264", 31)]),
        (("av1_nvenc",), (19, 31), False, [("av1_nvenc", 19), ("av1_nvenc", 31)]),
        (("libx264",), (19, 31), True, [("libx264", 19), ("libx264", 31)]),
        (("libx264",), (19, 37), True, [("libx264", 19), ("libx264", 37), ("libx264", 31)]),
        (("libx264",), (19, 37), False, [("libx264", 19), ("libx264", 37)]),
        (
            ("libx265", "libx264"),
            (25, 31),
            True,
            [("libx265", 25), ("libx265", 31), ("libx264", 25), ("libx264", 31)],
        ),
        ((), (31,), True, [("libx264", 31)]),
        ((), (31,), False, []),
    ],
)
def test_quality_points_and_the_anchor(
    encoders: tuple[str, ...], cqs: tuple[int, ...], anchor: bool, expected: list[tuple[str, int]]
) -> None:
    assert list(quality_points(encoders, cqs, anchor=anchor)) == expected


def source(label: str, sha256: str, pix_fmt: str = "yuv420p", group: str = "") -> Source:
    geometry = Geometry(width=64, height=64, pix_fmt=pix_fmt, range="tv", fps=Fraction(25), frames=9)
    file = SourceFile(path=Path(f"/clips/{label}.yuv"), kind="yuv", label=label, geometry=geometry)
    return Source(file=file, sha256=sha256, group=group or label)


def plan(sources: list[Source], encoders: list[ReadyEncoder]) -> list[tuple[str, str]]:
    """Return (cell, key) of every planned cell."""
    cells = plan_cells(
        sources,
        [("hevc_nvenc", 19), ("hevc_nvenc", 37), ("libx264", 31)],
        encoders=encoders,
        settings_for=settings_for,
        architecture="x86_64",
        teacher=TEACHER,
        scorer_id="cpu/golden-1",
    )
    for cell in cells:
        assert cell.encoder.name == cell.settings.encoder
        assert cell.teacher == TEACHER
    return [(str(cell.id), cell.key) for cell in cells]


ENCODERS = [ready("libx264"), ready("hevc_nvenc")]


def test_the_plan_is_in_order_of_sources_and_then_points() -> None:
    cells = plan([source("Tango", "t" * 64), source("Highway", "h" * 64)], ENCODERS)
    assert [name for name, _ in cells] == [
        "Tango/hevc_nvenc/cq19",
        "Tango/hevc_nvenc/cq37",
        "Tango/libx264/cq31",
        "Highway/hevc_nvenc/cq19",
        "Highway/hevc_nvenc/cq37",
        "Highway/libx264/cq31",
    ]
    assert len({key for _, key in cells}) == 6


def test_labels_groups_paths_devices_and_speed_are_in_no_key() -> None:
    keys = [key for _, key in plan([source("Tango", "t" * 64)], ENCODERS)]
    elsewhere = replace(source("Other", "t" * 64, group="G").file, path=Path("/x.mkv"), kind="container")
    other = replace(source("Other", "t" * 64, group="G"), file=elsewhere)
    encoders = [
        ready(e.name, family="g", device=EncoderDevice(opened=("-x",)), max_parallel=3, megapixels_per_second=9.0)
        for e in ENCODERS
    ]
    assert [key for _, key in plan([other], encoders)] == keys


def test_a_build_changes_the_keys_of_its_own_encoder_only() -> None:
    before = dict(plan([source("Tango", "t" * 64)], ENCODERS))
    after = dict(plan([source("Tango", "t" * 64)], [ready("libx264", build="x264 - core 166"), ready("hevc_nvenc")]))
    assert [name for name, key in before.items() if after[name] != key] == ["Tango/libx264/cq31"]


def test_the_settings_are_those_for_the_sources_format() -> None:
    cells = plan_cells(
        [source("Tango", "t" * 64, "yuv420p10le")],
        [("hevc_nvenc", 19)],
        encoders=ENCODERS,
        settings_for=settings_for,
        architecture="x86_64",
        teacher=TEACHER,
        scorer_id="s",
    )
    assert cells[0].settings == settings_for(ENCODERS[1], 19, "yuv420p10le")


def test_a_point_without_its_encoder_is_an_error() -> None:
    with pytest.raises(KeyError):
        plan([source("Tango", "t" * 64)], [ready("libx264")])


def test_disk_grows_with_everything() -> None:
    base = {"rows": 1000, "cells": 10, "longest": 100, "parallel": 2}
    known = disk_bytes(**base)
    assert known == 1000 * 600 + 10 * 24_000 + 2 * 100 * 1000
    for name, value in base.items():
        assert disk_bytes(**(base | {name: value + 1})) > known
