"""Checks of an exported graph: the rules of the format, and onnxruntime against torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from onnxruntime import InferenceSession

from kit.core import contract
from kit.core.errors import ExportFailed
from kit.core.inputs import Inputs
from kit.models import runtime
from kit.models.graph_format import format_problems
from kit.models.runtime import Checked, Floats
from kit.training.loop import inputs_for
from kit.training.model import Network
from kit.training.standardiser import Standardiser
from kit.training.table import Rows

#: Feature values far outside of real ones, for which the output must still be a score.
_EXTREME = (0.0, 1.0, -1.0, 1e3, -1e3, 1e9, -1e9)


def check(
    path: Path, networks: Sequence[Network], scale: Standardiser, table: Rows, output: str = contract.SCORE_OUTPUT
) -> Checked:
    """Compare the file of a graph with the networks that it was made of: one, or all of an ensemble.

    Args:
        output: name of the score.

    Raises:
        ExportFailed: a check failed; all problems of the first failing check are named.
    """
    arch = networks[0].arch
    data = path.read_bytes()
    outputs = (output, contract.SPREAD_OUTPUT) if len(networks) > 1 else (output,)
    _raise_if(path, format_problems(data, arch.inputs, codec_aware=arch.codec_aware, outputs=outputs))
    try:
        session = runtime.open_session(data)
        chosen = np.unique(np.linspace(0, len(table) - 1, min(contract.EXPORT_ROWS, len(table))).round())
        rows = chosen.astype(np.int32)
        computed = runtime.compute(session, table.features[rows], table.codec[rows])
        largest, problems = differences(computed, expected(networks, scale, table, rows, outputs))
        _raise_if(path, problems)
        _raise_if(path, range_problems(session, table, outputs, computed[output][0]))
    except ExportFailed:
        raise
    except Exception as error:  # onnxruntime's errors have no class in common
        raise ExportFailed(path.name, [f"onnxruntime cannot run it: {error}"]) from error
    return Checked(rows=len(rows), largest=largest)


def _raise_if(path: Path, problems: list[str]) -> None:
    if problems:
        raise ExportFailed(path.name, problems)


def expected(
    networks: Sequence[Network], scale: Standardiser, table: Rows, rows: NDArray[np.int32], outputs: Sequence[str]
) -> dict[str, NDArray[np.float64]]:
    """Return torch's results in float64: the mean over the clipped networks, and of several the unclipped deviation.

    The standard deviation has ddof 1.
    """
    inputs = inputs_for(table, rows, scale, codec_aware=networks[0].arch.codec_aware)
    members = np.stack([network.unclipped(inputs) for network in networks]).astype(np.float64)
    values = [members.clip(*contract.SCORE_RANGE).mean(axis=0)]
    values += [members.std(axis=0, ddof=1)] if len(members) > 1 else []
    return dict(zip(outputs, values, strict=True))


def differences(computed: Mapping[str, Floats], expected: Mapping[str, NDArray[np.float64]]) -> tuple[float, list[str]]:
    """Return the largest difference between onnxruntime and torch in VMAF points, and the problems."""
    largest, problems = 0.0, []
    for name, values in expected.items():
        if computed[name].shape != values.shape or computed[name].dtype != np.float32:
            problems.append(f"{name} is {computed[name].dtype} {computed[name].shape}; expected float32 {values.shape}")
            continue
        off = np.abs(computed[name] - values)
        if not np.isfinite(off).all():
            problems.append(f"{name}: onnxruntime or torch computes values that are not finite")
            continue
        largest = max(largest, float(off.max()))
        if off.max() > contract.EXPORT_TOLERANCE:
            problems.append(
                f"{name}: onnxruntime and torch differ by up to {off.max():.3g} VMAF points on {len(off)} rows; "
                f"allowed: {contract.EXPORT_TOLERANCE:g}"
            )
    return largest, problems


def range_problems(session: InferenceSession, table: Rows, outputs: Sequence[str], first: float) -> list[str]:
    """Check shapes for one row and for all, and the range of outputs, for extreme inputs too.

    A score is in the teacher's range; a spread is finite and not negative.

    Args:
        first: the score of the first row, computed with others.
    """
    cases = {
        "one row": (table.features[:1], table.codec[:1]),
        "all rows": (table.features, table.codec),
        "extreme rows": _extreme(table.inputs),
    }
    problems, most = [], float(np.finfo(np.float32).max)
    for what, (features, codec) in cases.items():
        computed = runtime.compute(session, features, codec)
        for name in outputs:
            values = computed[name]
            low, high = (0.0, most) if name == contract.SPREAD_OUTPUT else contract.SCORE_RANGE
            if values.shape != (len(features),):
                problems.append(f"{what}: {name} has the shape {values.shape}; expected {(len(features),)}")
            elif not ((values >= low) & (values <= high)).all():
                problems.append(f"{what}: {name} is {values.min()} to {values.max()}; expected {low:g} to {high:g}")
        if what == "one row" and not abs(computed[outputs[0]][0] - first) <= contract.EXPORT_TOLERANCE:
            problems.append(f"one row: the score is {computed[outputs[0]][0]}; with other rows {first}")
    return problems


def _extreme(inputs: Inputs) -> tuple[Floats, Floats]:
    """Return features far outside of real ones, equal and opposite in turn, with every slot of the codec block."""
    pairs = np.array(list(product(_EXTREME, repeat=2)), dtype=np.float32)
    count, slots = len(inputs.features), np.eye(inputs.codec_width, dtype=np.float32)
    return np.tile(pairs, -(-count // 2))[:, :count], slots[np.arange(len(pairs)) % len(slots)]
