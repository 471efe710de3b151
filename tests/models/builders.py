"""Models as other exporters write them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from kit.core import contract
from tests.features.builders import OFFSET, SLOPES


def foreign(
    path: Path,
    *,
    opset: int = contract.ONNX_OPSET,
    data: str = "",
    rows: str | int = "N",
    shape: tuple[int, ...] = (-1,),
) -> Path:
    """Write the line of tests/features as another exporter does; with ``data`` its weights are in that file."""
    parts = {"w": SLOPES[:, None], "b": np.array([OFFSET], dtype=np.float32), "shape": np.array(shape, dtype=np.int64)}
    nodes = [
        helper.make_node("Gemm", ["features", "w", "b"], ["line"]),
        helper.make_node("Reshape", ["line", "shape"], ["vmaf"]),
    ]
    graph = helper.make_graph(
        nodes,
        "foreign",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, [rows, 6])],
        [helper.make_tensor_value_info("vmaf", TensorProto.FLOAT, [rows, *shape[1:]])],
        [numpy_helper.from_array(array, name) for name, array in parts.items()],
    )
    made_model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save_model(made_model, path, save_as_external_data=bool(data), location=data or None, size_threshold=0)
    return path


def renamed_model(folder: Path) -> Path:
    """Write a model that names a file of weights which was renamed afterwards."""
    path = foreign(folder / "tiny_v1.onnx", data="head_final.onnx.data")
    (path.parent / "head_final.onnx.data").rename(path.parent / "tiny_v1.onnx.data")
    return path


STEM = f"{contract.ARCH}_{contract.ENSEMBLE}"
#: Fields that sidecars have since version 2.
SECOND_VERSION = (
    "feature_set",
    "input_normalization",
    "dataset",
    "parent_dataset_manifest",
    "companion_of",
    "companion_reason",
    "accuracy",
    "half_widths",
    "input_ranges",
    "resolutions",
    "example",
)
