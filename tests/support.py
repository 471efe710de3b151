"""What several test modules share besides fixtures."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

from kit.types import NO_DEVICE, Cell, EncodeSettings, Geometry, ReadyEncoder, Source, SourceFile

#: Pictures that differ in content and in how hard they are to encode.
PICTURES = {
    "Bars": "testsrc2=size=320x180:rate=25",
    "Fractal": "mandelbrot=size=320x180:rate=25",
    "Cells": "cellauto=size=320x180:rate=25:rule=110:seed=3,format=gray,boxblur=2",
    "Life": "life=size=320x180:rate=25:seed=7:mold=10:life_color=0xc0ff40:death_color=0x204060",
}
FRAMES = 10


def ready(name: str = "libx264", **facts: Any) -> ReadyEncoder:
    """An encoder as a probe leaves it, with facts of one's own."""
    values: dict[str, Any] = {
        "name": name, "family": "software", "build": f"{name} 1", "variant": "", "device": NO_DEVICE,
        "max_parallel": None, "megapixels_per_second": 1.0,
    }  # fmt: skip
    return ReadyEncoder(**(values | facts))


def planned(name: str, frames: int = 10, family: str = "software") -> Cell:
    """A cell that nobody makes: its label is its key."""
    geometry = Geometry(width=64, height=64, pix_fmt="yuv420p", range="tv", fps=Fraction(25), frames=frames)
    file = SourceFile(path=Path(f"/{name}.yuv"), kind="yuv", label=name, geometry=geometry)
    settings = EncodeSettings(encoder="libx264", preset="medium", cq=31, argv=(), encode_pix_fmt="yuv420p",
                              score_pix_fmt="yuv420p")  # fmt: skip
    source = Source(file=file, sha256=name, group=name)
    return Cell(key=name, source=source, settings=settings, encoder=ready(family=family), teacher="t")


#: ``kit("run", "--epochs", "2", cwd=folder, env={...})`` runs the kit as a process.
Kit = Callable[..., "subprocess.CompletedProcess[str]"]
#: ``make_clip(path, picture, *ffmpeg_output_args, frames=10)`` writes a clip.
MakeClip = Callable[..., Path]

#: Options of a run that is over quickly.
QUICK = ("--cqs", "25,37", "--seeds", "0,1", "--epochs", "3", "--box", "testbox")


def write_model(path: Path, weight: float = 0.5) -> Path:
    """Write a model file that libvmaf loads: a linear machine with one support vector, 100 * ``weight`` * adm2."""
    machine = f"svm_type nu_svr\nkernel_type linear\nnr_class 2\ntotal_sv 1\nrho 0\nSV\n{weight} 1:1 2:0\n"
    model = {
        "model": machine, "model_type": "LIBSVMNUSVR", "norm_type": "linear_rescale", "score_clip": [0, 100],
        "feature_names": ["VMAF_integer_feature_adm2_score", "VMAF_integer_feature_motion2_score"],
        "slopes": [0.01, 1, 1], "intercepts": [0, 0, 0],
    }  # fmt: skip
    path.write_text(json.dumps({"param_dict": {}, "model_dict": model}))
    return path
