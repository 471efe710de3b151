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
from kit.corpus.store.shard import Shard
from kit.models import registry
from kit.models.export import Exported, write_model, write_sidecar
from kit.models.sidecar import TrainedEnsemble, model_id, sidecar_problems
from kit.options.provenance import block
from kit.options.resolve import RunConfig
from kit.options.session import Session
from kit.system import validation
from kit.system.fsio import TEMPORARY_PREFIX, read_json
from kit.system.ui import Row, size
from kit.training import folds, table
from kit.training.members import Ensemble
from kit.training.model import restored
from kit.training.run_members import run_recipe, train_members

_AGAIN = "Run `verdict` again."


def make(config: RunConfig, shard: Shard, verdict: Mapping[str, Any], session: Session) -> None:
    """Write ``exports/`` of a run whose verdict is PROMOTE; it appears complete and checked, or not at all.

    Raises:
        ExportFailed: a model or a document failed its check.
    """
    seeds = tuple(sorted(config.seeds))
    rows, recipe = table.load(shard), run_recipe(config)
    (whole,) = folds.thinned(rows, [folds.everything(rows)], config.max_rows_per_source)
    full_fit = Ensemble(
        rows=rows,
        corpus_sha256=shard.corpus_sha256,
        members=list(product(seeds, [whole])),
        recipe=recipe,
        device=config.device,
        folder=config.out_dir / layout.CHECKPOINTS,
    )
    (members,) = train_members([full_fit], session.processes, session.ui, title="Full fit")
    fitted = [restored(recipe.architecture, members[seed, whole.held_out].arrays) for seed in seeds]
    networks, scale = [network for network, _ in fitted], fitted[0][1]
    ensemble = TrainedEnsemble(verdict=verdict, recipe=recipe, scale=scale, seeds=seeds, device=full_fit.chosen.kind)
    networks_of = {seed: [network] for seed, network in zip(seeds, networks, strict=True)}
    inputs = {
        "corpus": shard.folder / shards.MANIFEST,
        "verdict": config.out_dir / layout.verdict_file("PROMOTE"),
        "predictions": config.out_dir / layout.PREDICTIONS,
    }
    exported, lines = [], []
    with tempfile.TemporaryDirectory(prefix=TEMPORARY_PREFIX, dir=config.out_dir) as temporary:
        folder = Path(temporary) / layout.EXPORTS
        folder.mkdir()
        for seed, members_of in (networks_of | ({None: networks} if len(seeds) > 1 else {})).items():
            path = folder / f"{model_id(config.arch, seed)}.onnx"
            model = write_model(path, members_of, scale, rows)
            run_provenance = block(config, session, inputs=inputs, outputs=[f"{layout.EXPORTS}/{path.name}"])
            sidecar = write_sidecar(model, ensemble.describe(seed, model.checked), run_provenance)
            lines.append(registry.line(sidecar, description=ensemble.summary(seed), smoke=verdict["demo"]))
            exported.append(model)
        registry.write(folder / registry.REGISTRY, lines)
        _show(exported, ensemble, session)
        folder.rename(config.out_dir / layout.EXPORTS)


def _show(models: Sequence[Exported], ensemble: TrainedEnsemble, session: Session) -> None:
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
    if len(models) == 1:
        session.ui.say("One seed has no spread: no ensemble in one file was written.")
    if ensemble.recipe.architecture.codec_aware and ensemble.untrained_encoders:
        session.ui.say(
            f"Encoders in the corpus: {', '.join(ensemble.trained_encoders) or 'none of the vocabulary'}; the models "
            f"are untrained for {len(ensemble.untrained_encoders)} other encoders."
        )


def listed(config: RunConfig, seeds: Sequence[int], corpus_sha256: str) -> list[str]:
    """Return the relative paths of all files in ``exports/`` after checking that they belong to this verdict.

    Raises:
        Missing: a file is missing, differs from the registry, or was made from another corpus.
        BadInput: a document cannot be read.
    """
    path = config.out_dir / layout.REGISTRY
    value: Any = read_json(path, written_by="verdict")
    expected = {model_id(config.arch, seed) for seed in (*seeds, *([None] if len(seeds) > 1 else []))}
    if validation.problems(registry.SCHEMA, value) or {model["id"] for model in value["models"]} != expected:
        raise Missing(f"{layout.REGISTRY} does not list the models of this verdict", hint=_AGAIN)
    if changed := registry.changed_files(path, value["models"]):
        raise Missing(f"{', '.join(changed)}: missing, or not the file that {layout.REGISTRY} lists", hint=_AGAIN)
    names = [layout.REGISTRY]
    for model in value["models"]:
        sidecar_name = f"{layout.EXPORTS}/{model['id']}.json"
        sidecar: Any = read_json(config.out_dir / sidecar_name, written_by="verdict")
        hashes = {"sha256": model["sha256"], "corpus": corpus_sha256}
        if sidecar_problems(sidecar) or {"sha256": sidecar["sha256"], "corpus": sidecar["corpus"]["sha256"]} != hashes:
            raise Missing(f"{sidecar_name} does not describe {model['onnx']} and this corpus", hint=_AGAIN)
        names += [f"{layout.EXPORTS}/{model['onnx']}", sidecar_name]
    return names
