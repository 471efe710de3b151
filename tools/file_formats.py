"""Write docs/file-formats.md from the JSON Schemas: ``python tools/file_formats.py [--check]``.

A property's meaning is its ``description``; without one, that of its name in ``terms.json``: such names mean
the same in every file. Own keywords: ``x-file`` (where such a document is), ``x-kind`` (YAML, …, not JSON),
``x-unit`` (of a number) and ``x-column`` (type of a column in Parquet).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
SCHEMAS = ROOT / "kit" / "system" / "schemas"
PAGE = ROOT / "docs" / "file-formats.md"
#: Headings and the schemas below them; a schema in none of them follows under the last.
PARTS = {
    "A run": (
        "config",
        "prereqs",
        "training",
        "seed_report",
        "holdout",
        "predictions",
        "verdict",
        "manifest",
    ),
    "The shard": ("shard", "groups", "plan", "rows", "observed", "merge"),
    "Models": ("sidecar", "registry"),
    "Tiny heads": (
        "fit_config",
        "history",
        "checkpoint",
        "tiny_sidecar",
        "loso",
        "tune",
        "eval",
        "validation",
    ),
    "Data sets and feature tables": ("dataset_manifest", "pack", "feature_table", "feature_manifest"),
    "Output of commands": ("score_output", "verify_output", "compare_output"),
    "Others": ("vmaf_tool", "provenance"),
}
_HEAD = """# File formats

Every file that the kit writes, key by key. Generated from `kit/system/schemas/*.json` by
`tools/file_formats.py`; the kit and `verify` check files with the same schemas.
[Run folder](run-folder.md) says where the files are, and what hashes, keys, tokens and times are.

`a.b` is the key `b` of the object `a`, `a[].b` that of each item of a list, `a{}.b` that of each
value of a map whose keys are names. *→ name* is an object with a table of its own below. A key is
required unless it is marked optional. No mapping is applied before a figure is computed, unless
the text says so.
"""
_HEX = "^[0-9a-f]{64}$"
Schema = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Row:
    """A line of a table: one property of a document."""

    path: str
    type: str
    meaning: str


def schemas() -> dict[str, Schema]:
    """Every schema by name, without the terms."""
    paths = sorted(path for path in SCHEMAS.glob("*.json") if path.stem != "terms")
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in paths}


def terms() -> dict[str, Schema]:
    """Names that mean the same in every file."""
    read: dict[str, Schema] = json.loads((SCHEMAS / "terms.json").read_text(encoding="utf-8"))["properties"]
    return read


def tables(schema: Schema) -> dict[str, list[Row]]:
    """The tables of a document: "" is the document, the others are its objects that occur more than once."""
    text, conditional = json.dumps(schema), json.dumps([schema.get("then"), schema.get("else")])
    shared = frozenset(
        name
        for name, value in schema.get("$defs", {}).items()
        if "properties" in value
        and name != "provenance"
        and (text.count(f'"#/$defs/{name}"') > 1 or f'"#/$defs/{name}"' in conditional)
    )
    document = _Document(root=schema, shared=shared, terms=terms())
    owners = {"": schema, **{name: schema["$defs"][name] for name in sorted(shared)}}
    return {name: list(document.properties(owner, "")) for name, owner in owners.items()}


def page() -> str:
    """The whole page, Markdown."""
    known = schemas()
    listed = {name for names in PARTS.values() for name in names}
    parts = {**PARTS, "Others": (*PARTS["Others"], *(name for name in known if name not in listed))}
    lines = [_HEAD]
    for heading, names in parts.items():
        lines += [f"## {heading}", ""]
        for name in names:
            if name in known:
                lines += _section(name, known[name])
    return "\n".join(lines)


def _section(name: str, schema: Schema) -> Iterator[str]:
    yield f"### {schema['title']}"
    yield ""
    yield schema["description"]
    yield ""
    kind = schema.get("x-kind", "JSON")
    place = f", `{schema['x-file']}`" if "x-file" in schema else ""
    yield f"{kind}{place}; schema `kit/system/schemas/{name}.json`."
    yield ""
    for title, table in ({} if schema.get("x-older") else tables(schema)).items():
        if title:
            yield f"*{title}*:"
            yield ""
        yield f"| {'column' if kind == 'Parquet' else 'key'} | type | meaning |"
        yield "|---|---|---|"
        for row in table:
            yield f"| `{row.path}` | {row.type} | {row.meaning} |"
        yield ""


@dataclass(frozen=True, kw_only=True)
class _Document:
    """A schema, the objects in it that get a table of their own, and the terms."""

    root: Schema
    shared: frozenset[str]
    terms: Schema

    def properties(self, owner: Schema, prefix: str) -> Iterator[Row]:
        required = owner.get("required", ())
        for name, given in owner.get("properties", {}).items():
            path, term = f"{prefix}{name}", self.terms.get(name, {})
            if name in ("run_provenance", "registration"):
                yield Row(
                    path=path, type=_type(given) or "object", meaning=_meaning({**term, **given}, name in required)
                )
                continue
            target = _resolve(self.root, given)
            for word in ("oneOf", "anyOf"):
                if word in target:
                    target[word] = [_resolve(self.root, choice) for choice in target[word]]
            own = {key: given[key] for key in ("description", "x-unit") if key in given}
            merged = {**term, **target, **own}
            yield Row(path=path, type=self._named(given) or _type(merged), meaning=_meaning(merged, name in required))
            yield from self._inner(given, path)

    def _inner(self, given: Schema, path: str) -> Iterator[Row]:
        if self._named(given):
            return
        target = _resolve(self.root, given)
        yield from self.properties(target, f"{path}.")
        for keyword, suffix in (("items", "[]"), ("additionalProperties", "{}")):
            if isinstance(target.get(keyword), dict):
                yield from self._inner(target[keyword], path + suffix)
        for choice in target.get("oneOf", ()):
            yield from self._inner(choice, path)

    def _named(self, given: Schema) -> str:
        """The type of an object with a table of its own, or of a list or map of them; empty for all others."""
        name = str(given.get("$ref", "")).removeprefix("#/$defs/")
        if name in self.shared:
            return f"→ {name}"
        if isinstance(value := given.get("additionalProperties"), dict) and (inner := self._named(value)):
            return f"map, {inner}"
        if isinstance(value := given.get("items"), dict) and (inner := self._named(value)):
            return f"list, {inner}"
        target = _resolve(self.root, given) if "$ref" in given else {}
        return (
            self._named({key: target[key] for key in ("additionalProperties", "items") if key in target})
            if target
            else ""
        )


def _resolve(root: Schema, given: Schema) -> dict[str, Any]:
    """A schema with its local references followed; what is beside a reference has precedence."""
    whole = dict(given)
    while "$ref" in whole:
        name = whole.pop("$ref").removeprefix("#/$defs/")
        whole = {**root["$defs"][name], **whole}
    return whole


def _type(schema: Schema) -> str:
    if "x-column" in schema:
        return _with_range(str(schema["x-column"]), schema)
    if "const" in schema:
        return f"`{json.dumps(schema['const'])}`"
    if "enum" in schema:
        return ", ".join("null" if value is None else f"`{_plain(value)}`" for value in schema["enum"])
    if "oneOf" in schema or "anyOf" in schema:
        choices = [_type(choice) or "object" for choice in (*schema.get("oneOf", ()), *schema.get("anyOf", ()))]
        return " or ".join(dict.fromkeys(choices))
    kinds = schema.get("type", "object" if "$ref" in schema else "any")
    kinds = [kinds] if isinstance(kinds, str) else list(kinds)
    words = {"object": "map" if isinstance(schema.get("additionalProperties"), dict) else "object", "array": "list"}
    text = " or ".join(words.get(kind, kind) for kind in kinds)
    return _with_range(text, schema)


def _with_range(text: str, schema: Schema) -> str:
    limits = [
        f"{sign} {schema[word]}"
        for word, sign in (("minimum", "≥"), ("exclusiveMinimum", ">"), ("maximum", "≤"), ("exclusiveMaximum", "<"))
        if word in schema and schema[word] != ""
    ]
    if schema.get("pattern") == _HEX:
        text = text.replace("string", "SHA-256")
    elif "pattern" in schema:
        limits.append(f"matches `{schema['pattern']}`".replace("|", "\\|"))
    if "maxLength" in schema:
        limits.append(f"at most {schema['maxLength']} characters")
    unit = [schema["x-unit"]] if "x-unit" in schema else []
    joint = " " if limits and limits[0][0] in "≥><≤" else ", "
    return ", ".join([joint.join([text, *limits[:1]]), *limits[1:], *unit])


def _meaning(schema: Schema, required: bool) -> str:
    text = str(schema.get("description", "")).replace("|", "\\|")
    if text.endswith(".") and ". " not in text:  # cells of a table are phrases
        text = text[:1].lower() + text[1:-1] if text[1:2].islower() else text[:-1]
    return text if required else "; ".join(filter(None, ("optional", text)))


def _plain(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def main(words: list[str]) -> int:
    """Write the page; with ``--check`` only compare it, and return 1 if it is out of date."""
    text = page()
    if words == ["--check"]:
        return int(PAGE.read_text(encoding="utf-8") != text)
    PAGE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
