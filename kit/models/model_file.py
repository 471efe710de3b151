"""A model as its user has it: ONNX file, sidecar if there is one, and its scores of frames."""

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
from kit.core.inputs import Inputs, known_inputs
from kit.models import runtime
from kit.models.external_data import find_external_weights
from kit.models.runtime import Floats
from kit.models.sidecar import inputs_of, sidecar_problems
from kit.system.fsio import read_json

_HINT = "Use a model that `verdict` exported (exports/*.onnx of a run with PROMOTE), or `export`."
_INPUT_NAMES = ((contract.FEATURES_INPUT,), (contract.FEATURES_INPUT, contract.CODEC_INPUT))
_OUTPUT_NAMES = ((contract.SCORE_OUTPUT,), (contract.SCORE_OUTPUT, contract.SPREAD_OUTPUT), (contract.TINY_OUTPUT,))
_IN_ONE_FILE = "`repair-onnx` writes a copy with the weights inside."
_AGAIN = "Get the model and its sidecar again; they belong together."


@dataclass(frozen=True, kw_only=True)
class ModelFile:
    """A loaded model.

    Attributes:
        sidecar: content of its sidecar; None without one.
        inputs: names of its inputs.
        codec_aware: whether it takes the codec block.
        outputs: names of its outputs, the score first.
    """

    path: Path
    sha256: str
    sidecar: Mapping[str, Any] | None
    inputs: Inputs
    codec_aware: bool
    outputs: tuple[str, ...]
    session: InferenceSession

    @property
    def ensemble(self) -> bool:
        """Whether it computes a spread."""
        return len(self.outputs) == 2

    @property
    def teacher(self) -> Mapping[str, str | None] | None:
        """The model whose score it was trained on, if recorded."""
        return self.sidecar["corpus"]["teacher"] if self.sidecar else None

    @property
    def untrained(self) -> tuple[str, ...]:
        """Encoders of the vocabulary that were not in its corpus, if recorded."""
        return tuple(self.sidecar["untrained_encoders"]) if self.sidecar and self.codec_aware else ()

    @property
    def trained_encoders(self) -> tuple[str, ...]:
        """Encoders whose slot it was trained with, if recorded."""
        return tuple(self.sidecar["trained_encoders"]) if self.sidecar and self.codec_aware else ()

    @property
    def knows_unknown(self) -> bool:
        """Whether its training had rows of unknown encoders; then an encoder that was not in training is one."""
        return bool(self.sidecar and self.sidecar["training_recipe"].get("block_dropout"))

    @property
    def half_widths(self) -> Mapping[str, Any] | None:
        """Calibrated half-widths for ``frame`` and ``clip`` by level, if recorded, see the sidecar's schema."""
        return self.sidecar.get("half_widths") if self.sidecar else None

    @property
    def input_ranges(self) -> Mapping[str, list[float]]:
        """Lowest and highest value in training of each input; empty if not recorded."""
        return self.sidecar.get("input_ranges", {}) if self.sidecar else {}

    @property
    def resolutions(self) -> tuple[str, ...]:
        """Resolutions in training, such as ``640x360``; empty if not recorded."""
        return tuple(self.sidecar.get("resolutions", ())) if self.sidecar else ()

    @property
    def identity(self) -> dict[str, object]:
        """What documents record of it; facts of its corpus are null without a sidecar."""
        corpus = self.sidecar["corpus"] if self.sidecar else {}
        return {
            "file": self.path.name,
            "sha256": self.sha256,
            "corpus_sha256": corpus.get("sha256"),
            "source_ids": corpus.get("source_ids"),
        }

    def scores(self, features: Floats, codec: Floats) -> tuple[Floats, Floats | None]:
        """Return scores of frames in VMAF points, float32 [n], and their spread over the members of an ensemble.

        Args:
            features: float32 [n, features], raw; codec: float32 [n, slots], ignored unless it is codec-aware.

        Raises:
            CheckFailed: a value is not finite, or there is not one value per row.
        """
        computed = runtime.compute(self.session, features, codec)
        columns = {name: values.reshape(-1) for name, values in computed.items()}  # older models return [n, 1]
        for name, values in columns.items():
            if len(values) != len(features):
                raise CheckFailed(
                    f"{self.path.name}: {len(values)} values of {name} for {len(features)} rows", hint=_HINT
                )
            if bad := int(np.count_nonzero(~np.isfinite(values))):
                raise CheckFailed(f"{self.path.name}: {bad} values of {name} are not finite", hint=_HINT)
        return columns[self.outputs[0]], columns.get(contract.SPREAD_OUTPUT)


def open_model(path: Path, option: str = "--model") -> ModelFile:
    """Load a model and its sidecar.

    Args:
        option: that named the file.

    Raises:
        BadInput: missing, not a model, or its inputs and outputs are not those of the kit; or a damaged sidecar.
        CheckFailed: the sidecar describes another file.
    """
    session, digest = _open_session(path, option)
    widths = {end.name: end.shape[1:] for end in session.get_inputs() if end.type == "tensor(float)"}
    outputs = tuple(end.name for end in session.get_outputs())
    sidecar = _read_sidecar(path.with_suffix(".json"))
    inputs = inputs_of(sidecar) if sidecar else _known_by_width(widths)
    if tuple(widths) not in _INPUT_NAMES or outputs not in _OUTPUT_NAMES or inputs is None:
        raise BadInput(
            f"{option}: {path.name} takes {widths} and returns {list(outputs)}; expected {contract.FEATURES_INPUT} of "
            f"a known feature set, with or without {contract.CODEC_INPUT}; score, with or without score_std, or vmaf",
            hint=_HINT,
        )
    if other := [end for end in (*session.get_inputs(), *session.get_outputs()) if not _any_rows(end)]:
        shapes = ", ".join(f"{end.name} {end.shape}" for end in other)
        raise BadInput(f"{option}: {path.name} has {shapes}; expected any number of rows, one score each", hint=_HINT)
    model = ModelFile(
        path=path,
        sha256=digest,
        sidecar=sidecar,
        inputs=inputs,
        codec_aware=contract.CODEC_INPUT in widths,
        outputs=outputs,
        session=session,
    )
    if sidecar:
        _compare(model, sidecar, widths)
    return model


def _open_session(path: Path, option: str) -> tuple[InferenceSession, str]:
    """Load an ONNX file; return its session and its SHA-256."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadInput(f"{option}: {path} cannot be read: {error.strerror}", hint=_HINT) from error
    if external := find_external_weights(path, data):
        raise BadInput(f"{option}: {external.describe(path.name)}", hint=_IN_ONE_FILE)
    try:
        return runtime.open_session(data), hashlib.sha256(data).hexdigest()
    except Exception as error:  # onnxruntime's errors have no class in common
        raise BadInput(f"{option}: onnxruntime cannot load {path.name}: {error}", hint=_HINT) from error


def _known_by_width(widths: Mapping[str, list[int]]) -> Inputs | None:
    """Return the inputs of the contract that have these widths; None without any."""
    for feature_set in contract.FEATURE_COLUMNS:
        for version in contract.ENCODER_VOCABS:
            inputs = known_inputs(feature_set, version)
            expected = {contract.FEATURES_INPUT: [len(inputs.features)], contract.CODEC_INPUT: [inputs.codec_width]}
            if all(expected.get(name) == width for name, width in widths.items()):
                return inputs if contract.CODEC_INPUT in widths else known_inputs(feature_set)
    return None


def _any_rows(end: NodeArg) -> bool:
    """Return whether an input or output has any number of rows, and an output at most one column."""
    rows, *columns = end.shape or [1]
    is_input = end.name in (contract.FEATURES_INPUT, contract.CODEC_INPUT)
    return not isinstance(rows, int) and (is_input or columns in ([], [1]))


def baseline_model(path: Path) -> ModelFile:
    """Load a model that a new ensemble is compared with; it has to follow the rules of exported models.

    Raises:
        BadInput: it cannot be loaded, or breaks a rule.
        CheckFailed: the sidecar describes another file.
    """
    from kit.models.graph_format import format_problems  # late: onnx is slow to import, and `score` does not need it

    model = open_model(path, "--baseline")
    if problems := format_problems(
        path.read_bytes(), model.inputs, codec_aware=model.codec_aware, outputs=model.outputs
    ):
        raise BadInput(f"--baseline: {path.name}: {'; '.join(problems)}", hint=_HINT)
    return model


def _read_sidecar(path: Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    value: Any = read_json(path)
    if problems := sidecar_problems(value):
        raise BadInput(f"{path.name} is not the sidecar of a model: {problems[0]}", hint=_AGAIN)
    return dict(value)


def _compare(model: ModelFile, sidecar: Mapping[str, Any], widths: Mapping[str, list[int]]) -> None:
    """Raise CheckFailed if the sidecar describes another model."""
    expected = {contract.FEATURES_INPUT: [len(model.inputs.features)]}
    if sidecar["codec_aware"]:
        expected[contract.CODEC_INPUT] = [model.inputs.codec_width]
    for name, recorded, actual in (
        ("sha256", sidecar["sha256"], model.sha256),
        ("inputs", expected, dict(widths)),
        ("output_names", sidecar["output_names"], list(model.outputs)),
    ):
        if recorded != actual:
            raise CheckFailed(
                f"{model.path.with_suffix('.json').name}: {name} {recorded}; {model.path.name} has {actual}",
                hint=_AGAIN,
            )
