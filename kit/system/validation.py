"""JSON documents against the JSON Schemas (draft 2020-12) in ``kit/system/schemas/``."""

from __future__ import annotations

import json
from pathlib import Path

from kit.system.fsio import json_bytes, read_json

_SCHEMAS = Path(__file__).parent / "schemas"


def problems(name: str, value: object) -> list[str]:
    """What in a document is not as its schema says, one line each, in order of place; empty if nothing is.

    Args:
        name: of the schema, ``sidecar`` or ``registry``.
        value: as it would be written: what JSON has no words for is an error of the caller.

    Raises:
        ValueError: it holds NaN or an infinity.
    """
    from jsonschema import Draft202012Validator

    validator = Draft202012Validator(read_json(_SCHEMAS / f"{name}.json"))
    found = sorted(validator.iter_errors(json.loads(json_bytes(value))), key=lambda error: error.json_path)
    return [f"{error.json_path}: {error.message}" for error in found]
