"""One file for one trained network: a member of an ensemble, finished or in training, or a single head.

safetensors with one entry of metadata, ``checkpoint``: canonical JSON with recipe, inputs and facts, and a hash of that
JSON and of every tensor, so that damage is detected without another file. Two older layouts are read too: heads with
the entry ``fitted`` (hashed, inputs not recorded) and members with ``identity``, ``step`` and ``seconds`` (not hashed).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from kit.core.canon import canonical_json, sha256_json
from kit.core.errors import BadInput, Missing
from kit.system import validation
from kit.system.fsio import write_bytes
from kit.training.recipe import Recipe, read_recipe

#: Schema of the metadata.
SCHEMA = "checkpoint"
FORM = 3
HEAD, MEMBER, PARTIAL = "head", "member", "partial member"
_ENTRY, _OLD_HEAD, _OLD_MEMBER = "checkpoint", "fitted", "identity"
_HINT = "Get the file again, or train it again."


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """The content of a file.

    Attributes:
        kind: ``head``, ``member`` or ``partial member``.
        arrays: of a network float32 ``weights.N`` [out, in], ``biases.N`` [out], ``mean`` and ``std`` [features]; of a
            member also ``predictions`` [held-out rows] and ``training_loss`` [epochs], mean over the steps of an epoch;
            of a partial member its rows of the stack's parameters and moments, and ``losses`` [epochs], float64 sums
            over the steps so far.
        facts: JSON. Of a member ``identity``, ``step`` and ``seconds``. Of a head ``features_sha256``, ``teacher``,
            ``rows``, ``clips``, ``corpora``, ``sources``, ``held_out`` (sources), ``rows_held_out``, ``fitted_groups``
            (content groups of the training rows), ``seed``, ``device``, ``config_sha256``; of initial weights
            ``fitted_groups`` is empty and all facts about a table are null.
    """

    kind: str
    recipe: Recipe
    arrays: Mapping[str, NDArray[Any]]
    facts: Mapping[str, Any]

    @property
    def step(self) -> int:
        """Steps that a member has been trained for."""
        return int(self.facts["step"])

    @property
    def seconds(self) -> float:
        """A member's share of the training time of its stacks."""
        return float(self.facts["seconds"])


def write(path: Path, checkpoint: Checkpoint) -> None:
    """Write the file; the same checkpoint gives the same bytes."""
    arrays = {name: np.ascontiguousarray(array) for name, array in sorted(checkpoint.arrays.items())}
    document: dict[str, object] = {
        "form": FORM,
        "kind": checkpoint.kind,
        "recipe": checkpoint.recipe.as_dict() | {"inputs": checkpoint.recipe.inputs.as_dict()},
        "facts": dict(checkpoint.facts),
    }
    document["sha256"] = _digest(_ENTRY, document, arrays)
    # one entry: safetensors writes several in any order
    write_bytes(path, save(arrays, metadata={_ENTRY: canonical_json(document).decode()}))


def _digest(entry: str, document: Mapping[str, object], arrays: Mapping[str, NDArray[Any]]) -> str:
    """Return the hash of the metadata and of every tensor."""
    tensors = {
        name: [str(array.dtype), list(array.shape), hashlib.sha256(array.tobytes()).hexdigest()]
        for name, array in arrays.items()
    }
    return sha256_json({entry: document, "tensors": tensors})


def read(path: Path, *, hint: str = _HINT) -> Checkpoint:
    """Read and check a file.

    Args:
        hint: what to do if the file cannot be used.

    Raises:
        Missing: no such file.
        BadInput: not a checkpoint, or damaged.
    """
    if not path.is_file():
        raise Missing(f"{path} is {'a folder' if path.is_dir() else 'missing'}", hint=hint)
    try:
        with safe_open(str(path), framework="numpy") as opened:
            metadata = opened.metadata() or {}
            arrays = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - no mapping
        document = _document(metadata, arrays)
        recipe, problems = read_recipe(document["recipe"]), []
        if document["kind"] == HEAD:  # a member's identity is compared as a whole, which is faster
            problems = validation.problems(SCHEMA, document) or _tensor_problems(recipe, arrays)
    # numpy lacks some types of safetensors; an architecture is looked up by name
    except (SafetensorError, TypeError, ValueError, AttributeError, KeyError, BadInput) as error:
        raise BadInput(f"{path} cannot be read as a checkpoint: {error}", hint=hint) from error
    if problems:
        raise BadInput(f"{path} is not a checkpoint, or damaged: {problems[0]}", hint=hint)
    return Checkpoint(kind=document["kind"], recipe=recipe, arrays=arrays, facts=document["facts"])


def _document(metadata: Mapping[str, str], arrays: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    """Return the metadata in today's layout, its hash checked and removed.

    Raises:
        ValueError: the content does not match the hash.
    """
    if _OLD_MEMBER in metadata:
        identity = json.loads(metadata[_OLD_MEMBER])
        return {
            "form": FORM,
            "kind": MEMBER if "predictions" in arrays else PARTIAL,
            "recipe": {name: value for name, value in identity["recipe"].items() if name != "architecture"},
            "facts": {
                "identity": identity,
                "step": int(metadata["step"]),
                "seconds": float(metadata["seconds"]),
            },
        }
    entry = _OLD_HEAD if _OLD_HEAD in metadata else _ENTRY
    document: dict[str, Any] = json.loads(metadata[entry])
    recorded = document.pop("sha256")
    if recorded != (computed := _digest(entry, document, arrays)):
        raise ValueError(f"content has SHA-256 {computed[:16]}…, recorded is {recorded:.16}…")
    return document | ({"form": FORM, "kind": HEAD} if entry == _OLD_HEAD else {})


def _tensor_problems(recipe: Recipe, arrays: Mapping[str, NDArray[Any]]) -> list[str]:
    """Compare the tensors of a head with its architecture."""
    arch = recipe.architecture
    shapes: dict[str, tuple[int, ...]] = dict.fromkeys(("mean", "std"), (len(arch.inputs.features),))
    for layer, (low, high) in enumerate(pairwise(arch.widths)):
        shapes |= {f"weights.{layer}": (high, low), f"biases.{layer}": (high,)}
    if differing := sorted(shapes.keys() ^ arrays.keys()):
        return [f"{name} is {'not part of' if name in arrays else 'missing in'} {arch.name}" for name in differing]
    problems = []
    for name, shape in shapes.items():
        array = arrays[name]
        if array.dtype != np.float32 or array.shape != shape:
            problems.append(f"{name} is {array.dtype} {list(array.shape)}; {arch.name} has float32 {list(shape)}")
        elif not np.isfinite(array).all():
            problems.append(f"{name} has a value that is not finite")
        elif name == "std" and not (array > 0).all():
            problems.append("std has a value that is not above 0")
    return problems
