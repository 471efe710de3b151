"""Part of step 3: hold out each encoder with a set of content groups, with the codec block and without it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from kit.core import contract, layout
from kit.corpus.store.shard import Shard
from kit.options.resolve import RunConfig
from kit.options.session import Session
from kit.training import folds, predictions, table
from kit.training.folds import Fold
from kit.training.members import Ensemble
from kit.training.recipe import Recipe
from kit.training.run_members import run_recipe, train_members
from kit.training.table import Table
from kit.verdict.baselines import Baseline, unseen_archs


def train(config: RunConfig, session: Session, shard: Shard, rows: Table) -> dict[str, Baseline] | None:
    """Train both architectures and write what they predict for the held-out encoders.

    Returns:
        Predictions by architecture, empty where no encoder can be held out; None for an architecture without the block.
    """
    encoders = folds.unseen_encoders(rows.cells)
    archs = unseen_archs(config.arch, encoders)
    if not archs:
        return archs if archs is None else {}
    session.ui.say(f"Unseen encoders: each in turn ({', '.join(encoders)}), with the codec block and without")
    parts = {name: part_of(rows, name, config.max_rows_per_source) for name in encoders}
    seeds = config.seeds[: contract.UNSEEN_SEEDS]
    ensembles = [
        Ensemble(
            rows=others,
            corpus_sha256=shard.corpus_sha256,
            members=[(seed, fold) for seed in seeds for fold in parts_of],
            recipe=run_recipe(config, arch),
            device=config.device,
            folder=config.out_dir / layout.CHECKPOINTS,
        )
        for arch in archs
        for others, parts_of in parts.values()
    ]
    trained = iter(train_members(ensembles, session.processes, session.ui, title="Unseen encoders"))
    results = {}
    for arch in archs:
        members = []
        for name in encoders:
            finished = next(trained)
            for seed in seeds:
                for fold in parts[name][1]:
                    unseen = unseen_rows(rows, name, fold)
                    arrays = finished[seed, fold.held_out].arrays
                    members.append((seed, unseen, scores_of(rows, unseen, run_recipe(config, arch), arrays)))
        results[arch] = _written(config, shard, rows, arch, members)
    return results


def part_of(rows: Table, encoder: str, most: int | None) -> tuple[Table, tuple[Fold, ...]]:
    """Return the rows of the other encoders, and their folds: one for each set of groups that the encoder has rows of.

    Args:
        most: most training rows of a source; None for no limit.
    """
    others = table.only(rows, {entry.key for entry in rows.cells if entry.encoder != encoder})
    sets = folds.unseen_sets(rows.cells)
    needed = {sets[entry.group] for entry in rows.cells if entry.encoder == encoder}
    parts = [fold for fold in folds.without_encoder(others, encoder, sets) if fold.held_out in needed]
    return others, folds.thinned(others, parts, most)


def unseen_rows(rows: Table, encoder: str, fold: Fold) -> Fold:
    """Return the fold with the rows of the held-out encoder in the held-out groups as its held-out rows."""
    sets = folds.unseen_sets(rows.cells)
    held = [entry.encoder == encoder and sets[entry.group] == fold.held_out for entry in rows.cells]
    found = np.flatnonzero(np.array(held)[rows.cell]).astype(np.int32)
    return replace(fold, held_out=folds.unseen_label(encoder, fold.held_out), held=found)


def scores_of(
    rows: Table, fold: Fold, recipe: Recipe, arrays: Mapping[str, NDArray[np.float32]]
) -> NDArray[np.float32]:
    """Return the scores of the fold's held-out rows, float32 [held], by the network of a checkpoint's arrays."""
    from kit.training.loop import inputs_for  # late: these need torch
    from kit.training.model import restored

    network, scale = restored(recipe.architecture, arrays)
    return network.scores(inputs_for(rows, fold.held, scale, codec_aware=network.arch.codec_aware))


def _written(
    config: RunConfig,
    shard: Shard,
    rows: Table,
    arch: str,
    members: Sequence[tuple[int, Fold, NDArray[np.float32]]],
) -> Baseline:
    """Write the predictions of an architecture; if some are not finite, none."""
    problems = tuple(
        f"{arch}, seed {seed}, held out {fold.held_out}: predictions are not finite"
        for seed, fold, values in members
        if not np.isfinite(values).all()
    )
    if problems:
        return Baseline(predictions=None, problems=problems, model=None)
    scores = predictions.from_members(shard.corpus_sha256, rows, members)
    predictions.write(config.out_dir / layout.unseen_predictions(arch), scores)
    return Baseline(predictions=scores, problems=(), model=None)
