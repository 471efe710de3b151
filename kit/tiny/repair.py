"""A copy of an ONNX file that holds the weights which the original only names."""

from __future__ import annotations

import math
from pathlib import Path

import onnx
from onnx import TensorProto

from kit.errors import BadInput, Missing, Wanting
from kit.fsio import write_bytes
from kit.tiny.places import refuse_inputs
from kit.training import runtime
from kit.training.external_data import Outside, is_outside, outside, place, tensors

#: Bytes that a model and its weights may have: heads on six features have kilobytes.
LARGEST = 1 << 28
_OTHERS = "These weights are another model's: give the file that belongs to it with --data."


def repair(path: Path, data: Path | None, out: Path) -> Outside:
    """Write a copy that needs no other file, once onnxruntime has taken it.

    Args:
        data: where the weights are; None for the file that the model names, or the only ``*.data`` beside it.

    Returns:
        What was not in the original.

    Raises:
        Missing, BadInput: the model holds everything itself or cannot be read, or nothing tells where the weights are.
        Wanting: they do not fit the model, or the copy is none that onnxruntime takes.
    """
    refuse_inputs([out], [path, *path.parent.glob("*.data"), *([] if data is None else [data])])
    content = _read(path, "the model")
    found = outside(path, content)
    if found is None:
        raise BadInput(f"{path.name} is no ONNX file that names weights in another; there is nothing to repair",
                       hint="A model that holds its weights itself needs no copy.")  # fmt: skip
    weights = _read(_place(path, found, data), "--data")
    model = onnx.load_model_from_string(content)
    for tensor in tensors(model):
        if is_outside(tensor):
            _take_in(tensor, weights, path.name)
    try:
        onnx.checker.check_model(model, full_check=True)
        content = model.SerializeToString(deterministic=True)
        runtime.open_session(content)
    except Exception as error:  # onnx and onnxruntime have no class of errors in common
        raise Wanting(f"with these weights {path.name} is no valid model: {str(error)[:300]}", hint=_OTHERS) from error
    write_bytes(out, content)
    return found


def _read(path: Path, what: str) -> bytes:
    if not path.is_file():
        raise Missing(f"{what}: {path} is {'a folder' if path.is_dir() else 'not there'}", hint="Give the file's path.")
    if (size := path.stat().st_size) > LARGEST:
        raise BadInput(f"{what}: {path.name} has {size} bytes, more than {LARGEST}; this is no head on six features")
    return path.read_bytes()


def _place(path: Path, found: Outside, data: Path | None) -> Path:
    """Where the weights are."""
    if data is not None:
        return data
    named = [name for name in found.names if name in found.there]
    places = named or list(found.there)
    if len(found.names) != 1 or len(places) != 1:
        raise BadInput(found.told(path.name), hint="Name the file with --data.")
    return path.parent / places[0]


def _take_in(tensor: TensorProto, weights: bytes, model: str) -> None:
    told = place(tensor)
    begin = _number(told.get("offset", "0"), model)
    length = _number(told.get("length", str(len(weights) - begin)), model)
    expected = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize * math.prod(tensor.dims)
    if begin < 0 or length != expected or begin + length > len(weights):
        raise Wanting(f"{model}: {tensor.name} should be {expected} bytes at byte {begin}; {length} are said to be "
                      f"there, and the file has {len(weights)}", hint=_OTHERS)  # fmt: skip
    tensor.raw_data = weights[begin : begin + length]
    del tensor.external_data[:]
    tensor.data_location = TensorProto.DEFAULT


def _number(text: str, model: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise Wanting(f"{model} tells a place in its file of weights as {text!r:.40}", hint=_OTHERS) from error
