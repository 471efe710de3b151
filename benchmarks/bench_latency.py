"""What a model costs in onnxruntime on one thread.

First the ensemble in one file against its networks one after another, for one row and a batch. Then tiny heads on a
clip of 240 rows with inputs and outputs bound, beside the floor: a session whose graph does nothing.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # before onnxruntime is loaded

import numpy as np
from onnx import TensorProto, helper

from kit.core import contract
from kit.core.inputs import DEFAULT_INPUTS
from kit.models import graph, latency, runtime
from kit.training.draws import Draws
from kit.training.model import Network
from kit.training.recipe import architecture
from kit.training.standardiser import Standardiser

#: Rows of a call: one frame, and as many as 240 of a clip's at once.
BATCHES = (1, 240)
TURNS, WARM_UP = 5000, 200
WAYS = ("fused, mean and spread", "five networks in turn", "one network")


def ways(rows: int) -> tuple[Callable[[], object], ...]:
    """What is timed, in the order of :data:`WAYS`; untrained networks compute as long as trained ones."""
    generator = np.random.default_rng(1)
    given = {
        contract.FEATURES_INPUT: generator.uniform(0, 1, (rows, len(contract.FEATURES))).astype(np.float32),
        contract.CODEC_INPUT: generator.uniform(0, 1, (rows, DEFAULT_INPUTS.codec_width)).astype(np.float32),
    }
    scale = Standardiser(mean=np.full(6, 0.5, dtype=np.float32), std=np.full(6, 0.3, dtype=np.float32))
    networks = [Network(architecture(), Draws(seed, ""), 50.0) for seed in contract.DEFAULT_SEEDS]
    singles = [runtime.open_session(graph.single(network, scale)) for network in networks]
    fused = runtime.open_session(graph.fused(networks, scale))
    return (
        lambda: fused.run(None, given),
        lambda: [single.run(None, given) for single in singles],
        lambda: singles[0].run(None, given),
    )


def nothing(*, scaler: bool) -> bytes:
    """The graph that hands its input on, or standardises it as every model does."""
    steps = [("Sub", ["features", "mean"]), ("Div", ["sub", "std"])] if scaler else [("Identity", ["features"])]
    nodes = [helper.make_node(op, inputs, ["sub" if op == "Sub" else "vmaf"]) for op, inputs in steps]
    columns = len(contract.FEATURES)
    constants = [helper.make_tensor(name, TensorProto.FLOAT, [columns], [0.5] * columns) for name in ("mean", "std")]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", columns]) for name in ("features", "vmaf")]
    made = helper.make_graph(nodes, "nothing", ends[:1], ends[1:], constants if scaler else [])
    opset = helper.make_opsetid("", contract.ONNX_OPSET)
    return bytes(
        helper.make_model(made, opset_imports=[opset], ir_version=contract.ONNX_IR_VERSION).SerializeToString()
    )


def heads() -> dict[str, Callable[[], object]]:
    """Calls with bound memory by name, each on the synthetic clip."""
    scale = Standardiser(mean=np.full(6, 0.5, dtype=np.float32), std=np.full(6, 0.5, dtype=np.float32))
    graphs = {"floor: hands its input on": nothing(scaler=False), "scaler: Sub and Div alone": nothing(scaler=True)}
    for name in ("linear", "mlp_small", "mlp_medium"):
        graphs[name] = graph.single(Network(architecture(name), Draws(0, ""), 50.0), scale, contract.TINY_OUTPUT)
    return {name: latency.bound(runtime.open_session(data), DEFAULT_INPUTS) for name, data in graphs.items()}


def measure(timed: Sequence[Callable[[], object]]) -> list[np.ndarray]:
    """Seconds of every call, the ways taken in turn so that a busy machine is busy for all."""
    found = np.empty((TURNS + WARM_UP, len(timed)))
    for turn in range(len(found)):
        for index, call in enumerate(timed):
            start = time.perf_counter()
            call()
            found[turn, index] = time.perf_counter() - start
    return list(found[WARM_UP:].T)


def main() -> None:
    """Print the table."""
    print(f"load of the last minute: {os.getloadavg()[0]:.1f}; microseconds of a call, {TURNS} turns, one thread")
    print(f"{'rows':>5}  {'way':26}{'p50':>9}{'p95':>9}{'p50 of five / this':>21}")
    for rows in BATCHES:
        found = measure(ways(rows))
        five = np.median(found[1])
        for name, seconds in zip(WAYS, found, strict=True):
            middle, high = np.percentile(seconds, (50, 95)) * 1e6
            print(f"{rows:>5}  {name:26}{middle:>9.1f}{high:>9.1f}{five / np.median(seconds):>21.2f}")
    timed = heads()
    found = measure(list(timed.values()))
    floor = np.median(found[0])
    print(f"\n{latency.FRAMES:>5}  {'tiny heads, memory bound':26}{'p50':>9}{'p95':>9}{'above the floor':>21}")
    for name, seconds in zip(timed, found, strict=True):
        middle, high = np.percentile(seconds, (50, 95)) * 1e6
        print(f"{'':>5}  {name:26}{middle:>9.1f}{high:>9.1f}{middle - floor * 1e6:>21.1f}")
    print(f"load of the last minute: {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
