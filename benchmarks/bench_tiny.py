"""Tiny heads: leave-one-source-out of a head, and a fit on many rows, whole commands with processes and files."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # before onnxruntime is loaded

import numpy as np
import pandas as pd

from kit.core import contract
from kit.features import table
from kit.heads import fit, loso
from kit.heads.config import FitConfig
from kit.options import resolve
from kit.options.session import Session, open_session
from kit.platforms.detect import usable_cores
from kit.system.ui import Ui


def session_in(folder: Path) -> Session:
    """Open a session that keeps everything in a folder."""
    config = resolve.complete({}, {}, out_dir=folder, box="", box_origin="")
    return open_session(config, ui=Ui(), cache=folder, argv=())


def write_table(path: Path, sources: int, clips: int, frames: int) -> int:
    """A table with a smooth target; how many rows it has."""
    generator = np.random.default_rng(1)
    count = sources * clips * frames
    features = generator.uniform(0.3, 1.0, (count, len(contract.FEATURES)))
    features[:, -1] *= 10
    number = np.arange(count)
    frame = pd.DataFrame(
        {
            "corpus": "bench",
            "source": [f"source{n:02d}" for n in number // (clips * frames)],
            "clip": [f"clip{n:04d}" for n in number // frames],
            "frame_index": (number % frames).astype(np.int32),
            "codec": "libx264",
            "teacher": contract.DEFAULT_TEACHER,
            **dict(zip(contract.FEATURES, features.T, strict=True)),
            "vmaf": 20 + 50 * features[:, 0] * features[:, 1] + 15 * features[:, 2] - features[:, 5],
        }
    )
    made = table.build(frame, contract.FEATURES, what="rows of the benchmark")
    table.write(path, made, facts={})
    return len(made)


def leave_one_out(folder: Path) -> None:
    """Nine sources, 30 epochs, five seeds, 40,000 rows; scored, with baselines' columns and Markdown."""
    features, config = folder / "loso.parquet", FitConfig()
    rows = write_table(features, sources=9, clips=8, frames=556)
    request = loso.LosoRequest(
        features=features,
        recipes=(config.recipe,),
        seeds=contract.DEFAULT_SEEDS,
        folds=loso.BY_SOURCE,
        baselines=(),
        device="cpu",
    )
    start = time.perf_counter()
    found = loso.run(request, folder / "loso", session_in(folder))
    seconds = time.perf_counter() - start
    print(
        f"loso of {config.arch}, 9 sources x 30 epochs x 5 seeds, {rows:,} rows: {seconds:.1f} s (goal: 30), "
        f"mean PLCC {found['compared'][0]['mean']['plcc']['mean']:.4f}"
    )


def fit_many(folder: Path) -> None:
    """330,000 rows, 90 epochs."""
    features, config = folder / "fit.parquet", FitConfig(epochs=90)
    rows = write_table(features, sources=110, clips=10, frames=300)
    start = time.perf_counter()
    history: Any = fit.make(config, features, folder / "fit", session_in(folder))
    seconds = time.perf_counter() - start
    losses = history["training_loss"]
    print(
        f"fit of {config.arch}, {rows:,} rows, 90 epochs: {seconds:.1f} s (goal: 60), loss {losses[0]:.1f} to "
        f"{losses[-1]:.3f}"
    )


def main() -> None:
    """Print a line for each."""
    print(f"load of the last minute: {os.getloadavg()[0]:.1f}, {usable_cores()} cores")
    with tempfile.TemporaryDirectory() as place:
        leave_one_out(Path(place))
        fit_many(Path(place))


if __name__ == "__main__":
    main()
