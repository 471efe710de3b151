"""The checks of the models in a bundle: their descriptions, their format, and their scores in onnxruntime."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kit import __version__
from kit.core import contract, layout
from kit.core.errors import CheckFailed
from kit.core.texts import correlation
from kit.corpus.store import shard as shards
from kit.models import card, runtime
from kit.models.graph_format import format_problems
from kit.models.runtime import Checked
from kit.models.sidecar import TrainedEnsemble, model_id, sidecar
from kit.steps.model_facts import FullFit, described_ensembles, expected_ids, full_fold
from kit.system.fsio import sha256_file
from kit.training.predictions import Predictions
from kit.training.standardiser import fit_standardiser
from kit.verdict.metrics import agreement
from kit.verdict.out_of_fold import ensemble_mean
from kit.verify.differences import differences, listed
from kit.verify.received_run import ReceivedRun
from kit.verify.replay import Checks

#: A standardiser is float32: computed again, its figures differ by a rounding error.
_FLOAT32 = 1e-6
#: Fields of a sidecar that describe how it was made, not the model.
_MAKING = ("notes", "companion_reason", "run_provenance")


def _files(run: ReceivedRun) -> dict[int | None, Path]:
    """Return the model file of each seed, and as None that of the ensemble."""
    seeds = sorted(run.training["seeds"])
    kinds = [*seeds, None] if len(seeds) > 1 else seeds
    return {seed: run.folder / layout.EXPORTS / f"{model_id(run.recipe.arch, seed)}.onnx" for seed in kinds}


def _ensembles(run: ReceivedRun) -> list[TrainedEnsemble]:
    """Describe the models again: the ensemble, and its companion on the features alone if there is one."""
    first = next(iter(_files(run).values()))
    received = run.document(f"{layout.EXPORTS}/{first.stem}.json", "sidecar")
    fit = FullFit(
        recipe=run.recipe,
        scale=fit_standardiser(run.rows.features, full_fold(run.rows, run.recipe).train),
        device=received["training_recipe"]["device"],
        commit=received["train_commit"],
        manifest_sha256=sha256_file(run.folder / layout.CORPUS / shards.MANIFEST),
    )
    return described_ensembles(run.trained, run.verdict, fit)


def _described(run: ReceivedRun) -> str:
    """Compare registry, sidecars and cards with the files, the verdict and the corpus."""
    registry = run.document(layout.REGISTRY, "registry")
    entries = {entry["onnx"]: entry for entry in registry["models"]}
    described = [
        (run.folder / layout.EXPORTS / f"{model_id(ensemble.recipe.arch, seed)}.onnx", ensemble, seed)
        for ensemble in _ensembles(run)
        for seed in ensemble.models
    ]
    models = {path.name for path, *_ in described}
    present = {path.name for path in (run.folder / layout.EXPORTS).iterdir()}
    # earlier kits wrote no cards
    suffixes = (".json", ".md") if run.verdict.get("schema_version", 1) > 1 else (".json",)
    beside = {f"{Path(name).stem}{suffix}" for name in models for suffix in suffixes}
    expected = models | beside | {Path(layout.REGISTRY).name}
    if (
        entries.keys() != models
        or present - expected - {f"{Path(name).stem}.md" for name in models}
        or expected - present
    ):
        raise CheckFailed(
            f"files {', '.join(sorted(present))}; registry {', '.join(sorted(entries))}; "
            f"expected {', '.join(sorted(expected))}"
        )
    problems = []
    for path, ensemble, seed in described:
        problems += _differences(run, path, ensemble, seed)
        digest, listed_digest = sha256_file(path), entries[path.name]["sha256"]
        if listed_digest != digest:
            problems.append(f"{path.name}: SHA-256 {digest[:12]}, the registry has {listed_digest[:12]}")
    if problems:
        raise CheckFailed(listed(problems))
    return f"{len(described)} models as described"


def _differences(run: ReceivedRun, path: Path, ensemble: TrainedEnsemble, seed: int | None) -> list[str]:
    """Compare a sidecar with its description."""
    received = run.document(f"{layout.EXPORTS}/{path.stem}.json", "sidecar")
    description = ensemble.describe(seed, Checked(rows=0, largest=0.0), received.get("example", {}))
    again = sidecar(description, sha256=sha256_file(path), run_provenance={})
    skip = {*_MAKING}
    if run.verdict["schema_version"] == 1:  # earlier kits did not write these
        skip |= again.keys() - received.keys()
    return differences(received, again, skip=tuple(skip), where=path.stem, tolerance=_FLOAT32)


def _companion(run: ReceivedRun) -> Path | None:
    """Return the file of the model on the features alone that is exported beside the ensemble; None without one."""
    ids = expected_ids(run.recipe.arch, run.training["seeds"], run.verdict)
    extra = ids[len(_files(run)) :]
    return run.folder / layout.EXPORTS / f"{extra[0]}.onnx" if extra else None


def _formed(run: ReceivedRun) -> str:
    """Check the graphs without running them."""
    problems, arch, files = [], run.recipe.architecture, _files(run)
    both = (contract.SCORE_OUTPUT, contract.SPREAD_OUTPUT)
    graphs = [(path, arch.codec_aware, both if seed is None else both[:1]) for seed, path in files.items()]
    companion = _companion(run)
    graphs += [] if companion is None else [(companion, False, both if len(files) > 1 else both[:1])]
    for path, codec_aware, outputs in graphs:
        lines = format_problems(path.read_bytes(), arch.inputs, codec_aware=codec_aware, outputs=outputs)
        problems += [f"{path.name}: {line}" for line in lines]
    if problems:
        raise CheckFailed(listed(problems))
    return f"{len(graphs)} graphs, listed operators only, weights inside"


def _computed(run: ReceivedRun) -> str:
    """Score rows of the corpus with onnxruntime; compare the ensemble with its members and both with the targets."""
    rows = np.unique(np.linspace(0, len(run.rows) - 1, min(contract.EXPORT_ROWS, len(run.rows))).round())
    chosen = rows.astype(np.int32)
    outputs: dict[int | None, Mapping[str, Any]] = {}
    for seed, path in _files(run).items():
        session = runtime.open_session(path.read_bytes())
        outputs[seed] = runtime.compute(session, run.rows.features[chosen], run.rows.codec[chosen])
        score, (low, high) = outputs[seed][contract.SCORE_OUTPUT], contract.SCORE_RANGE
        if score.shape != chosen.shape or not ((score >= low) & (score <= high)).all():
            raise CheckFailed(f"{path.name}: scores outside {low:g} to {high:g}, or of shape {score.shape}")
    for seed, path in _files(run).items():
        if seed is not None:
            score = outputs[seed][contract.SCORE_OUTPUT]
            _compare_with_unseen(run, path.name, chosen, score, _out_of_fold(run, seed)[chosen])
    _compare_companion(run, chosen)
    members = np.stack([outputs[seed][contract.SCORE_OUTPUT] for seed in outputs if seed is not None]).astype(
        np.float64
    )
    if None in outputs:
        mean = np.abs(outputs[None][contract.SCORE_OUTPUT] - members.mean(axis=0)).max()
        # a spread is that of the members before they are clipped, which their own graphs do not return
        inside = ((members > low) & (members < high)).all(axis=0)
        spread = np.abs(outputs[None][contract.SPREAD_OUTPUT] - members.std(axis=0, ddof=1))[inside].max(initial=0.0)
        if not max(mean, spread) <= contract.EXPORT_TOLERANCE:
            raise CheckFailed(f"the ensemble differs from its members: mean by {mean:.3g}, spread by {spread:.3g}")
    result = agreement(members.mean(axis=0), run.rows.target[chosen].astype(np.float64), what="models on the corpus")
    least = contract.GATE_THRESHOLDS["mean_plcc_min"]
    if result.plcc < least:
        raise CheckFailed(f"PLCC {correlation(result.plcc)} on rows they were fitted to, expected at least {least}")
    return f"PLCC {correlation(result.plcc)}, RMSE {result.rmse:.2f} on {len(chosen)} rows they were fitted to"


def _compare_companion(run: ReceivedRun, rows: NDArray[np.int32]) -> None:
    """Compare the errors of the model on the features alone, if there is one, with those of its baseline."""
    path = _companion(run)
    if path is None:
        return
    predictions = run.baselines[contract.WITHOUT_BLOCK].predictions
    if predictions is None:
        raise CheckFailed(f"{path.name}: there are no predictions of {contract.WITHOUT_BLOCK}")
    session = runtime.open_session(path.read_bytes())
    score = runtime.compute(session, run.rows.features[rows], run.rows.codec[rows])[contract.SCORE_OUTPUT]
    _compare_with_unseen(run, path.name, rows, score, _in_order(run, ensemble_mean(predictions))[rows])


def _out_of_fold(run: ReceivedRun, seed: int) -> NDArray[np.float32]:
    """Return the out-of-fold predictions of a seed in the order of the corpus's rows [n]."""
    return _in_order(run, run.predictions.part(dict(run.predictions.seeds())[seed]))


def _in_order(run: ReceivedRun, part: Predictions) -> NDArray[np.float32]:
    """Return predictions of one seed in the order of the corpus's rows [n]."""
    scores = np.empty(len(run.rows), dtype=np.float32)
    scores[run.rows_of(part)] = part.prediction
    return scores


def _compare_with_unseen(
    run: ReceivedRun, name: str, rows: NDArray[np.int32], fitted: NDArray[np.float32], unseen: NDArray[np.float32]
) -> None:
    """Compare a model's errors on rows that it was fitted to with its seed's errors on the same rows, held out.

    Args:
        rows: their indices; fitted, unseen: scores of these rows [n], VMAF points.

    Raises:
        CheckFailed: the model is much worse than the predictions that the verdict is about, or its bias is another.
    """
    target = run.rows.target[rows].astype(np.float64)
    rmse, rmse_unseen = (float(np.sqrt(np.mean((score - target) ** 2))) for score in (fitted, unseen))
    bias, bias_unseen = (float(np.mean(score - target)) for score in (fitted, unseen))
    most = contract.FITTED_RMSE_RATIO * rmse_unseen + contract.FITTED_MARGIN
    if not rmse <= most:
        raise CheckFailed(
            f"{name}: RMSE {rmse:.3g} on rows it was fitted to, {rmse_unseen:.3g} out of fold, expected {most:.3g} at "
            "most: the predictions are not those of such a model, or the model is another"
        )
    most = contract.FITTED_BIAS_SHARE * rmse_unseen + contract.FITTED_MARGIN
    if not abs(bias - bias_unseen) <= most:
        raise CheckFailed(
            f"{name}: bias {bias:+.3g} on rows it was fitted to, {bias_unseen:+.3g} out of fold, expected within "
            f"{most:.3g} of it"
        )


def _shown(run: ReceivedRun) -> str:
    """Compute the example of every sidecar, and make the card again; kits of another version write other cards."""
    if run.verdict.get("schema_version", 1) < 2:
        return "earlier kits wrote neither cards nor examples"
    entries = {entry["id"]: entry for entry in run.document(layout.REGISTRY, "registry")["models"]}
    problems, cards = [], 0
    for name in expected_ids(run.recipe.arch, run.training["seeds"], run.verdict):
        document = run.document(f"{layout.EXPORTS}/{name}.json", "sidecar")
        problems += _example_problems(run, name, document)
        if document["run_provenance"]["kit_version"] == __version__:
            cards += 1
            received = (run.folder / layout.EXPORTS / f"{name}.md").read_text(encoding="utf-8")
            if received != card.of_run(document, entries[name], run.verdict):
                problems.append(f"{name}.md is not the card that this kit writes of its sidecar")
    if problems:
        raise CheckFailed(listed(problems))
    return f"{len(entries)} examples; {cards} cards as this kit writes them"


def _example_problems(run: ReceivedRun, name: str, document: Mapping[str, Any]) -> list[str]:
    """Compare the scores of a sidecar's example with those of its model, and its inputs with the corpus."""
    example = document["example"]
    features = np.array([example[contract.FEATURES_INPUT]], dtype=np.float32)
    codec = np.array([example[contract.CODEC_INPUT] or []], dtype=np.float32)
    session = runtime.open_session((run.folder / layout.EXPORTS / f"{name}.onnx").read_bytes())
    computed = runtime.compute(session, features, codec)
    problems = [
        f"{name}: {output} of the example is {example.get(output)}, computed again {computed[output][0]:.6g}"
        for output in document["output_names"]
        if not abs(example.get(output, np.inf) - computed[output][0]) <= contract.EXPORT_TOLERANCE
    ]
    rows = np.flatnonzero((run.rows.features == features).all(axis=1))
    if not np.isin(np.float32(example["teacher"]), run.rows.target[rows]):
        problems.append(f"{name}: the example is no row of the corpus")
    return problems


CHECKS: Checks = (
    ("model descriptions", "registry and sidecars follow from files, verdict and corpus", _described),
    ("model files", f"opset {contract.ONNX_OPSET}, listed operators, nothing outside the file", _formed),
    ("model scores", "in range, the ensemble the mean of its members, errors as out of fold", _computed),
    ("model cards", "examples and cards follow from models and sidecars", _shown),
)
