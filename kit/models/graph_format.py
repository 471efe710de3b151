"""The rules for the file of a model that can be checked without running it."""

from __future__ import annotations

from collections.abc import Sequence

import onnx
from onnx import TensorProto, ValueInfoProto

from kit.core import contract
from kit.core.inputs import Inputs
from kit.models.external_data import is_external, tensors


def format_problems(data: bytes, inputs: Inputs, *, codec_aware: bool, outputs: Sequence[str]) -> list[str]:
    """Return every broken rule: validity, versions, operators, inputs and outputs, weights inside the file."""
    model = onnx.load_model_from_string(data)
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        return [f"onnx.checker: {error}"]
    problems = []
    opsets = [(item.domain, item.version) for item in model.opset_import]
    if opsets != [("", contract.ONNX_OPSET)]:
        problems.append(f"operator sets {opsets}; expected only {contract.ONNX_OPSET} of the standard one")
    if model.ir_version != contract.ONNX_IR_VERSION:
        problems.append(f"ir_version {model.ir_version}; expected {contract.ONNX_IR_VERSION}")
    if forbidden := sorted({node.op_type for node in model.graph.node} - set(contract.ONNX_OPS)):
        problems.append(f"operators that are not allowed: {', '.join(forbidden)}")
    if external := [tensor.name for tensor in tensors(model) if is_external(tensor)]:
        problems.append(f"weights outside the file: {', '.join(external)}")
    widths = {contract.FEATURES_INPUT: ["N", len(inputs.features)]}
    if codec_aware:
        widths[contract.CODEC_INPUT] = ["N", inputs.codec_width]
    for what, ends, expected in (
        ("inputs", model.graph.input, widths),
        ("outputs", model.graph.output, {name: ["N"] for name in outputs}),
    ):
        if (shapes := _shapes(ends)) != expected:
            problems.append(f"{what} {shapes}; expected {expected} of float32")
    return problems


def _shapes(ends: Sequence[ValueInfoProto]) -> dict[str, list[str | int]]:
    """Return name to shape of inputs or outputs; a type other than float32 is part of the name."""
    shapes = {}
    for end in ends:
        kind = end.type.tensor_type
        shape = [size.dim_param or size.dim_value for size in kind.shape.dim]
        shapes[end.name + ("" if kind.elem_type == TensorProto.FLOAT else f" (type {kind.elem_type})")] = shape
    return shapes
