"""A fitted head as an ONNX file of its own with a sidecar, checked before either appears."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError

from kit.core import contract
from kit.core.errors import BadInput, ExportFailed
from kit.core.values import Teacher
from kit.features import table as tables
from kit.heads import checkpoint
from kit.heads.checkpoint import Fitted
from kit.heads.fitting import file_of
from kit.models import export, export_check
from kit.models.registry import refuse_overwrite
from kit.models.runtime import Checked
from kit.models.sidecar import graph_facts, recipe_facts
from kit.options.provenance import of_command
from kit.options.session import Session
from kit.system import validation
from kit.system.fsio import TEMPORARY_PREFIX, read_json, sha256_file, write_bytes, write_json
from kit.system.outputs import refuse_foreign
from kit.training.model import restored
from kit.training.recipe import architecture
from kit.training.standardiser import Standardiser
from kit.training.table import Rows

SCHEMA = "tiny_sidecar"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")
_ABOUT_TABLE = ("rows", "rows_held_out", "clips", "corpora", "sources", "held_out", "fitted_groups")
#: Generated features lie within so many standard deviations of what the head was fitted to.
_DEVIATIONS = 3.0


def make(source: Path, features: Path | None, out: Path, session: Session) -> dict[str, object]:
    """Write ``M.onnx`` and ``M.json`` beside it.

    Args:
        source: a checkpoint of ``fit``.
        features: the table whose rows onnxruntime and torch are compared on; None for generated ones.

    Returns:
        The sidecar.

    Raises:
        Missing, BadInput: the checkpoint or the table cannot be read, or ``out`` is no name of a model or is taken by
            something else than an earlier export.
        ExportFailed: the graph does not do what the network does.
    """
    if out.suffix != ".onnx" or not _NAME.fullmatch(out.stem):
        raise BadInput(
            f"--out: {out.name} is no name of a model", hint="Give letters, digits, ., - and _, and .onnx at the end."
        )
    refuse_overwrite([out, out.with_suffix(".json")], [source, *([] if features is None else [features])])
    hint = "Give the model another name."
    refuse_foreign([out], _is_head, option="--out", hint=hint)
    refuse_foreign([out.with_suffix(".json")], _is_sidecar, option="--out", hint=hint)
    fitted = checkpoint.read(source)
    network, scale = restored(architecture(fitted.recipe.arch), fitted.arrays)
    rows = generated(scale) if features is None else tables.read(features).rows()
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=TEMPORARY_PREFIX, dir=out.parent) as temporary:
        path = Path(temporary) / out.name
        write_bytes(path, export.single(network, scale, contract.TINY_OUTPUT))
        try:
            checked = export_check.check(path, [network], scale, rows, contract.TINY_OUTPUT)
        except ExportFailed as error:
            raise ExportFailed(path.name, error.problems, hint=_HINT) from error
        inputs = {"checkpoint": source} | ({} if features is None else {"features": file_of(features)})
        given = {"checkpoint": source, "features": features, "out": out}
        made_by = of_command(
            session,
            args={name: str(path) for name, path in given.items() if path is not None},
            inputs=inputs,
            outputs=[out.name, f"{out.stem}.json"],
        )
        document = {
            **sidecar(out.stem, fitted, scale, checked, on="generated rows" if features is None else "rows of a table"),
            "sha256": sha256_file(path),
            "run_provenance": made_by,
        }
        if problems := validation.problems(SCHEMA, document):
            raise ExportFailed(f"{out.stem}.json", problems, hint=_HINT)
        write_json(path.with_suffix(".json"), document)
        for suffix in (".onnx", ".json"):
            path.with_suffix(suffix).replace(out.with_suffix(suffix))
    return document


_HINT = "The checkpoint stands. Send the lines above to the lead."


def _is_head(path: Path) -> bool:
    try:
        model = onnx.load_model_from_string(path.read_bytes())
    except DecodeError:
        return False
    return model.producer_name == export.PRODUCER and [end.name for end in model.graph.output] == [contract.TINY_OUTPUT]


def _is_sidecar(path: Path) -> bool:
    try:
        found = read_json(path)
    except BadInput:
        return False
    return isinstance(found, dict) and {"round_trip", "train_config_hash"} <= found.keys()


def generated(scale: Standardiser) -> Rows:
    """Rows with features around those that a head was fitted to, within the range of each feature; no target."""
    low, high = np.array([contract.FEATURE_RANGES[name] for name in contract.FEATURES], dtype=np.float32).T
    drawn = np.random.default_rng(0).uniform(-_DEVIATIONS, _DEVIATIONS, (contract.EXPORT_ROWS, len(low)))
    features = np.clip(scale.mean + scale.std * drawn.astype(np.float32), low, high)
    count = len(features)
    return Rows(
        features=features,
        codec=np.zeros((count, contract.CODEC_DIM), dtype=np.float32),
        target=np.zeros(count, dtype=np.float32),
    )


def sidecar(name: str, fitted: Fitted, scale: Standardiser, checked: Checked, *, on: str) -> dict[str, Any]:
    """The content of ``M.json`` besides the file's hash and its provenance.

    Args:
        on: the rows of the round trip, in words.
    """
    facts = fitted.facts
    fitted_on = "all rows but those of corpus.held_out" if facts["held_out"] else "all rows"
    recipe = recipe_facts(fitted.recipe, [facts["seed"]], device=facts["device"], fitted_on=fitted_on)
    return {
        "id": name,
        "name": f"{fitted.recipe.arch}, seed {facts['seed']}",
        "kind": "fr",
        "codec_aware": False,
        **graph_facts(name, [contract.FEATURES_INPUT], [contract.TINY_OUTPUT], scale),
        "corpus": {
            "sha256": facts["features_sha256"],
            "teacher": None if facts["teacher"] is None else Teacher.of_text(facts["teacher"]).described,
            **{key: facts[key] for key in _ABOUT_TABLE},
        },
        "training_recipe": recipe,
        "train_config_hash": facts["config_sha256"],
        "round_trip": {"rows": checked.rows, "on": on, "largest": checked.largest},
        "license": None,
        "validation": None,
        "registration": None,
        "notes": _notes(fitted),
    }


def _notes(fitted: Fitted) -> str:
    if fitted.facts["features_sha256"] is None:
        return "Initial weights: fitted to nothing, for tests of what loads it."
    facts = fitted.facts
    held = len(facts["held_out"])
    rows, sources = facts["rows"] - facts["rows_held_out"], len(facts["sources"]) - held
    kept = f"{facts['rows_held_out']} rows of {held} more were held out." if held else "nothing was held out."
    return f"Fitted to {rows} rows of {sources} sources; {kept}"
