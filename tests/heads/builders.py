"""Checkpoints of tiny heads that need no training."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from kit.heads.table_facts import table_facts
from kit.training import checkpoint
from kit.training.draws import Draws
from kit.training.model import Network
from kit.training.recipe import Recipe, architecture
from kit.training.standardiser import fit_standardiser
from tests.features.builders import SCENES, TABLE


def untrained(path: Path, arch: str) -> Path:
    """Write a checkpoint as a fit does, with initial weights."""
    network = Network(architecture(arch), Draws(1, ""), 60.0)
    scale = fit_standardiser(TABLE.rows().features, np.arange(len(TABLE), dtype=np.int32))
    arrays = {name: value.numpy() for name, value in network.state_dict().items()}
    origin = {
        "held_out": sorted(SCENES),
        "rows_held_out": 120,
        "fitted_groups": ["s0", "s3"],
        "seed": 1,
        "device": "cpu",
        "config_sha256": "0" * 64,
    }
    checkpoint.write(
        path,
        checkpoint.Checkpoint(
            kind=checkpoint.HEAD,
            recipe=Recipe(epochs=2, arch=arch),
            arrays=arrays | {"mean": scale.mean, "std": scale.std},
            facts=table_facts(TABLE) | origin,
        ),
    )
    return path
