"""Members of a run: trained, or taken from what an earlier training has left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kit import layout
from kit.config import RunConfig
from kit.corpus.shard import Shard
from kit.platforms.detect import usable_cores
from kit.session import Session
from kit.training.checkpoints import Checkpoint
from kit.training.folds import Fold
from kit.training.recipe import Recipe
from kit.training.table import Table


def recipe(config: RunConfig) -> Recipe:
    """How the members of a run are trained."""
    return Recipe(epochs=config.epochs, arch=config.arch)


def fit(
    config: RunConfig, shard: Shard, session: Session, rows: Table, parts: Sequence[Fold], *, what: str
) -> Mapping[tuple[int, str], Checkpoint]:
    """Every member by seed and label of what it holds out; those that are there are not trained again.

    Args:
        what: names this training on the screen.
    """
    from kit.training.device import choose
    from kit.training.members import Ensemble

    device = choose(config.device)
    ensemble = Ensemble(
        table=rows, folds=parts, seeds=config.seeds, recipe=recipe(config),
        corpus_sha256=shard.corpus_sha256, device=device.kind, workers=usable_cores(),
        folder=config.out_dir / layout.CHECKPOINTS,
    )  # fmt: skip
    count, there = len(config.seeds) * len(parts), len(ensemble.finished())
    session.ui.say(f"{what}: {count} members of {config.arch} on {device.kind} ({device.reason})"
                   + (f"; {there} of them are there already" if there else ""))  # fmt: skip
    with session.ui.progress(what, (count - there) * config.epochs, "epochs") as advance:
        return ensemble.run(session.processes, lambda epochs: advance("", epochs))
