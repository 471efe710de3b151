"""The teacher: a model that the scorer has built in, or a model file, which reaches the scorer as a checked copy."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from kit.core.contract import CANONICAL_MODEL
from kit.core.errors import BadInput
from kit.core.values import Teacher

#: The model of the six features, as a teacher.
CANONICAL = Teacher(id=CANONICAL_MODEL)
#: Name of the copy in a scratch folder: no path of the operator's has to be quoted for a scorer, or shown.
MODEL_FILE = "teacher.json"
#: A model file is some hundred kilobytes; far larger ones are something else.
_LARGEST = 1 << 26
_HINT = "Give the name of a built-in model, or the path of a libvmaf model file (.json)."


def resolve(asked: str | Path) -> Teacher:
    """The teacher with its identity: a name as it is, a file with the hash of its content.

    Raises:
        BadInput: the file cannot be read, or is no model.
    """
    if isinstance(asked, str):
        return Teacher(id=asked)
    content = _content(asked)
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"--teacher: {asked} is not valid JSON: {error}", hint=_HINT) from error
    if not isinstance(value, dict) or not isinstance(value.get("model_dict"), dict):
        raise BadInput(f"--teacher: {asked} is JSON, but no libvmaf model: it has no model_dict", hint=_HINT)
    if not asked.stem.isprintable():
        raise BadInput(f"--teacher: the name {asked.stem!r} cannot be shown", hint="Give the file another name.")
    return Teacher(id=asked.stem, sha256=hashlib.sha256(content).hexdigest(), path=asked)


def _content(path: Path) -> bytes:
    if not path.is_file():
        found = "is a folder" if path.is_dir() else "is no regular file" if path.exists() else "is not there"
        raise BadInput(f"--teacher: {path} {found}", hint=_HINT)
    try:
        if path.stat().st_size > _LARGEST:
            raise BadInput(f"--teacher: {path} has {path.stat().st_size} bytes, a model far fewer", hint=_HINT)
        return path.read_bytes()
    except OSError as error:
        raise BadInput(f"--teacher: {path} cannot be read: {error.strerror}", hint=_HINT) from error


def place(teacher: Teacher, scratch: Path) -> None:
    """Put a copy of the model file where a scorer that runs in ``scratch`` finds it; nothing for a built-in model.

    Raises:
        BadInput: the file is gone, or is not the one that was looked at.
    """
    if teacher.path is None:
        return
    content = _content(teacher.path)
    if hashlib.sha256(content).hexdigest() != teacher.sha256:
        raise BadInput(f"--teacher: {teacher.path} has changed since the run began", hint="Start again.")
    (scratch / MODEL_FILE).write_bytes(content)


def models(teacher: Teacher) -> tuple[str, ...]:
    """The models of one pass, in the words that the tool and the filter share: one, or the six features' own first."""
    source = f"version={teacher.id}" if teacher.sha256 is None else f"path={MODEL_FILE}"
    canonical = () if teacher == CANONICAL else (f"version={CANONICAL_MODEL}:name=canonical",)
    return (*canonical, f"{source}:name=teacher")
