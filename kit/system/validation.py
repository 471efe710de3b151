"""Validate documents with the JSON Schemas (draft 2020-12) in ``kit/system/schemas/``."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

from kit.core.errors import BadInput
from kit.system.fsio import read_json

_SCHEMAS = Path(__file__).parent / "schemas"
#: A line may quote names and values of a file that the kit did not write; so many characters of it are kept.
_LONGEST_LINE = 400
_FIRST_PART = 300
_MOST_PROBLEMS = 5
_INTEGERS = 1 << 63


def problems(name: str, value: object, *, most: int | None = None) -> list[str]:
    """Return the errors of a document, one line each, sorted by JSON path.

    Args:
        name: the schema, e.g. ``sidecar``.
        value: JSON values; tuples count as arrays.
        most: stop after so many, for documents that the kit did not write.
    """
    errors = islice(_validator(name).iter_errors(value), most)
    return [
        printable(f"{path}: {message}")
        for path, message in sorted((error.json_path, error.message) for error in errors)
    ]


def require(name: str, value: object, *, where: Path, hint: str = "") -> None:
    """Check a document of the user.

    Args:
        where: its file, for the error.

    Raises:
        BadInput: it does not match its schema.
    """
    if lines := problems(name, value, most=_MOST_PROBLEMS):
        raise BadInput("\n  ".join([f"{where} is invalid:", *lines]), hint=hint)


def read_valid(path: Path, name: str, *, written_by: str = "", hint: str = "") -> Any:
    """Read a JSON file and check it with a schema.

    Args:
        written_by: the command that writes this file, for the hint of Missing.
        hint: the hint of BadInput.

    Raises:
        Missing: the file does not exist.
        BadInput: invalid JSON, or it does not match the schema.
    """
    value = read_json(path, written_by=written_by, hint=hint)
    require(name, value, where=path, hint=hint)
    return value


def printable(text: str) -> str:
    """Return a text without characters that would act on a terminal, cut to a readable length."""
    if len(text) > _LONGEST_LINE:  # what is wrong with a value stands behind it
        text = f"{text[:_FIRST_PART]} … {text[_FIRST_PART - _LONGEST_LINE :]}"
    return "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in text)


@cache
def _validator(name: str) -> Any:
    """Return a validator for a schema, stricter than jsonschema's own.

    A number is one that a double can hold, and finite; an integer has at most 64 bits; ``25.0`` is no integer, since
    Python formats it otherwise; ``$`` in a pattern does not match before a final newline and ``\\w`` is ASCII, as in
    ECMA 262; the format ``printable`` is asserted.
    """
    from jsonschema import Draft202012Validator, FormatChecker
    from jsonschema.validators import extend

    formats = FormatChecker(formats=())
    formats.checks("printable")(lambda text: not isinstance(text, str) or text.isprintable())
    types = Draft202012Validator.TYPE_CHECKER.redefine_many(
        {
            "array": lambda _, value: isinstance(value, list | tuple),
            "integer": lambda _, value: type(value) is int and -_INTEGERS <= value < _INTEGERS,
            "number": lambda _, value: type(value) in (int, float) and abs(value) <= sys.float_info.max,
        }
    )
    strict = extend(Draft202012Validator, {"pattern": _pattern}, type_checker=types)
    return strict(read_json(_SCHEMAS / f"{name}.json"), format_checker=formats)


def _pattern(_validator: Any, pattern: str, value: object, _schema: Mapping[str, Any]) -> Iterator[Any]:
    from jsonschema import ValidationError

    if isinstance(value, str) and not re.search(re.sub(r"\$$", r"\\Z", pattern), value, re.ASCII):
        yield ValidationError(f"{value!r} does not match {pattern}")
