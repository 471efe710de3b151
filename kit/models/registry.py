"""``registry.json`` in a folder of models: read, check, add, refuse to overwrite."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from kit.core.errors import BadInput, ExportFailed
from kit.system import validation
from kit.system.fsio import read_json, sha256_file, write_json
from kit.system.outputs import refuse_inputs

REGISTRY = "registry.json"
SCHEMA = "registry"
_VERSION = 1
#: Files of a registered model: the model, its sidecar, its card.
FILES = (".onnx", ".json", ".md")
_LONGEST_DESCRIPTION = 256


def read(registry: Path) -> list[dict[str, Any]]:
    """Return the models of a registry; empty if the file does not exist.

    Raises:
        BadInput: not a registry.
    """
    if not registry.is_file():
        return []
    value: Any = read_json(registry)
    if problems := validation.problems(SCHEMA, value):
        raise BadInput(f"{registry} is not a registry: {problems[0]}", hint="Restore it, or write to another folder.")
    return list(value["models"])


def line(sidecar: Mapping[str, Any], *, description: str, smoke: bool) -> dict[str, Any]:
    """Return the line of a model.

    Args:
        description: what it computes; cut at 256 characters.
        smoke: it only shows that the format works.
    """
    copied = ("id", "kind", "onnx", "sha256", "opset", "notes", "license")
    return {
        **{name: sidecar[name] for name in copied},
        "description": description[:_LONGEST_DESCRIPTION],
        "smoke": smoke,
    }


def document(models: Sequence[Mapping[str, Any]]) -> dict[str, object]:
    """Return the content of a registry.

    Raises:
        ExportFailed: it does not match the schema.
    """
    value = {"schema_version": _VERSION, "models": list(models)}
    if problems := validation.problems(SCHEMA, value):
        raise ExportFailed(REGISTRY, problems)
    return value


def write(registry: Path, models: Sequence[Mapping[str, Any]]) -> None:
    """Write a registry; raises the errors of :func:`document`."""
    write_json(registry, document(models))


def changed_files(registry: Path, models: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the ONNX files that are missing or have another hash than their line."""
    files = {model["onnx"]: registry.parent / model["onnx"] for model in models}
    digests = {model["onnx"]: model["sha256"] for model in models}
    return [name for name, file in files.items() if not file.is_file() or sha256_file(file) != digests[name]]


def refuse_overwrite(outputs: Iterable[Path], inputs: Iterable[Path]) -> None:
    """Refuse to overwrite inputs of the command or registered files.

    Raises:
        BadInput: as :func:`kit.system.outputs.refuse_inputs` and :func:`refuse_listed`.
    """
    outputs = list(outputs)
    refuse_inputs(outputs, inputs)
    refuse_listed(outputs)


def refuse_listed(outputs: Iterable[Path]) -> None:
    """Refuse to overwrite a registry, or a file that a registry in its folder lists; registries have any name.

    Raises:
        BadInput: one of ``outputs`` is such a file, or the ``registry.json`` in its folder is damaged.
    """
    for path in outputs:
        for file, registry in _registered(path.parent):
            if path.name == file.name or (path.exists() and file.exists() and path.samefile(file)):
                what = "a registry" if file == registry else f"registered in {registry.name}"
                raise BadInput(f"{path} is {what}", hint="Use another name: registered files do not change.")


def _registered(folder: Path) -> Iterator[tuple[Path, Path]]:
    """Yield every registry of a folder and every file that one lists, each with the registry."""
    for registry in sorted(folder.glob("*.json")):
        models = _models(registry)
        if models:
            yield registry, registry
        for model in models:
            for stem in dict.fromkeys((model["id"], Path(model["onnx"]).stem)):
                yield from ((folder / f"{stem}{suffix}", registry) for suffix in FILES)


def _models(path: Path) -> list[dict[str, Any]]:
    """Return the models of a file; empty if it is not a registry, unless it has the name of one."""
    try:
        return read(path)
    except BadInput:
        if path.name == REGISTRY:
            raise
        return []
