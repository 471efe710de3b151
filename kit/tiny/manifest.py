"""The JSON beside a feature table: how it was made, from what, and what is not in it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from kit import contract, provenance
from kit.errors import BadInput
from kit.fsio import write_json
from kit.session import Session
from kit.tiny import table

SUFFIX = ".parquet"


def beside(path: Path) -> Path:
    """Where the manifest of a table lies.

    Raises:
        BadInput: the name of the table does not end with ``.parquet``.
    """
    if path.suffix != SUFFIX:
        raise BadInput(f"--out: {path.name} does not end with {SUFFIX}", hint="A .json of the same name is put beside.")
    return path.with_suffix(".json")


def write(
    path: Path, made: table.FeatureTable, told: Mapping[str, object], *, args: Mapping[str, str], session: Session,
    inputs: Mapping[str, Path],
) -> dict[str, object]:  # fmt: skip
    """Write a table and its manifest, the table last; returns the manifest.

    Args:
        told: what the command has to say of it.
        args: option name to its value as a text, for the provenance.
        inputs: name to file, for the provenance.
    """
    manifest = beside(path)
    corpora = {str(name): int(count) for name, count in made.frame["corpus"].value_counts().sort_index().items()}
    facts: dict[str, object] = {
        "schema_version": contract.SCHEMA_VERSION, "table": path.name, "table_sha256": made.sha256,
        "features": list(made.features), "teacher": made.teacher, "rows": len(made),
        "clips": sum(1 for _ in made.clips()), "sources": len(set(made.sources)), "corpora": corpora,
        **told,
    }  # fmt: skip
    block = provenance.of_command(session, args=args, inputs=inputs, outputs=[path.name, manifest.name])
    whole = facts | {"run_provenance": block}
    write_json(manifest, whole)
    table.write(path, made, facts={name: facts[name] for name in ("table_sha256", "features", "teacher", "corpora")})
    return whole
