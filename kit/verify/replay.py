"""The checks of a received run: what follows from other parts of it is computed again and compared."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kit.core import contract, layout
from kit.core.errors import CheckFailed, InvalidEvidence
from kit.core.texts import correlation
from kit.core.values import CellId
from kit.corpus.store import shard as shards
from kit.corpus.store.score_check import ScoreCheck
from kit.system.fsio import read_json, sha256_file
from kit.training import folds
from kit.training.predictions import Predictions
from kit.verdict.baselines import expected_baselines, of_seeds, unseen_archs
from kit.verdict.gate import ExpertReport, thresholds_sha256
from kit.verdict.judge import cell_facts, check_complete, document
from kit.verdict.out_of_fold import ENSEMBLE, completeness_problems
from kit.verdict.seed_report import History, report_file, seed_reports
from kit.verify.differences import differences, listed
from kit.verify.received_run import ReceivedRun
from kit.video.scorers import golden

_LOW, _HIGH = contract.SCORE_RANGE


def _documents(run: ReceivedRun) -> str:
    names = [layout.MANIFEST]
    _ = run.manifest
    if run.word is not None:
        _, _ = run.verdict, run.training
        names += [layout.verdict_file(run.word), layout.TRAINING]
    if run.word in ("PROMOTE", "HOLD"):
        reports = [report_file(seed) for seed in (ENSEMBLE, *run.training["seeds"])]
        for name in reports:
            run.document(name, "seed_report")
        names += reports
    return f"{len(names)} files fit their schemas"


def _one_verdict(run: ReceivedRun) -> str:
    words = layout.verdicts_in(run.folder)
    expected = [] if run.word is None else [run.word]
    if words != expected or (run.word is not None and run.verdict["verdict"] != run.word):
        raise CheckFailed(f"the manifest names {run.word or 'none'}, the bundle has {', '.join(words) or 'none'}")
    return run.word or "none: a shard alone"


def _cells(run: ReceivedRun) -> str:
    _ = run.rows
    groups = read_json(run.folder / layout.CORPUS / shards.GROUPS)
    _raise(differences(groups, shards.groups_document(run.shard), where=shards.GROUPS))
    return f"{len(run.shard.cells)} cells, {run.shard.rows} rows"


def _scores(run: ReceivedRun) -> str:
    """Compare every score with the teacher's formula of its features."""
    rows, check = run.rows, ScoreCheck(run.shard.teacher)
    features = rows.features.take([rows.inputs.features.index(name) for name in contract.FEATURES], axis=1)
    end = 0
    for entry in rows.cells:
        begin, end = end, end + entry.rows
        check.add(entry.id, features[begin:end], rows.target[begin:end])
    if check.problem is not None:
        raise CheckFailed(check.problem)
    return check.agreed


def _scorer(run: ReceivedRun) -> str:
    """Compare the golden answers that every box measured with the pinned ones."""
    errors = {
        f"{box.name}, {pair}": abs(float(scorer["golden"].get(pair, math.inf)) - expected[-1])
        for box in run.shard.boxes
        for scorer in box.scorers
        for pair, expected in golden.EXPECTED.items()
    }
    _raise([f"{name} differs by {e:.3g}" for name, e in errors.items() if not e <= contract.GOLDEN_TOLERANCE])
    return f"largest difference {max(errors.values()):.2g}" if errors else "no answers: an imported corpus has none"


def _predictions(run: ReceivedRun) -> str:
    digest = sha256_file(run.folder / layout.PREDICTIONS)
    for name, value in (("verdict", run.verdict["evidence"]), ("training.json", run.training)):
        if value["predictions_sha256"] != digest:
            raise CheckFailed(f"the {name} names {str(value['predictions_sha256'])[:12]}, the file has {digest[:12]}")
    problems: list[str] = []
    try:
        check_complete(run.predictions, run.shard, run.training["folds"], run.training["seeds"])
    except InvalidEvidence as error:
        problems += error.problems
    if outside := _out_of_range(run.predictions):
        problems.append(f"{outside} predictions are outside {_LOW:g} to {_HIGH:g}")
    _raise(problems)
    return f"{len(run.predictions)} predictions of {len(run.training['seeds'])} seeds"


def _out_of_range(predictions: Predictions) -> int:
    """Count the predictions outside the range of scores; NaN is outside."""
    values = predictions.prediction
    return int(np.count_nonzero(~((values >= _LOW) & (values <= _HIGH))))


def _targets(run: ReceivedRun) -> str:
    """Compare the stored targets with the corpus's scores."""
    stored = run.predictions
    expected = _expected_targets(run, stored)
    if wrong := np.flatnonzero(expected != stored.target).tolist():
        first = wrong[0]
        raise CheckFailed(
            f"{len(wrong)} targets differ from the corpus's scores; the first: cell "
            f"{stored.cells[stored.cell[first]][:12]}, frame {stored.frame[first]}, {stored.target[first]:.6g} instead "
            f"of {expected[first]:.6g}"
        )
    return f"{len(stored)} targets equal the corpus's scores"


def _expected_targets(run: ReceivedRun, stored: Predictions) -> NDArray[np.float32]:
    """Return the corpus's score of each row that is predicted."""
    rows = run.rows
    ends = np.cumsum([entry.rows for entry in rows.cells])
    first_row = {entry.key: end - entry.rows for entry, end in zip(rows.cells, ends.tolist(), strict=True)}
    starts = np.array([first_row[key] for key in stored.cells], dtype=np.int64)
    expected: NDArray[np.float32] = rows.target[starts[stored.cell] + stored.frame]
    return expected


def _wrong_targets(run: ReceivedRun, stored: Predictions) -> int:
    return int(np.count_nonzero(_expected_targets(run, stored) != stored.target))


def _baselines(run: ReceivedRun) -> str:
    """Check that no baseline is left out, and that each has the ensemble's rows."""
    entries = run.training["baselines"]
    expected = set(expected_baselines(run.training["arch"]))
    if entries.keys() - {contract.SHIPPED} != expected:
        raise CheckFailed(f"the bundle has {_names(entries)}, expected {_names(expected)}")
    for name, entry in entries.items():
        if (name == contract.SHIPPED) != (entry["model"] is not None):
            raise CheckFailed(f"{name}: only the shipped baseline is a model file, and it must be one")
        if entry["predictions_sha256"] is not None:
            _baseline(run, name, entry["predictions_sha256"])
    return f"{_names(entries)}; the ensemble's rows{_unseen(run)}"


def _unseen(run: ReceivedRun) -> str:
    """Check the predictions for encoders that were not in training: each row once per seed, in the right fold."""
    entries = run.training.get("unseen")
    encoders = sorted({entry.encoder for entry in run.shard.cells})
    expected = unseen_archs(run.training["arch"], encoders) if run.training.get("recipe") else None
    if (None if entries is None else set(entries)) != (None if expected is None else set(expected)):
        raise CheckFailed(f"unseen encoders: the bundle has {_names(entries or ())}, expected {_names(expected or ())}")
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
        }
        problems = ["no predictions"] if own is None else completeness_problems(own, facts, seeds)
        if own is not None and not problems and _out_of_range(own) + _wrong_targets(run, own):
            problems.append("scores outside their range, or targets that are not the corpus's")
        _raise([f"{layout.unseen_predictions(arch)}: {line}" for line in problems])
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
    if outside := _out_of_range(own):
        raise CheckFailed(f"{name}: {outside} predictions are outside {_LOW:g} to {_HIGH:g}")


def _names(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"


def _reports(run: ReceivedRun) -> str:
    names = {seed: report_file(seed) for seed in (*run.training["seeds"], ENSEMBLE)}
    received = {seed: run.document(name, "seed_report") for seed, name in names.items()}
    # times and losses of a training follow from nothing in a bundle: they are taken as reported
    histories = {
        seed: History(seconds=report["wall_time_s"], loss=np.array(report["training_loss"]))
        for seed, report in received.items()
    }
    computed = seed_reports(
        run.recipe,
        run.shard.corpus_sha256,
        scheme=run.training["folds"],
        folds=run.folds,
        predictions=run.predictions,
        members=run.members,
        cells=cell_facts(run.shard, run.training["folds"]),
        histories=histories,
    )
    problems = []
    for seed, name in names.items():
        expected = 1 if run.recipe.solver == contract.LEAST_SQUARES else run.recipe.epochs
        if (losses := len(histories[seed].loss)) != expected:
            problems.append(f"{name}: {losses} training losses, expected {expected}")
        lines = differences(received[seed], computed[seed], skip=("run_provenance",))
        problems += [f"{name}, {line}" for line in lines]
    _raise(problems)
    return f"{len(names)} reports follow from the predictions"


def _gate(run: ReceivedRun) -> str:
    decided_by = run.verdict["decided_by"]
    computed = document(run.trained, run.judged, decided_by)
    for name, thresholds in (("gate", run.rules.gate), ("expert_gate", run.rules.expert)):
        received, pinned = run.verdict[name], thresholds_sha256(thresholds)
        if received["thresholds_sha256"] != pinned:
            digest = str(received["thresholds_sha256"])[:12]
            raise CheckFailed(f"{name}: thresholds with the hash {digest}, the kit's have {pinned[:12]}")
        _raise(differences(received, computed[name], where="" if name == "gate" else name))
    if (word := computed["verdict"]) != run.word:
        raise CheckFailed(f"the bundle has {run.word}, the evidence gives {word} by the {decided_by} gate")
    return f"{word} by the {decided_by} gate: {_gate_figures(computed['gate'])}{_expert_result(run.judged.expert)}"


def _expert_result(gate: ExpertReport) -> str:
    if not gate.checks:
        return ""
    return f"; expert gate {gate.status}" + (f": {', '.join(gate.failing)}" if gate.failing else "")


def _gate_figures(gate: Mapping[str, Any]) -> str:
    if gate["mean_plcc"] is None:
        return "no figures"
    return f"mean PLCC {correlation(gate['mean_plcc'])}, spread {gate['plcc_spread']:.4f}"


def _evidence(run: ReceivedRun) -> str:
    computed = document(run.trained, run.judged, run.verdict["decided_by"])
    names: tuple[str, ...] = ("evidence", "corpus", "seeds", "demo")
    first = run.verdict["schema_version"] == 1
    names += () if first else _RECOMMENDED
    received = {name: run.verdict[name] for name in names} | {"evidence": _reworded(run.verdict["evidence"], first)}
    expected = {name: computed[name] for name in names} | {"evidence": _reworded(computed["evidence"], first)}
    if "target" not in received["evidence"]:  # earlier kits did not compare with the formula
        expected["evidence"].pop("target", None)
        expected["evidence"].get("baselines", {}).pop(contract.TEACHER_FORMULA, None)
    problems = differences(received, expected)
    if run.manifest["demo"] != run.shard.demo:
        problems.append(f"manifest.json, demo: {run.manifest['demo']}, computed again {run.shard.demo}")
    _raise(problems)
    return "every field follows from the corpus and the predictions"


#: What a verdict recommends, since version 2.
_RECOMMENDED = ("may_ship", "headline", "ship_reasons", "ship_encoders", "recommendation")
#: Parts of the evidence that verdicts of version 1 lack or computed otherwise.
_EVIDENCE_OF_2 = ("calibration", "half_widths", "codec_block")
#: Parts of a baseline that verdicts of version 1 lack, have besides, or word otherwise.
_BASELINE_OF_2 = ("what", "p1401", "converged", "convergence")
#: Parts of the coverage that verdicts of version 1 lack or computed otherwise.
_COVERAGE_OF_2 = ("near_duplicates", "rows_by_source")


def _reworded(evidence: Mapping[str, Any], first: bool) -> dict[str, Any]:
    """Leave out the hash of the predictions and an explanation, and name cells as the kit does since 0.2.

    Args:
        first: of a verdict of version 1: leave out what it cannot have.
    """
    result = {name: value for name, value in evidence.items() if name != "predictions_sha256"}
    if first:
        for name in _EVIDENCE_OF_2:
            result.pop(name, None)
        result["baselines"] = {
            name: {key: value for key, value in model.items() if key not in _BASELINE_OF_2}
            for name, model in result.get("baselines", {}).items()
        }
    if "calibration" in result:
        spread = {name: value for name, value in result["calibration"]["spread"].items() if name != "what"}
        result["calibration"] = {**result["calibration"], "spread": spread}
    if "coverage" in result:
        outside = result["coverage"]["outside_training"]
        worst = [{**cell, "cell": _cell_name(cell["cell"])} for cell in outside["worst"]]
        worst.sort(key=lambda cell: (-cell["share"], cell["cell"]))
        result["coverage"] = {**result["coverage"], "outside_training": {**outside, "worst": worst}}
        for name in _COVERAGE_OF_2 if first else ():
            result["coverage"].pop(name, None)
    return result


def _cell_name(text: str) -> str:
    """Rewrite ``source x encoder x cq N``, the spelling of kit 0.1, as ``source/encoder/cqNN``."""
    parts = text.rsplit(" x ", 2)
    if len(parts) != 3 or not parts[2].startswith("cq ") or not parts[2][3:].isdecimal():
        return text
    return str(CellId(source=parts[0], encoder=parts[1], cq=int(parts[2][3:])))


def _raise(problems: Sequence[str]) -> None:
    if problems:
        raise CheckFailed(listed(problems))


#: Name of a check, what it expects, and the function that returns what it has measured or raises ``CheckFailed``.
Checks = tuple[tuple[str, str, Callable[[ReceivedRun], str]], ...]

#: Checks of every bundle.
ALWAYS: Checks = (
    ("documents", "JSON files fit the kit's schemas", _documents),
    ("verdict file", "the one that the manifest names, and no other", _one_verdict),
    ("cells", "keys, hashes, row counts and ranges of the corpus's manifest", _cells),
    ("scores", "those of the teacher's formula, where the kit has it", _scores),
    ("scorer", f"golden answers within {contract.GOLDEN_TOLERANCE:g} VMAF points", _scorer),
)
#: Checks of a bundle with PROMOTE or HOLD.
PREDICTED: Checks = (
    ("predictions", "each row once per seed, in the fold that holds out its group", _predictions),
    ("targets", "equal to the corpus's scores", _targets),
    ("baselines", "all that the kit trains, for the ensemble's rows", _baselines),
    ("reports", "computed again from the predictions, equal", _reports),
)
#: Checks of a bundle with a verdict.
JUDGED: Checks = (
    ("gate", "the kit's thresholds, applied to the predictions, give the verdict", _gate),
    ("evidence", "computed again from corpus and predictions, equal", _evidence),
)
