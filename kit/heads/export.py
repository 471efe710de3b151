"""Export a fitted head: an ONNX file with a sidecar, checked before they appear."""

from __future__ import annotations

import re
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError

from kit.core import contract
from kit.core.errors import BadInput, ExportFailed
from kit.core.inputs import Inputs
from kit.core.values import Teacher
from kit.features import table as tables
from kit.heads.fit import read_head
from kit.heads.table_facts import identifying_file
from kit.models import graph
from kit.models.export import write_model, write_sidecar
from kit.models.registry import refuse_overwrite
from kit.models.runtime import Checked
from kit.models.sidecar import Description
from kit.options.provenance import commit_of, of_command
from kit.options.session import KIT_ROOT, Session
from kit.system.fsio import TEMPORARY_PREFIX, read_json
from kit.system.outputs import refuse_foreign
from kit.training.checkpoint import Checkpoint
from kit.training.model import restored
from kit.training.standardiser import Standardiser
from kit.training.table import Rows

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")
_TABLE_FACTS = ("rows", "rows_held_out", "clips", "corpora", "sources", "held_out", "fitted_groups")
#: Generated features are within this many standard deviations of the mean.
_DEVIATIONS = 3.0
_HINT = "The checkpoint is unchanged. Send the lines above to the lead."


def make(source: Path, features: Path | None, out: Path, session: Session) -> dict[str, object]:
    """Write ``M.onnx`` and its sidecar ``M.json``.

    Args:
        source: a checkpoint of ``fit``.
        features: the table whose rows onnxruntime and torch are compared on; None for generated ones.

    Returns:
        The sidecar.

    Raises:
        Missing, BadInput: the checkpoint or the table cannot be read, or ``out`` is not the name of a model or has
            another file than that of an earlier export.
        ExportFailed: onnxruntime and torch differ, or a document does not match its schema.
    """
    if out.suffix != ".onnx" or not _NAME.fullmatch(out.stem):
        raise BadInput(f"--out {out.name}: not a file name of a model", hint="Use letters, digits, . - _ and .onnx.")
    refuse_overwrite([out, out.with_suffix(".json")], [source, *([] if features is None else [features])])
    hint = "Use another name for the model."
    refuse_foreign([out], _is_head, option="--out", hint=hint)
    refuse_foreign([out.with_suffix(".json")], _is_sidecar, option="--out", hint=hint)
    fitted = read_head(source)
    network, scale = restored(fitted.recipe.architecture, fitted.arrays)
    inputs = fitted.recipe.inputs
    rows = generated(scale, inputs) if features is None else tables.read(features).rows(inputs=inputs)
    rows_of = "generated rows" if features is None else "rows of a table"
    given = {"checkpoint": source, "features": features, "out": out}
    run_provenance = of_command(
        session,
        args={name: str(path) for name, path in given.items() if path is not None},
        inputs={"checkpoint": source} | ({} if features is None else {"features": identifying_file(features)}),
        outputs=[out.name, f"{out.stem}.json"],
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=TEMPORARY_PREFIX, dir=out.parent) as temporary:
        try:
            model = write_model(Path(temporary) / out.name, [network], scale, rows, contract.TINY_OUTPUT)
            commit = commit_of(KIT_ROOT, session.processes)
            description = describe(out.stem, fitted, scale, model.checked, rows_of)
            document = write_sidecar(model, replace(description, commit=commit), run_provenance)
        except ExportFailed as error:
            raise ExportFailed(out.name, error.problems, hint=_HINT) from error
        for suffix in (".onnx", ".json"):
            model.path.with_suffix(suffix).replace(out.with_suffix(suffix))
    return document


def _is_head(path: Path) -> bool:
    try:
        model = onnx.load_model_from_string(path.read_bytes())
    except DecodeError:
        return False
    return model.producer_name == graph.PRODUCER and [end.name for end in model.graph.output] == [contract.TINY_OUTPUT]


def _is_sidecar(path: Path) -> bool:
    try:
        content = read_json(path)
    except BadInput:
        return False
    return isinstance(content, dict) and {"round_trip", "train_config_hash"} <= content.keys()


def generated(scale: Standardiser, inputs: Inputs) -> Rows:
    """Return rows around the training rows of a head, within the range of each feature; without a target."""
    low, high = np.array(inputs.ranges, dtype=np.float32).T
    drawn = np.random.default_rng(0).uniform(-_DEVIATIONS, _DEVIATIONS, (contract.EXPORT_ROWS, len(low)))
    features = np.clip(scale.mean + scale.std * drawn.astype(np.float32), low, high)
    return Rows(
        inputs=inputs,
        features=features,
        codec=np.zeros((len(features), inputs.codec_width), dtype=np.float32),
        target=np.zeros(len(features), dtype=np.float32),
    )


def describe(name: str, fitted: Checkpoint, scale: Standardiser, checked: Checked, rows_of: str) -> Description:
    """Return the description of a head.

    Args:
        rows_of: the rows that onnxruntime and torch were compared on, in words.
    """
    facts = fitted.facts
    return Description(
        id=name,
        name=f"{fitted.recipe.arch}, seed {facts['seed']}",
        recipe=fitted.recipe,
        seeds=[facts["seed"]],
        device=facts["device"],
        fitted_on="all rows but those of corpus.held_out" if facts["held_out"] else "all rows",
        scale=scale,
        outputs=[contract.TINY_OUTPUT],
        corpus={
            "sha256": facts["features_sha256"],
            "teacher": None if facts["teacher"] is None else Teacher.of_text(facts["teacher"]).described,
            **{key: facts[key] for key in _TABLE_FACTS},
        },
        notes=_notes(fitted),
        license=None,
        dataset=None if facts["corpora"] is None else ", ".join(facts["corpora"]),
        manifest=None,
        config_sha256=facts["config_sha256"],
        fields={
            "round_trip": {"rows": checked.rows, "on": rows_of, "largest": checked.largest},
            "validation": None,
            "registration": None,
        },
    )


def _notes(fitted: Checkpoint) -> str:
    if fitted.facts["features_sha256"] is None:
        return "Initial weights: not fitted, for tests of programs that load it."
    facts = fitted.facts
    held = len(facts["held_out"])
    rows, sources = facts["rows"] - facts["rows_held_out"], len(facts["sources"]) - held
    kept = f"{facts['rows_held_out']} rows of {held} more were held out." if held else "nothing was held out."
    return f"Fitted to {rows} rows of {sources} sources; {kept}"
