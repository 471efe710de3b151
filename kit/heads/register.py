"""A head in a registry: its file, sidecar and card beside ``registry.json``, once it has passed the ship gate."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

from kit.core import contract
from kit.core.errors import BadInput, CheckFailed, Missing
from kit.heads import card, export, ship_gate
from kit.models.model_file import ModelFile, open_model
from kit.models.registry import FILES, models, refuse_overwrite
from kit.models.sidecar import REGISTRY_VERSION
from kit.options.provenance import of_command
from kit.options.session import Session
from kit.system import validation
from kit.system.fsio import locked, read_json, sha256_file, write_bytes, write_json
from kit.system.outputs import refuse_foreign

#: What ``validate`` leaves beside a model, and ``register`` looks for there.
REPORT_SUFFIX = ".validation.json"
_ID = re.compile(r"[a-z0-9_]{1,80}")
_LONGEST_DESCRIPTION = 256


@dataclass(frozen=True, kw_only=True)
class RegisterRequest:
    """What is registered, and where.

    Attributes:
        id: of the model in the registry, and the stem of its files there.
        license: an SPDX expression.
        report: what ``validate`` has said of it.
        registry: the file that lists the models.
    """

    model: Path
    id: str
    license: str
    report: Path
    registry: Path


def register(request: RegisterRequest, session: Session) -> tuple[dict[str, Any], dict[str, Any]]:
    """Write ``ID.onnx``, ``ID.json`` and ``ID.md`` beside the registry, and its line into it last.

    Returns:
        The line, and the sidecar.

    Raises:
        BadInput: the id or license is none, the id is taken in this registry or another one beside it, or a file of
            that name is there already.
        Missing: there is no report, or no sidecar.
        CheckFailed: the model has not passed, or a file is another than its sidecar, the report or the registry says.
    """
    if not _ID.fullmatch(request.id):
        raise BadInput(f"--id: {request.id!r} is not 1 to 80 lower-case letters, digits and _")
    names = [f"{request.id}{suffix}" for suffix in FILES]
    if request.registry.suffix != ".json" or request.registry.is_dir() or request.registry.name in names:
        raise BadInput(
            f"--registry: {request.registry} is no place for a registry: it is a .json file of its own",
            hint="For example models/registry.json.",
        )
    license_id = spdx(request.license)
    model = open_model(request.model)
    told = _sidecar(model)
    report = passed(request.report, model)
    folder = request.registry.parent
    with locked(folder):
        listed = _listed(request.registry, request.id)
        refuse_overwrite([folder / name for name in names], [request.report])
        refuse_foreign(
            [folder / name for name in names],
            lambda path: _of_model(path, model),
            option="--id",
            hint="Give another --id, or move these files away.",
        )
        described = {
            **told,
            "id": request.id,
            "onnx": f"{request.id}.onnx",
            "license": license_id,
            "validation": _of_report(report, request.report),
            "registration": of_command(
                session,
                args={"id": request.id, "kind": told["kind"], "license": license_id},
                inputs={
                    "model": request.model,
                    "sidecar": request.model.with_suffix(".json"),
                    "validation": request.report,
                },
                outputs=names,
            ),
        }
        line = _line(described)
        whole = {"schema_version": REGISTRY_VERSION, "models": [*listed, line]}
        for schema, document in ((export.SCHEMA, described), ("registry", whole)):
            if problems := validation.problems(schema, document):
                raise CheckFailed(f"the {schema} of {request.id} would not be as its schema says: {problems[0]}")
        write_bytes(folder / line["onnx"], request.model.read_bytes())
        write_json(folder / f"{request.id}.json", described)
        write_bytes(folder / f"{request.id}.md", card.markdown(described, line).encode())
        write_json(request.registry, whole)
    return line, described


def spdx(text: str) -> str:
    """A license expression in its canonical spelling.

    Raises:
        BadInput: it is none.
    """
    try:
        return str(canonicalize_license_expression(text))
    except InvalidLicenseExpression as error:
        raise BadInput(
            f"--license: {text!r} is no SPDX expression: {error}",
            hint="For example BSD-3-Clause, or LicenseRef-NAME for one of your own.",
        ) from error


def _sidecar(model: ModelFile) -> dict[str, Any]:
    """What `export` says of a tiny head."""
    if model.outputs != (contract.TINY_OUTPUT,):
        raise BadInput(
            f"{model.path.name} is a model of a run, which registers its own",
            hint="exports/registry.json of the run lists it.",
        )
    if model.sidecar is None:
        raise Missing(
            f"there is no {model.path.with_suffix('.json').name} beside {model.path.name}: nothing tells "
            "what it was fitted to",
            hint="Register what `export` wrote, both files of it.",
        )
    return dict(model.sidecar)


def passed(path: Path, model: ModelFile) -> dict[str, Any]:
    """The report of ``validate``, once it has been found to be about this model, and to say that it passed.

    Raises:
        Missing: there is none. BadInput: it is no such report. CheckFailed: it is another model's, or says no.
    """
    if not path.is_file():
        raise Missing(
            f"{path} is not there: nothing tells whether {model.path.name} may ship", hint="`validate` writes it."
        )
    report: Any = read_json(path)
    if problems := validation.problems(ship_gate.SCHEMA, report):
        raise BadInput(f"{path.name} is no report of `validate`: {problems[0]}")
    if report["model"]["sha256"] != model.sha256:
        raise CheckFailed(
            f"{path.name} is about a model with SHA-256 {report['model']['sha256'][:16]}…, {model.path.name} "
            f"has {model.sha256[:16]}…",
            hint="Validate this one.",
        )
    if not report["passed"]:
        raise CheckFailed(
            f"{model.path.name} has not passed: {'; '.join(report['reasons'])}",
            hint="What fails validation is not registered.",
        )
    return dict(report)


def _of_report(report: Mapping[str, Any], path: Path) -> dict[str, object]:
    """What of a report the sidecar keeps."""
    kept = {name: report[name] for name in ("split", "rows_fitted_on", "limits", "figures")}
    return {"report_sha256": sha256_file(path), "features_sha256": report["features"]["features_sha256"], **kept}


def _listed(registry: Path, name: str) -> list[dict[str, Any]]:
    """The models of a registry, once their files have been found to be what it says; none where there is no registry.

    Raises:
        BadInput: it is no registry, or the id is taken. CheckFailed: a file is not what it says.
    """
    listed = models(registry)
    for line in listed:
        file = registry.parent / line["onnx"]
        if not file.is_file() or sha256_file(file) != line["sha256"]:
            raise CheckFailed(
                f"{file.name} is not the file that {registry.name} lists as {line['id']}",
                hint="Put back what was registered: others rely on it.",
            )
        if line["id"] == name:
            raise BadInput(
                f"--id: {name} is registered already, SHA-256 {line['sha256'][:16]}…",
                hint="Give another id: what is registered stays what it is.",
            )
    return listed


def _of_model(path: Path, model: ModelFile) -> bool:
    """Whether a file is of this very model, or names its hash: left by a registration that was killed."""
    if path.suffix == model.path.suffix:
        return sha256_file(path) == model.sha256
    return model.sha256.encode() in path.read_bytes()


def _line(told: Mapping[str, Any]) -> dict[str, Any]:
    """The line of the registry."""
    recipe, corpus = told["training_recipe"], told["corpus"]
    teacher = (corpus["teacher"] or {}).get("id") or "not told"
    rows = (corpus["rows"] or 0) - (corpus["rows_held_out"] or 0)
    fitted = f"{rows} rows of {', '.join(corpus['corpora'])}" if rows else "nothing"
    description = (
        f"{recipe['arch']}: full-reference quality of a frame from six features; teacher {teacher}; fitted to {fitted}"
    )
    return {
        "id": told["id"],
        "kind": told["kind"],
        "onnx": told["onnx"],
        "sha256": told["sha256"],
        "opset": told["opset"],
        "description": description[:_LONGEST_DESCRIPTION],
        "notes": told["notes"],
        "smoke": corpus["sha256"] is None,
        "license": told["license"],
    }
