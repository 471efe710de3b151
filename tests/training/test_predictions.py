"""The file of out-of-fold predictions: sorted, the same bytes, and refused if its schema differs."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from kit.core.errors import BadInput, Missing
from kit.training.predictions import Predictions, read, write
from tests.training.builders import from_columns

CORPUS = "c" * 64


def columns() -> dict[str, NDArray[np.generic]]:
    """Two seeds, two folds, two cells each, three frames, in a fixed disorder."""
    rows = [
        (seed, fold, f"{fold}-{cell}", frame, 50.0 + frame, 40.0 + seed + frame / 3)
        for seed in (10, 9)
        for fold in ("Tango", "Highway")
        for cell in ("b", "a")
        for frame in (2, 0, 1)
    ]
    kinds = (np.int32, np.str_, np.str_, np.int32, np.float32, np.float32)
    names = ("seed", "fold", "cell_key", "frame_index", "target", "prediction")
    return {
        name: np.array(values, dtype=kind)
        for name, kind, values in zip(names, kinds, zip(*rows, strict=True), strict=True)
    }


def shuffled(seed: int) -> Predictions:
    order = np.random.default_rng(seed).permutation(24)
    return from_columns(CORPUS, {name: values[order] for name, values in columns().items()})


def same(first: Predictions, second: Predictions) -> bool:
    return all(np.array_equal(getattr(first, f.name), getattr(second, f.name)) for f in fields(Predictions))


def labels(names: tuple[str, ...], indices: NDArray[np.int32]) -> list[str]:
    return [names[index] for index in indices.tolist()]


def test_rows_are_sorted_by_seed_fold_cell_and_frame() -> None:
    found = shuffled(0)
    keys = list(
        zip(
            found.seed.tolist(),
            labels(found.folds, found.fold),
            labels(found.cells, found.cell),
            found.frame.tolist(),
            strict=True,
        )
    )
    assert keys == sorted(keys)
    assert len(set(keys)) == 24
    # each prediction is still in its row
    assert found.prediction.tolist() == [float(np.float32(40.0 + seed + frame / 3)) for seed, _, _, frame in keys]
    assert found.target.tolist() == [50.0 + frame for _, _, _, frame in keys]


def test_the_order_they_come_in_changes_no_byte(tmp_path: Path) -> None:
    for number in range(3):
        write(tmp_path / f"{number}.parquet", shuffled(number))
    data = {path.read_bytes() for path in tmp_path.iterdir()}
    assert len(data) == 1


def test_what_is_written_reads_back(tmp_path: Path) -> None:
    write(tmp_path / "p.parquet", shuffled(1))
    found = read(tmp_path / "p.parquet")
    assert same(found, shuffled(1))
    assert (found.folds, found.cells) == (("Highway", "Tango"), ("Highway-a", "Highway-b", "Tango-a", "Tango-b"))
    assert found.corpus_sha256 == CORPUS
    assert (found.target.dtype, found.prediction.dtype, found.seed.dtype) == (np.float32, np.float32, np.int32)


def test_the_columns_are_those_of_the_design(tmp_path: Path) -> None:
    write(tmp_path / "p.parquet", shuffled(1))
    schema = pq.read_schema(tmp_path / "p.parquet")
    assert schema.names == ["seed", "fold", "cell_key", "frame_index", "target", "prediction"]
    assert [str(schema.field(name).type) for name in ("target", "prediction")] == ["float", "float"]


def test_not_finite_predictions_are_kept_as_they_are(tmp_path: Path) -> None:
    given = columns()
    given["prediction"] = np.where(given["seed"] == 9, np.float32(np.nan), given["prediction"])  # type: ignore[call-overload]
    write(tmp_path / "p.parquet", from_columns(CORPUS, given))
    found = read(tmp_path / "p.parquet")
    assert np.isnan(found.prediction).tolist() == (found.seed == 9).tolist()


def test_members_in_order_with_their_rows() -> None:
    found = list(shuffled(2).members())
    assert [(seed, fold) for seed, fold, _ in found] == [(9, "Highway"), (9, "Tango"), (10, "Highway"), (10, "Tango")]
    assert [(rows.start, rows.stop) for _, _, rows in found] == [(0, 6), (6, 12), (12, 18), (18, 24)]
    assert list(shuffled(2).seeds()) == [(9, slice(0, 12)), (10, slice(12, 24))]


def test_a_missing_file_names_the_command_that_writes_it(tmp_path: Path) -> None:
    with pytest.raises(Missing) as error:
        read(tmp_path / "p.parquet")
    assert "`train`" in error.value.hint


def test_a_truncated_file_is_refused_for_any_length(tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    write(path, shuffled(1))
    data = path.read_bytes()
    for end in {*range(0, len(data), 61), len(data) - 1}:
        path.write_bytes(data[:end])
        with pytest.raises(BadInput) as error:
            read(path)
        assert str(path) in error.value.message
        assert "`train`" in error.value.hint


@pytest.mark.parametrize(
    ("change", "value"),
    [
        (lambda table: table.drop_columns(["target"]), "prediction"),
        (lambda table: table.append_column("more", table.column("seed")), "prediction"),
        (lambda table: table.rename_columns(["a", "b", "c", "d", "e", "f"]), "prediction"),
        (
            lambda table: table.cast(
                pa.schema(
                    [field.with_type(pa.float64()) if field.name == "target" else field for field in table.schema],
                    metadata=table.schema.metadata,
                )
            ),
            "target",
        ),
        (lambda table: table.replace_schema_metadata({}), "None"),
        (lambda table: table.replace_schema_metadata({b"vmaf_kit.schema_version": b"2"}), "b'2'"),
    ],
    ids=["missing", "extra", "renamed", "type", "no-version", "other-version"],
)
def test_another_schema_is_refused(tmp_path: Path, change: Callable[[pa.Table], pa.Table], value: str) -> None:
    path, buffer = tmp_path / "p.parquet", io.BytesIO()
    write(path, shuffled(1))
    pq.write_table(change(pq.read_table(path)), buffer)
    path.write_bytes(buffer.getvalue())
    with pytest.raises(BadInput) as error:
        read(path)
    assert value in error.value.message


def test_a_row_without_a_value_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    write(path, shuffled(1))
    table = pq.read_table(path)
    holes = pa.array([None, *table.column("fold").to_pylist()[1:]], pa.string())
    # a writer that declares the column required and still writes a null: the reader must not take it for a label
    table = pa.table({**{name: table.column(name) for name in table.schema.names}, "fold": holes})
    pq.write_table(table.replace_schema_metadata(pq.read_schema(path).metadata), path)
    with pytest.raises(BadInput):
        read(path)


def test_many_row_groups_read_back_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kit.training.predictions._ROW_GROUP", 7)
    write(tmp_path / "p.parquet", shuffled(1))
    assert pq.ParquetFile(tmp_path / "p.parquet").num_row_groups == 4
    assert same(read(tmp_path / "p.parquet"), shuffled(1))


def test_no_prediction_at_all_reads_back(tmp_path: Path) -> None:
    write(tmp_path / "p.parquet", from_columns(CORPUS, {name: values[:0] for name, values in columns().items()}))
    found = read(tmp_path / "p.parquet")
    assert (len(found), found.folds, list(found.members())) == (0, (), [])
