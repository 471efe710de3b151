"""From trained networks to the bytes of an ONNX file. Pure: the same weights give the same bytes.

Inputs are raw features and the codec block; the standardiser, the clipping of scores to the teacher's range and, for an
ensemble, mean and standard deviation over its members are part of the graph. Weights are inside the file.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from kit import __version__
from kit.core import contract
from kit.training.model import Network
from kit.training.standardiser import Standardiser

PRODUCER = "vmaf-ensemble-kit"
_ROWS = "N"


def single(network: Network, scale: Standardiser, output: str = contract.SCORE_OUTPUT) -> bytes:
    """Return the graph of one network, whose ``output`` is [N]."""
    graph = _Graph(network, scale)
    hidden = graph.standardised
    for layer, (weight, bias) in enumerate(_layers(network)):
        if layer:
            hidden = graph.activated(hidden)
        hidden = graph.gemm(str(layer), hidden, weight, bias)
    graph.add("Clip", graph.squeezed(hidden, axis=1), *graph.limits(), to=output)
    return graph.serialised(network.arch.name)


def fused(networks: Sequence[Network], scale: Standardiser) -> bytes:
    """Return the graph of an ensemble: ``score`` [N], the mean over its members, and ``score_std`` [N] with ddof 1.

    The first layers of all members are one product, the others products of matrices whose first axis is the members.
    Each member is clipped before the mean, as in the single graphs. ``score_std`` is that of members before they are
    clipped: members that all end at 0 or at 100 would otherwise agree exactly where they are far off.

    Raises:
        ValueError: fewer than two networks, or of different architectures or encoders in training.
    """
    arch, count = networks[0].arch, len(networks)
    if count < 2 or any(network.arch != arch or _slots(network) != _slots(networks[0]) for network in networks):
        raise ValueError("an ensemble needs two networks or more of one architecture, trained with the same encoders")
    graph = _Graph(networks[0], scale)
    first, *others = zip(*map(_layers, networks), strict=True)
    hidden = graph.split(graph.gemm("0", graph.standardised, *map(np.concatenate, zip(*first, strict=True))), count)
    for layer, members in enumerate(others, start=1):
        weights = np.stack([weight.T for weight, _ in members])
        biases = np.stack([bias[None, :] for _, bias in members])
        product = graph.add("MatMul", graph.activated(hidden), graph.constant(f"weight{layer}", weights))
        hidden = graph.add("Add", product, graph.constant(f"bias{layer}", biases))
    scores = graph.squeezed(hidden, axis=2)  # [members, N]
    clipped = graph.add("Clip", scores, *graph.limits())
    graph.add("ReduceMean", clipped, to=contract.SCORE_OUTPUT, axes=[0], keepdims=0)
    off = graph.add("Sub", scores, graph.add("ReduceMean", scores, axes=[0], keepdims=0))
    squares = graph.add("ReduceMean", graph.add("Mul", off, off), axes=[0], keepdims=0)
    variance = graph.add("Mul", squares, graph.number("bessel", count / (count - 1)))
    graph.add("Sqrt", variance, to=contract.SPREAD_OUTPUT)
    return graph.serialised(f"{arch.name}_{contract.ENSEMBLE}")


def _slots(network: Network) -> list[float] | None:
    return None if network.trained_slots is None else list(network.trained_slots.tolist())


def _layers(network: Network) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Return weight [out, in] and bias [out] of each layer."""
    pairs = zip(network.weights, network.biases, strict=True)
    return [(weight.detach().numpy(), bias.detach().numpy()) for weight, bias in pairs]


class _Graph:
    """An unfinished graph; every method returns the name of what it added."""

    def __init__(self, network: Network, scale: Standardiser) -> None:
        self._arch = arch = network.arch
        trained_slots = None if network.trained_slots is None else network.trained_slots.numpy()
        self._nodes: list[NodeProto] = []
        self._constants: dict[str, TensorProto] = {}
        self._inputs = [_end(contract.FEATURES_INPUT, len(arch.inputs.features))]
        self._outputs: list[ValueInfoProto] = []
        shifted = self.add("Sub", contract.FEATURES_INPUT, self.constant("feature_mean", scale.mean))
        self.standardised = self.add("Div", shifted, self.constant("feature_std", scale.std))
        if arch.codec_aware:
            self._inputs.append(_end(contract.CODEC_INPUT, arch.inputs.codec_width))
            block = contract.CODEC_INPUT if trained_slots is None else self.known_block(trained_slots)
            self.standardised = self.add("Concat", self.standardised, block, axis=1)

    def known_block(self, trained_slots: NDArray[np.float32]) -> str:
        """Add the codec block, all zeros for an encoder that was not in training: such blocks the network has seen."""
        slots = self.constant("trained_slots", trained_slots[:, None])
        limits = self.number("unknown", 0), self.number("known", 1)
        known = self.add("Clip", self.add("MatMul", contract.CODEC_INPUT, slots), *limits)
        return self.add("Mul", contract.CODEC_INPUT, known)

    def constant(self, name: str, value: NDArray[np.generic]) -> str:
        self._constants[name] = numpy_helper.from_array(np.ascontiguousarray(value), name)
        return name

    def number(self, name: str, value: float) -> str:
        return self.constant(name, np.array(value, dtype=np.float32))

    def limits(self) -> tuple[str, str]:
        """Add the limits of the teacher's range."""
        low, high = contract.SCORE_RANGE
        return self.number("lowest", low), self.number("highest", high)

    def add(self, op: str, *inputs: str, to: str = "", **attributes: Any) -> str:
        """Add a node; ``to`` names it and makes it an output [N] of the graph."""
        name = to or f"{op.lower()}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(op, list(inputs), [name], name=f"{op}_{len(self._nodes)}", **attributes))
        if to:
            self._outputs.append(_end(to))
        return name

    def gemm(self, layer: str, name: str, weight: NDArray[np.float32], bias: NDArray[np.float32]) -> str:
        """Add a layer: weight [out, in], bias [out]."""
        parts = self.constant(f"weight{layer}", weight), self.constant(f"bias{layer}", bias)
        return self.add("Gemm", name, *parts, transB=1)

    def split(self, name: str, count: int) -> str:
        """Reshape [N, members x width] to [members, N, width]."""
        shape = self.constant("members", np.array([0, count, -1], dtype=np.int64))
        return self.add("Transpose", self.add("Reshape", name, shape), perm=[1, 0, 2])

    def squeezed(self, name: str, *, axis: int) -> str:
        return self.add("Squeeze", name, self.constant("squeezed", np.array([axis], dtype=np.int64)))

    def activated(self, name: str) -> str:
        """Add ReLU, or GELU as x · (1 + erf(x / √2)) / 2: exact, as in torch."""
        if self._arch.activation == "relu":
            return self.add("Relu", name)
        erf = self.add("Erf", self.add("Div", name, self.number("sqrt2", math.sqrt(2))))
        product = self.add("Mul", name, self.add("Add", erf, self.number("one", 1)))
        return self.add("Mul", product, self.number("half", 0.5))

    def serialised(self, name: str) -> bytes:
        graph = helper.make_graph(
            self._nodes, name, self._inputs, self._outputs, initializer=list(self._constants.values())
        )
        model: ModelProto = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", contract.ONNX_OPSET)],
            ir_version=contract.ONNX_IR_VERSION,
            producer_name=PRODUCER,
            producer_version=__version__,
        )
        data: bytes = model.SerializeToString(deterministic=True)
        return data


def _end(name: str, *widths: int) -> ValueInfoProto:
    """Return an input or output of the graph: float32 [N, …]."""
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, [_ROWS, *widths])
