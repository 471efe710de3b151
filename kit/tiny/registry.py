"""A folder of models that others take from: ``registry.json`` and the files it lists."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kit import validation
from kit.errors import BadInput
from kit.fsio import read_json

REGISTRY = "registry.json"


def models(registry: Path) -> list[dict[str, Any]]:
    """What a registry lists; nothing where there is none.

    Raises:
        BadInput: it is no registry.
    """
    if not registry.is_file():
        return []
    value: Any = read_json(registry)
    if problems := validation.problems("registry", value):
        raise BadInput(f"{registry} is no registry: {problems[0]}")
    return list(value["models"])


def refuse_listed(model: Path) -> None:
    """Refuse to write a model over one that the registry beside it lists.

    Raises:
        BadInput: it is listed, or what lies beside it is no registry.
    """
    if any(line["onnx"] == model.name for line in models(model.with_name(REGISTRY))):
        raise BadInput(f"{model} is registered in the {REGISTRY} beside it",
                       hint="Give another name: what is registered stays what it is.")  # fmt: skip
