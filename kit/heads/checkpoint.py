"""A fitted head on disk: weights, standardiser and what it was fitted to, in one safetensors file.

The file holds a hash of all of it, so that damage shows without anything beside it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from kit.core import contract
from kit.core.canon import canonical_json, sha256_json
from kit.core.errors import BadInput, Missing
from kit.heads.config import head
from kit.system import validation
from kit.system.fsio import write_bytes
from kit.training.recipe import Recipe, architecture

#: Schema of what the file tells of its tensors.
SCHEMA = "checkpoint"
#: Version of what the file holds.
_FORM = 2
_HINT = "Give the checkpoint.safetensors that `fit` left."


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """A head that was fitted.

    Attributes:
        arrays: float32 ``weights.N`` [out, in] and ``biases.N`` [out] of each layer, ``mean`` and ``std`` [6].
        facts: what it was fitted to, JSON: ``teacher``, ``features_sha256``, ``rows``, ``clips``, ``corpora``,
            ``sources``, ``held_out`` (sources of them) and ``rows_held_out``, ``fitted_groups`` (content groups of the
            others), ``seed``, ``device``, ``config_sha256``; of initial weights there are no
            groups, and what else is about a table is null.
    """

    recipe: Recipe
    arrays: Mapping[str, NDArray[np.float32]]
    facts: Mapping[str, Any]


def write(path: Path, fitted: Fitted) -> None:
    """Write it; the same head gives the same bytes."""
    described = {"form": _FORM, "recipe": asdict(fitted.recipe), "facts": dict(fitted.facts)}
    arrays = {name: np.ascontiguousarray(array) for name, array in sorted(fitted.arrays.items())}
    whole = described | {"sha256": _digest(described, arrays)}
    # one entry: safetensors writes several in any order
    write_bytes(path, save(arrays, metadata={"fitted": canonical_json(whole).decode()}))


def _digest(described: Mapping[str, object], arrays: Mapping[str, NDArray[Any]]) -> str:
    """Hash of what is told and of every tensor."""
    tensors = {
        name: [str(array.dtype), list(array.shape), hashlib.sha256(array.tobytes()).hexdigest()]
        for name, array in arrays.items()
    }
    return sha256_json({"fitted": described, "tensors": tensors})


def read(path: Path, *, hint: str = _HINT) -> Fitted:
    """Read it.

    Args:
        hint: what to do if it cannot be read.

    Raises:
        Missing: there is no such file.
        BadInput: it is something else, or damaged.
    """
    if not path.is_file():
        raise Missing(f"{path} is {'a folder' if path.is_dir() else 'not there'}", hint=hint)
    try:
        with safe_open(str(path), framework="numpy") as opened:
            told = (opened.metadata() or {}).get("fitted", "null")
            arrays = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - no mapping
        described: Any = json.loads(told)
        problems = validation.problems(SCHEMA, described)
    except (SafetensorError, TypeError, ValueError, AttributeError) as error:  # numpy lacks some types of safetensors
        raise BadInput(f"{path} cannot be read as a checkpoint of `fit`: {error}", hint=hint) from error
    problems = problems or _problems(described["recipe"]["arch"], arrays)
    if not problems and described.pop("sha256") != _digest(described, arrays):
        problems = ["it is not what `fit` wrote: its content has another hash than it says"]
    if problems:
        raise BadInput(f"{path} is no checkpoint of `fit`, or damaged: {problems[0]}", hint=hint)
    return Fitted(recipe=Recipe(**described["recipe"]), arrays=arrays, facts=described["facts"])


def _problems(name: str, arrays: Mapping[str, NDArray[Any]]) -> list[str]:
    """What of the tensors is not as a head of this architecture has it."""
    try:
        arch = architecture(head(name))
    except BadInput as error:
        return [error.message.removeprefix("--arch: ")]
    shapes: dict[str, tuple[int, ...]] = dict.fromkeys(("mean", "std"), (len(contract.FEATURES),))
    for layer, (low, high) in enumerate(pairwise(arch.widths)):
        shapes |= {f"weights.{layer}": (high, low), f"biases.{layer}": (high,)}
    if differing := sorted(shapes.keys() ^ arrays.keys()):
        return [f"{part} is {'no part of' if part in arrays else 'lacking, a part of'} {name}" for part in differing]
    found = []
    for part, shape in shapes.items():
        array = arrays[part]
        if array.dtype != np.float32 or array.shape != shape:
            found.append(f"{part} is {array.dtype} {list(array.shape)}, in {name} it is float32 {list(shape)}")
        elif not np.isfinite(array).all():
            found.append(f"{part} holds a value that is not finite")
        elif part == "std" and not (array > 0).all():
            found.append("std holds a value that is not above 0")
    return found
