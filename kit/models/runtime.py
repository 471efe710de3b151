"""onnxruntime on the CPU with one thread; models are loaded from the bytes that were hashed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from kit.core import contract

Floats = NDArray[np.float32]
#: Rows of one call, so that memory does not grow with the corpus.
BLOCK = 1 << 14
_ERRORS_ONLY = 3


@dataclass(frozen=True, kw_only=True)
class Checked:
    """Result of the comparison of a graph with torch.

    Attributes:
        rows: number of compared rows.
        largest: largest difference in VMAF points; of an ensemble the larger of mean and spread.
    """

    rows: int
    largest: float


def open_session(data: bytes) -> onnxruntime.InferenceSession:
    """Return a session of the graph in ``data``.

    Raises:
        Exception: onnxruntime cannot load it; its errors have no class in common.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = _ERRORS_ONLY
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def compute(session: onnxruntime.InferenceSession, features: Floats, codec: Floats) -> dict[str, Floats]:
    """Return every output of a graph by name, float32 [n].

    Args:
        features: float32 [n, features], raw; codec: float32 [n, slots], ignored if the graph has no such input.
    """
    given = {contract.FEATURES_INPUT: features, contract.CODEC_INPUT: codec}
    taken = [end.name for end in session.get_inputs()]
    names = [end.name for end in session.get_outputs()]
    parts = [
        session.run(names, {name: given[name][begin : begin + BLOCK] for name in taken})
        for begin in range(0, len(features), BLOCK)
    ]
    return {name: np.concatenate([part[index] for part in parts]) for index, name in enumerate(names)}
