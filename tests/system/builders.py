"""Find files; check them with the schemas."""

from __future__ import annotations

import fnmatch
import importlib.util
import os
import sys
from functools import cache
from pathlib import Path
from types import ModuleType

from kit.system import validation

_ROOT = Path(__file__).resolve().parents[2]


def below(folder: Path, pattern: str) -> list[Path]:
    """Return files below a folder while another process works there; ``rglob`` fails if a folder disappears."""
    return [Path(place, name) for place, _, files in os.walk(folder) for name in fnmatch.filter(files, pattern)]


@cache
def formats() -> ModuleType:
    """Return the tool that writes the page of file formats."""
    spec = importlib.util.spec_from_file_location("file_formats", _ROOT / "tools" / "file_formats.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["file_formats"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def parquet_problems(schema: str, path: Path) -> list[str]:
    """Return how the columns or the first rows of a Parquet file differ from their schema."""
    import pyarrow.parquet as pq

    described = formats().schemas()[schema]["properties"]
    table = pq.read_table(path)
    types = {"double": "float64", "float": "float32"}
    columns = {field.name: types.get(str(field.type), str(field.type)) for field in table.schema}
    problems = [
        f"{path.name}: column {name} is {kind}, described as {described.get(name, {}).get('x-column')}"
        for name, kind in columns.items()
        if described.get(name, {}).get("x-column") != kind
    ]
    rows = table.slice(0, 20).to_pylist()
    return problems + [f"{path.name}: {problem}" for row in rows for problem in validation.problems(schema, row)]
