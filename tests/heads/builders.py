"""Tiny heads that need no training."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from kit.heads import checkpoint
from kit.heads.fit import facts_of
from kit.training.draws import Draws
from kit.training.model import Network
from kit.training.recipe import Recipe, architecture
from kit.training.standardiser import fit_standardiser
from tests.features.builders import SCENES, TABLE


def untrained(path: Path, arch: str) -> Path:
    """A checkpoint as a fit leaves it; its weights are those it began with."""
    network = Network(architecture(arch), Draws(1, ""), 60.0)
    scale = fit_standardiser(TABLE.rows().features, np.arange(len(TABLE), dtype=np.int32))
    arrays = {name: value.numpy() for name, value in network.state_dict().items()}
    told = {
        "held_out": sorted(SCENES),
        "rows_held_out": 120,
        "fitted_groups": ["s0", "s3"],
        "seed": 1,
        "device": "cpu",
        "config_sha256": "0" * 64,
    }
    checkpoint.write(
        path,
        checkpoint.Fitted(
            recipe=Recipe(epochs=2, arch=arch),
            arrays=arrays | {"mean": scale.mean, "std": scale.std},
            facts=facts_of(TABLE) | told,
        ),
    )
    return path
