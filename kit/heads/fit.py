"""Fit one head to a table, validate it on held-out content, and keep it with its history and its options."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from kit.core import contract
from kit.core.errors import BadInput
from kit.features import table as tables
from kit.features.table import FeatureTable, fold_without
from kit.heads.config import FIT_SETTINGS, FitConfig, head
from kit.heads.split import split_rows
from kit.heads.table_facts import identifying_file, table_facts
from kit.options.provenance import of_command
from kit.options.session import Session
from kit.options.table import write_options
from kit.system.fsio import locked, sha256_file, write_bytes, write_json
from kit.system.outputs import refuse_foreign
from kit.training import checkpoint
from kit.training.checkpoint import Checkpoint
from kit.training.members import Ensemble
from kit.training.run_members import refuse_diverged, train_members
from kit.verdict.metrics import agreement_as_json

CHECKPOINT, HISTORY, CONFIG, MEMBERS = "checkpoint.safetensors", "history.json", "config.yaml", "members"
#: Arrays of a finished member that make the head.
_HEAD = ("weights.", "biases.", "mean", "std")
_ELSEWHERE = "Use another --out, or the options of this fit."
_AGAIN = "Delete the file and start the same command again: members that are trained are kept."


def make(config: FitConfig, features: Path | None, out: Path, session: Session) -> dict[str, object]:
    """Fit a head and write :data:`CHECKPOINT`, :data:`HISTORY` and :data:`CONFIG` into ``out``.

    Args:
        features: the table, or a run folder or shard; None with ``epochs`` 0, which gives the initial weights.

    Returns:
        The history.

    Raises:
        BadInput: a source or a corpus is missing, or ``out`` has a fit with other options or to another table.
        InvalidEvidence: the training diverged.
    """
    with locked(out):
        if features is None:
            _keep_options(out, config, None)
            fitted, history = _initial(config)
        else:
            fitted, history = _trained(config, tables.read(features), out, session)
        checkpoint.write(out / CHECKPOINT, fitted)
        document = {
            "schema_version": contract.SCHEMA_VERSION,
            "config": config.as_dict(),
            "config_sha256": config.sha256,
            "checkpoint_sha256": sha256_file(out / CHECKPOINT),
            **history,
            "run_provenance": of_command(
                session,
                args=write_options(FIT_SETTINGS, vars(config)),
                inputs={} if features is None else {"features": identifying_file(features)},
                outputs=[CHECKPOINT, HISTORY, CONFIG],
            ),
        }
        write_json(out / HISTORY, document)
    return document


def read_head(path: Path, *, hint: str = "Use the checkpoint.safetensors of a `fit`.") -> Checkpoint:
    """Read the checkpoint of a head.

    Args:
        hint: what to do if it cannot be used.

    Raises:
        Missing, BadInput: as :func:`kit.training.checkpoint.read`, or the checkpoint is not of a tiny head.
    """
    fitted = checkpoint.read(path, hint=hint)
    if fitted.kind != checkpoint.HEAD:
        raise BadInput(f"{path} is the checkpoint of a {fitted.kind}; expected a head", hint=hint)
    head(fitted.recipe.arch)
    return fitted


def _trained(
    config: FitConfig, whole: FeatureTable, out: Path, session: Session
) -> tuple[Checkpoint, dict[str, object]]:
    table, held = split_rows(whole, config)
    _keep_options(out, config, table.sha256)
    groups = table.members(held)
    sources = sorted(source for members in groups.values() for source in members)
    fold = fold_without("", held, sources)
    ensemble = Ensemble(
        rows=table.rows(),
        corpus_sha256=table.sha256,
        members=[(config.seed, fold)],
        recipe=config.recipe,
        device=config.device,
        folder=out / MEMBERS,
    )
    trained = train_members([ensemble], session.processes, session.ui, title="Fit")
    refuse_diverged([config.recipe], trained)
    member = trained[0][config.seed, ""]
    facts = table_facts(table) | {
        "held_out": sources,
        "rows_held_out": len(fold.held),
        "fitted_groups": table.names(~held),
    }
    origin = {"seed": config.seed, "device": ensemble.chosen.kind, "config_sha256": config.sha256}
    arrays = {name: array for name, array in member.arrays.items() if name.startswith(_HEAD)}
    return Checkpoint(kind=checkpoint.HEAD, recipe=config.recipe, arrays=arrays, facts=facts | origin), {
        "features": facts,
        "held_out": groups,
        "rows_trained": len(fold.train),
        "rows_held_out": len(fold.held),
        "training_loss": [float(loss) for loss in member.arrays["training_loss"]],
        "seconds": member.seconds,
        "validation": _validation(table, held, member),
    }


def _validation(table: FeatureTable, held: NDArray[np.bool_], member: Checkpoint) -> dict[str, object] | None:
    """Return the agreement on the held-out rows, together and for each source; None without such rows."""
    if not held.any():
        return None
    prediction = member.arrays["predictions"].astype(np.float64)
    target, sources = table.frame["vmaf"].to_numpy(np.float64)[held], table.sources[held]
    return {
        **agreement_as_json(prediction, target, what="held-out rows"),
        "per_source": {
            name: agreement_as_json(prediction[sources == name], target[sources == name], what=name)
            for name in sorted(set(sources.tolist()))
        },
    }


def _initial(config: FitConfig) -> tuple[Checkpoint, dict[str, object]]:
    """Return the initial weights; features are not scaled, and the mean score is the middle of the range."""
    from kit.training.draws import Draws
    from kit.training.model import Network

    recipe = config.recipe
    network = Network(recipe.architecture, Draws(config.seed, ""), float(np.mean(contract.SCORE_RANGE)))
    count = len(recipe.inputs.features)
    scale = {"mean": np.zeros(count, dtype=np.float32), "std": np.ones(count, dtype=np.float32)}
    facts: dict[str, Any] = dict.fromkeys(
        ("features_sha256", "teacher", "rows", "rows_held_out", "clips", "corpora", "sources", "held_out")
    )
    fitted = Checkpoint(
        kind=checkpoint.HEAD,
        recipe=recipe,
        arrays={name: value.numpy() for name, value in network.state_dict().items()} | scale,
        facts=facts | {"fitted_groups": [], "seed": config.seed, "device": "cpu", "config_sha256": config.sha256},
    )
    return fitted, {
        "features": None,
        "held_out": {},
        "rows_trained": 0,
        "rows_held_out": 0,
        "training_loss": [],
        "seconds": 0.0,
        "validation": None,
    }


def _keep_options(out: Path, config: FitConfig, features_sha256: str | None) -> None:
    """Write the options, unless the folder has a finished fit with other options or to another table.

    An interrupted or diverged fit does not count: its members have their own names.
    """
    path, options = out / CONFIG, config.as_yaml()
    kept = out / CHECKPOINT
    if kept.is_file() and path.is_file() and path.read_bytes() != options:
        raise BadInput(f"{out} has a fit with other options: {_differing(path, config.as_dict())}", hint=_ELSEWHERE)
    if kept.is_file() and read_head(kept, hint=_AGAIN).facts["features_sha256"] != features_sha256:
        raise BadInput(f"{out} has a fit to another table", hint=_ELSEWHERE)
    refuse_foreign(
        [out / CONFIG, out / HISTORY], lambda path: _of_a_fit(path, config), option="--out", hint="Use another folder."
    )
    write_bytes(path, options)


def _of_a_fit(path: Path, config: FitConfig) -> bool:
    """Return whether a fit wrote the options or the history."""
    content = _mapping(path)
    if path.name == HISTORY:
        return "checkpoint_sha256" in content
    return bool(content) and content.keys() <= config.as_dict().keys()


def _mapping(path: Path) -> dict[str, object]:
    """Return the content of a file of YAML or JSON; empty if it is not a mapping."""
    try:
        content = yaml.safe_load(path.read_bytes())
    except (OSError, yaml.YAMLError):
        return {}
    return content if isinstance(content, dict) else {}


def _differing(path: Path, options: Mapping[str, object]) -> str:
    kept = _mapping(path)
    if not kept:
        return f"{CONFIG} cannot be read"
    return ", ".join(f"{name} {kept.get(name)}" for name, value in options.items() if kept.get(name) != value)
