"""The models of a run: every seed fitted on all rows, exported, checked, described. After PROMOTE only."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from kit.core import layout
from kit.core.errors import Missing
from kit.corpus.store import shard as shards
from kit.models import card, registry
from kit.models.export import Exported, example_of, typical_row, write_model, write_sidecar
from kit.models.sidecar import TrainedEnsemble, model_id, sidecar_problems, stem_of
from kit.options.provenance import block, commit_of
from kit.options.resolve import RunConfig
from kit.options.session import KIT_ROOT, Session
from kit.steps.model_facts import (
    FullFit,
    companion_reason,
    companion_recipe,
    described_ensembles,
    expected_ids,
    full_fold,
)
from kit.system import validation
from kit.system.fsio import TEMPORARY_PREFIX, read_json, sha256_file, write_bytes
from kit.system.ui import Row, size
from kit.training.members import Ensemble
from kit.training.model import Network, restored
from kit.training.run_members import run_recipe, train_members
from kit.training.table import Table
from kit.verdict.judge import Training

_AGAIN = "Run `verdict` again."


def make(config: RunConfig, training: Training, verdict: Mapping[str, Any], session: Session) -> None:
    """Write ``exports/`` of a run whose verdict is PROMOTE; it appears complete and checked, or not at all.

    Args:
        training: with rows.
        verdict: its document.

    Raises:
        ExportFailed: a model or a document failed its check.
    """
    rows = training.rows
    if rows is None:
        raise ValueError("a training without rows has no models")
    ensembles = _fitted(config, training, rows, verdict, session)
    with tempfile.TemporaryDirectory(prefix=TEMPORARY_PREFIX, dir=config.out_dir) as temporary:
        folder = Path(temporary) / layout.EXPORTS
        folder.mkdir()
        lines, exported = [], []
        for ensemble, networks in ensembles:
            for seed in ensemble.models:
                members = list(networks.values()) if seed is None else [networks[seed]]
                path = folder / f"{model_id(ensemble.recipe.arch, seed)}.onnx"
                model = write_model(path, members, ensemble.scale, rows)
                example = example_of(model, rows, typical_row(rows))
                made_by = _provenance(config, training, path, session)
                document = write_sidecar(model, ensemble.describe(seed, model.checked, example), made_by)
                line = registry.line(document, description=ensemble.summary(seed), smoke=verdict["demo"])
                write_bytes(path.with_suffix(".md"), card.of_run(document, line, verdict).encode())
                lines.append(line)
                exported.append(model)
        registry.write(folder / registry.REGISTRY, lines)
        _show(exported, [ensemble for ensemble, _ in ensembles], session)
        folder.rename(config.out_dir / layout.EXPORTS)


def _fitted(
    config: RunConfig, training: Training, rows: Table, verdict: Mapping[str, Any], session: Session
) -> list[tuple[TrainedEnsemble, dict[int, Network]]]:
    """Train every seed on all rows; return the ensemble, and its companion if there is one, with their networks."""
    seeds, recipe, shard = tuple(sorted(config.seeds)), run_recipe(config), training.shard
    whole = full_fold(rows, recipe)
    recipes = [recipe] if companion_reason(verdict) is None else [recipe, companion_recipe(recipe)]
    fits = [
        Ensemble(
            rows=rows,
            corpus_sha256=shard.corpus_sha256,
            members=list(product(seeds, [whole])),
            recipe=one,
            device=config.device,
            folder=config.out_dir / layout.CHECKPOINTS,
        )
        for one in recipes
    ]
    trained = train_members(fits, session.processes, session.ui, title="Full fit")
    restored_of = [
        {seed: restored(one.architecture, members[seed, whole.held_out].arrays) for seed in seeds}
        for one, members in zip(recipes, trained, strict=True)
    ]
    full_fit = FullFit(
        recipe=recipe,
        scale=restored_of[0][seeds[0]][1],
        device=fits[0].chosen.kind,
        commit=commit_of(KIT_ROOT, session.processes),
        manifest_sha256=sha256_file(shard.folder / shards.MANIFEST),
    )
    networks = [{seed: network for seed, (network, _) in fitted.items()} for fitted in restored_of]
    return list(zip(described_ensembles(training, verdict, full_fit), networks, strict=True))


def _provenance(config: RunConfig, training: Training, path: Path, session: Session) -> dict[str, object]:
    inputs = {
        "corpus": training.shard.folder / shards.MANIFEST,
        "verdict": config.out_dir / layout.verdict_file("PROMOTE"),
        "predictions": config.out_dir / layout.PREDICTIONS,
    }
    return block(config, session, inputs=inputs, outputs=[f"{layout.EXPORTS}/{path.name}"])


def _show(models: Sequence[Exported], ensembles: Sequence[TrainedEnsemble], session: Session) -> None:
    rows = [
        Row(
            cells=(
                f"{layout.EXPORTS}/{model.path.name}",
                size(model.path.stat().st_size),
                model.sha256[:16],
                f"{model.checked.largest:.1e} at most on {model.checked.rows} rows",
            )
        )
        for model in models
    ]
    session.ui.table("Models", ("file", "size", "SHA-256", "onnxruntime against torch"), rows)
    ensemble = ensembles[0]
    if len(ensemble.models) == 1:
        session.ui.say("One seed has no spread: no ensemble in one file was written.")
    if ensemble.recipe.architecture.codec_aware and ensemble.untrained_encoders:
        session.ui.say(
            f"Encoders in the corpus: {', '.join(ensemble.trained_encoders) or 'none of the vocabulary'}; the models "
            f"are untrained for {len(ensemble.untrained_encoders)} other encoders."
        )
    for companion in ensembles[1:]:
        session.ui.say(f"{stem_of(companion.recipe.arch)}, a model on the features alone: {companion.reason}")


def listed(config: RunConfig, seeds: Sequence[int], corpus_sha256: str) -> list[str]:
    """Return the relative paths of all files in ``exports/`` after checking that they belong to this verdict.

    Raises:
        Missing: a file is missing, differs from the registry, or was made from another corpus.
        BadInput: a document cannot be read.
    """
    path = config.out_dir / layout.REGISTRY
    value: Any = read_json(path, written_by="verdict")
    verdict: Any = read_json(config.out_dir / layout.verdict_file("PROMOTE"), written_by="verdict")
    expected = expected_ids(config.arch, seeds, verdict)
    if validation.problems(registry.SCHEMA, value) or {model["id"] for model in value["models"]} != set(expected):
        raise Missing(f"{layout.REGISTRY} does not list the models of this verdict", hint=_AGAIN)
    if changed := registry.changed_files(path, value["models"]):
        raise Missing(f"{', '.join(changed)}: missing, or not the file that {layout.REGISTRY} lists", hint=_AGAIN)
    names = [layout.REGISTRY]
    for model in value["models"]:
        sidecar_name, card_name = (f"{layout.EXPORTS}/{model['id']}{suffix}" for suffix in (".json", ".md"))
        sidecar: Any = read_json(config.out_dir / sidecar_name, written_by="verdict")
        hashes = {"sha256": model["sha256"], "corpus": corpus_sha256}
        if sidecar_problems(sidecar) or {"sha256": sidecar["sha256"], "corpus": sidecar["corpus"]["sha256"]} != hashes:
            raise Missing(f"{sidecar_name} does not describe {model['onnx']} and this corpus", hint=_AGAIN)
        names += [f"{layout.EXPORTS}/{model['onnx']}", sidecar_name]
        if verdict["schema_version"] == 1:  # its models have no cards
            continue
        if not (config.out_dir / card_name).is_file():
            raise Missing(f"{card_name} is missing", hint=_AGAIN)
        names.append(card_name)
    return names
