"""onnxruntime, as the kit uses it: the CPU, one thread, from bytes, so that what is loaded is what was hashed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from kit.core import contract

Floats = NDArray[np.float32]
#: Rows that are computed at once, so that memory does not grow with the corpus.
BLOCK = 1 << 14
_ERRORS_ONLY = 3


@dataclass(frozen=True, kw_only=True)
class Checked:
    """What a check has found of a graph that passed.

    Attributes:
        rows: real rows on which it was compared with torch.
        largest: the largest difference from torch there, in VMAF points; of an ensemble that of mean or spread.
    """

    rows: int
    largest: float


def open_session(data: bytes) -> onnxruntime.InferenceSession:
    """A session of the graph in ``data``.

    Raises:
        Exception: onnxruntime cannot load it; its errors have no class in common.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = _ERRORS_ONLY
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def compute(session: onnxruntime.InferenceSession, features: Floats, codec: Floats) -> dict[str, Floats]:
    """Every output of a graph by name, float32 [n].

    Args:
        features: float32 [n, 6], raw; codec: float32 [n, 18], left out where the graph does not take it.
    """
    given = {contract.FEATURES_INPUT: features, contract.CODEC_INPUT: codec}
    taken = [end.name for end in session.get_inputs()]
    names = [end.name for end in session.get_outputs()]
    parts = [
        session.run(names, {name: given[name][begin : begin + BLOCK] for name in taken})
        for begin in range(0, len(features), BLOCK)
    ]
    return {name: np.concatenate([part[index] for part in parts]) for index, name in enumerate(names)}
