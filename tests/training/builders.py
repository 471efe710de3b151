"""Rows that a network learns quickly."""

from __future__ import annotations

import numpy as np
import torch

from kit.core import contract
from kit.corpus.store.shard import CellEntry
from kit.training.codec_block import codec_block
from kit.training.draws import Draws
from kit.training.model import Network
from kit.training.recipe import architecture
from kit.training.table import Table

#: Label of each source's group.
GROUPS = {"Fuente1": "Fuente", "Fuente2": "Fuente", "Highway": "Highway", "Tango": "Tango", "Crowd": "Crowd"}


def make_table(frames: int = 20, groups: dict[str, str] | None = None) -> Table:
    """Rows whose target is a smooth function of features and quality point."""
    generator = np.random.default_rng(3)
    places = [(source, group, cq) for source, group in (groups or GROUPS).items() for cq in (19, 37)]
    entries = tuple(
        CellEntry(
            key=f"{number:02d}",
            source=source,
            src_sha256=source.rjust(64, "0"),
            group=group,
            encoder="libx264",
            preset="medium",
            cq=cq,
            rows=frames,
            encoded_bytes=1,
            content_sha256="",
            path="",
        )
        for number, (source, group, cq) in enumerate(places)
    )
    count = frames * len(entries)
    features = generator.uniform(0.3, 1.0, (count, 6)).astype(np.float32)
    features[:, 5] *= 10
    cell = np.repeat(np.arange(len(entries), dtype=np.int32), frames)
    blocks = np.array([codec_block(entry.encoder, entry.preset, entry.cq) for entry in entries], dtype=np.float32)
    codec = blocks[cell]
    target = 20 + 50 * features[:, 0] * features[:, 1] + 15 * features[:, 2] + 10 * codec[:, -1] - features[:, 5]
    return Table(
        cells=entries,
        cell=cell,
        frame=np.tile(np.arange(frames, dtype=np.int32), len(entries)),
        features=features,
        codec=codec,
        target=target.astype(np.float32),
    )


def networks(arch: str = contract.ARCH, count: int = 3) -> list[Network]:
    """Untrained networks, some of whose scores leave the teacher's range."""
    made = [Network(architecture(arch), Draws(seed, "x"), 98.0) for seed in range(count)]
    with torch.no_grad():
        for network in made:
            network.weights[-1].mul_(30)
    return made
