"""Step 4: the verdict, exactly one of PROMOTE.json, HOLD.json and INVALID.json, and after PROMOTE the models."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from kit.core import contract, layout
from kit.core.errors import BadInput, InvalidEvidence, Missing
from kit.corpus.store import shard as shards
from kit.corpus.store.shard import Shard
from kit.options.provenance import block, utc_now
from kit.options.resolve import RunConfig
from kit.options.session import Session
from kit.steps.results import Training, Verdict, cell_facts
from kit.system.fsio import read_json, sha256_file, write_json
from kit.system.ui import Row
from kit.training import predictions
from kit.training.predictions import Predictions
from kit.verdict import evidence
from kit.verdict.baselines import Corpus, compared
from kit.verdict.coverage import covered
from kit.verdict.evidence import LosoResult
from kit.verdict.gate import ExpertReport, GateReport, apply_expert_gate, apply_gate, thresholds_sha256

NAME = "verdict"

_SAYS = {
    "PROMOTE": "The gate is passed: the ensemble may ship after the lead has verified the bundle.",
    "HOLD": "The gate is not passed: do not ship.",
    "INVALID": "The evidence allows no verdict: mend what is listed and run again.",
}
_DEMO_SAYS = "Made from the built-in demo clips: it shows that the kit works and recommends nothing."


def run(config: RunConfig, previous: Training, session: Session) -> Verdict:
    """Apply the gate to the predictions, write the verdict, and after PROMOTE the models; earlier ones go first.

    Raises:
        ExportFailed: the verdict is PROMOTE and stands, but a model that was made is not what it should be.
    """
    layout.withdraw_verdict(config.out_dir)
    judged = judge(previous, previous.problems)
    word = judged.word(config.gate)
    predictions_file = config.out_dir / layout.PREDICTIONS
    document = {
        "schema_version": contract.SCHEMA_VERSION,
        "verdict": word,
        "generated_at_utc": utc_now(),
        "seeds": list(previous.seeds),
        "decided_by": config.gate,
        "gate": gate_as_json(judged.gate),
        "expert_gate": expert_as_json(judged.expert),
        "corpus": corpus_summary(previous),
        "evidence": {
            "predictions_sha256": sha256_file(predictions_file) if predictions_file.is_file() else None,
            **judged.evidence,
        },
        "demo": previous.shard.demo,
        "recommendation": _DEMO_SAYS if previous.shard.demo else _SAYS[word],
        "run_provenance": block(
            config, session, inputs={"predictions": predictions_file}, outputs=[layout.verdict_file(word)]
        ),
    }
    write_json(config.out_dir / layout.verdict_file(word), document)
    verdict = Verdict(word=word, document=document)
    show(verdict, session)
    if word == "PROMOTE":
        from kit.steps import exports  # late: it needs torch and onnxruntime, which not every box that judges has

        exports.make(config, previous.shard, document, session)
    return verdict


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What both gates say of a training, and why.

    Attributes:
        gate: None where the evidence is not valid.
        evidence: the ``evidence`` object of a verdict but the hash of the predictions.
    """

    gate: GateReport | None
    expert: ExpertReport
    evidence: Mapping[str, Any]

    def word(self, decided_by: str) -> str:
        """The verdict, by one of ``contract.GATES``: the expert gate asks for both."""
        if self.gate is None:
            return "INVALID"
        return "PROMOTE" if self.gate.passed and (decided_by == contract.GATES[0] or self.expert.passed) else "HOLD"


def judge(
    training: Training, problems: Sequence[str], agreed: Callable[[Predictions], LosoResult] = evidence.loso
) -> Judgement:
    """The gates and the evidence, from corpus and predictions alone.

    Args:
        problems: why the evidence is not valid, as far as that is known.
        agreed: gives the agreement of every member.
    """
    found: dict[str, Any] = {}
    gate = None
    if not problems:
        try:
            gate, found = apply_gate(agreed(_complete(training)).mean_plccs()), _evidence(training)
        except InvalidEvidence as error:
            problems = error.problems
    whole = {"problems": list(problems), "folds": training.folds, **found}
    return Judgement(gate=gate, expert=apply_expert_gate(found or None), evidence=whole)


def _complete(training: Training) -> Predictions:
    """The predictions.

    Raises:
        InvalidEvidence: some are missing, doubled or in a wrong fold.
    """
    found, cells = training.predictions, cell_facts(training.shard, training.folds)
    if found is None:
        raise InvalidEvidence(["there are no predictions"])
    problems = evidence.completeness_problems(found, cells, training.seeds)
    if found.corpus_sha256 != training.shard.corpus_sha256:
        problems.append("the predictions belong to another corpus")
    if problems:
        raise InvalidEvidence(problems)
    return found


def _evidence(training: Training) -> dict[str, Any]:
    """Everything that is no decision, of predictions that are complete."""
    found, rows, cells = training.predictions, training.rows, cell_facts(training.shard, training.folds)
    if found is None or rows is None:
        raise InvalidEvidence(["there are no predictions"])
    corpus = Corpus(sha256=training.shard.corpus_sha256, source_ids=frozenset(source_ids(training.shard)))
    return {
        **evidence.summary(found, cells),
        **compared(found, cells, training.baselines, corpus),
        "coverage": covered(rows, cells),
    }


def gate_as_json(gate: GateReport | None) -> dict[str, object]:
    """The gate's report; without one, what it would have asked for and no figure."""
    if gate is not None:
        return asdict(gate) | {"failing_seeds": list(gate.failing_seeds)}
    asked = contract.GATE_THRESHOLDS
    empty = dict.fromkeys(GateReport.__dataclass_fields__) | {"passed": False, "per_seed_plccs": {}}
    return empty | {
        "mean_plcc_threshold": asked["mean_plcc_min"], "plcc_spread_max": asked["plcc_spread_max"],
        "per_seed_min": asked["per_seed_plcc_min"], "failing_seeds": [], "thresholds_sha256": thresholds_sha256(asked),
    }  # fmt: skip


def expert_as_json(expert: ExpertReport) -> dict[str, object]:
    """The ``expert_gate`` object of a verdict."""
    found = asdict(expert)
    return found | {"checks": list(found["checks"]), "failing": list(expert.failing)}


def source_ids(shard: Shard) -> list[str]:
    """Identities of the sources that there are rows of, sorted."""
    return sorted({entry.source_id for entry in shard.cells})


def corpus_summary(training: Training) -> dict[str, object]:
    """The ``corpus`` object of a verdict."""
    shard = training.shard
    return {
        "sha256": shard.corpus_sha256,
        "teacher": shard.teacher and shard.teacher.described,
        "sources": len(source_ids(shard)),
        "source_ids": source_ids(shard),
        "groups": len(shard.groups),
        "cells": len(shard.cells),
        "failed_cells": len(shard.failed),
        "waived_cells": len(shard.failed) - len(shard.lacking),
        "rows": shard.rows,
        "encoders": dict(sorted(Counter(entry.encoder for entry in shard.cells).items())),
        "boxes": [{name: value for name, value in asdict(box).items() if name != "scorers"} for box in shard.boxes],
    }


def show(verdict: Verdict, session: Session) -> None:
    """The verdict with its reasons."""
    gate, found = verdict.document["gate"], verdict.document["evidence"]
    rows = [Row(cells=("problem", problem), style="red") for problem in found["problems"][:20]]
    if verdict.word != "INVALID":
        seeds = ", ".join(f"{seed}: {value:.4f}" for seed, value in gate["per_seed_plccs"].items())
        mean, worst = found["ensemble_mean"], found["worst_source"]
        rows += [
            Row(cells=("mean PLCC", f"{gate['mean_plcc']:.4f} (at least {gate['mean_plcc_threshold']})")),
            Row(cells=("spread over seeds", f"{gate['plcc_spread']:.4f} (at most {gate['plcc_spread_max']})")),
            Row(cells=("each seed", f"{seeds} (at least {gate['per_seed_min']})")),
            Row(cells=("ensemble mean", f"RMSE {mean['rmse']:.2f}, bias {mean['bias']:+.2f} VMAF points")),
            Row(cells=("worst source", f"{worst['name']}: RMSE {worst['rmse']:.2f}, bias {worst['bias']:+.2f}")),
            _expert_row(verdict.document),
        ]
        rows += [Row(cells=("codec block", found["codec_block"]))] if found["codec_block"] else []
    if waived := verdict.document["corpus"]["waived_cells"]:
        rows.append(Row(cells=("left out", f"{waived} failed cells, waived by --allow-partial"), style="yellow"))
    boxes = verdict.document["corpus"]["boxes"]
    for box in boxes if len(boxes) > 1 else ():
        made = f"{box['cells']} cells, {box['rows']} rows with {', '.join(box['encoders'])}"
        rows.append(Row(cells=(f"from {box['box'] or 'not told'}", f"{made} ({box['platform'] or 'not told'})")))
    rows.append(Row(cells=("recommendation", verdict.document["recommendation"])))
    session.ui.table(f"Verdict: {verdict.word}", ("", ""), rows)


def _expert_row(document: Mapping[str, Any]) -> Row:
    expert = document["expert_gate"]
    decides = "decides too" if document["decided_by"] == expert["name"] else "shown, does not decide"
    lacking = [f"{check['name']} {'undefined' if check['value'] is None else format(check['value'], '.4g')} against "
               f"{check['threshold']:g}" + (f" at {check['where']}" if check["where"] else "")
               for check in expert["checks"] if not check["passed"]]  # fmt: skip
    said = "passed" if expert["passed"] else "not passed: " + "; ".join(lacking)
    return Row(cells=("expert gate", f"{said} ({decides})"), style="" if expert["passed"] else "yellow")


def load(config: RunConfig, session: Session) -> Verdict:
    """The verdict an earlier run of this step left, if the gate still says so of the predictions beside it.

    Raises:
        Missing: there is none.
        BadInput: there are several, or verdict and predictions do not belong together.
    """
    words = layout.verdicts_in(config.out_dir)
    if not words:
        raise Missing(f"{config.out_dir} holds no verdict", hint="Run `verdict` first.")
    if len(words) > 1:
        raise BadInput(f"{config.out_dir} holds {' and '.join(words)}", hint="Run `verdict` again.")
    document: Any = read_json(config.out_dir / layout.verdict_file(words[0]))
    predictions_file = config.out_dir / layout.PREDICTIONS
    actual = sha256_file(predictions_file) if predictions_file.is_file() else None
    try:
        stale = document["verdict"] != words[0] or document["evidence"]["predictions_sha256"] != actual
    except (KeyError, TypeError) as error:
        raise BadInput(f"{words[0]}.json is not a verdict: {error!r}", hint="Run `verdict` again.") from error
    if not stale and words[0] != "INVALID":
        shard = shards.read_manifest(config.out_dir / layout.CORPUS)
        training = Training(
            shard=shard, seeds=tuple(document["seeds"]), folds=document["evidence"]["folds"], holdout=(),
            predictions=predictions.read(predictions_file), problems=(), baselines={}, rows=None,
        )  # fmt: skip
        stale = gate_as_json(apply_gate(evidence.loso(_complete(training)).mean_plccs())) != document["gate"]
    if stale:
        raise BadInput(f"{words[0]}.json does not belong to the predictions beside it", hint="Run `verdict` again.")
    return Verdict(word=words[0], document=document)
