"""A folder of models that others take from: ``registry.json`` and the files it lists."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from kit.core.errors import BadInput
from kit.system import validation
from kit.system.fsio import read_json
from kit.system.outputs import refuse_inputs

REGISTRY = "registry.json"
#: What a registered model is: the model, its sidecar, its card.
FILES = (".onnx", ".json", ".md")


def models(registry: Path) -> list[dict[str, Any]]:
    """What a registry lists; nothing where there is none.

    Raises:
        BadInput: it is no registry.
    """
    if not registry.is_file():
        return []
    value: Any = read_json(registry)
    if problems := validation.problems("registry", value):
        raise BadInput(
            f"{registry} is no registry: {problems[0]}", hint="Put back what was there, or write to another folder."
        )
    return list(value["models"])


def refuse_overwrite(outputs: Iterable[Path], inputs: Iterable[Path]) -> None:
    """Refuse to write over what is read, or over what a registry lists.

    Raises:
        BadInput: as :func:`kit.system.outputs.refuse_inputs` and :func:`refuse_listed`.
    """
    outputs = list(outputs)
    refuse_inputs(outputs, inputs)
    refuse_listed(outputs)


def refuse_listed(outputs: Iterable[Path]) -> None:
    """Refuse to write over what a registry beside it lists, whatever that registry is called, or over a registry.

    Raises:
        BadInput: one of ``outputs`` is such a file, or the ``registry.json`` beside it is no registry.
    """
    for path in outputs:
        for file, registry in _registered(path.parent):
            if path.name == file.name or (path.exists() and file.exists() and path.samefile(file)):
                what = "a registry" if file == registry else f"registered in the {registry.name} beside it"
                raise BadInput(f"{path} is {what}", hint="Give another name: what is registered stays what it is.")


def _registered(folder: Path) -> Iterator[tuple[Path, Path]]:
    """Every registry of a folder and every file that is registered there, with the registry that says so."""
    for registry in sorted(folder.glob("*.json")):
        lines = _lines(registry)
        if lines:
            yield registry, registry
        for line in lines:
            for stem in dict.fromkeys((line["id"], Path(line["onnx"]).stem)):
                yield from ((folder / f"{stem}{suffix}", registry) for suffix in FILES)


def _lines(path: Path) -> list[dict[str, Any]]:
    """What a file lists; nothing if it is something else than a registry, unless it is called like one."""
    try:
        return models(path)
    except BadInput:
        if path.name == REGISTRY:
            raise
        return []
