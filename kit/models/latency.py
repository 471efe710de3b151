"""Time of a model for a clip in onnxruntime: one thread, the CPU, memory bound once."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import onnxruntime

from kit.core import contract
from kit.core.inputs import Inputs
from kit.models.runtime import Floats

#: Frames of the synthetic clip: ten seconds at 24 frames a second.
FRAMES = 240
#: Timed calls, and untimed calls before them.
CALLS, WARM_UP = 1000, 100


def synthetic_clip(inputs: Inputs) -> dict[str, Floats]:
    """Return a clip by name of input: features [240, features] within their ranges, codec block [240, slots]."""
    low, high = np.array(inputs.ranges, dtype=np.float32).T
    drawn = np.random.default_rng(0).random((FRAMES, len(low)), dtype=np.float32)
    codec = np.zeros((FRAMES, inputs.codec_width), dtype=np.float32)
    codec[:, 0] = 1
    return {contract.FEATURES_INPUT: low + (high - low) * drawn, contract.CODEC_INPUT: codec}


def bound(session: onnxruntime.InferenceSession, inputs: Inputs) -> Callable[[], object]:
    """Return a call that computes the synthetic clip; inputs and outputs stay in place."""
    given, binding = synthetic_clip(inputs), session.io_binding()
    for end in session.get_inputs():
        binding.bind_ortvalue_input(end.name, onnxruntime.OrtValue.ortvalue_from_numpy(given[end.name]))
    for end in session.get_outputs():
        shape = [FRAMES, *end.shape[1:]]
        binding.bind_ortvalue_output(end.name, onnxruntime.OrtValue.ortvalue_from_shape_and_type(shape, np.float32))
    return lambda: session.run_with_iobinding(binding)


def milliseconds(call: Callable[[], object]) -> tuple[float, float]:
    """Return median and 95th percentile of a call."""
    times = []
    for _ in range(WARM_UP + CALLS):
        start = time.perf_counter_ns()
        call()
        times.append(time.perf_counter_ns() - start)
    middle, high = np.percentile(times[WARM_UP:], (50, 95)) / 1e6
    return float(middle), float(high)
