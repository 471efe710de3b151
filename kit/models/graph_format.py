"""The rules that the file of a model keeps, found out without computing anything."""

from __future__ import annotations

from collections.abc import Sequence

import onnx
from onnx import TensorProto, ValueInfoProto

from kit.core import contract
from kit.models.external_data import is_external, tensors


def format_problems(data: bytes, *, codec_aware: bool, outputs: Sequence[str]) -> list[str]:
    """What breaks a rule of the format: validity, versions, operators, ends, and that all is in this one file."""
    model = onnx.load_model_from_string(data)
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        return [f"onnx.checker: {error}"]
    problems = []
    opsets = [(item.domain, item.version) for item in model.opset_import]
    if opsets != [("", contract.ONNX_OPSET)]:
        problems.append(f"operator sets {opsets}, expected {contract.ONNX_OPSET} of the standard ones alone")
    if model.ir_version != contract.ONNX_IR_VERSION:
        problems.append(f"ir_version {model.ir_version}, expected {contract.ONNX_IR_VERSION}")
    if strange := sorted({node.op_type for node in model.graph.node} - set(contract.ONNX_OPS)):
        problems.append(f"operators that are not allowed: {', '.join(strange)}")
    if elsewhere := [tensor.name for tensor in tensors(model) if is_external(tensor)]:
        problems.append(f"weights outside the file: {', '.join(elsewhere)}")
    wanted = {contract.FEATURES_INPUT: ["N", len(contract.FEATURES)]}
    if codec_aware:
        wanted[contract.CODEC_INPUT] = ["N", contract.CODEC_DIM]
    for what, ends, expected_ends in (
        ("inputs", model.graph.input, wanted),
        ("outputs", model.graph.output, {name: ["N"] for name in outputs}),
    ):
        if (found := _ends(ends)) != expected_ends:
            problems.append(f"{what} {found}, expected {expected_ends} of float32")
    return problems


def _ends(ends: Sequence[ValueInfoProto]) -> dict[str, list[str | int]]:
    """Name to shape of inputs or outputs; another type than float32 is told with the name."""
    found = {}
    for end in ends:
        kind = end.type.tensor_type
        shape = [size.dim_param or size.dim_value for size in kind.shape.dim]
        found[end.name + ("" if kind.elem_type == TensorProto.FLOAT else f" (type {kind.elem_type})")] = shape
    return found
