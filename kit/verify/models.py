"""The models in a bundle: their descriptions, their form, and what onnxruntime computes with them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from kit.core import contract, layout
from kit.core.errors import CheckFailed
from kit.models import runtime
from kit.models.graph_format import format_problems
from kit.models.runtime import Checked
from kit.models.sidecar import Model, Origin, model_id, sidecar
from kit.system.fsio import sha256_file
from kit.training.recipe import architecture
from kit.training.standardiser import fit_standardiser
from kit.verdict.metrics import agreement
from kit.verify.replay import Checks, ReceivedRun, listed, unlike

#: A standardiser is float32: computed again, its figures differ by a rounding.
_FLOAT32 = 1e-6
#: Fields of a sidecar that say how it was made, not what the model is.
_MAKING = ("notes", "run_provenance")


def _seeds(seen: ReceivedRun) -> list[int | None]:
    seeds = sorted(seen.training["seeds"])
    return [*seeds, None] if len(seeds) > 1 else list(seeds)


def _files(seen: ReceivedRun) -> dict[int | None, Path]:
    folder = seen.folder / layout.EXPORTS
    return {seed: folder / f"{model_id(seen.recipe.arch, seed)}.onnx" for seed in _seeds(seen)}


def _described(seen: ReceivedRun) -> str:
    """Registry and sidecars against the files, the verdict and the corpus."""
    files = _files(seen)
    registry = seen.document(layout.REGISTRY, "registry")
    lines = {line["onnx"]: line for line in registry["models"]}
    expected = {path.name for path in files.values()}
    there = {path.name for path in (seen.folder / layout.EXPORTS).iterdir()}
    wanted = expected | {f"{Path(name).stem}.json" for name in expected} | {Path(layout.REGISTRY).name}
    if lines.keys() != expected or there != wanted:
        raise CheckFailed(
            f"there are {', '.join(sorted(there))}; in the registry {', '.join(sorted(lines))}; "
            f"expected {', '.join(sorted(wanted))}"
        )
    rows = np.arange(len(seen.rows), dtype=np.int32)
    scale = fit_standardiser(seen.rows.features, rows)
    problems = []
    for seed, path in files.items():
        told = seen.document(f"{layout.EXPORTS}/{path.stem}.json", "sidecar")
        seeds = tuple(sorted(seen.training["seeds"]))
        origin = Origin(
            verdict=seen.verdict, recipe=seen.recipe, scale=scale, seeds=seeds, device=told["training_recipe"]["device"]
        )
        digest = sha256_file(path)
        model = Model(origin=origin, seed=seed, sha256=digest, checked=Checked(rows=0, largest=0.0))
        problems += unlike(told, sidecar(model, {}), skip=_MAKING, where=path.stem, same=_FLOAT32)
        if lines[path.name]["sha256"] != digest:
            problems.append(f"{path.name} has the SHA-256 {digest[:12]}, the registry says otherwise")
    if problems:
        raise CheckFailed(listed(problems))
    return f"{len(files)} models as described"


def _formed(seen: ReceivedRun) -> str:
    problems, arch = [], architecture(seen.recipe.arch)
    for seed, path in _files(seen).items():
        outputs = (contract.SCORE_OUTPUT, contract.SPREAD_OUTPUT) if seed is None else (contract.SCORE_OUTPUT,)
        found = format_problems(path.read_bytes(), codec_aware=arch.codec_aware, outputs=outputs)
        problems += [f"{path.name}: {line}" for line in found]
    if problems:
        raise CheckFailed(listed(problems))
    return f"{len(_files(seen))} graphs, operators of the list alone, weights inside"


def _computed(seen: ReceivedRun) -> str:
    """onnxruntime on rows of the corpus: scores in range, the ensemble is its members, and they know the corpus."""
    rows = np.unique(np.linspace(0, len(seen.rows) - 1, min(contract.EXPORT_ROWS, len(seen.rows))).round())
    chosen = rows.astype(np.int32)
    found: dict[int | None, Mapping[str, Any]] = {}
    for seed, path in _files(seen).items():
        session = runtime.open_session(path.read_bytes())
        found[seed] = runtime.compute(session, seen.rows.features[chosen], seen.rows.codec[chosen])
        score, (low, high) = found[seed][contract.SCORE_OUTPUT], contract.SCORE_RANGE
        if score.shape != chosen.shape or not ((score >= low) & (score <= high)).all():
            raise CheckFailed(f"{path.name}: scores outside {low:g} to {high:g}, or {score.shape} of them")
    members = np.stack([found[seed][contract.SCORE_OUTPUT] for seed in found if seed is not None]).astype(np.float64)
    if None in found:
        mean = np.abs(found[None][contract.SCORE_OUTPUT] - members.mean(axis=0)).max()
        spread = np.abs(found[None][contract.SPREAD_OUTPUT] - members.std(axis=0, ddof=1)).max()
        if not max(mean, spread) <= contract.EXPORT_TOLERANCE:
            raise CheckFailed(f"the ensemble is off its members' mean by {mean:.3g} and their spread by {spread:.3g}")
    own = agreement(members.mean(axis=0), seen.rows.target[chosen].astype(np.float64), what="models on the corpus")
    least = contract.GATE_THRESHOLDS["mean_plcc_min"]
    if own.plcc < least:
        raise CheckFailed(
            f"PLCC {own.plcc:.4f} with the scores they were fitted to, at least {least} was to be expected"
        )
    return f"PLCC {own.plcc:.4f}, RMSE {own.rmse:.2f} on {len(chosen)} rows they were fitted to"


CHECKS: Checks = (
    ("model descriptions", "registry and sidecars that follow from files, verdict and corpus", _described),
    ("model files", f"opset {contract.ONNX_OPSET}, operators of the list, nothing outside the file", _formed),
    ("model scores", "in range, the ensemble the mean of its members, PLCC as the gate asks for", _computed),
)
