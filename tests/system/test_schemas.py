"""The schemas describe the files that the kit writes, and the page of file formats is made from them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from kit.system import validation
from tests.system.builders import formats, parquet_problems

#: Of a finished run: schema to the files that it describes.
OF_A_RUN = {
    "config": "config.json",
    "prereqs": "prereqs.json",
    "plan": "corpus/plan.json",
    "shard": "corpus/shard.json",
    "groups": "corpus/groups.json",
    "observed": "corpus/cells/**/*.observed.json",
    "training": "loso/training.json",
    "seed_report": "loso/loso_*.json",
    "manifest": "manifest.json",
    "verdict": "[A-Z]*.json",
}
OF_EXPORTS = {"sidecar": "exports/fr_*.json", "registry": "exports/registry.json", "verdict": "PROMOTE.json"}
IN_PARQUET = {
    "rows": "corpus/cells/**/*.parquet",
    "predictions": "loso/*.parquet",
}


def invalid(folder: Path, schema: str, pattern: str) -> list[str]:
    paths = sorted(folder.glob(pattern))
    assert paths, pattern
    return [
        f"{path.name}: {problem}"
        for path in paths
        for problem in validation.problems(schema, json.loads(path.read_text(encoding="utf-8")))
    ]


def known(mapping: dict[str, str]) -> list[tuple[str, str]]:
    return [(schema, pattern) for schema, pattern in mapping.items() if schema in formats().schemas()]


@pytest.mark.parametrize("name", sorted(formats().schemas()))
def test_every_key_is_explained(name: str) -> None:
    schema = formats().schemas()[name]
    Draft202012Validator.check_schema(schema)
    assert schema["title"]
    assert schema["description"]
    tables = formats().tables(schema)
    assert [row.path for table in tables.values() for row in table if row.meaning in ("", "optional")] == []
    assert all(tables.values())


def test_the_page_is_current() -> None:
    assert formats().page() == formats().PAGE.read_text(encoding="utf-8"), "run tools/file_formats.py"


@pytest.mark.ffmpeg
@pytest.mark.parametrize(("schema", "pattern"), known(OF_A_RUN))
def test_files_of_a_run(schema: str, pattern: str, finished: Path) -> None:
    assert invalid(finished, schema, pattern) == []


@pytest.mark.parametrize(("schema", "pattern"), known(OF_EXPORTS))
def test_files_of_a_promoted_run(schema: str, pattern: str, promoted: Path) -> None:
    assert invalid(promoted, schema, pattern) == []


@pytest.mark.ffmpeg
@pytest.mark.parametrize(("schema", "pattern"), IN_PARQUET.items())
def test_parquet_of_a_run(schema: str, pattern: str, finished: Path) -> None:
    paths = sorted(finished.glob(pattern))
    assert paths
    assert [problem for path in paths for problem in parquet_problems(schema, path)] == []


@pytest.mark.ffmpeg
def test_provenance_of_a_run(finished: Path) -> None:
    (verdict,) = finished.glob("[A-Z]*.json")
    block: Any = json.loads(verdict.read_text(encoding="utf-8"))["run_provenance"]
    assert validation.problems("provenance", block) == []


@pytest.mark.ffmpeg
def test_members_of_a_run(finished: Path) -> None:
    from safetensors import safe_open

    paths = sorted((finished / "loso" / "checkpoints").glob("*.safetensors"))
    assert paths
    for path in paths:
        with safe_open(str(path), framework="numpy") as opened:
            described = json.loads(opened.metadata()["checkpoint"])
        assert validation.problems("checkpoint", described) == []
