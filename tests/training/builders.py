"""Tables, networks and checkpoints that tests make."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save

from kit.core import contract
from kit.core.canon import canonical_json, sha256_json
from kit.core.inputs import DEFAULT_INPUTS, Inputs
from kit.corpus.store.shard import CellEntry
from kit.system.fsio import write_bytes
from kit.training.checkpoint import Checkpoint
from kit.training.codec_block import codec_block
from kit.training.draws import Draws
from kit.training.model import Network
from kit.training.predictions import Predictions, from_codes
from kit.training.recipe import architecture
from kit.training.table import Table

#: Label of each source's group.
GROUPS = {"Fuente1": "Fuente", "Fuente2": "Fuente", "Highway": "Highway", "Tango": "Tango", "Crowd": "Crowd"}


#: Inputs that are in no table of the contract: four features, three encoders.
OTHER_INPUTS = Inputs(
    feature_set="four",
    features=("blur", "noise", "banding", "motion2"),
    encoder_vocab_version=99,
    encoder_vocab=("libx264", "xeve", "libx265"),
)


def make_table(frames: int = 20, groups: dict[str, str] | None = None, inputs: Inputs = DEFAULT_INPUTS) -> Table:
    """Rows whose target is a smooth function of features and quality point."""
    generator = np.random.default_rng(3)
    encodes = [(source, group, cq) for source, group in (groups or GROUPS).items() for cq in (19, 37)]
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
        for number, (source, group, cq) in enumerate(encodes)
    )
    count = frames * len(entries)
    features = generator.uniform(0.3, 1.0, (count, len(inputs.features))).astype(np.float32)
    features[:, -1] *= 10
    cell = np.repeat(np.arange(len(entries), dtype=np.int32), frames)
    blocks = [codec_block(entry.encoder, entry.preset, entry.cq, inputs.encoder_vocab) for entry in entries]
    codec = np.array(blocks, dtype=np.float32)[cell]
    target = 20 + 50 * features[:, 0] * features[:, 1] + 15 * features[:, 2] + 10 * codec[:, -1] - features[:, -1]
    return Table(
        inputs=inputs,
        cells=entries,
        cell=cell,
        frame=np.tile(np.arange(frames, dtype=np.int32), len(entries)),
        features=features,
        codec=codec,
        target=target.astype(np.float32),
    )


def networks(arch: str = contract.ARCH, count: int = 3) -> list[Network]:
    """Untrained networks, some of whose scores are outside the teacher's range."""
    made = [Network(architecture(arch), Draws(seed, "x"), 98.0) for seed in range(count)]
    with torch.no_grad():
        for network in made:
            network.weights[-1].mul_(30)
    return made


def from_columns(corpus_sha256: str, columns: Mapping[str, NDArray[np.generic]]) -> Predictions:
    """Sort unordered columns (named as in the schema) into a :class:`Predictions`."""
    folds, fold = np.unique(columns["fold"].astype(np.str_), return_inverse=True)
    cells, cell = np.unique(columns["cell_key"].astype(np.str_), return_inverse=True)
    coded = {**columns, "fold": fold, "cell_key": cell}
    return from_codes(corpus_sha256, tuple(folds.tolist()), tuple(cells.tolist()), coded)


def write_old_member(path: Path, member: Checkpoint) -> None:
    """Write a member in the older layout: three entries of metadata, no hash."""
    metadata = {
        "identity": canonical_json(member.facts["identity"]).decode(),
        "step": str(member.step),
        "seconds": repr(member.seconds),
    }
    write_bytes(path, save(dict(member.arrays), metadata=metadata))


def write_old_head(path: Path, fitted: Checkpoint) -> None:
    """Write a head in the older layout: another entry of metadata, inputs not recorded."""
    arrays = {name: np.ascontiguousarray(array) for name, array in sorted(fitted.arrays.items())}
    document = {"form": 2, "recipe": fitted.recipe.as_dict(), "facts": dict(fitted.facts)}
    tensors = {
        name: [str(array.dtype), list(array.shape), hashlib.sha256(array.tobytes()).hexdigest()]
        for name, array in arrays.items()
    }
    whole = document | {"sha256": sha256_json({"fitted": document, "tensors": tensors})}
    write_bytes(path, save(arrays, metadata={"fitted": canonical_json(whole).decode()}))
