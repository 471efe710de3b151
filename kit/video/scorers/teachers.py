"""Teachers: a model built into the scorer, or a model file, of which the scorer gets a checked copy."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from kit.core.contract import CANONICAL_MODEL
from kit.core.errors import BadInput
from kit.core.values import Teacher

#: The model of the six features, as a teacher.
CANONICAL = Teacher(id=CANONICAL_MODEL)
#: Name of the copy in a scratch folder, so that no path has to be quoted for a scorer or appears in a command.
MODEL_FILE = "teacher.json"
#: Most bytes of a model file; real ones have some hundred kilobytes.
_LARGEST = 1 << 26
_HINT = "Give the name of a built-in model, or the path of a libvmaf model file (.json)."


def resolve(name: str | Path) -> Teacher:
    """Return the teacher: a built-in model by name, or a model file with the hash of its content.

    Raises:
        BadInput: the file cannot be read, or is not a model.
    """
    if isinstance(name, str):
        return Teacher(id=name)
    content = _content(name)
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"--teacher: {name} is not valid JSON: {error}", hint=_HINT) from error
    if not isinstance(value, dict) or not isinstance(value.get("model_dict"), dict):
        raise BadInput(f"--teacher: {name} is not a libvmaf model: no model_dict", hint=_HINT)
    if not name.stem.isprintable():
        raise BadInput(f"--teacher: the name {name.stem!r} is not printable", hint="Give the file another name.")
    return Teacher(id=name.stem, sha256=hashlib.sha256(content).hexdigest(), path=name)


def _content(path: Path) -> bytes:
    if not path.is_file():
        problem = "is a folder" if path.is_dir() else "is not a regular file" if path.exists() else "does not exist"
        raise BadInput(f"--teacher: {path} {problem}", hint=_HINT)
    try:
        if path.stat().st_size > _LARGEST:
            raise BadInput(f"--teacher: {path} has {path.stat().st_size} bytes, more than {_LARGEST}", hint=_HINT)
        return path.read_bytes()
    except OSError as error:
        raise BadInput(f"--teacher: {path} cannot be read: {error.strerror}", hint=_HINT) from error


def copy_model(teacher: Teacher, scratch: Path) -> None:
    """Copy the model file into a scorer's scratch folder; do nothing for a built-in model.

    Raises:
        BadInput: the file is missing or has changed.
    """
    if teacher.path is None:
        return
    content = _content(teacher.path)
    if hashlib.sha256(content).hexdigest() != teacher.sha256:
        raise BadInput(f"--teacher: {teacher.path} has changed since the run began", hint="Run the same command again.")
    (scratch / MODEL_FILE).write_bytes(content)


def models(teacher: Teacher) -> tuple[str, ...]:
    """Return the model options of tool and filter: the canonical model, if it is not the teacher, and the teacher."""
    source = f"version={teacher.id}" if teacher.sha256 is None else f"path={MODEL_FILE}"
    canonical = () if teacher == CANONICAL else (f"version={CANONICAL_MODEL}:name=canonical",)
    return (*canonical, f"{source}:name=teacher")
