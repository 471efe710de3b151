"""The codec block for an encoder that was not in training: RMSE with it and without it, by recipe.

    python benchmarks/bench_codec_block.py [CORPUS] [--shares 0,0.3,0.5,0.7] [--epochs 200] [--seeds 5]

CORPUS is a shard with two encoders or more; without it the demo clips are encoded with three. Each encoder is held out
together with each content group: a member is trained on the rows of the other encoders and the other groups, and
predicts the rows of that encoder in that group.
Printed for each encoder: the median over groups of the RMSE, mean over seeds, with and without the block, their ratio,
and a 95 % percentile interval of the ratio from a bootstrap over groups.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kit.core import contract
from kit.corpus.store.shard import read_manifest
from kit.system.proc import Processes
from kit.training import table as tables
from kit.training.folds import by_group
from kit.training.loop import inputs_for
from kit.training.members import Ensemble, train
from kit.training.model import restored
from kit.training.recipe import Recipe
from kit.training.table import Table

ROOT = Path(__file__).resolve().parents[1]
#: Resamples of the interval of a ratio.
_RESAMPLES = 4000


def demo(folder: Path) -> Path:
    """Encode the demo clips with three encoders and return the shard."""
    options = ["--encoders", "libx264,libx265,libsvtav1", "--shard-only", "--out-dir", str(folder / "run")]
    subprocess.run([sys.executable, str(ROOT / "run_full_pipeline.py"), *options], check=True)
    return folder / "run" / "corpus"


def errors(whole: Table, recipe: Recipe, seeds: Sequence[int], folder: Path) -> dict[str, NDArray[np.float64]]:
    """Return for each encoder the RMSE of its rows in each content group, [seeds, groups], VMAF points."""
    encoder = np.array([entry.encoder for entry in whole.cells])[whole.cell]
    group = np.array([entry.group for entry in whole.cells])[whole.cell]
    ensembles, folds = {}, {}
    for name in sorted(set(encoder.tolist())):
        others = tables.only(whole, {entry.key for entry in whole.cells if entry.encoder != name})
        folds[name] = [replace(fold, group_id=f"{name}:{fold.group_id}") for fold in by_group(others)]
        members = [(seed, fold) for seed in seeds for fold in folds[name]]
        ensembles[name] = Ensemble(
            rows=others, corpus_sha256="0" * 64, members=members, recipe=recipe, device="cpu", folder=folder
        )
    trained = dict(zip(ensembles, train(list(ensembles.values()), Processes(), lambda _: None), strict=True))
    result = {}
    for name, members_of in trained.items():
        result[name] = np.empty((len(seeds), len(folds[name])))
        for row, seed in enumerate(seeds):
            for column, fold in enumerate(folds[name]):
                network, scale = restored(recipe.architecture, members_of[seed, fold.held_out].arrays)
                held = np.flatnonzero((encoder == name) & (group == fold.held_out)).astype(np.int32)
                shown = inputs_for(whole, held, scale, codec_aware=recipe.architecture.codec_aware)
                off = network.scores(shown).astype(np.float64) - whole.target[held]
                result[name][row, column] = np.sqrt(np.mean(off**2))
    return result


def ratio(with_block: NDArray[np.float64], without: NDArray[np.float64]) -> tuple[float, float, float, float, float]:
    """Return both medians over groups of [seeds, groups], their ratio, and the ends of its interval."""
    one, two = with_block.mean(axis=0), without.mean(axis=0)
    chosen = np.random.default_rng(0).integers(0, len(one), (_RESAMPLES, len(one)))
    ratios = np.median(one[chosen], axis=1) / np.median(two[chosen], axis=1)
    low, high = np.quantile(ratios, [0.025, 0.975])
    first, second = float(np.median(one)), float(np.median(two))
    return first, second, first / second, float(low), float(high)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path, nargs="?")
    parser.add_argument("--shares", default="0,0.3,0.5,0.7", help="shares of rows with a block of zeros")
    parser.add_argument("--epochs", type=int, default=contract.DEFAULT_EPOCHS)
    parser.add_argument("--seeds", type=int, default=5)
    given = parser.parse_args()
    seeds = range(given.seeds)
    with tempfile.TemporaryDirectory() as folder:
        whole = tables.load(read_manifest(given.corpus or demo(Path(folder))))
        print(f"{len(whole)} rows, {given.epochs} epochs, {given.seeds} seeds")
        plain = errors(whole, Recipe(epochs=given.epochs, arch="no_codec_block"), seeds, Path(folder))
        for share in map(float, given.shares.split(",")):
            blocked = errors(whole, Recipe(epochs=given.epochs, block_dropout=share), seeds, Path(folder))
            for name in blocked:
                one, two, times, low, high = ratio(blocked[name], plain[name])
                print(
                    f"share {share:.2f}  {name:12} with {one:.3f}  without {two:.3f}  ratio {times:.2f} "
                    f"({low:.2f} to {high:.2f})",
                    flush=True,
                )


if __name__ == "__main__":
    main()
