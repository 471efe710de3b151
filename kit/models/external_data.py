"""Weights that an ONNX file names but does not hold.

onnxruntime looks for them in the working folder when it is given bytes, so that what computes is not what was hashed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto, TensorProto

#: Every tensor that lies elsewhere says where under this key (onnx.proto, TensorProto.external_data).
_KEY = b"location"


@dataclass(frozen=True, kw_only=True)
class ExternalWeights:
    """What of a model is not in its file.

    Attributes:
        names: files that it says the weights are in, relative to its folder.
        tensors: how many of them there are.
        there: files with weights that lie beside it.
    """

    names: tuple[str, ...]
    tensors: int
    there: tuple[str, ...]

    def describe(self, model: str) -> str:
        """What is wrong, in a sentence without its end."""
        beside = f"beside it lies {', '.join(self.there)}" if self.there else "no *.data lies beside it"
        names = ", ".join(self.names)
        return f"{model} does not hold {self.tensors} of its weights: it says they are in {names}; {beside}"


def find_external_weights(path: Path, data: bytes) -> ExternalWeights | None:
    """What of the model in ``data``, read from ``path``, lies elsewhere; None if nothing does, or it is no ONNX."""
    if _KEY not in data:  # the model that is in one file is told without onnx, which takes its time to import
        return None
    import onnx
    from google.protobuf.message import DecodeError

    try:
        found = [tensor for tensor in tensors(onnx.load_model_from_string(data)) if is_external(tensor)]
    except DecodeError:
        return None
    if not found:
        return None
    there = sorted(one.name for one in path.parent.glob("*.data") if one.is_file())
    names = dict.fromkeys(place(tensor).get("location", "no file") for tensor in found)
    return ExternalWeights(names=tuple(names), tensors=len(found), there=tuple(there))


def tensors(model: ModelProto) -> Iterator[TensorProto]:
    """Every tensor of a model, those of graphs and functions inside it too."""
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
    """Whether its values are in another file."""
    return bool(tensor.data_location or tensor.external_data)


def place(tensor: TensorProto) -> dict[str, str]:
    """Where its values are: ``location``, and unless it is the whole file ``offset`` and ``length`` in bytes."""
    return {entry.key: entry.value for entry in tensor.external_data}
