"""Register a head that has passed the ship gate: file, sidecar and card next to ``registry.json``."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

from kit.core import contract
from kit.core.errors import BadInput, CheckFailed, ExportFailed, Missing
from kit.heads import ship_gate
from kit.models import card, registry
from kit.models.model_file import ModelFile, open_model
from kit.models.sidecar import sidecar_problems
from kit.options.provenance import of_command
from kit.options.session import Session
from kit.system import validation
from kit.system.fsio import locked, read_json, sha256_file, write_bytes, write_json
from kit.system.outputs import refuse_foreign
from kit.video.sources.demo import demo_clips

#: Suffix of the report of ``validate``, in the folder of the model.
REPORT_SUFFIX = ".validation.json"
_LONGEST_NOTES = 512
_ID = re.compile(r"[a-z0-9_]{1,80}")


@dataclass(frozen=True, kw_only=True)
class RegisterRequest:
    """A model to register.

    Attributes:
        id: of the model in the registry, and the stem of its files there.
        kind: one of ``contract.MODEL_KINDS``; has to be that of the sidecar.
        license: an SPDX expression.
        report: of ``validate``.
        registry: the file that lists the models.
    """

    model: Path
    id: str
    kind: str
    license: str
    report: Path
    registry: Path


def register(request: RegisterRequest, session: Session) -> tuple[dict[str, Any], dict[str, Any]]:
    """Write ``ID.onnx``, ``ID.json`` and ``ID.md`` to the folder of the registry, and last its line.

    Returns:
        The line, and the sidecar.

    Raises:
        BadInput: invalid id or license, another kind than the sidecar's, or the id is taken in the folder.
        Missing: no report, or no sidecar.
        CheckFailed: the model has not passed, or a file differs from its sidecar, the report or the registry.
    """
    names = _file_names(request)
    license_id = spdx(request.license)
    model = open_model(request.model)
    exported = _sidecar(model, request.kind)
    report = passed(request.report, model)
    folder = request.registry.parent
    with locked(folder):
        models = _registered(request.registry, request.id)
        registry.refuse_overwrite([folder / name for name in names], [request.report])
        refuse_foreign(
            [folder / name for name in names],
            lambda path: _of_model(path, model),
            option="--id",
            hint="Use another --id, or move these files.",
        )
        sidecar = {
            **exported,
            "id": request.id,
            "onnx": f"{request.id}.onnx",
            "license": license_id,
            "validation": _report_summary(report, request.report),
            "registration": _provenance(request, license_id, names, session),
        }
        sidecar["notes"] = _notes(sidecar)
        if problems := sidecar_problems(sidecar):
            raise ExportFailed(f"{request.id}.json", problems)
        line = registry.line(sidecar, description=_description(sidecar), smoke=bool(demo_clips(_fitted_on(sidecar))))
        document = registry.document([*models, line])
        write_bytes(folder / line["onnx"], request.model.read_bytes())
        write_json(folder / f"{request.id}.json", sidecar)
        write_bytes(folder / f"{request.id}.md", _card(model, sidecar, line).encode())
        write_json(request.registry, document)
    return line, sidecar


def _card(model: ModelFile, sidecar: Mapping[str, Any], line: Mapping[str, Any]) -> str:
    """Return the card of a head, with its score of the means of its features."""
    means = np.array([sidecar["feature_mean"]], dtype=np.float32)
    (score,), _ = model.scores(means, np.empty((1, 0), dtype=np.float32))
    limits = ship_gate.describe_limits(sidecar["validation"]["limits"])
    return card.of_head(sidecar, line, limits, float(score))


def _file_names(request: RegisterRequest) -> list[str]:
    """Return the names of the files to write next to the registry.

    Raises:
        BadInput: invalid id or name of the registry.
    """
    if not _ID.fullmatch(request.id):
        raise BadInput(f"--id {request.id!r}: expected 1 to 80 of a-z, 0-9 and _")
    names = [f"{request.id}{suffix}" for suffix in registry.FILES]
    if request.registry.suffix != ".json" or request.registry.is_dir() or request.registry.name in names:
        raise BadInput(
            f"--registry {request.registry}: expected a .json file", hint="For example models/registry.json."
        )
    return names


def _provenance(
    request: RegisterRequest, license_id: str, outputs: Sequence[str], session: Session
) -> dict[str, object]:
    return of_command(
        session,
        args={"id": request.id, "kind": request.kind, "license": license_id},
        inputs={
            "model": request.model,
            "sidecar": request.model.with_suffix(".json"),
            "validation": request.report,
        },
        outputs=outputs,
    )


def spdx(text: str) -> str:
    """Return a license expression in its canonical spelling.

    Raises:
        BadInput: not an SPDX expression.
    """
    try:
        return str(canonicalize_license_expression(text))
    except InvalidLicenseExpression as error:
        raise BadInput(
            f"--license {text!r}: not an SPDX expression: {error}",
            hint="For example BSD-3-Clause, or LicenseRef-NAME for your own.",
        ) from error


def _sidecar(model: ModelFile, kind: str) -> dict[str, Any]:
    """Return the sidecar of an exported head of this kind."""
    if model.outputs != (contract.TINY_OUTPUT,):
        raise BadInput(
            f"{model.path.name} is a model of a run, not a head", hint="exports/registry.json of the run lists it."
        )
    if model.sidecar is None:
        raise Missing(
            f"{model.path.with_suffix('.json').name}, the sidecar of {model.path.name}, is missing",
            hint="Register a model of `export`, with both of its files.",
        )
    if model.sidecar["kind"] != kind:
        raise BadInput(
            f"kinds differ: --kind {kind}; the sidecar of {model.path.name} has {model.sidecar['kind']}",
            hint=f"Use --kind {model.sidecar['kind']}.",
        )
    return dict(model.sidecar)


def passed(path: Path, model: ModelFile) -> dict[str, Any]:
    """Return the report of ``validate`` after checking that it is about this model, and that it passed.

    Raises:
        Missing: no such file.
        BadInput: not a report.
        CheckFailed: about another model, or not passed.
    """
    if not path.is_file():
        raise Missing(f"{path}, the validation of {model.path.name}, is missing", hint="Run `validate` first.")
    report: Any = read_json(path)
    if problems := validation.problems(ship_gate.SCHEMA, report):
        raise BadInput(f"{path.name} is not a report of this `validate`: {problems[0]}", hint="Run `validate` again.")
    if report["model"]["sha256"] != model.sha256:
        raise CheckFailed(
            f"{path.name} is about a model with SHA-256 {report['model']['sha256'][:16]}…; {model.path.name} "
            f"has {model.sha256[:16]}…",
            hint="Run `validate` with this model.",
        )
    if not report["passed"]:
        raise CheckFailed(
            f"{model.path.name} has not passed: {'; '.join(report['reasons'])}",
            hint="Only models that pass `validate` are registered.",
        )
    return dict(report)


def _report_summary(report: Mapping[str, Any], path: Path) -> dict[str, object]:
    """Return the part of a report that the sidecar keeps."""
    kept = {name: report[name] for name in ("split", "rows_fitted_on", "limits", "looser", "figures")}
    return {"report_sha256": sha256_file(path), "features_sha256": report["features"]["features_sha256"], **kept}


def _fitted_on(sidecar: Mapping[str, Any]) -> Sequence[str]:
    """Return the names and hashes of the content that a head was fitted to."""
    return sidecar["corpus"]["fitted_groups"] or ()


def _notes(sidecar: Mapping[str, Any]) -> str:
    """Return the notes of an exported head, with demo clips and with limits that are looser than the default ones."""
    notes = [sidecar["notes"]]
    if demo := demo_clips(_fitted_on(sidecar)):
        notes.append(f"Fitted to {len(demo)} built-in demo clips: it only shows that the kit works.")
    if looser := sidecar["validation"]["looser"]:
        notes.append(f"Looser limits than the default: {'; '.join(looser)}.")
    return " ".join(notes)[:_LONGEST_NOTES]


def _registered(path: Path, name: str) -> list[dict[str, Any]]:
    """Return the models of a registry after checking their files; empty if the registry does not exist.

    Raises:
        BadInput: not a registry, or the id is taken.
        CheckFailed: a file differs from its line.
    """
    models = registry.read(path)
    if changed := registry.changed_files(path, models):
        raise CheckFailed(
            f"{', '.join(changed)}: missing, or not the file that {path.name} lists",
            hint="Restore the registered file.",
        )
    if taken := [model for model in models if model["id"] == name]:
        raise BadInput(
            f"--id {name}: already registered, SHA-256 {taken[0]['sha256'][:16]}…",
            hint="Use another id: registered models do not change.",
        )
    return models


def _of_model(path: Path, model: ModelFile) -> bool:
    """Return whether a file is of this very model, or has its hash: left by an interrupted registration."""
    if path.suffix == model.path.suffix:
        return sha256_file(path) == model.sha256
    return model.sha256.encode() in path.read_bytes()


def _description(sidecar: Mapping[str, Any]) -> str:
    """Return the description in the registry."""
    corpus = sidecar["corpus"]
    teacher = (corpus["teacher"] or {}).get("id") or "not recorded"
    rows = (corpus["rows"] or 0) - (corpus["rows_held_out"] or 0)
    fitted = f"fitted to {rows} rows of {', '.join(corpus['corpora'])}" if rows else "not fitted"
    return (
        f"{sidecar['training_recipe']['arch']}: full-reference quality of a frame from "
        f"{len(sidecar['feature_order'])} features; teacher {teacher}; {fitted}"
    )
