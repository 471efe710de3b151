"""Whether an exported graph is what it should be: by the rules of the format, and by what onnxruntime computes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from onnxruntime import InferenceSession

from kit.core import contract
from kit.core.errors import ExportFailed
from kit.models import runtime
from kit.models.graph_format import format_problems
from kit.models.runtime import Checked, Floats
from kit.training.loop import inputs_for
from kit.training.model import Network
from kit.training.standardiser import Standardiser
from kit.training.table import Rows

#: Features for which the output must be a score still.
_WILD = (0.0, 1.0, -1.0, 1e3, -1e3, 1e9, -1e9)


def check(
    path: Path, networks: Sequence[Network], scale: Standardiser, table: Rows, output: str = contract.SCORE_OUTPUT
) -> Checked:
    """Check the file of a graph against the networks that it was made of: one, or all of an ensemble.

    Args:
        output: name of the score.

    Raises:
        ExportFailed: anything is not as it should be; every finding is named.
    """
    arch, ensemble = networks[0].arch, len(networks) > 1
    data = path.read_bytes()
    outputs = (output, contract.SPREAD_OUTPUT) if ensemble else (output,)
    _raise_if(path, format_problems(data, codec_aware=arch.codec_aware, outputs=outputs))
    try:
        session = runtime.open_session(data)
        chosen = np.unique(np.linspace(0, len(table) - 1, min(contract.EXPORT_ROWS, len(table))).round())
        rows = chosen.astype(np.int32)
        found = runtime.compute(session, table.features[rows], table.codec[rows])
        largest, problems = differences(found, expected(networks, scale, table, rows, outputs))
        _raise_if(path, problems)
        _raise_if(path, range_problems(session, table, outputs, found[output][0]))
    except ExportFailed:
        raise
    except Exception as error:  # onnxruntime's errors have no class in common
        raise ExportFailed(path.name, [f"onnxruntime does not take it: {error}"]) from error
    return Checked(rows=len(rows), largest=largest)


def _raise_if(path: Path, problems: list[str]) -> None:
    if problems:
        raise ExportFailed(path.name, problems)


def expected(
    networks: Sequence[Network], scale: Standardiser, table: Rows, rows: NDArray[np.int32], outputs: Sequence[str]
) -> dict[str, NDArray[np.float64]]:
    """What torch says of rows: float64 mean over the networks, and standard deviation (ddof 1) of several."""
    inputs = inputs_for(table, rows, scale, codec_aware=networks[0].arch.codec_aware)
    members = np.stack([network.scores(inputs) for network in networks]).astype(np.float64)
    said = [members.mean(axis=0)] if len(members) == 1 else [members.mean(axis=0), members.std(axis=0, ddof=1)]
    return dict(zip(outputs, said, strict=True))


def differences(found: Mapping[str, Floats], said: Mapping[str, NDArray[np.float64]]) -> tuple[float, list[str]]:
    """The largest difference between onnxruntime and torch in VMAF points, and what is too large."""
    largest, problems = 0.0, []
    for name in said:
        if found[name].shape != said[name].shape or found[name].dtype != np.float32:
            problems.append(f"{name} is {found[name].dtype} {found[name].shape}, expected float32 {said[name].shape}")
            continue
        off = np.abs(found[name] - said[name])
        if not np.isfinite(off).all():
            problems.append(f"{name}: onnxruntime or torch gives values that are not finite")
            continue
        largest = max(largest, float(off.max()))
        if off.max() > contract.EXPORT_TOLERANCE:
            problems.append(
                f"{name}: onnxruntime and torch differ by up to {off.max():.3g} VMAF points on {len(off)} rows, "
                f"at most {contract.EXPORT_TOLERANCE:g} are allowed"
            )
    return largest, problems


def range_problems(session: InferenceSession, table: Rows, outputs: Sequence[str], first: float) -> list[str]:
    """Shapes for one row and for all, and outputs within the teacher's range, for inputs outside of anything real too.

    Args:
        first: the score of the first row among others.
    """
    cases = {
        "one row": (table.features[:1], table.codec[:1]),
        "all rows": (table.features, table.codec),
        "wild rows": _wild(),
    }
    problems, (low, high) = [], contract.SCORE_RANGE
    for what, (features, codec) in cases.items():
        found = runtime.compute(session, features, codec)
        for name in outputs:
            values = found[name]
            if values.shape != (len(features),):
                problems.append(f"{what}: {name} has the shape {values.shape}, expected {(len(features),)}")
            elif not ((values >= low) & (values <= high)).all():
                problems.append(f"{what}: {name} leaves {low:g} to {high:g}: {values.min()} to {values.max()}")
        if what == "one row" and not abs(found[outputs[0]][0] - first) <= contract.EXPORT_TOLERANCE:
            problems.append(f"one row: the score is {found[outputs[0]][0]}, among others {first}")
    return problems


def _wild() -> tuple[Floats, Floats]:
    """Features far outside of anything real, in turn the same and opposite ones, with every slot of the codec block."""
    pairs = np.array(list(product(_WILD, repeat=2)), dtype=np.float32)
    slots = np.eye(contract.CODEC_DIM, dtype=np.float32)
    return np.tile(pairs, len(contract.FEATURES) // 2), slots[np.arange(len(pairs)) % len(slots)]
