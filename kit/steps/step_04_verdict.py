"""Step 4: the verdict, exactly one of PROMOTE.json, HOLD.json and INVALID.json, and after PROMOTE the models."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kit.core import layout
from kit.core.errors import BadInput, Missing
from kit.core.texts import correlation
from kit.corpus.store import shard as shards
from kit.options.provenance import block, utc_now
from kit.options.resolve import RunConfig
from kit.options.session import Session
from kit.steps.loso_folder import file_hash
from kit.steps.results import Verdict
from kit.system.fsio import read_json, write_json
from kit.system.ui import Row
from kit.training import predictions
from kit.verdict.coverage import share_sentence
from kit.verdict.gate import gate_of
from kit.verdict.judge import Training, cell_facts, check_complete, document, gate_as_json, judge
from kit.verdict.out_of_fold import member_agreement
from kit.verdict.rules import RULES

NAME = "verdict"

_AGAIN = "Run `verdict` again."


def run(config: RunConfig, previous: Training, session: Session) -> Verdict:
    """Remove an earlier verdict, apply the gates, write the verdict, and after PROMOTE make the models.

    Raises:
        ExportFailed: the verdict PROMOTE is written, but a model failed its checks.
    """
    layout.withdraw_verdict(config.out_dir)
    result = document(previous, judge(previous, previous.problems), config.gate)
    word = result["verdict"]
    predictions_file = config.out_dir / layout.PREDICTIONS
    result["evidence"]["predictions_sha256"] = file_hash(predictions_file)
    result |= {
        "generated_at_utc": utc_now(),
        "run_provenance": block(
            config, session, inputs={"predictions": predictions_file}, outputs=[layout.verdict_file(word)]
        ),
    }
    write_json(config.out_dir / layout.verdict_file(word), result)
    verdict = Verdict(word=word, document=result)
    _show(verdict, session)
    if word == "PROMOTE":
        from kit.steps import exports  # late: it needs torch and onnxruntime, which not every box that judges has

        exports.make(config, previous, result, session)
    return verdict


def _show(verdict: Verdict, session: Session) -> None:
    """Show the figures of the verdict; the end of a run shows its reasons."""
    result = verdict.document
    rows = _figure_rows(result) if verdict.word != "INVALID" else []
    if waived := result["corpus"]["waived_cells"]:
        rows.append(Row(cells=("left out", f"{waived} failed cells, waived by --allow-partial"), style="yellow"))
    share = (result["evidence"].get("coverage") or {}).get("rows_by_source", {"warn": False})
    if share["warn"]:
        rows.append(Row(cells=("rows by source", share_sentence(share)), style="yellow"))
    boxes = result["corpus"]["boxes"]
    for box in boxes if len(boxes) > 1 else ():
        cells = f"{box['cells']} cells, {box['rows']} rows with {', '.join(box['encoders'])}"
        rows.append(Row(cells=(f"box {box['box'] or 'unknown'}", f"{cells} ({box['platform'] or 'unknown'})")))
    rows.append(Row(cells=("recommendation", result["recommendation"])))
    if verdict.word == "INVALID":
        session.ui.table("Verdict: INVALID", ("", ""), rows)
        return
    rows += [Row(cells=("", reason)) for reason in result["ship_reasons"]]
    session.ui.table(f"Verdict: {result['headline']}", ("", ""), rows)


def _figure_rows(result: Mapping[str, Any]) -> list[Row]:
    gate, evidence = result["gate"], result["evidence"]
    seeds = ", ".join(f"{seed}: {correlation(value)}" for seed, value in gate["per_seed_plccs"].items())
    mean, worst = evidence["ensemble_mean"], evidence["worst_source"]
    rows = [
        Row(cells=("mean PLCC", f"{correlation(gate['mean_plcc'])} (at least {gate['mean_plcc_threshold']})")),
        Row(cells=("spread over seeds", f"{gate['plcc_spread']:.4f} (at most {gate['plcc_spread_max']})")),
        Row(cells=("PLCC by seed", f"{seeds} (at least {gate['per_seed_min']})")),
        Row(cells=("ensemble mean", f"RMSE {mean['rmse']:.2f}, bias {mean['bias']:+.2f} VMAF points")),
        Row(cells=("target", evidence["target"]["sentence"])),
        Row(cells=("worst source", f"{worst['name']}: RMSE {worst['rmse']:.2f}, bias {worst['bias']:+.2f}")),
        _expert_row(result["expert_gate"], result["decided_by"]),
    ]
    return rows + _codec_rows(evidence["codec_block"])


def _codec_rows(codec_block: Mapping[str, Any] | None) -> list[Row]:
    if codec_block is None:
        return []
    return [Row(cells=("codec block", codec_block["conclusion"]))]


def _expert_row(expert: Mapping[str, Any], decided_by: str) -> Row:
    role = "decides with the default gate" if decided_by == expert["name"] else "needed to ship"
    failing = f": {', '.join(expert['failing'])}" if expert["failing"] else ""
    style = "" if expert["passed"] else "yellow"
    return Row(cells=("expert gate", f"{expert['status']}{failing} ({role})"), style=style)


def load(config: RunConfig, session: Session) -> Verdict:
    """Return the verdict of an earlier run of this step, after applying the gate to the stored predictions again.

    Raises:
        Missing: the run folder has no verdict.
        BadInput: it has several, or the verdict does not follow from the predictions.
        InvalidEvidence: predictions are missing, doubled or in a wrong fold.
    """
    words = layout.verdicts_in(config.out_dir)
    if not words:
        raise Missing(f"{config.out_dir} has no verdict", hint="Run `verdict` first.")
    if len(words) > 1:
        raise BadInput(f"{config.out_dir} has several verdicts: {', '.join(words)}", hint=_AGAIN)
    path = config.out_dir / layout.verdict_file(words[0])
    result: Any = read_json(path)
    try:
        stale = result["verdict"] != words[0] or _is_stale(config.out_dir, result)
    except (KeyError, TypeError) as error:
        raise BadInput(f"{path} is not a verdict: {error!r}", hint=_AGAIN) from error
    if stale:
        raise BadInput(f"{path.name} does not follow from the predictions in {config.out_dir}", hint=_AGAIN)
    return Verdict(word=words[0], document=result)


def _is_stale(run_dir: Path, result: Mapping[str, Any]) -> bool:
    """Compare a verdict with the predictions: their hash, and the gate applied to them."""
    file = run_dir / layout.PREDICTIONS
    if result["evidence"]["predictions_sha256"] != file_hash(file):
        return True
    if result["verdict"] == "INVALID":
        return False
    scores = predictions.read(file)
    shard = shards.read_manifest(run_dir / layout.CORPUS)
    scheme, rules = result["evidence"]["folds"], RULES[result["schema_version"]]
    check_complete(scores, shard, scheme, result["seeds"])
    gate = gate_of(member_agreement(scores), cell_facts(shard, scheme), rules.gate)
    return bool(gate_as_json(gate, rules) != result["gate"])
