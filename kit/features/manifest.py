"""The JSON beside a feature table: how it was made, from what, and what is not in it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from kit.core import contract
from kit.core.errors import BadInput
from kit.features import table
from kit.options import provenance
from kit.options.session import Session
from kit.system.fsio import atomic_path, json_bytes, read_json
from kit.system.outputs import make_writable, refuse_inputs

SUFFIX = ".parquet"


def beside(path: Path) -> Path:
    """Where the manifest of a table lies.

    Raises:
        BadInput: the name of the table does not end with ``.parquet``.
    """
    if path.suffix != SUFFIX:
        raise BadInput(f"--out: {path.name} does not end with {SUFFIX}", hint="A .json of the same name is put beside.")
    return path.with_suffix(".json")


def refuse_in_the_way(out: Path, inputs: Iterable[Path] = ()) -> None:
    """Look before the work whether a table and its manifest can be written, and what they would replace.

    Args:
        inputs: what the command reads.

    Raises:
        BadInput: they would replace an input, or a ``.json`` that is no manifest; or they cannot be written.
    """
    manifest = beside(out)
    make_writable(out.parent, told_by="--out", hint="Give a folder that can be written.")
    refuse_inputs([out, manifest], inputs)
    if manifest.exists() and not _is_manifest(manifest):
        raise BadInput(
            f"--out: {manifest} is there, is no manifest of a table, and would be replaced",
            hint="Give the table another name.",
        )


def _is_manifest(path: Path) -> bool:
    try:
        found = read_json(path)
    except BadInput:
        return False
    return isinstance(found, dict) and "table_sha256" in found


def write(
    path: Path,
    made: table.FeatureTable,
    told: Mapping[str, object],
    *,
    args: provenance.Args,
    session: Session,
    inputs: Mapping[str, Path],
) -> dict[str, object]:
    """Write a table and its manifest, both or, where the disk is full, none of them; returns the manifest.

    Args:
        told: what the command has to say of it.
        args: option name to its value, for the provenance.
        inputs: name to file, for the provenance.
    """
    manifest = beside(path)
    corpora = {str(name): int(count) for name, count in made.frame["corpus"].value_counts().sort_index().items()}
    facts: dict[str, object] = {
        "schema_version": contract.SCHEMA_VERSION,
        "table": path.name,
        "table_sha256": made.sha256,
        "features": list(made.features),
        "teacher": made.teacher and made.teacher.text,
        "rows": len(made),
        "clips": sum(1 for _ in made.clips()),
        "sources": len(set(made.sources)),
        "corpora": corpora,
        **told,
    }
    block = provenance.of_command(session, args=args, inputs=inputs, outputs=[path.name, manifest.name])
    whole = facts | {"run_provenance": block}
    with atomic_path(manifest) as temporary:
        temporary.write_bytes(json_bytes(whole))
        table.write(path, made, facts={name: facts[name] for name in table.FACTS})
    return whole
