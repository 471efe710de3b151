"""A copy of an ONNX file that holds the weights which the original only names."""

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
from kit.models.external_data import ExternalWeights, find_external_weights, is_external, place, tensors
from kit.models.registry import refuse_overwrite
from kit.system.fsio import write_bytes

#: Bytes that a model and its weights may have: heads on six features have kilobytes.
LARGEST = 1 << 28
#: Exporters let a tensor begin at a multiple of at most so many bytes, and fill up with zeros.
_ALIGNMENT = 1 << 16
_DAMAGED = "Get it again from where it came: it is damaged, or something else."
_OTHERS = "These weights are another model's: give the file that belongs to it with --data."


def repair(path: Path, data: Path | None, out: Path) -> ExternalWeights:
    """Write a copy that needs no other file, once onnxruntime has taken it.

    Args:
        data: where the weights are; None for the file that the model names, or the only ``*.data`` beside it.

    Returns:
        What was not in the original.

    Raises:
        Missing, BadInput: the model holds everything itself or cannot be read, or nothing tells where the weights are.
        CheckFailed: they do not fit the model, or the copy is none that onnxruntime takes.
    """
    refuse_overwrite([out], [path, *path.parent.glob("*.data"), *([] if data is None else [data])])
    content = _read(path, "the model")
    model, found = _parsed(path, content), find_external_weights(path, content)
    if found is None:
        _refuse_whole(path, model)
    weights = _read(_place(path, found, data), "--data")
    end = max(_take_in(tensor, weights, path.name) for tensor in tensors(model) if is_external(tensor))
    if len(weights) - end >= _ALIGNMENT or any(weights[end:]):
        raise CheckFailed(f"{path.name}: its weights end at byte {end}, the file has {len(weights)}", hint=_OTHERS)
    try:
        onnx.checker.check_model(model, full_check=True)
        content = model.SerializeToString(deterministic=True)
        runtime.open_session(content)
    except Exception as error:  # onnx and onnxruntime have no class of errors in common
        raise CheckFailed(
            f"with these weights {path.name} is no valid model: {str(error)[:300]}", hint=_OTHERS
        ) from error
    write_bytes(out, content)
    return found


def _read(path: Path, what: str) -> bytes:
    if not path.is_file():
        raise Missing(f"{what}: {path} is {'a folder' if path.is_dir() else 'not there'}", hint="Give the file's path.")
    if (size := path.stat().st_size) > LARGEST:
        raise BadInput(f"{what}: {path.name} has {size} bytes, more than {LARGEST}; this is no head on six features")
    return path.read_bytes()


def _parsed(path: Path, content: bytes) -> ModelProto:
    try:
        return onnx.load_model_from_string(content)
    except DecodeError as error:
        raise BadInput(f"{path.name} cannot be read as ONNX: {error}", hint=_DAMAGED) from error


def _refuse_whole(path: Path, model: ModelProto) -> NoReturn:
    """Say why a model that names no other file is not repaired."""
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        raise BadInput(f"{path.name} is no valid ONNX model: {str(error)[:300]}", hint=_DAMAGED) from error
    raise BadInput(
        f"{path.name} names no weights in another file; there is nothing to repair",
        hint="A model that holds its weights itself needs no copy.",
    )


def _place(path: Path, found: ExternalWeights, data: Path | None) -> Path:
    """Where the weights are."""
    if data is not None:
        return data
    named = [name for name in found.names if name in found.there]
    places = named or list(found.there)
    if len(found.names) != 1 or len(places) != 1:
        raise BadInput(found.describe(path.name), hint="Name the file with --data.")
    return path.parent / places[0]


def _take_in(tensor: TensorProto, weights: bytes, model: str) -> int:
    """Give a tensor its values; returns where in ``weights`` they end."""
    told = place(tensor)
    begin = _number(told.get("offset", "0"), model)
    length = _number(told.get("length", str(len(weights) - begin)), model)
    expected = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize * math.prod(tensor.dims)
    if begin < 0 or length != expected or begin + length > len(weights):
        raise CheckFailed(
            f"{model}: {tensor.name} should be {expected} bytes at byte {begin}; {length} are said to be "
            f"there, and the file has {len(weights)}",
            hint=_OTHERS,
        )
    tensor.raw_data = weights[begin : begin + length]
    del tensor.external_data[:]
    tensor.data_location = TensorProto.DEFAULT
    values = numpy_helper.to_array(tensor)
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise CheckFailed(f"{model}: {tensor.name} would hold values that are not finite", hint=_OTHERS)
    return begin + length


def _number(text: str, model: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise CheckFailed(f"{model} tells a place in its file of weights as {text!r:.40}", hint=_OTHERS) from error
