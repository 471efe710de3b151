"""Weights of an ONNX file that are stored in another file.

onnxruntime looks for them in the working folder when it loads bytes: the weights that compute would not be the hashed
ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto, TensorProto

#: Key of the file name in every external tensor (onnx.proto, TensorProto.external_data).
_KEY = b"location"


@dataclass(frozen=True, kw_only=True)
class ExternalWeights:
    """The weights of a model that are not in its file.

    Attributes:
        names: files that the model names, relative to its folder.
        tensors: number of external tensors.
        present: ``*.data`` files in the folder of the model.
    """

    names: tuple[str, ...]
    tensors: int
    present: tuple[str, ...]

    def describe(self, model: str) -> str:
        """Return the problem, without a full stop."""
        present = ", ".join(self.present) or "no *.data file"
        return f"{model} stores {self.tensors} weights outside, in {', '.join(self.names)}; its folder has {present}"


def find_external_weights(path: Path, data: bytes) -> ExternalWeights | None:
    """Return the external weights of the model in ``data``, read from ``path``; None without any, or if not ONNX."""
    if _KEY not in data:  # without importing onnx, which is slow
        return None
    import onnx
    from google.protobuf.message import DecodeError

    try:
        external = [tensor for tensor in tensors(onnx.load_model_from_string(data)) if is_external(tensor)]
    except DecodeError:
        return None
    if not external:
        return None
    present = sorted(file.name for file in path.parent.glob("*.data") if file.is_file())
    names = dict.fromkeys(location(tensor).get("location", "no file") for tensor in external)
    return ExternalWeights(names=tuple(names), tensors=len(external), present=tuple(present))


def tensors(model: ModelProto) -> Iterator[TensorProto]:
    """Yield every tensor of a model, nested graphs and functions included."""
    yield from _of_graph(model.graph)
    for function in model.functions:
        yield from _of_nodes(function.node)


def _of_graph(graph: GraphProto) -> Iterator[TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    yield from _of_nodes(graph.node)


def _of_nodes(nodes: Iterable[NodeProto]) -> Iterator[TensorProto]:
    for node in nodes:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            for inner in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])):
                yield from _of_graph(inner)


def is_external(tensor: TensorProto) -> bool:
    """Return whether the values of a tensor are in another file."""
    return bool(tensor.data_location or tensor.external_data)


def location(tensor: TensorProto) -> dict[str, str]:
    """Return ``location``, and unless it is the whole file ``offset`` and ``length`` in bytes."""
    return {entry.key: entry.value for entry in tensor.external_data}
