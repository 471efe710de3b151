"""Validate documents with the JSON Schemas (draft 2020-12) in ``kit/system/schemas/``."""

from __future__ import annotations

import json
from pathlib import Path

from kit.system.fsio import json_bytes, read_json

_SCHEMAS = Path(__file__).parent / "schemas"


def problems(name: str, value: object) -> list[str]:
    """Return the errors of a document, one line each, sorted by JSON path.

    Args:
        name: the schema, e.g. ``sidecar``.

    Raises:
        ValueError: NaN or an infinity.
    """
    from jsonschema import Draft202012Validator

    validator = Draft202012Validator(read_json(_SCHEMAS / f"{name}.json"))
    errors = validator.iter_errors(json.loads(json_bytes(value)))
    return [f"{error.json_path}: {error.message}" for error in sorted(errors, key=lambda error: error.json_path)]
