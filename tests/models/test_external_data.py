"""Models of other exporters: what is accepted, what is explained, and copies with the weights inside."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from kit.core import exits
from kit.models.external_data import find_external_weights
from kit.models.model_file import open_model
from tests.cli.builders import Ask
from tests.features.builders import LINE, OFFSET, SLOPES
from tests.models.builders import foreign


def test_a_column_of_scores_is_read_as_scores(line_table: Path, tmp_path: Path, ask: Ask) -> None:
    path = foreign(tmp_path / "column.onnx", shape=(-1, 1))
    assert ask("eval", "--model", path, "--features", line_table, "--json")[0]["plcc"] > 0.99


@pytest.mark.parametrize(("rows", "shape"), [(1, (-1,)), ("N", (-1, 2))])
def test_a_model_of_other_shapes_is_refused(
    rows: str | int, shape: tuple[int, ...], line_table: Path, tmp_path: Path, ask: Ask
) -> None:
    path = foreign(tmp_path / "odd.onnx", rows=rows, shape=shape)
    _, err = ask("eval", "--model", path, "--features", line_table, code=exits.BAD_INPUT)
    assert "odd.onnx" in err
    assert "any number of rows" in err


@pytest.mark.parametrize(
    "argv", [("eval", "--features", "f.parquet", "--model"), ("score", "--corpus", "x", "--model")]
)
def test_external_weights_are_explained(
    argv: tuple[str, ...], renamed: Path, monkeypatch: pytest.MonkeyPatch, ask: Ask
) -> None:
    # onnxruntime would load them from the working folder without a hash
    (renamed.parent / "head_final.onnx.data").write_bytes((renamed.parent / "tiny_v1.onnx.data").read_bytes())
    monkeypatch.chdir(renamed.parent)
    _, err = ask(*argv, renamed, code=exits.BAD_INPUT)
    assert all(text in err for text in ("tiny_v1.onnx", "3 weights", "head_final.onnx.data, tiny_v1.onnx.data"))
    assert "repair-onnx" in err


@pytest.mark.parametrize("how", ["the only one", "named", "as in the model"])
def test_a_repaired_copy_has_its_weights_inside(how: str, renamed: Path, tmp_path: Path, ask: Ask) -> None:
    data, out = renamed.parent / "tiny_v1.onnx.data", tmp_path / "whole.onnx"
    further: tuple[object, ...] = ()
    if how == "named":
        data = data.rename(tmp_path / "weights")
        further = ("--data", data)
    elif how == "as in the model":
        (renamed.parent / "other.data").write_bytes(b"another model's")
        data = data.rename(renamed.parent / "head_final.onnx.data")
    before = renamed.read_bytes()
    _, err = ask("repair-onnx", renamed, *further, "--out", out)
    assert "all in one file" in err
    data.unlink()
    assert renamed.read_bytes() == before
    assert find_external_weights(out, out.read_bytes()) is None
    found, _ = open_model(out).scores(LINE.rows().features, LINE.rows().codec)
    assert np.abs(found - (LINE.rows().features @ SLOPES + OFFSET)).max() < 1e-4


@pytest.mark.parametrize("content", [b"", b"short", bytes(1000)])
def test_weights_of_another_model_are_refused(content: bytes, renamed: Path, tmp_path: Path, ask: Ask) -> None:
    (tmp_path / "weights").write_bytes(content)
    if len(content) == 1000:  # long enough, but the model records another length
        model = onnx.load_model(renamed, load_external_data=False)
        entry = next(one for one in model.graph.initializer[0].external_data if one.key == "length")
        entry.value = "28"
        renamed.write_bytes(model.SerializeToString())
    argv = ("repair-onnx", renamed, "--data", tmp_path / "weights", "--out", tmp_path / "whole.onnx")
    assert "another model" in ask(*argv, code=exits.INVALID)[1]
    assert not (tmp_path / "whole.onnx").exists()


@pytest.mark.parametrize(("more", "size"), [(b"PAR1", "40"), (bytes(1 << 16), "65572")])
def test_a_file_of_weights_has_nothing_else(more: bytes, size: str, renamed: Path, tmp_path: Path, ask: Ask) -> None:
    data = renamed.parent / "tiny_v1.onnx.data"
    whole = data.read_bytes()
    argv = ("repair-onnx", renamed, "--out", tmp_path / "whole.onnx")
    data.write_bytes(whole + more)
    err = ask(*argv, code=exits.INVALID)[1]
    assert "byte 36" in err
    assert size in err
    assert not (tmp_path / "whole.onnx").exists()
    data.write_bytes(whole + bytes(28))  # padded to a multiple of 64
    ask(*argv)


def test_weights_that_are_not_finite_are_refused(renamed: Path, tmp_path: Path, ask: Ask) -> None:
    data = renamed.parent / "tiny_v1.onnx.data"
    data.write_bytes(b"\xff" * 4 + data.read_bytes()[4:])
    argv = ("repair-onnx", renamed, "--out", tmp_path / "whole.onnx")
    assert "not finite" in ask(*argv, code=exits.INVALID)[1]
    assert not (tmp_path / "whole.onnx").exists()


def test_a_copy_is_loaded_before_it_appears(renamed: Path, tmp_path: Path, ask: Ask) -> None:
    model = onnx.load_model(renamed, load_external_data=False)
    model.opset_import.append(onnx.helper.make_opsetid("elsewhere", 1))  # onnx accepts such operators
    model.graph.node[0].domain = "elsewhere"
    renamed.write_bytes(model.SerializeToString())
    argv = ("repair-onnx", renamed, "--out", tmp_path / "whole.onnx")
    assert "not a valid model" in ask(*argv, code=exits.INVALID)[1]
    assert not (tmp_path / "whole.onnx").exists()


def test_a_truncated_model_is_refused(renamed: Path, tmp_path: Path, ask: Ask) -> None:
    data = renamed.read_bytes()
    for length in range(0, len(data), 20):
        renamed.write_bytes(data[:length])
        argv = ("repair-onnx", renamed, "--out", tmp_path / "whole.onnx")
        err = ask(*argv, code=exits.BAD_INPUT)[1]
        assert "ONNX" in err
        assert "nothing to repair" not in err


def test_a_model_that_cannot_be_repaired_is_refused(renamed: Path, tmp_path: Path, ask: Ask) -> None:
    out = ("--out", tmp_path / "whole.onnx")
    whole = foreign(tmp_path / "whole_already.onnx")
    assert "nothing to repair" in ask("repair-onnx", whole, *out, code=exits.BAD_INPUT)[1]
    (renamed.parent / "other.data").write_bytes(b"")
    assert "--data" in ask("repair-onnx", renamed, *out, code=exits.BAD_INPUT)[1]
    assert "no.onnx" in ask("repair-onnx", tmp_path / "no.onnx", *out, code=exits.BAD_INPUT)[1]


@pytest.mark.parametrize("location", ["../outside.data", "/etc/hostname"])
def test_a_file_name_in_another_folder_is_not_followed(location: str, renamed: Path, tmp_path: Path, ask: Ask) -> None:
    model = onnx.load_model(renamed, load_external_data=False)
    for tensor in model.graph.initializer:
        next(entry for entry in tensor.external_data if entry.key == "location").value = location
    renamed.write_bytes(model.SerializeToString())
    (tmp_path / "outside.data").write_bytes((renamed.parent / "tiny_v1.onnx.data").read_bytes())
    (renamed.parent / "tiny_v1.onnx.data").unlink()
    _, err = ask("repair-onnx", renamed, "--out", tmp_path / "whole.onnx", code=exits.BAD_INPUT)
    assert "no *.data file" in err
