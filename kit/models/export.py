"""The one way from trained networks to a model: ONNX file, comparison with torch, sidecar.

A head, one seed of an ensemble and a whole ensemble go through it; their lines in a registry are written by
:mod:`kit.models.registry`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kit.core import contract
from kit.core.errors import ExportFailed
from kit.models import export_check, graph, runtime
from kit.models.runtime import Checked
from kit.models.sidecar import Description, sidecar, sidecar_problems
from kit.system.fsio import sha256_file, write_bytes, write_json
from kit.training.model import Network
from kit.training.standardiser import Standardiser
from kit.training.table import Rows


@dataclass(frozen=True, kw_only=True)
class Exported:
    """A model file that agrees with torch."""

    path: Path
    sha256: str
    checked: Checked


def write_model(
    path: Path, networks: Sequence[Network], scale: Standardiser, rows: Rows, output: str = contract.SCORE_OUTPUT
) -> Exported:
    """Write the graph of one network, or of an ensemble of several, and compare it with torch.

    Args:
        rows: of the comparison.
        output: name of the score of a single network.

    Raises:
        ExportFailed: a check failed.
    """
    write_bytes(path, graph.fused(networks, scale) if len(networks) > 1 else graph.single(networks[0], scale, output))
    checked = export_check.check(path, networks, scale, rows, output)
    return Exported(path=path, sha256=sha256_file(path), checked=checked)


def example_of(model: Exported, rows: Rows, row: int) -> dict[str, object]:
    """Return the inputs and outputs of one row as a sidecar has them: lists of numbers, as the graph takes and gives.

    Args:
        row: index of the row.
    """
    session = runtime.open_session(model.path.read_bytes())
    features, codec = rows.features[row : row + 1], rows.codec[row : row + 1]
    computed = runtime.compute(session, features, codec)
    return {
        contract.FEATURES_INPUT: features[0].tolist(),
        contract.CODEC_INPUT: codec[0].tolist() if len(session.get_inputs()) > 1 else None,
        **{name: float(values[0]) for name, values in computed.items()},
        "teacher": float(rows.target[row]),
    }


def typical_row(rows: Rows) -> int:
    """Return the index of the row whose target is the median, the first of equal ones."""
    return int(np.argsort(rows.target, kind="stable")[(len(rows) - 1) // 2])


def write_sidecar(model: Exported, description: Description, run_provenance: Mapping[str, object]) -> dict[str, object]:
    """Write the sidecar of a model next to it, and return its content.

    Raises:
        ExportFailed: the sidecar does not match its schema.
    """
    document = sidecar(description, sha256=model.sha256, run_provenance=run_provenance)
    path = model.path.with_suffix(".json")
    if problems := sidecar_problems(document):
        raise ExportFailed(path.name, problems)
    write_json(path, document)
    return document
