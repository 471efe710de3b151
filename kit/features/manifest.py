"""The JSON file of a feature table: its origin, its figures, and the clips that are not in it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from kit.core import contract
from kit.core.errors import BadInput
from kit.features import table
from kit.options.provenance import of_command
from kit.options.session import Session
from kit.options.table import Texts
from kit.system.fsio import atomic_path, json_bytes, read_json
from kit.system.outputs import refuse_foreign, refuse_inputs, require_writable

SUFFIX = ".parquet"


def manifest_path(path: Path) -> Path:
    """Return the path of a table's manifest: the same name with ``.json``.

    Raises:
        BadInput: the name of the table does not end with ``.parquet``.
    """
    if path.suffix != SUFFIX:
        raise BadInput(
            f"--out: {path.name} does not end with {SUFFIX}",
            hint=f"Use a name such as {path.stem}{SUFFIX}; the manifest gets the same name with .json.",
        )
    return path.with_suffix(".json")


def check_destination(out: Path, inputs: Iterable[Path] = ()) -> None:
    """Check before the work that a table and its manifest can be written.

    Args:
        inputs: files that the command reads.

    Raises:
        BadInput: not writable, or they would replace an input or a ``.json`` that is not a manifest.
    """
    manifest = manifest_path(out)
    require_writable(out.parent, option="--out", hint="Give a folder that can be written.")
    refuse_inputs([out, manifest], inputs)
    refuse_foreign([manifest], _is_manifest, option="--out", hint="Give the table another name.")


def _is_manifest(path: Path) -> bool:
    try:
        document = read_json(path)
    except BadInput:
        return False
    return isinstance(document, dict) and "table_sha256" in document


def write(
    path: Path,
    rows: table.FeatureTable,
    details: Mapping[str, object],
    *,
    args: Texts,
    session: Session,
    inputs: Mapping[str, Path],
) -> dict[str, object]:
    """Write a table and its manifest, both or (on a full disk) neither; return the manifest.

    Args:
        details: further properties of the manifest, from the command.
        args: option name to its value, for the provenance.
        inputs: name to file, for the provenance.
    """
    manifest = manifest_path(path)
    corpora = {str(name): int(count) for name, count in rows.frame["corpus"].value_counts().sort_index().items()}
    facts: dict[str, object] = {
        "schema_version": contract.SCHEMA_VERSION,
        "table": path.name,
        "table_sha256": rows.sha256,
        "features": list(rows.features),
        "teacher": rows.teacher and rows.teacher.text,
        "rows": len(rows),
        "clips": sum(1 for _ in rows.clips()),
        "sources": len(set(rows.sources)),
        "corpora": corpora,
        **details,
    }
    block = of_command(session, args=args, inputs=inputs, outputs=[path.name, manifest.name])
    whole = facts | {"run_provenance": block}
    with atomic_path(manifest) as temporary:
        temporary.write_bytes(json_bytes(whole))
        table.write(path, rows, facts={name: facts[name] for name in table.FACTS})
    return whole
