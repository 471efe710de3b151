"""The stacked trainer against the reference loop, how it grows with members and rows, and its memory.

Whole runs are those of the kit: with processes, their start and the files of the members.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np
import torch

from kit.core import contract
from kit.corpus.store.shard import CellEntry
from kit.platforms.detect import usable_cores
from kit.system.proc import Processes
from kit.training import stacked
from kit.training.codec_block import codec_block
from kit.training.draws import Draws
from kit.training.feed import Feed
from kit.training.folds import Fold, by_group
from kit.training.job import plan_stacks
from kit.training.loop import fit, inputs_for
from kit.training.members import LARGEST, Ensemble, train
from kit.training.model import Network
from kit.training.recipe import Recipe, architecture
from kit.training.standardiser import fit_standardiser
from kit.training.table import Table, matrix, with_zeroed_copies

TURNS = 3


def make_table(rows: int, groups: int) -> Table:
    """Rows with a smooth target, in equal groups of one cell each."""
    generator = np.random.default_rng(1)
    each = rows // groups
    cells = tuple(
        CellEntry(
            key=f"{n:03d}",
            source=f"s{n}",
            src_sha256=f"{n:064d}",
            group=f"g{n:02d}",
            encoder="libx264",
            preset="medium",
            cq=31,
            rows=each,
            encoded_bytes=1,
            content_sha256="",
            path="",
        )
        for n in range(groups)
    )
    count = each * groups
    features = generator.uniform(0.3, 1.0, (count, 6)).astype(np.float32)
    blocks = np.array(
        [codec_block("libx264", "medium", cq, contract.ENCODER_VOCAB) for cq in (19, 25, 31, 37)], dtype=np.float32
    )
    codec = blocks[generator.integers(0, 4, count)]
    target = 20 + 50 * features[:, 0] * features[:, 1] + 15 * features[:, 2] + 10 * codec[:, -1]
    return Table(
        cells=cells,
        cell=np.repeat(np.arange(groups, dtype=np.int32), each),
        frame=np.tile(np.arange(each, dtype=np.int32), groups),
        features=features,
        codec=codec,
        target=target.astype(np.float32),
    )


def reference(table: Table, fold: Fold, steps: int) -> float:
    """Seconds of one step of one member with the reference loop, one thread."""
    recipe, draws = Recipe(epochs=1), Draws(0, fold.group_id)
    part = fold.train[: steps * recipe.batch_size]
    scale = fit_standardiser(table.features, fold.train)
    network = Network(architecture(), draws, float(table.target.mean()))
    inputs, target = inputs_for(table, part, scale, codec_aware=True), torch.from_numpy(table.target[part])
    start = time.perf_counter()
    fit(network, inputs, target, recipe, draws)
    return (time.perf_counter() - start) / steps


def one_thread(table: Table, folds: Sequence[Fold], members: int, recipe: Recipe, steps: int) -> float:
    """Seconds of one step of one member in a stack, one thread; without processes and start."""
    arch = architecture(recipe.arch)
    chosen = [(number // len(folds), folds[number % len(folds)]) for number in range(members)]
    raw = matrix(table, codec_aware=arch.codec_aware)
    rows = torch.from_numpy(np.concatenate([*with_zeroed_copies(raw, recipe.inputs)]) if recipe.block_dropout else raw)
    parameters = stacked.zeros(arch, members, rows)
    for index, (seed, fold) in enumerate(chosen):
        stacked.put(parameters, index, Network(arch, Draws(seed, fold.group_id), 50.0))
    scales = {fold.held_out: fit_standardiser(table.features, fold.train) for fold in folds}
    trainer = stacked.Trainer(
        stacked.Stack(recipe, parameters),
        [Feed(recipe, Draws(seed, fold.group_id), fold.train, len(table)) for seed, fold in chosen],
        [scales[fold.held_out] for _, fold in chosen],
        rows,
    )
    step = trainer.advance(0, 32)
    first, start = step, time.perf_counter()
    while step - first < steps:
        step = trainer.advance(step, 32)
    return (time.perf_counter() - start) / (step - first) / members


def whole_run(table: Table, folds: Sequence[Fold], seeds: int, recipe: Recipe, workers: int) -> tuple[float, float]:
    """Seconds of a whole training with processes, and the most memory its processes held at once, in bytes."""
    with tempfile.TemporaryDirectory() as folder:
        ensemble = Ensemble(
            rows=table,
            members=[(seed, fold) for seed in range(seeds) for fold in folds],
            recipe=recipe,
            corpus_sha256="",
            device="cpu",
            workers=workers,
            folder=Path(folder),
        )
        with Memory() as memory:
            start = time.perf_counter()
            train([ensemble], Processes(), lambda _epochs: None)
            return time.perf_counter() - start, memory.most


class Memory:
    """The most memory that this process and its children have held at once; pages they share count once (Linux)."""

    def __init__(self) -> None:
        self.most = 0.0
        self._over = threading.Event()

    def __enter__(self) -> Memory:
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(0.5):
            self.most = max(self.most, sum(map(_proportional, _family(os.getpid()))))


def _family(root: int) -> list[int]:
    parents = {}
    for place in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(place.name)] = int((place / "stat").read_text().rsplit(")", 1)[1].split()[1])
        except OSError:
            continue
    family = {root}
    while grown := {pid for pid, parent in parents.items() if parent in family} - family:
        family |= grown
    return sorted(family)


def _proportional(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(float(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


def against_the_loop(cores: int) -> None:
    """19 folds x 5 seeds on 4,256 rows: in turn, so that a busy machine is busy for both."""
    table = make_table(4256, 19)
    folds = by_group(table)
    loop, stack, zeroed, run = [], [], [], []
    share = contract.RECIPES["contract-2"]
    steps = Recipe(epochs=1).steps_per_epoch(len(folds[0].train))
    reference(table, folds[0], 2)  # torch imports its optimisers late
    for _ in range(TURNS):
        loop.append(reference(table, folds[0], steps))
        stack.append(one_thread(table, folds, 48, Recipe(epochs=200), 300))
        zeroed.append(one_thread(table, folds, 48, Recipe(epochs=200, block_dropout=share), 300))
        seconds, _ = whole_run(table, folds, 5, Recipe(epochs=20), cores)
        run.append(seconds / (95 * 20 * steps))
    one, thread, blocks, both = map(statistics.median, (loop, stack, zeroed, run))
    print(f"\n95 members, 4,256 rows, {cores} cores; microseconds of a step of a member, median of {TURNS} turns")
    print(f"{'reference loop, one thread':40} {one * 1e6:8.1f}")
    print(f"{'stacked, one thread':40} {thread * 1e6:8.1f} {one / thread:8.1f} x")
    print(f"{'the same, recipe contract-2':40} {blocks * 1e6:8.1f} {one / blocks:8.1f} x")
    print(f"{'stacked, all cores, 20 epochs, with start':40} {both * 1e6:8.1f} {one / both:8.1f} x")


def growth(rows: Sequence[int], members: Sequence[int]) -> None:
    """One thread, by members and rows; the stacks are those that two processes would be given."""
    print("\nmicroseconds of a step of a member, one thread, by members and rows")
    print(f"{'members':>8}{'a stack':>8}" + "".join(f"{count:>10,}" for count in rows))
    tables = [make_table(count, 9) for count in rows]
    for count in members:
        numbered = [((number, 0), 0, 1) for number in range(count)]
        size = len(plan_stacks(numbered, workers=2, largest=LARGEST["cpu"])[0].members)
        times = [one_thread(table, by_group(table), size, Recipe(epochs=90), 9600 // size) for table in tables]
        print(f"{count:>8}{size:>8}" + "".join(f"{seconds * 1e6:>10.1f}" for seconds in times))


def whole_runs(cores: int) -> None:
    """One process against all cores, a tiny head on many rows, and the memory of millions of rows."""
    sized = Recipe(epochs=20)
    tiny = Recipe(epochs=90, arch="mlp_small", batch_size=256)
    cases = [
        (f"4,256 rows, 95 members, 20 epochs, {workers} processes", 4256, 19, 19, 5, sized, workers)
        for workers in sorted({1, cores})
    ]
    cases.append(("330,000 rows, mlp_small, 1 member, 90 epochs, batch 256", 333_000, 111, 1, 1, tiny, cores))
    cases.append(("2,000,000 rows, 45 members, 1 epoch", 2_000_000, 9, 9, 5, Recipe(epochs=1), cores))
    print(f"\n{'whole run':60}{'seconds':>10}{'most memory':>14}")
    for what, rows, groups, folds, seeds, recipe, workers in cases:
        table = make_table(rows, groups)
        seconds, memory = whole_run(table, by_group(table)[:folds], seeds, recipe, workers)
        print(f"{what:60}{seconds:>10.1f}{memory / 1e6:>11.0f} MB", flush=True)


def main() -> None:
    """Print the tables."""
    stacked.prepare_cpu()
    cores = usable_cores()
    print(f"load of the last minute: {os.getloadavg()[0]:.1f}, {cores} cores")
    against_the_loop(cores)
    growth((4_000, 40_000, 400_000), (9, 45, 95, 450))
    whole_runs(cores)
    print(f"\nload of the last minute: {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
