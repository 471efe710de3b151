"""How long a model takes for a clip, as onnxruntime has it at best: one thread, the CPU, memory bound once."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import onnxruntime

from kit.core import contract
from kit.models.runtime import Floats

#: Frames of the synthetic clip: ten seconds at 24 frames a second.
FRAMES = 240
#: Calls that are timed, and calls before them that are not.
CALLS, WARM_UP = 1000, 100


def clip() -> dict[str, Floats]:
    """The synthetic clip by name of a graph's input: features [240, 6] within their ranges, codec block [240, 18]."""
    low, high = np.array([contract.FEATURE_RANGES[name] for name in contract.FEATURES], dtype=np.float32).T
    drawn = np.random.default_rng(0).random((FRAMES, len(low)), dtype=np.float32)
    codec = np.zeros((FRAMES, contract.CODEC_DIM), dtype=np.float32)
    codec[:, 0] = 1
    return {contract.FEATURES_INPUT: low + (high - low) * drawn, contract.CODEC_INPUT: codec}


def bound(session: onnxruntime.InferenceSession) -> Callable[[], object]:
    """A call that computes the synthetic clip; inputs and outputs stay where they are."""
    given, binding = clip(), session.io_binding()
    for end in session.get_inputs():
        binding.bind_ortvalue_input(end.name, onnxruntime.OrtValue.ortvalue_from_numpy(given[end.name]))
    for end in session.get_outputs():
        shape = [FRAMES, *end.shape[1:]]
        binding.bind_ortvalue_output(end.name, onnxruntime.OrtValue.ortvalue_from_shape_and_type(shape, np.float32))
    return lambda: session.run_with_iobinding(binding)


def milliseconds(call: Callable[[], object]) -> tuple[float, float]:
    """Median and 95th percentile of a call."""
    times = []
    for _ in range(WARM_UP + CALLS):
        start = time.perf_counter_ns()
        call()
        times.append(time.perf_counter_ns() - start)
    middle, high = np.percentile(times[WARM_UP:], (50, 95)) / 1e6
    return float(middle), float(high)
