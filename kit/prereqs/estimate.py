"""Estimate the time and the disk space of a plan from the probe's speeds. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from kit.core import contract
from kit.corpus.plan import disk_bytes
from kit.options.resolve import RunConfig
from kit.options.values import fold_count
from kit.prereqs.report import Prereqs
from kit.verdict.baselines import expected_baselines

#: Seconds of one training step of one member, measured on one core of a server CPU, and seconds to start training.
SECONDS_PER_STEP, TRAINING_START = 35e-6, 4.0
#: Share of that for a step of a baseline; measured side by side on one core. A closed form takes none.
BASELINE_STEP = {"linear": 0.0, "mlp_small": 0.35, "no_codec_block": 1.0}
#: Cores that one cell uses when it runs alone, as in the probe; measured with libx264 on two cores.
CORES_OF_ONE_CELL = 1.9


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Size and rough duration of a plan. Members include those of baselines, hold-outs and unseen encoders."""

    cells: int
    rows: int
    members: int
    disk_bytes: int
    corpus_seconds: float
    training_seconds: float


def estimate(config: RunConfig, prereqs: Prereqs) -> Estimate:
    """Return the size and duration of the run that these prerequisites allow."""
    speed = {encoder.name: encoder.megapixels_per_second for encoder in prereqs.encoders}
    frames = [file.geometry.frames for file in prereqs.files]
    megapixels = sum(f.geometry.width * f.geometry.height * f.geometry.frames / 1e6 for f in prereqs.files)
    cell_seconds = sum(megapixels / speed[encoder] for encoder, _ in prereqs.points)
    rows = sum(frames) * len(prereqs.points)
    groups = len({file.content_group for file in prereqs.files})
    folds = fold_count(config.folds) or groups
    encoders = len({encoder for encoder, _ in prereqs.points})
    seeds = 0 if config.shard_only else len(config.seeds)
    seeds_of = {name: min(seeds, contract.BASELINE_SEEDS.get(name, seeds)) for name in expected_baselines(config.arch)}
    held_out = seeds * encoders * ("encoder" in config.holdout)
    sets = min(contract.UNSEEN_SETS, groups)
    unseen = encoders * sets * min(seeds, contract.UNSEEN_SEEDS) * 2 if encoders > 1 and seeds_of else 0
    members = folds * (seeds + sum(seeds_of.values())) + held_out + unseen
    # in members of the ensemble
    work = folds * (seeds + sum(BASELINE_STEP[name] * count for name, count in seeds_of.items())) + held_out
    work += unseen * (1 - 1 / encoders) * (1 - 1 / sets) / (1 - 1 / max(2, folds)) if unseen else 0
    steps_per_epoch = rows * (folds - 1) / folds / contract.BATCH_SIZE
    return Estimate(
        cells=len(frames) * len(prereqs.points),
        rows=rows,
        members=members,
        disk_bytes=disk_bytes(
            rows=rows, cells=len(frames) * len(prereqs.points), longest=max(frames), parallel=prereqs.facts.cores
        ),
        corpus_seconds=cell_seconds * CORES_OF_ONE_CELL / prereqs.facts.cores,
        training_seconds=TRAINING_START
        + work * config.epochs * steps_per_epoch * SECONDS_PER_STEP / max(1, min(prereqs.facts.cores, members)),
    )
