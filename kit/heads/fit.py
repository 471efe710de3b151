"""One head: fitted to a table, validated on content it never saw, kept with its history and its options."""

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
from kit.heads import checkpoint
from kit.heads.checkpoint import Fitted
from kit.heads.config import FitConfig
from kit.heads.fitting import Fits, file_of, fit, refuse_diverged
from kit.heads.split import divided
from kit.options.provenance import Args, of_command
from kit.options.session import Session
from kit.system.fsio import locked, sha256_file, write_bytes, write_json
from kit.system.outputs import refuse_foreign
from kit.training.checkpoints import Checkpoint
from kit.verdict.metrics import agreement_as_json

CHECKPOINT, HISTORY, CONFIG, MEMBERS = "checkpoint.safetensors", "history.json", "config.yaml", "members"
#: What of a finished member is the head itself.
_HEAD = ("weights.", "biases.", "mean", "std")
_ELSEWHERE = "Give another --out, or the options that this one was made with."
_AGAIN = "Delete it and start the same command: what was trained is kept."


def make(config: FitConfig, features: Path | None, out: Path, session: Session) -> dict[str, object]:
    """Fit a head and write :data:`CHECKPOINT`, :data:`HISTORY` and :data:`CONFIG` into ``out``.

    Args:
        features: the table, or a run folder or shard; None with ``epochs`` 0, which gives the initial weights.

    Returns:
        The history.

    Raises:
        BadInput: a source or a corpus is not there, or ``out`` holds a fit with other options or of another table.
        InvalidEvidence: the training diverged.
    """
    with locked(out):
        if features is None:
            _keep_options(out, config, None)
            fitted, history = _initial(config), {"features": None, **_no_training()}
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
                args=_args(config),
                inputs={} if features is None else {"features": file_of(features)},
                outputs=[CHECKPOINT, HISTORY, CONFIG],
            ),
        }
        write_json(out / HISTORY, document)
    return document


def _trained(config: FitConfig, whole: FeatureTable, out: Path, session: Session) -> tuple[Fitted, dict[str, object]]:
    from kit.training.device import choose

    table, held = divided(whole, config)
    _keep_options(out, config, table.sha256)
    groups = table.members(held)
    sources = sorted(source for members in groups.values() for source in members)
    fold = fold_without("", held, sources)
    asked = Fits(
        table=table,
        folds=(fold,),
        seeds=(config.seed,),
        recipes=(config.recipe,),
        device=config.device,
        folder=out / MEMBERS,
    )
    trained = fit(asked, session, what="Fit")
    refuse_diverged(asked, trained)
    member = trained[0][config.seed, ""]
    facts = facts_of(table) | {
        "held_out": sources,
        "rows_held_out": len(fold.held),
        "fitted_groups": table.names(~held),
    }
    told = {"seed": config.seed, "device": choose(config.device).kind, "config_sha256": config.sha256}
    arrays = {name: array for name, array in member.arrays.items() if name.startswith(_HEAD)}
    return Fitted(recipe=config.recipe, arrays=arrays, facts=facts | told), {
        "features": facts,
        "held_out": groups,
        "rows_trained": len(fold.train),
        "rows_held_out": len(fold.held),
        "training_loss": [float(loss) for loss in member.arrays["training_loss"]],
        "seconds": member.seconds,
        "validation": _validation(table, held, member),
    }


def facts_of(table: FeatureTable) -> dict[str, object]:
    """What of a table a fit is told with."""
    return {
        "features_sha256": table.sha256,
        "teacher": table.teacher and table.teacher.text,
        "rows": len(table),
        "clips": sum(1 for _ in table.clips()),
        "corpora": sorted(set(table.frame["corpus"])),
        "sources": sorted(set(table.sources.tolist())),
    }


def _validation(table: FeatureTable, held: NDArray[np.bool_], member: Checkpoint) -> dict[str, object] | None:
    """Agreement on the rows held out, all together and for each source; None where there are none."""
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


def _initial(config: FitConfig) -> Fitted:
    """Weights as they are drawn; features are left as they are, and the mean score is taken for that of the range."""
    from kit.training.draws import Draws
    from kit.training.model import Network
    from kit.training.recipe import architecture

    network = Network(architecture(config.arch), Draws(config.seed, ""), float(np.mean(contract.SCORE_RANGE)))
    count = len(contract.FEATURES)
    scale = {"mean": np.zeros(count, dtype=np.float32), "std": np.ones(count, dtype=np.float32)}
    facts: dict[str, Any] = dict.fromkeys(
        ("features_sha256", "teacher", "rows", "rows_held_out", "clips", "corpora", "sources", "held_out")
    )
    return Fitted(
        recipe=config.recipe,
        arrays={name: value.numpy() for name, value in network.state_dict().items()} | scale,
        facts=facts | {"fitted_groups": [], "seed": config.seed, "device": "cpu", "config_sha256": config.sha256},
    )


def _args(config: FitConfig) -> Args:
    """As options say it."""
    return {
        name: tuple(value) if isinstance(value, list) else str(value)
        for name, value in config.as_dict().items()
        if value not in (None, [])
    }


def _no_training() -> dict[str, object]:
    return {
        "held_out": {},
        "rows_trained": 0,
        "rows_held_out": 0,
        "training_loss": [],
        "seconds": 0.0,
        "validation": None,
    }


def _keep_options(out: Path, config: FitConfig, features_sha256: str | None) -> None:
    """Write the options, unless the folder holds a fit that was made with others or to another table.

    One that has not come to its end, or has diverged, is none: its members lie under names of their own.
    """
    path, wanted = out / CONFIG, config.as_yaml()
    kept = out / CHECKPOINT
    if kept.is_file() and path.is_file() and path.read_bytes() != wanted:
        raise BadInput(f"{out} holds a fit with other options: {_differing(path, config.as_dict())}", hint=_ELSEWHERE)
    if kept.is_file() and checkpoint.read(kept, hint=_AGAIN).facts["features_sha256"] != features_sha256:
        raise BadInput(f"{out} holds a fit to another table", hint=_ELSEWHERE)
    refuse_foreign(
        [out / CONFIG, out / HISTORY], lambda path: _of_a_fit(path, config), option="--out", hint="Give another folder."
    )
    write_bytes(path, wanted)


def _of_a_fit(path: Path, config: FitConfig) -> bool:
    """Whether a fit has written the options or the history."""
    content = _mapping(path)
    if path.name == HISTORY:
        return "checkpoint_sha256" in content
    return bool(content) and content.keys() <= config.as_dict().keys()


def _mapping(path: Path) -> dict[str, object]:
    """What a file of YAML or JSON holds; nothing where it is something else."""
    try:
        told = yaml.safe_load(path.read_bytes())
    except (OSError, yaml.YAMLError):
        return {}
    return told if isinstance(told, dict) else {}


def _differing(path: Path, wanted: Mapping[str, object]) -> str:
    told = _mapping(path)
    if not told:
        return f"{CONFIG} cannot be read"
    return ", ".join(f"{name} {told.get(name)}" for name, value in wanted.items() if told.get(name) != value)
