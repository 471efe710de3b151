"""Clips and model files that tests make."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

#: Pictures that differ in content and in how hard they are to encode.
PICTURES = {
    "Bars": "testsrc2=size=320x180:rate=25",
    "Fractal": "mandelbrot=size=320x180:rate=25",
    "Cells": "cellauto=size=320x180:rate=25:rule=110:seed=3,format=gray,boxblur=2",
    "Life": "life=size=320x180:rate=25:seed=7:mold=10:life_color=0xc0ff40:death_color=0x204060",
}


FRAMES = 10


#: ``make_clip(path, picture, *ffmpeg_output_args, frames=10)`` writes a clip.
MakeClip = Callable[..., Path]


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
