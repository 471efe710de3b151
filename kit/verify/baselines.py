"""The checks of the baselines of a received run, and of its predictions for unseen encoders."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from kit.core import contract, layout
from kit.core.errors import CheckFailed
from kit.system.fsio import sha256_file
from kit.training import folds
from kit.training.predictions import Predictions
from kit.verdict.baselines import expected_baselines, of_seeds, unseen_archs
from kit.verdict.judge import cell_facts
from kit.verdict.out_of_fold import ENSEMBLE, completeness_problems
from kit.verify.differences import listed
from kit.verify.least_squares import linear_scores
from kit.verify.received_run import ReceivedRun

_LOW, _HIGH = contract.SCORE_RANGE


def out_of_range(predictions: Predictions) -> int:
    """Count the predictions outside the range of scores; NaN is outside."""
    values = predictions.prediction
    return int(np.count_nonzero(~((values >= _LOW) & (values <= _HIGH))))


def check_baselines(run: ReceivedRun) -> str:
    """Check that no baseline is left out, that each has the ensemble's rows, and that a line is the best one."""
    entries = run.training["baselines"]
    expected = set(expected_baselines(run.training["arch"]))
    if entries.keys() - {contract.SHIPPED} != expected:
        raise CheckFailed(f"the bundle has {_names(entries)}, expected {_names(expected)}")
    for name, entry in entries.items():
        if (name == contract.SHIPPED) != (entry["model"] is not None):
            raise CheckFailed(f"{name}: only the shipped baseline is a model file, and it must be one")
        if entry["predictions_sha256"] is not None:
            _baseline(run, name, entry["predictions_sha256"])
        if name != contract.SHIPPED and run.recipe_of(name).solver == contract.LEAST_SQUARES:
            _least_squares(run, name)
    return f"{_names(entries)}; the ensemble's rows{_unseen(run)}"


def _unseen(run: ReceivedRun) -> str:
    """Check the predictions for encoders that were not in training: each row once per seed, in the right fold."""
    entries = run.training.get("unseen")
    encoders = folds.unseen_encoders(run.shard.cells)
    expected = unseen_archs(run.training["arch"], encoders) if run.training.get("recipe") else None
    if (None if entries is None else set(entries)) != (None if expected is None else set(expected)):
        found, wanted = ("null" if names is None else _names(names) for names in (entries, expected))
        raise CheckFailed(f"{layout.TRAINING}, unseen: the bundle has {found}, expected {wanted}")
    seeds = run.training["seeds"][: contract.UNSEEN_SEEDS]
    sets = folds.unseen_sets(run.shard.cells) if entries else {}
    for arch, entry in (entries or {}).items():
        if entry["predictions_sha256"] is None:
            continue
        if sha256_file(run.folder / layout.unseen_predictions(arch)) != entry["predictions_sha256"]:
            raise CheckFailed(f"{layout.unseen_predictions(arch)} is not the file that training.json names")
        own = (run.unseen or {})[arch].predictions
        facts = {
            key: replace(cell, fold=folds.unseen_label(cell.encoder, sets[cell.group]))
            for key, cell in cell_facts(run.shard, run.training["folds"]).items()
            if cell.encoder in encoders
        }
        problems = ["no predictions"] if own is None else completeness_problems(own, facts, seeds)
        if (
            own is not None
            and not problems
            and out_of_range(own) + int(np.count_nonzero(run.rows.target[run.rows_of(own)] != own.target))
        ):
            problems.append("scores outside their range, or targets that are not the corpus's")
        if problems:
            raise CheckFailed(f"{layout.unseen_predictions(arch)}: {listed(problems)}")
    return f"; unseen encoders: {', '.join(encoders)}" if entries else ""


def _baseline(run: ReceivedRun, name: str, expected: str) -> None:
    digest = sha256_file(run.folder / layout.baseline_predictions(name))
    if digest != expected:
        raise CheckFailed(f"{name}: training.json names {expected[:12]}, the file has {digest[:12]}")
    rows = run.predictions
    own = run.baselines[name].predictions
    if name in contract.BASELINE_SEEDS and run.training.get("recipe"):  # earlier kits trained every seed
        rows = of_seeds(rows, set(run.training["seeds"][: contract.BASELINE_SEEDS[name]]))
    if name == contract.SHIPPED:  # one seed
        ((_, first), *_) = rows.seeds()
        rows = replace(rows.part(first), seed=np.full(first.stop - first.start, ENSEMBLE, dtype=np.int32))
    if own is None or not own.same_rows(rows):
        raise CheckFailed(f"{name}: other rows, targets or folds than the ensemble")
    if outside := out_of_range(own):
        raise CheckFailed(f"{name}: {outside} predictions are outside {_LOW:g} to {_HIGH:g}")


def _least_squares(run: ReceivedRun, name: str) -> None:
    """Compare a least-squares baseline with the least squares computed again."""
    stored = run.baselines[name].predictions
    if stored is None:
        return
    scores = {fold.held_out: linear_scores(run.rows, fold) for fold in run.folds}
    for seed, label, rows in stored.members():
        difference = float(np.abs(stored.prediction[rows] - scores[label]).max(initial=0.0))
        if not difference <= contract.LEAST_SQUARES_TOLERANCE:
            raise CheckFailed(
                f"{name}, seed {seed}, held out {label}: differs by up to {difference:.3g} VMAF points from the least "
                f"squares, expected {contract.LEAST_SQUARES_TOLERANCE:g} at most"
            )


def _names(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"
