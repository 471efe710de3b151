"""Step 4: the verdict, exactly one of PROMOTE.json, HOLD.json and INVALID.json, and after PROMOTE the models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kit.core import contract, layout
from kit.core.errors import BadInput, Missing
from kit.corpus.store import shard as shards
from kit.options.provenance import block, utc_now
from kit.options.resolve import RunConfig
from kit.options.session import Session
from kit.steps.results import Verdict
from kit.system.fsio import read_json, sha256_file, write_json
from kit.system.ui import Row
from kit.training import predictions
from kit.verdict import evidence
from kit.verdict.gate import apply_gate
from kit.verdict.judge import Training, complete, corpus_summary, expert_as_json, gate_as_json, judge

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


def show(verdict: Verdict, session: Session) -> None:
    """Show the figures of the verdict; the end of a run shows its reasons."""
    gate, found = verdict.document["gate"], verdict.document["evidence"]
    rows = []
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
    lacking = [
        f"{check['name']} {'undefined' if check['value'] is None else format(check['value'], '.4g')} against "
        f"{check['threshold']:g}" + (f" at {check['where']}" if check["where"] else "")
        for check in expert["checks"]
        if not check["passed"]
    ]
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
            shard=shard,
            seeds=tuple(document["seeds"]),
            folds=document["evidence"]["folds"],
            holdout=(),
            predictions=predictions.read(predictions_file),
            problems=(),
            baselines={},
            rows=None,
        )
        stale = gate_as_json(apply_gate(evidence.loso(complete(training)).mean_plccs())) != document["gate"]
    if stale:
        raise BadInput(f"{words[0]}.json does not belong to the predictions beside it", hint="Run `verdict` again.")
    return Verdict(word=words[0], document=document)
