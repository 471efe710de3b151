"""Members of a run: trained, or taken from what an earlier training has left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kit.core import layout
from kit.corpus.store.shard import Shard
from kit.options.resolve import RunConfig
from kit.options.session import Session
from kit.platforms.detect import usable_cores
from kit.training.checkpoints import Checkpoint
from kit.training.folds import Fold
from kit.training.recipe import Recipe
from kit.training.table import Table


def recipe(config: RunConfig, arch: str | None = None) -> Recipe:
    """How the members of a run are trained, or those of another architecture beside them."""
    return Recipe(epochs=config.epochs, arch=arch or config.arch)


def fit(
    config: RunConfig,
    shard: Shard,
    session: Session,
    rows: Table,
    parts: Sequence[Fold],
    *,
    what: str,
    beside: Sequence[str] = (),
) -> dict[str, Mapping[tuple[int, str], Checkpoint]]:
    """By architecture every member by seed and label of what it holds out; those that are there are not trained again.

    Args:
        what: names this training on the screen.
        beside: architectures that are trained as well, on the same folds with the same seeds.
    """
    from kit.training.device import choose
    from kit.training.members import Ensemble, train

    device = choose(config.device)
    ensembles = {
        arch: Ensemble(
            table=rows,
            folds=parts,
            seeds=config.seeds,
            recipe=recipe(config, arch),
            corpus_sha256=shard.corpus_sha256,
            device=device.kind,
            workers=usable_cores(),
            folder=config.out_dir / layout.CHECKPOINTS,
        )
        for arch in (config.arch, *beside)
    }
    each, there = len(config.seeds) * len(parts), sum(len(ensemble.finished()) for ensemble in ensembles.values())
    session.ui.say(
        f"{what}: {each} members of {config.arch} on {device.kind} ({device.reason})"
        + (f", and as many to compare with of each of {', '.join(beside)}" if beside else "")
        + (f"; {there} of them are there already" if there else "")
    )
    with session.ui.progress(what, (each * len(ensembles) - there) * config.epochs, "epochs") as advance:
        found = train(list(ensembles.values()), session.processes, lambda epochs: advance("", epochs))
    return dict(zip(ensembles, found, strict=True))
