"""`eval`, `validate`, `register` and `repair-onnx`: commands about exported models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kit.cli.opening import command_session, require_onnxruntime
from kit.cli.output import Result, Table, json_option, row
from kit.core import exits
from kit.heads.config import REPAIR, SHIP
from kit.options.click_options import options
from kit.system.ui import figure, size

if TYPE_CHECKING:
    from kit.features.table import FeatureTable
    from kit.models.model_file import ModelFile
    from kit.options.session import Session

#: Decimals of the figures that are shown.
_DECIMALS = {
    "n": 0,
    "n_samples": 0,
    "plcc": 4,
    "srocc": 4,
    "krocc": 4,
    "rmse": 2,
    "bias": 2,
    "latency_ms_p50_per_clip": 4,
    "latency_ms_p95_per_clip": 4,
}


def _open_model(
    model: Path, features: Path, split: str | None, out: Path | None, session: Session, *, held_out: bool = False
) -> tuple[ModelFile, FeatureTable, str | None]:
    """Open the model, read the rows of the split, and return the split too.

    Args:
        held_out: without a split take the rows that the model was not fitted to, if that is recorded.

    Raises:
        BadInput: the result would overwrite an input.
    """
    require_onnxruntime()
    from kit.features import table
    from kit.heads import evaluate
    from kit.models.model_file import open_model
    from kit.models.registry import refuse_overwrite

    refuse_overwrite([] if out is None else [out], [model, model.with_suffix(".json"), features])
    loaded = open_model(model)
    if split is None and held_out and loaded.sidecar is not None:
        split = evaluate.HELD_OUT
    rows = evaluate.select_rows(table.read(features), split, loaded)
    if remark := evaluate.overlap_remark(loaded, rows):
        session.ui.say(remark)
    return loaded, rows, split


def _figures(title: str, columns: Mapping[str, Mapping[str, Any]]) -> Table:
    """Figures as lines, with a column for each model."""
    names = [name for name in _DECIMALS if any(name in column for column in columns.values())]
    rows = [row(name, *(figure(column.get(name), _DECIMALS[name]) for column in columns.values())) for name in names]
    return Table(title=title, columns=("", *columns), rows=rows)


@click.command("eval")
@options(*SHIP.pick("model", "features", "split", "target", "out_json"))
@json_option
def evaluate_command(*, model: Path, features: Path, split: str | None, target: str, out_json: Path | None) -> Result:
    """Compare a model's scores with a feature table, and time it.

    Times a clip of 240 frames. Against subjective scores, RMSE and bias follow a linear fit; the teacher's figures
    are shown too.

    Exit codes: 0 done, 2 bad input, 3 scores are not finite or no correlation exists, 4 disk full.
    """
    from kit.heads import evaluate
    from kit.system.fsio import write_json

    _, session = command_session()
    loaded, rows, _ = _open_model(model, features, split, out_json, session)
    figures: dict[str, Any] = evaluate.evaluate(loaded, rows, target)
    args = {"split": split, "target": target}
    document = {
        **evaluate.report_header(loaded, rows, split),
        **figures,
        "run_provenance": evaluate.provenance(session, args, loaded, features, out_json),
    }
    if out_json is not None:
        write_json(out_json, document)
    columns = {model.name: figures}
    columns |= {"the teacher": figures["teacher_itself"]} if figures["teacher_itself"] else {}
    undefined = [f"The correlation is undefined: {figures['undefined']}"] if figures["undefined"] else []
    return Result(
        code=exits.INVALID if undefined else exits.OK,
        shown=(_figures(f"{model.name} against {target}", columns), *undefined),
        data=document,
    )


@click.command()
@options(*SHIP.pick("model", "features", "split", "rows", "min_plcc", "max_rmse", "allow_training_rows", "out_json"))
@json_option
def validate(
    *,
    model: Path,
    features: Path,
    split: str | None,
    rows: int,
    min_plcc: float,
    max_rmse: float,
    allow_training_rows: bool,
    out_json: Path | None,
) -> Result:
    """Check a tiny head against limits and format rules, on sources that it was not fitted to.

    Limits may be stricter than the default ones; looser ones are written into report, card and registry.

    Exit codes: 0 passed, 2 bad input, 3 not passed (the report is written either way), 4 disk full.
    """
    from kit.heads import evaluate
    from kit.heads.register import REPORT_SUFFIX
    from kit.heads.ship_gate import Limits, check
    from kit.system.fsio import write_json

    _, session = command_session()
    out = out_json or model.with_suffix(REPORT_SUFFIX)
    limits = Limits(rows=rows, min_plcc=min_plcc, max_rmse=max_rmse, allow_training_rows=allow_training_rows)
    loaded, table, split = _open_model(model, features, split, out, session, held_out=not allow_training_rows)
    args = {"split": split, **asdict(limits)}
    report = check(loaded, table, split, limits) | {
        "run_provenance": evaluate.provenance(session, args, loaded, features, out)
    }
    write_json(out, report)
    return Result(
        code=exits.OK if report["passed"] else exits.INVALID,
        shown=(
            _figures(f"{model.name} on {rows} rows", {model.name: report["figures"]}),
            *(f"Not passed: {reason}" for reason in report["reasons"]),
            *(f"Looser than the default: {text}" for text in report["looser"]),
            f"{'Passed' if report['passed'] else 'Not passed'}; the report is {out}",
        ),
        data=report,
    )


@click.command()
@options(*SHIP.pick("model", "name", "kind", "license_id", "validation", "registry"))
@json_option
def register(
    *, model: Path, name: str, kind: str, license_id: str, validation: Path | None, registry: Path | None
) -> Result:
    """Add a validated model to a registry.

    Writes ID.onnx, its sidecar ID.json and its model card ID.md.

    Exit codes: 0 done, 2 bad input or ID taken, 3 not passed or files disagree, 4 disk full.
    """
    from kit.heads import register as registering
    from kit.heads.ship_gate import describe_limits
    from kit.models.registry import REGISTRY

    registry = (registry or model.with_name(REGISTRY)).absolute()
    report = validation or model.with_suffix(registering.REPORT_SUFFIX)
    _, session = command_session(out_dir=registry.parent)
    request = registering.RegisterRequest(
        model=model, id=name, kind=kind, license=license_id, report=report, registry=registry
    )
    line, sidecar = registering.register(request, session)
    return Result(
        shown=(
            f"{name}: {line['description']}",
            f"{line['onnx']}, {name}.json and {name}.md are in {registry.parent}; {registry.name} lists the model",
            f"It passed the ship gate at {describe_limits(sidecar['validation']['limits'])}",
        ),
        data=line,
    )


@click.command("repair-onnx")
@click.argument("model", metavar="M.onnx", type=click.Path(path_type=Path))
@options(*REPAIR)
def repair_onnx(model: Path, data: Path | None, out: Path) -> Result:
    """Write a copy of an ONNX file that includes its weights.

    For models whose file of weights was renamed. The copy is loaded before it is stored.

    Exit codes: 0 written, 2 bad input, 3 the weights belong to another model, 4 disk full.
    """
    from kit.models.repair import repair
    from kit.system.fsio import sha256_file

    repaired = repair(model, data, out)
    summary = f"{out}: all in one file, {size(out.stat().st_size)}, SHA-256 {sha256_file(out)[:16]}"
    return Result(shown=(repaired.describe(model.name), summary))


SHIP_COMMANDS = (evaluate_command, validate, register, repair_onnx)
