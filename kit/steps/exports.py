"""The models of a run: every seed fitted on all rows, exported, checked, described. After PROMOTE only."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kit.core import layout
from kit.core.errors import ExportFailed, Missing
from kit.corpus.store import shard as shards
from kit.corpus.store.shard import Shard
from kit.models import export, export_check
from kit.models.sidecar import Model, Origin, model_id, registry, sidecar
from kit.options.provenance import block
from kit.options.resolve import RunConfig
from kit.options.session import Session
from kit.system import validation
from kit.system.fsio import TEMPORARY_PREFIX, read_json, sha256_file, write_bytes, write_json
from kit.system.ui import Row, size
from kit.training import folds, table
from kit.training.device import choose
from kit.training.model import Network, restored
from kit.training.recipe import architecture
from kit.training.run_members import fit, recipe
from kit.training.table import Table

_AGAIN = "Run `verdict` again."


def make(config: RunConfig, shard: Shard, verdict: Mapping[str, Any], session: Session) -> None:
    """Write ``exports/`` of a run whose verdict is PROMOTE; it appears complete and checked, or not at all.

    Raises:
        ExportFailed: a model is not what it should be.
    """
    seeds = tuple(sorted(config.seeds))
    rows = table.load(shard)
    whole = folds.everything(rows)
    members = fit(config, shard, session, rows, (whole,), what="Full fit")[config.arch]
    arch = architecture(config.arch)
    fitted = [restored(arch, members[seed, whole.held_out].arrays) for seed in seeds]
    networks, scale = [network for network, _ in fitted], fitted[0][1]
    origin = Origin(verdict=verdict, recipe=recipe(config), scale=scale, device=choose(config.device).kind, seeds=seeds)
    with tempfile.TemporaryDirectory(prefix=TEMPORARY_PREFIX, dir=config.out_dir) as temporary:
        folder = Path(temporary) / layout.EXPORTS
        folder.mkdir()
        models = [
            _model(folder, origin, [network], rows, seed=seed) for seed, network in zip(seeds, networks, strict=True)
        ]
        if len(networks) > 1:
            models.append(_model(folder, origin, networks, rows, seed=None))
        _describe(folder, models, config, shard, session)
        folder.rename(config.out_dir / layout.EXPORTS)
    _show(models, config, session)


def _model(folder: Path, origin: Origin, networks: Sequence[Network], rows: Table, *, seed: int | None) -> Model:
    """Write and check one file."""
    data = export.single(networks[0], origin.scale) if seed is not None else export.fused(networks, origin.scale)
    path = folder / f"{model_id(origin.arch.name, seed)}.onnx"
    write_bytes(path, data)
    checked = export_check.check(path, networks, origin.scale, rows)
    return Model(origin=origin, seed=seed, sha256=sha256_file(path), checked=checked)


def _describe(folder: Path, models: Sequence[Model], config: RunConfig, shard: Shard, session: Session) -> None:
    """Write sidecars and registry, each as its schema has it."""
    inputs = {
        "corpus": shard.folder / shards.MANIFEST,
        "verdict": config.out_dir / layout.verdict_file("PROMOTE"),
        "predictions": config.out_dir / layout.PREDICTIONS,
    }
    for model in models:
        made_by = block(config, session, inputs=inputs, outputs=[f"{layout.EXPORTS}/{model.id}.onnx"])
        _write(folder / f"{model.id}.json", "sidecar", sidecar(model, made_by))
    _write(folder / Path(layout.REGISTRY).name, "registry", registry(models))


def _write(path: Path, schema: str, value: Mapping[str, object]) -> None:
    if problems := validation.problems(schema, value):
        raise ExportFailed(path.name, problems)
    write_json(path, value)


def _show(models: Sequence[Model], config: RunConfig, session: Session) -> None:
    """What has been made."""
    folder = config.out_dir / layout.EXPORTS
    session.ui.table(
        "Models",
        ("file", "size", "SHA-256", "onnxruntime against torch"),
        [
            Row(
                cells=(
                    f"{layout.EXPORTS}/{model.id}.onnx",
                    size((folder / f"{model.id}.onnx").stat().st_size),
                    model.sha256[:16],
                    f"{model.checked.largest:.1e} at most on {model.checked.rows} rows",
                )
            )
            for model in models
        ],
    )
    if len(models) == 1:
        session.ui.say("One seed has no spread: there is no ensemble in one file.")
    origin = models[0].origin
    if origin.arch.codec_aware and origin.untrained_encoders:
        session.ui.say(
            f"The corpus shows {', '.join(origin.trained_encoders) or 'no encoder of the vocabulary'}; for "
            f"{len(origin.untrained_encoders)} other encoders the models are untrained."
        )


def listed(config: RunConfig, seeds: Sequence[int], corpus_sha256: str) -> list[str]:
    """Relative paths of all files in ``exports/``, once they have been found to belong to this verdict.

    Raises:
        Missing: a file is not there, is another than the registry says, or was made of another corpus.
        BadInput: a description cannot be read.
    """
    value: Any = read_json(config.out_dir / layout.REGISTRY, written_by="verdict")
    kinds = (*sorted(seeds), None) if len(seeds) > 1 else seeds
    expected = {model_id(config.arch, seed) for seed in kinds}
    if validation.problems("registry", value) or {model["id"] for model in value["models"]} != expected:
        raise Missing(f"{layout.REGISTRY} does not list the models of this verdict", hint=_AGAIN)
    names = [layout.REGISTRY]
    for model in value["models"]:
        path = f"{layout.EXPORTS}/{model['onnx']}"
        beside = f"{layout.EXPORTS}/{model['id']}.json"
        told: Any = read_json(config.out_dir / beside, written_by="verdict")
        file = config.out_dir / path
        if not file.is_file() or sha256_file(file) != model["sha256"]:
            raise Missing(f"{path} is not the model that {layout.REGISTRY} lists", hint=_AGAIN)
        fits = {"sha256": model["sha256"], "corpus": corpus_sha256}
        if (
            validation.problems("sidecar", told)
            or {"sha256": told["sha256"], "corpus": told["corpus"]["sha256"]} != fits
        ):
            raise Missing(f"{beside} does not describe the model beside it and this corpus", hint=_AGAIN)
        names += [path, beside]
    return names
