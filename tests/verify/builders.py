"""Bundles for tests."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kit.core import layout
from kit.system.archive import ArchiveFile, write_tar_gz

TOP = "ensemble-results-testbox-20260101T000000Z"


#: Files that stay on the box.
LOCAL = (".lock", layout.CONFIG, layout.MANIFEST, "cache", layout.CHECKPOINTS)


def files_of(run: Path) -> dict[str, bytes]:
    """Return the files of a run folder that belong in its bundle."""
    names = sorted(str(path.relative_to(run)) for path in run.rglob("*") if path.is_file())
    return {name: (run / name).read_bytes() for name in names if not name.startswith(LOCAL)}


def manifest_of(files: dict[str, bytes], word: str | None = "PROMOTE") -> dict[str, Any]:
    return {
        "schema_version": 1,
        "kit_version": "0",
        "box": "testbox",
        "verdict": word,
        "demo": False,
        "created_at_utc": "2026-01-01T00:00:00Z",
        "files": [
            {"path": name, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            for name, data in files.items()
        ],
    }


def packed(target: Path, files: dict[str, bytes], manifest: dict[str, Any]) -> Path:
    members = {layout.MANIFEST: json.dumps(manifest).encode(), **files}
    write_tar_gz(target, [ArchiveFile(name=f"{TOP}/{name}", data=data) for name, data in members.items()], mtime=0)
    return target


def bundle_of(run: Path, target: Path, word: str | None = "PROMOTE") -> Path:
    """Pack a run folder with a manifest that fits it, also where its contents are forged."""
    files = files_of(run)
    return packed(target, files, manifest_of(files, word))


def edit(path: Path, change: Callable[[Any], object]) -> None:
    """Change a JSON file in place."""
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))
