"""`eval`, `validate`, `register` and `repair-onnx`: what becomes of a model once it is exported."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kit.cli.opening import command_session
from kit.cli.output import Outcome, print_json
from kit.core import exits
from kit.core.errors import PrerequisiteFailed
from kit.heads.config import REPAIR, SHIP
from kit.options.click_options import json, options

if TYPE_CHECKING:
    from kit.features.table import FeatureTable
    from kit.models.model_file import ModelFile
    from kit.options.session import Session
    from kit.system.ui import Ui

#: Decimals of what is shown.
_FIGURES = {
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


def _opened(
    model: Path, features: Path, split: str | None, out: Path | None, session: Session
) -> tuple[ModelFile, FeatureTable]:
    """The model, and the rows of the split; refused is what would write over one of them."""
    if importlib.util.find_spec("onnxruntime") is None:
        raise PrerequisiteFailed("there is no onnxruntime for this machine", hint="Do it on another box.")
    from kit.features import table
    from kit.heads import evaluate
    from kit.models.model_file import open_model
    from kit.models.registry import refuse_overwrite

    refuse_overwrite([] if out is None else [out], [model, model.with_suffix(".json"), features])
    loaded = open_model(model)
    rows = evaluate.select_rows(table.read(features), split, loaded)
    if remark := evaluate.overlap_remark(loaded, rows):
        session.ui.say(remark)
    return loaded, rows


def _show_figures(ui: Ui, title: str, columns: Mapping[str, Mapping[str, Any]]) -> None:
    """Figures as lines, a column for each of what has them."""
    from kit.system.ui import Row, figure

    named = [name for name in _FIGURES if any(name in found for found in columns.values())]
    ui.table(
        title,
        ("", *columns),
        [Row(cells=(name, *(figure(found.get(name), _FIGURES[name]) for found in columns.values()))) for name in named],
    )


@click.command("eval")
@options(*SHIP.pick("model", "features", "split", "target", "out_json"))
@json
def evaluate_command(
    *, model: Path, features: Path, split: str | None, target: str, out_json: Path | None, as_json: bool
) -> Outcome:
    """Compare a model's scores with a feature table, and time it.

    Times a clip of 240 frames. Against subjective scores, RMSE and bias follow a linear fit; the teacher's figures
    are shown too.

    Exit codes: 0 done, 2 bad input, 3 scores are not finite or no correlation exists, 4 disk full.
    """
    from kit.heads import evaluate
    from kit.system.fsio import write_json

    _, session = command_session()
    loaded, rows = _opened(model, features, split, out_json, session)
    found: dict[str, Any] = evaluate.evaluate(loaded, rows, target)
    args = {"split": split, "target": target}
    document = {
        **evaluate.report_header(loaded, rows, split),
        **found,
        "run_provenance": evaluate.provenance(session, args, loaded, features, out_json),
    }
    teacher = {"the teacher": found["teacher_itself"]} if found["teacher_itself"] else {}
    _show_figures(session.ui, f"{model.name} against {target}", {model.name: found, **teacher})
    if found["undefined"]:
        session.ui.say(f"No correlation: {found['undefined']}")
    if out_json is not None:
        write_json(out_json, document)
    if as_json:
        print_json(document)
    return Outcome(code=exits.INVALID if found["undefined"] else exits.OK)


@click.command()
@options(*SHIP.pick("model", "features", "split", "rows", "min_plcc", "max_rmse", "out_json"))
@json
def validate(
    *,
    model: Path,
    features: Path,
    split: str | None,
    rows: int,
    min_plcc: float,
    max_rmse: float | None,
    out_json: Path | None,
    as_json: bool,
) -> Outcome:
    """Check a tiny head against limits and format rules.

    Exit codes: 0 passed, 2 bad input, 3 not passed (the report is written either way), 4 disk full.
    """
    from kit.heads import evaluate
    from kit.heads.register import REPORT_SUFFIX
    from kit.heads.ship_gate import Limits, check
    from kit.system.fsio import write_json

    _, session = command_session()
    out = out_json or model.with_suffix(REPORT_SUFFIX)
    loaded, table = _opened(model, features, split, out, session)
    limits = Limits(rows=rows, min_plcc=min_plcc, max_rmse=max_rmse)
    args = {"split": split, "rows": rows, "min_plcc": min_plcc, "max_rmse": max_rmse}
    report = check(loaded, table, split, limits) | {
        "run_provenance": evaluate.provenance(session, args, loaded, features, out)
    }
    write_json(out, report)
    _show_figures(session.ui, f"{model.name} on {rows} rows", {model.name: report["figures"]})
    for reason in report["reasons"]:
        session.ui.say(f"Not passed: {reason}")
    session.ui.say(f"{'Passed' if report['passed'] else 'Not passed'}; {out}")
    if as_json:
        print_json(report)
    return Outcome(code=exits.OK if report["passed"] else exits.INVALID)


@click.command()
@options(*SHIP.pick("model", "name", "kind", "license_id", "validation", "registry"))
@json
def register(
    *, model: Path, name: str, kind: str, license_id: str, validation: Path | None, registry: Path | None, as_json: bool
) -> Outcome:
    """Add a validated model to a registry.

    Writes ID.onnx, its sidecar ID.json and its model card ID.md.

    Exit codes: 0 done, 2 bad input or ID taken, 3 not passed or files disagree, 4 disk full.
    """
    from kit.heads import register as registering
    from kit.heads.ship_gate import describe_limits
    from kit.models.registry import REGISTRY

    del kind  # one is known
    registry = (registry or model.with_name(REGISTRY)).absolute()
    report = validation or model.with_suffix(registering.REPORT_SUFFIX)
    _, session = command_session(out_dir=registry.parent)
    request = registering.RegisterRequest(model=model, id=name, license=license_id, report=report, registry=registry)
    line, sidecar = registering.register(request, session)
    session.ui.say(f"{name}: {line['description']}")
    session.ui.say(f"{line['onnx']}, {name}.json and {name}.md are in {registry.parent}; {registry.name} lists it")
    session.ui.say(f"It was let through at {describe_limits(sidecar['validation']['limits'])}")
    if as_json:
        print_json(line)
    return Outcome(code=exits.OK)


@click.command("repair-onnx")
@click.argument("model", metavar="M.onnx", type=click.Path(path_type=Path))
@options(*REPAIR)
def repair_onnx(model: Path, data: Path | None, out: Path) -> Outcome:
    """Write a copy of an ONNX file that includes its weights.

    For models whose file of weights was renamed. The copy is loaded before it is stored.

    Exit codes: 0 written, 2 bad input, 3 the weights belong to another model, 4 disk full.
    """
    from kit.models.repair import repair
    from kit.system.fsio import sha256_file
    from kit.system.ui import Ui, size

    found, ui = repair(model, data, out), Ui()
    ui.say(found.describe(model.name))
    ui.say(f"{out}: all in one file, {size(out.stat().st_size)}, SHA-256 {sha256_file(out)[:16]}")
    return Outcome(code=exits.OK)


SHIP_COMMANDS = (evaluate_command, validate, register, repair_onnx)
