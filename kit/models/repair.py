"""Write a copy of an ONNX file with its external weights inside."""

from __future__ import annotations

import math
from pathlib import Path
from typing import NoReturn

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import ModelProto, TensorProto, numpy_helper

from kit.core.errors import BadInput, CheckFailed, Missing
from kit.models import runtime
from kit.models.external_data import ExternalWeights, find_external_weights, is_external, location, tensors
from kit.models.registry import refuse_overwrite
from kit.system.fsio import write_bytes

#: Most bytes of a model or its weights: heads on features have kilobytes.
LARGEST = 1 << 28
#: Exporters align tensors to a multiple of at most this many bytes, and pad with zeros.
_ALIGNMENT = 1 << 16
_DAMAGED = "Get the file again: it is damaged, or not a model."
_WEIGHTS = "These weights belong to another model: name the right file with --data."


def repair(path: Path, data: Path | None, out: Path) -> ExternalWeights:
    """Write a copy that needs no other file, after onnxruntime has loaded it.

    Args:
        data: file of the weights; None for the file that the model names, or the only ``*.data`` in its folder.

    Returns:
        The external weights of the original.

    Raises:
        Missing, BadInput: the model has no external weights or cannot be read, or their file is not known.
        CheckFailed: they do not fit the model, or onnxruntime cannot load the copy.
    """
    refuse_overwrite([out], [path, *path.parent.glob("*.data"), *([] if data is None else [data])])
    content = _read(path, "the model")
    model, external = _parsed(path, content), find_external_weights(path, content)
    if external is None:
        _refuse_complete(path, model)
    weights = _read(_weights_file(path, external, data), "--data")
    end = max(_fill(tensor, weights, path.name) for tensor in tensors(model) if is_external(tensor))
    if len(weights) - end >= _ALIGNMENT or any(weights[end:]):
        raise CheckFailed(
            f"{path.name}: its weights end at byte {end}; the file has {len(weights)} bytes", hint=_WEIGHTS
        )
    try:
        onnx.checker.check_model(model, full_check=True)
        content = model.SerializeToString(deterministic=True)
        runtime.open_session(content)
    except Exception as error:  # onnx and onnxruntime have no class of errors in common
        raise CheckFailed(
            f"{path.name} is not a valid model with these weights: {str(error)[:300]}", hint=_WEIGHTS
        ) from error
    write_bytes(out, content)
    return external


def _read(path: Path, what: str) -> bytes:
    if not path.is_file():
        raise Missing(f"{what}: {path} is {'a folder' if path.is_dir() else 'missing'}", hint="Give its path.")
    if (size := path.stat().st_size) > LARGEST:
        raise BadInput(f"{what}: {path.name} has {size} bytes; at most {LARGEST} are read")
    return path.read_bytes()


def _parsed(path: Path, content: bytes) -> ModelProto:
    try:
        return onnx.load_model_from_string(content)
    except DecodeError as error:
        raise BadInput(f"{path.name} cannot be read as ONNX: {error}", hint=_DAMAGED) from error


def _refuse_complete(path: Path, model: ModelProto) -> NoReturn:
    """Raise BadInput for a model without external weights."""
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        raise BadInput(f"{path.name} is not a valid ONNX model: {str(error)[:300]}", hint=_DAMAGED) from error
    raise BadInput(
        f"{path.name} has no weights in another file: nothing to repair",
        hint="Use the model as it is.",
    )


def _weights_file(path: Path, external: ExternalWeights, data: Path | None) -> Path:
    if data is not None:
        return data
    candidates = [name for name in external.names if name in external.present] or list(external.present)
    if len(external.names) != 1 or len(candidates) != 1:
        raise BadInput(external.describe(path.name), hint="Name the file with --data.")
    return path.parent / candidates[0]


def _fill(tensor: TensorProto, weights: bytes, model: str) -> int:
    """Set the values of a tensor; return the byte in ``weights`` after them."""
    named = location(tensor)
    begin = _number(named.get("offset", "0"), model)
    length = _number(named.get("length", str(len(weights) - begin)), model)
    expected = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize * math.prod(tensor.dims)
    if begin < 0 or length != expected or begin + length > len(weights):
        raise CheckFailed(
            f"{model}: {tensor.name} has {expected} bytes; {length} are recorded at byte {begin} of a file with "
            f"{len(weights)}",
            hint=_WEIGHTS,
        )
    tensor.raw_data = weights[begin : begin + length]
    del tensor.external_data[:]
    tensor.data_location = TensorProto.DEFAULT
    values = numpy_helper.to_array(tensor)
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise CheckFailed(f"{model}: {tensor.name} has values that are not finite", hint=_WEIGHTS)
    return begin + length


def _number(text: str, model: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise CheckFailed(
            f"{model} has an offset or length that is not a number: {text!r:.40}", hint=_WEIGHTS
        ) from error
