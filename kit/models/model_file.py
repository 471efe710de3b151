"""An exported model as its user has it: the file, its sidecar if there is one, and what it says of frames."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from onnxruntime import InferenceSession, NodeArg

from kit.core import contract
from kit.core.errors import BadInput, CheckFailed
from kit.models import runtime
from kit.models.external_data import find_external_weights
from kit.models.runtime import Floats
from kit.system import validation
from kit.system.fsio import read_json

_HINT = "Give a model that `verdict` has exported (exports/*.onnx of a run with PROMOTE), or `export`."
_INPUTS = {contract.FEATURES_INPUT: len(contract.FEATURES), contract.CODEC_INPUT: contract.CODEC_DIM}
#: Outputs of a model that the kit exports, and the schema of its sidecar.
_OUTPUTS = {
    (contract.SCORE_OUTPUT,): "sidecar",
    (contract.SCORE_OUTPUT, contract.SPREAD_OUTPUT): "sidecar",
    (contract.TINY_OUTPUT,): "tiny_sidecar",
}
_IN_ONE_FILE = "`repair-onnx` writes a copy that holds them itself."
_AGAIN = "Get the model and its sidecar again; they belong together."


@dataclass(frozen=True, kw_only=True)
class ModelFile:
    """A model that can be asked.

    Attributes:
        sidecar: what the file beside it says; None where there is none.
        codec_aware: it takes the codec block.
        outputs: what it gives, the score first.
    """

    path: Path
    sha256: str
    sidecar: Mapping[str, Any] | None
    codec_aware: bool
    outputs: tuple[str, ...]
    session: InferenceSession

    @property
    def ensemble(self) -> bool:
        """Whether it gives a spread."""
        return len(self.outputs) == 2

    @property
    def teacher(self) -> Mapping[str, str | None] | None:
        """The model whose score it was trained on, if anything tells."""
        return self.sidecar["corpus"]["teacher"] if self.sidecar else None

    @property
    def untrained(self) -> tuple[str, ...]:
        """Encoders of the vocabulary that it never saw, as far as the sidecar tells."""
        return tuple(self.sidecar["untrained_encoders"]) if self.sidecar and self.codec_aware else ()

    @property
    def identity(self) -> dict[str, object]:
        """What a comparison has to know of it; of the corpus it was trained on what the sidecar tells, else null."""
        corpus = self.sidecar["corpus"] if self.sidecar else {}
        return {
            "file": self.path.name,
            "sha256": self.sha256,
            "corpus_sha256": corpus.get("sha256"),
            "source_ids": corpus.get("source_ids"),
        }

    def scores(self, features: Floats, codec: Floats) -> tuple[Floats, Floats | None]:
        """Scores of frames in VMAF points, float32 [n], and their spread over the members of an ensemble.

        Args:
            features: float32 [n, 6], raw; codec: float32 [n, 18], left alone by a model that does not take it.

        Raises:
            CheckFailed: a value is not finite, or there is not one for each row.
        """
        computed = runtime.compute(self.session, features, codec)
        found = {name: values.reshape(-1) for name, values in computed.items()}  # an older model may give a column
        for name, values in found.items():
            if len(values) != len(features):
                raise CheckFailed(
                    f"{self.path.name} gives {len(values)} values of {name} for {len(features)} rows", hint=_HINT
                )
            if bad := int(np.count_nonzero(~np.isfinite(values))):
                raise CheckFailed(f"{self.path.name} gives {bad} values of {name} that are not finite", hint=_HINT)
        return found[self.outputs[0]], found.get(contract.SPREAD_OUTPUT)


def open_model(path: Path, option: str = "--model") -> ModelFile:
    """Load a model and the sidecar beside it.

    Args:
        option: what asked for it.

    Raises:
        BadInput: it is not there, is no model, or has other inputs and outputs than the kit's; or the sidecar is none.
        CheckFailed: the sidecar describes another file.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadInput(f"{option}: {path} cannot be read: {error.strerror}", hint=_HINT) from error
    if elsewhere := find_external_weights(path, data):
        raise BadInput(f"{option}: {elsewhere.describe(path.name)}", hint=_IN_ONE_FILE)
    try:
        session = runtime.open_session(data)
    except Exception as error:  # onnxruntime's errors have no class in common
        raise BadInput(f"{option}: onnxruntime cannot load {path.name}: {error}", hint=_HINT) from error
    inputs = {end.name: end.shape[1:] for end in session.get_inputs() if end.type == "tensor(float)"}
    outputs = tuple(end.name for end in session.get_outputs())
    known = [{name: [width] for name, width in list(_INPUTS.items())[:count]} for count in (1, 2)]
    if inputs not in known or outputs not in _OUTPUTS:
        raise BadInput(
            f"{option}: {path.name} takes {inputs} and gives {list(outputs)}; expected features [N, 6], "
            "with or without codec_onehot [N, 18], and score, with or without score_std, or vmaf",
            hint=_HINT,
        )
    if strange := [end for end in (*session.get_inputs(), *session.get_outputs()) if not _any_rows(end)]:
        shapes = ", ".join(f"{end.name} {end.shape}" for end in strange)
        raise BadInput(
            f"{option}: {path.name} has {shapes}; expected any number of rows, and one score for each", hint=_HINT
        )
    digest, codec_aware = hashlib.sha256(data).hexdigest(), contract.CODEC_INPUT in inputs
    told = _sidecar(path.with_suffix(".json"), digest, _OUTPUTS[outputs], codec_aware=codec_aware)
    return ModelFile(path=path, sha256=digest, sidecar=told, codec_aware=codec_aware, outputs=outputs, session=session)


def _any_rows(end: NodeArg) -> bool:
    """Whether an input or output leaves the number of rows open, and is a column at most if it is an output."""
    rows, *columns = end.shape or [1]
    return not isinstance(rows, int) and (end.name in _INPUTS or columns in ([], [1]))


def baseline_model(path: Path) -> ModelFile:
    """The model that a new ensemble is compared with; it keeps the rules of the models that the kit exports.

    Raises:
        BadInput: it cannot be loaded, or breaks a rule; CheckFailed: the sidecar describes another file.
    """
    from kit.models.graph_format import format_problems  # late: onnx takes its time, and `score` does without

    found = open_model(path, "--baseline")

    if problems := format_problems(path.read_bytes(), codec_aware=found.codec_aware, outputs=found.outputs):
        raise BadInput(f"--baseline: {path.name}: {'; '.join(problems)}", hint=_HINT)
    return found


def _sidecar(path: Path, digest: str, schema: str, *, codec_aware: bool) -> Mapping[str, Any] | None:
    if not path.exists():
        return None
    value: Any = read_json(path)
    if problems := validation.problems(schema, value):
        raise BadInput(f"{path.name} is not the sidecar of a model: {problems[0]}", hint=_AGAIN)
    if value["sha256"] != digest:
        raise CheckFailed(
            f"{path.name} describes a model with SHA-256 {value['sha256']}, the one beside it has {digest}", hint=_AGAIN
        )
    if value["codec_aware"] != codec_aware:
        raise CheckFailed(f"{path.name}: codec_aware is {value['codec_aware']}, the graph says otherwise", hint=_AGAIN)
    return dict(value)
