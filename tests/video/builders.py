"""Builders of clips, model files, tools and cells."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np

from kit.core.geometry import RawFormat
from kit.core.values import Cell, SourceFile, Teacher
from kit.corpus.make.produce import Bench, produce
from kit.corpus.plan import plan_cells
from kit.corpus.store.cellfile import CellRows
from kit.corpus.store.shard import observed_path
from kit.platforms.registry import settings_for
from kit.system.proc import Processes
from kit.video.ffmpeg import Ffmpeg
from kit.video.fingerprints.fingerprint import GRID, Fingerprint
from kit.video.scorers.ffmpeg_filter import FilterScorer
from kit.video.scorers.teachers import CANONICAL
from kit.video.sources.identity import identify
from kit.video.sources.read import Tools
from kit.video.sources.scan import inspect_all, list_folder
from tests.platforms.builders import ready

#: Pictures of different content and complexity.
PICTURES = {
    "Bars": "testsrc2=size=320x180:rate=25",
    "Fractal": "mandelbrot=size=320x180:rate=25",
    "Cells": "cellauto=size=320x180:rate=25:rule=110:seed=3,format=gray,boxblur=2",
    "Life": "life=size=320x180:rate=25:seed=7:mold=10:life_color=0xc0ff40:death_color=0x204060",
}


FRAMES = 10


#: ``make_clip(path, picture, *ffmpeg_output_args, frames=10)`` writes a clip.
MakeClip = Callable[..., Path]


def made_fingerprint(seed: int, frames: int = 12, changed: float = 0.0) -> Fingerprint:
    """Return the fingerprint of a picture that changes slowly; ``changed`` is the share of signs that differ."""
    generator = np.random.default_rng(seed)
    picture = generator.normal(size=(GRID, GRID)) + 0.3 * generator.normal(size=(frames, GRID, GRID)).cumsum(axis=0)
    flipped = np.random.default_rng(seed + 1).uniform(size=picture.shape) < changed
    return Fingerprint(fps=Fraction(25), every=1, hashes=np.sign(np.where(flipped, -picture, picture)).astype(np.int8))


def write_model(path: Path, weight: float = 0.5) -> Path:
    """Write a libvmaf model file: a linear machine with one support vector, 100 * ``weight`` * adm2."""
    machine = f"svm_type nu_svr\nkernel_type linear\nnr_class 2\ntotal_sv 1\nrho 0\nSV\n{weight} 1:1 2:0\n"
    model = {
        "model": machine,
        "model_type": "LIBSVMNUSVR",
        "norm_type": "linear_rescale",
        "score_clip": [0, 100],
        "feature_names": ["VMAF_integer_feature_adm2_score", "VMAF_integer_feature_motion2_score"],
        "slopes": [0.01, 1, 1],
        "intercepts": [0, 0, 0],
    }
    path.write_text(json.dumps({"param_dict": {}, "model_dict": model}))
    return path


STAND_IN = Path(__file__).resolve().parent / "vmaf_stand_in.py"


def write_tool(path: Path, ffmpeg: Ffmpeg, mode: str = "cpu") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{STAND_IN}" "{ffmpeg.path}" {mode} "$@"\n')
    path.chmod(0o755)
    return path


def scan(folder: Path, tools: Tools, assumed: RawFormat | None = None) -> tuple[SourceFile, ...]:
    """Return every clip below a folder with its geometry."""
    return inspect_all(list_folder(folder).clips, folder, assumed=assumed, tools=tools)


def cell_of(path: Path, tools: Tools, encoder: str = "libx264", teacher: Teacher = CANONICAL) -> Cell:
    (file,) = scan(path.parent, tools)
    (cell,) = plan_cells(
        [identify(file, tools, path.parent.parent / "cache")],
        [(encoder, 31)],
        encoders=[ready(encoder)],
        settings_for=settings_for,
        architecture="x86_64",
        teacher=teacher,
        scorer_id="cpu/golden-1",
    )
    return cell


def bench(folder: Path, encoding: Ffmpeg, scoring: Ffmpeg, *, fused: bool = True) -> Bench:
    folder.mkdir()
    return Bench(
        ffmpeg=encoding,
        processes=Processes(),
        folder=folder,
        box="b",
        platform="p",
        corpus="c",
        scorer=FilterScorer(ffmpeg=scoring, fused=fused),
    )


def produced(cell: Cell, place: Bench) -> tuple[CellRows, str]:
    rows = produce(cell, place)
    assert isinstance(rows, CellRows), rows
    (path,) = place.folder.rglob("*.parquet")
    (observation,) = json.loads(observed_path(place.folder, path.relative_to(place.folder)).read_text())["observations"]
    return rows, observation["stream_sha256"]
