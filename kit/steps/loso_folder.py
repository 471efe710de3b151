"""The folder ``loso/`` of a run: predictions, reports and ``training.json``, written by step 3."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from kit.core import contract, layout
from kit.core.errors import BadInput
from kit.corpus.store import shard as shards
from kit.corpus.store.shard import Shard
from kit.options.provenance import block
from kit.options.resolve import RunConfig
from kit.options.run_table import RUN
from kit.options.session import Session
from kit.system import validation
from kit.system.fsio import read_json, sha256_file, write_json
from kit.training import predictions, table
from kit.verdict.baselines import Baseline, Convergence
from kit.verdict.judge import Training
from kit.video.scorers.formula import formula_of

_AGAIN = "Run `train` again."


def clear(run_dir: Path) -> None:
    """Remove the predictions and reports of an earlier training; its members stay."""
    folder = run_dir / layout.LOSO
    for path in (*folder.glob("*.json"), *folder.glob("*.parquet")):
        path.unlink()


def write_report(config: RunConfig, session: Session, shard: Shard, name: str, report: Mapping[str, object]) -> None:
    """Write a report with its provenance; ``name`` is relative to the run folder."""
    made_by = block(config, session, inputs={"corpus": shard.folder / shards.MANIFEST}, outputs=[name])
    write_json(config.out_dir / name, {**report, "run_provenance": made_by})


def write_summary(config: RunConfig, training: Training) -> None:
    """Write ``training.json``: options, hashes of the prediction files, problems."""
    summary = {
        "schema_version": contract.SCHEMA_VERSION,
        "corpus_sha256": training.shard.corpus_sha256,
        "seeds": list(training.seeds),
        "epochs": config.epochs,
        "arch": config.arch,
        "recipe": config.recipe,
        "folds": training.folds,
        "holdout": list(training.holdout),
        **({"max_rows_per_source": training.max_rows_per_source} if training.max_rows_per_source else {}),
        "predictions_sha256": file_hash(config.out_dir / layout.PREDICTIONS),
        "baselines": {
            name: {
                "predictions_sha256": file_hash(config.out_dir / layout.baseline_predictions(name)),
                "problems": list(baseline.problems),
                "model": baseline.model,
                "convergence": baseline.convergence and asdict(baseline.convergence),
            }
            for name, baseline in training.baselines.items()
        },
        "unseen": None
        if training.unseen is None
        else {
            arch: {
                "predictions_sha256": file_hash(config.out_dir / layout.unseen_predictions(arch)),
                "problems": list(part.problems),
            }
            for arch, part in training.unseen.items()
        },
        "problems": list(training.problems),
    }
    write_json(config.out_dir / layout.TRAINING, summary)


def file_hash(path: Path) -> str | None:
    """Return the SHA-256 of a file; None if there is no such file."""
    return sha256_file(path) if path.is_file() else None


def load(config: RunConfig) -> Training:
    """Read the training of this run folder.

    Raises:
        Missing: the folder has no training.
        BadInput: it was made by an earlier version of the kit, from another corpus or with other options, or a file has
            changed since.
    """
    path = config.out_dir / layout.TRAINING
    summary: Any = read_json(path, written_by="train")
    shard = shards.read_manifest(config.out_dir / layout.CORPUS)
    if problems := validation.problems("training", summary):
        raise BadInput(f"{path} does not fit its schema: {problems[0]}", hint=_AGAIN)
    if "recipe" not in summary:  # its line is no least squares, and no encoder was held out
        raise BadInput(
            f"{path} was written by an earlier version of the kit, which trained other baselines", hint=_AGAIN
        )
    trained, current = summary["corpus_sha256"], shard.corpus_sha256
    if trained != current:
        raise BadInput(f"the corpus has changed: trained with {trained[:12]}, now {current[:12]}", hint=_AGAIN)
    _check_options(config, summary)
    _check_hash(config.out_dir / layout.PREDICTIONS, summary["predictions_sha256"])
    for name, baseline in summary["baselines"].items():
        _check_hash(config.out_dir / layout.baseline_predictions(name), baseline["predictions_sha256"])
    for arch, part in (summary.get("unseen") or {}).items():
        _check_hash(config.out_dir / layout.unseen_predictions(arch), part["predictions_sha256"])
    valid = not summary["problems"]
    return Training(
        shard=shard,
        seeds=tuple(summary["seeds"]),
        folds=summary["folds"],
        holdout=tuple(summary["holdout"]),
        max_rows_per_source=summary.get("max_rows_per_source"),
        predictions=predictions.read(config.out_dir / layout.PREDICTIONS) if valid else None,
        problems=tuple(summary["problems"]),
        baselines=read_baselines(config.out_dir, summary) if valid else {},
        unseen=read_unseen(config.out_dir, summary) if valid else None,
        rows=table.load(shard) if valid else None,
        formula=formula_of(shard.teacher),
    )


def read_baselines(run_dir: Path, summary: Mapping[str, Any]) -> dict[str, Baseline]:
    """Read the baselines that ``training.json`` lists, with their predictions."""
    return {
        name: Baseline(
            predictions=predictions.read(run_dir / layout.baseline_predictions(name))
            if entry["predictions_sha256"]
            else None,
            problems=tuple(entry["problems"]),
            model=entry["model"],
            convergence=Convergence(**trend) if (trend := entry.get("convergence")) else None,
        )
        for name, entry in summary["baselines"].items()
    }


def read_unseen(run_dir: Path, summary: Mapping[str, Any]) -> dict[str, Baseline] | None:
    """Read the predictions for held-out encoders; None for a training without them."""
    entries = summary.get("unseen")
    if entries is None:
        return None
    return {
        arch: Baseline(
            predictions=predictions.read(run_dir / layout.unseen_predictions(arch))
            if entry["predictions_sha256"]
            else None,
            problems=tuple(entry["problems"]),
            model=None,
        )
        for arch, entry in entries.items()
    }


def _check_options(config: RunConfig, summary: Mapping[str, Any]) -> None:
    """Refuse a training with other options than requested; the order of seeds and hold-outs does not matter."""
    for name in ("epochs", "arch", "recipe", "folds", "seeds", "holdout", "max_rows_per_source"):
        trained: Any = summary.get(name)
        requested: Any = getattr(config, name)
        same = set(trained) == set(requested) if name in ("seeds", "holdout") else trained == requested
        if not same:
            raise BadInput(
                f"{name} differ: trained with {_text(trained)}; requested {_text(requested)}",
                hint=f"Leave {RUN[name].spelling} out to use the training, or run `train` again.",
            )


def _text(value: object) -> str:
    return (",".join(map(str, value)) or "none") if isinstance(value, list | tuple) else str(value or "none")


def _check_hash(path: Path, expected: str | None) -> None:
    if expected is not None and (actual := file_hash(path)) != expected:
        state = "missing" if actual is None else f"changed: SHA-256 {actual[:12]}"
        raise BadInput(f"{path} is {state}, trained was {expected[:12]}", hint=_AGAIN)
