"""What documents record of a feature table."""

from __future__ import annotations

from pathlib import Path

from kit.corpus.store import shard as shards
from kit.corpus.store.planned import shard_folder
from kit.features.table import FeatureTable


def table_facts(table: FeatureTable) -> dict[str, object]:
    """Return identity, teacher, sizes and sources of a table, JSON."""
    return {
        "features_sha256": table.sha256,
        "teacher": table.teacher and table.teacher.text,
        "rows": len(table),
        "clips": sum(1 for _ in table.clips()),
        "corpora": sorted(set(table.frame["corpus"])),
        "sources": sorted(set(table.sources.tolist())),
    }


def identifying_file(features: Path) -> Path:
    """Return the file whose hash identifies a table: the table, or the manifest of a shard."""
    return shard_folder(features) / shards.MANIFEST if features.is_dir() else features
