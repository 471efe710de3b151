"""A fitted head on disk: weights, standardiser and what it was fitted to, in one safetensors file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from kit.canon import canonical_json
from kit.errors import BadInput, Missing
from kit.fsio import write_bytes
from kit.training.recipe import Recipe, architecture

#: Version of what the file holds.
_FORM = 1
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
    write_bytes(path, save(arrays, metadata={"fitted": canonical_json(described).decode()}))


def read(path: Path) -> Fitted:
    """Read it.

    Raises:
        Missing: there is no such file.
        BadInput: it is something else, or damaged.
    """
    if not path.is_file():
        raise Missing(f"{path} is {'a folder' if path.is_dir() else 'not there'}", hint=_HINT)
    try:
        with safe_open(str(path), framework="numpy") as opened:
            described = json.loads((opened.metadata() or {})["fitted"])
            arrays = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - no mapping
        if described["form"] != _FORM:
            raise BadInput(f"{path} is of form {described['form']}, expected {_FORM}", hint=_HINT)
        recipe = Recipe(**described["recipe"])
        architecture(recipe.arch)
        return Fitted(recipe=recipe, arrays=arrays, facts=described["facts"])
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise BadInput(f"{path} is no checkpoint of `fit`: {error!r}", hint=_HINT) from error
