"""The checks of a received run: what follows from other parts of it is computed again and compared."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from kit import __version__
from kit.core import contract, layout
from kit.core.errors import CheckFailed, InvalidEvidence
from kit.core.texts import correlation
from kit.core.values import CellId
from kit.corpus.store import shard as shards
from kit.corpus.store.score_check import ScoreCheck
from kit.system.fsio import read_json, sha256_file
from kit.verdict.gate import ExpertReport, thresholds_sha256
from kit.verdict.judge import cell_facts, check_complete, document
from kit.verdict.out_of_fold import ENSEMBLE
from kit.verdict.seed_report import History, report_file, seed_reports
from kit.verify.baselines import check_baselines, out_of_range
from kit.verify.differences import differences, listed
from kit.verify.received_run import ReceivedRun
from kit.video.scorers import golden
from kit.video.sources.demo import demo_clips

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


def _demo(run: ReceivedRun) -> str:
    """Recognise the demo clips by the hashes of their frames, under any label."""
    clips = demo_clips(entry.src_sha256 for entry in run.shard.cells)
    if clips and not run.shard.demo:
        raise CheckFailed(f"demo is false, and the sources are demo clips: {', '.join(clips)}")
    return "demo clips, as labelled" if run.shard.demo else "no demo clip"


def _recipe(run: ReceivedRun) -> str:
    epochs = run.training["epochs"]
    if epochs > run.most_epochs:
        raise CheckFailed(
            f"{layout.TRAINING} asks for {epochs} epochs, expected {run.most_epochs} at most (--max-epochs)"
        )
    if run.rules.version > 1 and "recipe" not in run.training:  # else the line would not be computed again
        raise CheckFailed(f"{layout.TRAINING} names no recipe, which every verdict since version 2 has")
    return f"{run.recipe.name}, {epochs} epochs"


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
    if outside := out_of_range(run.predictions):
        problems.append(f"{outside} predictions are outside {_LOW:g} to {_HIGH:g}")
    _raise(problems)
    return f"{len(run.predictions)} predictions of {len(run.training['seeds'])} seeds"


def _targets(run: ReceivedRun) -> str:
    """Compare the stored targets with the corpus's scores."""
    stored = run.predictions
    expected = run.rows.target[run.rows_of(stored)]
    if wrong := np.flatnonzero(expected != stored.target).tolist():
        first = wrong[0]
        raise CheckFailed(
            f"{len(wrong)} targets differ from the corpus's scores; the first: cell "
            f"{stored.cells[stored.cell[first]][:12]}, frame {stored.frame[first]}, {stored.target[first]:.6g} instead "
            f"of {expected[first]:.6g}"
        )
    return f"{len(stored)} targets equal the corpus's scores"


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
    names: tuple[str, ...] = ("corpus", "seeds", "demo")
    first = run.verdict["schema_version"] == 1
    own_texts = run.verdict["run_provenance"]["kit_version"] == __version__
    names += () if first else _RECOMMENDED + (_RECOMMENDED_TEXTS if own_texts else ())
    problems = differences({name: run.verdict[name] for name in names}, {name: computed[name] for name in names})
    received, expected = _reworded(run.verdict["evidence"]), _reworded(computed["evidence"])
    if not own_texts:
        received, expected = _without_texts(received), _without_texts(expected)
    if first:
        received, expected = _of_version_1(received), _of_version_1(expected)
    problems += differences(_without_formula(received), _without_formula(expected), where="evidence")
    for name in ("target", "baselines"):
        one, two = (_formula_part(evidence, name) for evidence in (received, expected))
        problems += differences(one, two, where=f"evidence.{name}", tolerance=_FLOAT32)
    if run.manifest["demo"] != run.shard.demo:
        problems.append(f"manifest.json, demo: {run.manifest['demo']}, computed again {run.shard.demo}")
    _raise(problems)
    left_out = f"; of version 1, so not computed again: {', '.join(_CHANGED_SINCE_1)}" if first else ""
    if not first and not own_texts:
        left_out = f"; texts are another kit version's, this one's headline: {computed['headline']}"
    return f"every field follows from the corpus and the predictions{left_out}"


#: What a verdict recommends, since version 2, and in which words.
_RECOMMENDED = ("may_ship", "ship_encoders")
_RECOMMENDED_TEXTS = ("headline", "ship_reasons", "recommendation")
#: Explanations in the evidence: another version of the kit may word them otherwise.
_TEXTS = frozenset({"applies", "caution", "conclusion", "leaked_reason", "sentence", "what"})
#: Fields of the evidence that verdicts of version 1 lack, or that had another meaning or wording: not compared.
_CHANGED_SINCE_1 = (
    "baselines.p1401",
    "calibration",
    "codec_block",
    "coverage.near_duplicates",
    "coverage.rows_by_source",
    "half_widths",
    "target",
)
#: Fields of a baseline that mean the same in every version.
_BASELINE_OF_1 = ("model", "leaked", "problems", "mean_plcc", "srocc", "rmse", "difference")
#: The formula's scores are rounded to float32: on another machine a few of them round to the next number.
_FLOAT32 = 1e-6


def _of_version_1(evidence: Mapping[str, Any]) -> dict[str, Any]:
    """Keep of the evidence what verdicts of version 1 have with the same meaning."""
    result = {name: value for name, value in evidence.items() if name not in _CHANGED_SINCE_1}
    if "coverage" in result:
        coverage = result["coverage"].items()
        result["coverage"] = {name: value for name, value in coverage if f"coverage.{name}" not in _CHANGED_SINCE_1}
    if "baselines" in result:
        result["baselines"] = {
            name: {field: baseline[field] for field in _BASELINE_OF_1}
            for name, baseline in result["baselines"].items()
            if name != contract.TEACHER_FORMULA
        }
    return result


def _without_texts(value: Any) -> Any:
    """Leave out the explanations at every level."""
    if isinstance(value, Mapping):
        return {name: _without_texts(part) for name, part in value.items() if name not in _TEXTS}
    return [_without_texts(part) for part in value] if isinstance(value, list | tuple) else value


def _formula_part(evidence: Mapping[str, Any], name: str) -> Any:
    """Return what was computed with the teacher's formula: the target, or the formula among the baselines."""
    part = evidence.get(name, {})
    return part if name == "target" else part.get(contract.TEACHER_FORMULA)


def _without_formula(evidence: Mapping[str, Any]) -> dict[str, Any]:
    result = {name: value for name, value in evidence.items() if name != "target"}
    if "baselines" in result:
        others = result["baselines"].items()
        result["baselines"] = {name: value for name, value in others if name != contract.TEACHER_FORMULA}
    return result


def _reworded(evidence: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out the hash of the predictions and an explanation, and name cells as the kit does since 0.2."""
    result = {name: value for name, value in evidence.items() if name != "predictions_sha256"}
    if "calibration" in result:
        spread = {name: value for name, value in result["calibration"]["spread"].items() if name != "what"}
        result["calibration"] = {**result["calibration"], "spread": spread}
    if "coverage" in result:
        outside = result["coverage"]["outside_training"]
        worst = [{**cell, "cell": _cell_name(cell["cell"])} for cell in outside["worst"]]
        worst.sort(key=lambda cell: (-cell["share"], cell["cell"]))
        result["coverage"] = {**result["coverage"], "outside_training": {**outside, "worst": worst}}
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
    ("demo", "demo clips are labelled as such", _demo),
    ("scorer", f"golden answers within {contract.GOLDEN_TOLERANCE:g} VMAF points", _scorer),
)
#: Checks of a bundle with PROMOTE or HOLD.
PREDICTED: Checks = (
    ("recipe", "a named recipe, and not too many epochs", _recipe),
    ("predictions", "each row once per seed, in the fold that holds out its group", _predictions),
    ("targets", "equal to the corpus's scores", _targets),
    ("baselines", "all that the kit trains, for the ensemble's rows", check_baselines),
    ("reports", "computed again from the predictions, equal", _reports),
)
#: Checks of a bundle with a verdict.
JUDGED: Checks = (
    ("gate", "the kit's thresholds, applied to the predictions, give the verdict", _gate),
    ("evidence", "computed again from corpus and predictions, equal", _evidence),
)
