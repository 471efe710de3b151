"""Models from elsewhere: what is taken, what is explained, and copies that hold their weights themselves."""

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
    _, said = ask("eval", "--model", path, "--features", line_table, code=exits.BAD_INPUT)
    assert "expected any number of rows, and one score for each" in said


@pytest.mark.parametrize(
    "argv", [("eval", "--features", "f.parquet", "--model"), ("score", "--corpus", "x", "--model")]
)
def test_weights_that_lie_elsewhere_are_explained(
    argv: tuple[str, ...], renamed: Path, monkeypatch: pytest.MonkeyPatch, ask: Ask
) -> None:
    # onnxruntime would take them from the working folder, and nobody would have hashed them
    (renamed.parent / "head_final.onnx.data").write_bytes((renamed.parent / "tiny_v1.onnx.data").read_bytes())
    monkeypatch.chdir(renamed.parent)
    _, said = ask(*argv, renamed, code=exits.BAD_INPUT)
    assert "tiny_v1.onnx does not hold 3 of its weights: it says they are in head_final.onnx.data" in said
    assert "beside it lies head_final.onnx.data, tiny_v1.onnx.data" in said
    assert "repair-onnx" in said


@pytest.mark.parametrize("how", ["the only one there", "named", "as the model says"])
def test_a_repaired_copy_holds_its_weights_itself(how: str, renamed: Path, tmp_path: Path, ask: Ask) -> None:
    data, out = renamed.parent / "tiny_v1.onnx.data", tmp_path / "whole.onnx"
    further: tuple[object, ...] = ()
    if how == "named":
        data = data.rename(tmp_path / "weights")
        further = ("--data", data)
    elif how == "as the model says":
        (renamed.parent / "other.data").write_bytes(b"another model's")
        data = data.rename(renamed.parent / "head_final.onnx.data")
    before = renamed.read_bytes()
    _, said = ask("repair-onnx", renamed, *further, "--out", out)
    assert "all in one file" in said
    data.unlink()
    assert renamed.read_bytes() == before
    assert find_external_weights(out, out.read_bytes()) is None
    found, _ = open_model(out).scores(LINE.rows().features, LINE.rows().codec)
    assert np.abs(found - (LINE.rows().features @ SLOPES + OFFSET)).max() < 1e-4


@pytest.mark.parametrize("content", [b"", b"short", bytes(1000)])
def test_weights_of_another_model_are_refused(content: bytes, renamed: Path, tmp_path: Path, ask: Ask) -> None:
    (tmp_path / "weights").write_bytes(content)
    if len(content) == 1000:  # long enough, but the model asks for a piece of another size
        model = onnx.load_model(renamed, load_external_data=False)
        entry = next(one for one in model.graph.initializer[0].external_data if one.key == "length")
        entry.value = "28"
        renamed.write_bytes(model.SerializeToString())
    argv = ("repair-onnx", renamed, "--data", tmp_path / "weights", "--out", tmp_path / "whole.onnx")
    assert "another model's" in ask(*argv, code=exits.INVALID)[1]
    assert not (tmp_path / "whole.onnx").exists()


@pytest.mark.parametrize(
    ("more", "said"), [(b"PAR1", "its weights end at byte 36, the file has 40"), (bytes(1 << 16), "the file has 65572")]
)
def test_a_file_of_weights_is_used_up(more: bytes, said: str, renamed: Path, tmp_path: Path, ask: Ask) -> None:
    data = renamed.parent / "tiny_v1.onnx.data"
    whole = data.read_bytes()
    argv = ("repair-onnx", renamed, "--out", tmp_path / "whole.onnx")
    data.write_bytes(whole + more)
    assert said in ask(*argv, code=exits.INVALID)[1]
    assert not (tmp_path / "whole.onnx").exists()
    data.write_bytes(whole + bytes(28))  # filled up to a multiple of 64
    ask(*argv)


def test_weights_that_are_no_numbers_are_refused(renamed: Path, tmp_path: Path, ask: Ask) -> None:
    data = renamed.parent / "tiny_v1.onnx.data"
    data.write_bytes(b"\xff" * 4 + data.read_bytes()[4:])
    argv = ("repair-onnx", renamed, "--out", tmp_path / "whole.onnx")
    assert "w would hold values that are not finite" in ask(*argv, code=exits.INVALID)[1]
    assert not (tmp_path / "whole.onnx").exists()


def test_a_copy_is_loaded_before_it_appears(renamed: Path, tmp_path: Path, ask: Ask) -> None:
    model = onnx.load_model(renamed, load_external_data=False)
    model.opset_import.append(onnx.helper.make_opsetid("elsewhere", 1))  # onnx knows nothing wrong of such operators
    model.graph.node[0].domain = "elsewhere"
    renamed.write_bytes(model.SerializeToString())
    argv = ("repair-onnx", renamed, "--out", tmp_path / "whole.onnx")
    assert "no valid model" in ask(*argv, code=exits.INVALID)[1]
    assert not (tmp_path / "whole.onnx").exists()


def test_a_model_that_is_cut_off_is_no_model_that_needs_no_repair(renamed: Path, tmp_path: Path, ask: Ask) -> None:
    data, said = renamed.read_bytes(), []
    for length in range(0, len(data), 20):
        renamed.write_bytes(data[:length])
        argv = ("repair-onnx", renamed, "--out", tmp_path / "whole.onnx")
        said.append(ask(*argv, code=exits.BAD_INPUT)[1])
    assert all("cannot be read as ONNX" in line or "is no valid ONNX model" in line for line in said)


def test_what_cannot_be_repaired_is_told(renamed: Path, tmp_path: Path, ask: Ask) -> None:
    out = ("--out", tmp_path / "whole.onnx")
    whole = foreign(tmp_path / "whole_already.onnx")
    assert "there is nothing to repair" in ask("repair-onnx", whole, *out, code=exits.BAD_INPUT)[1]
    (renamed.parent / "other.data").write_bytes(b"")
    assert "Name the file with --data" in ask("repair-onnx", renamed, *out, code=exits.BAD_INPUT)[1]
    assert "is not there" in ask("repair-onnx", tmp_path / "no.onnx", *out, code=exits.BAD_INPUT)[1]


@pytest.mark.parametrize("location", ["../outside.data", "/etc/hostname"])
def test_a_name_that_leads_away_is_not_followed(location: str, renamed: Path, tmp_path: Path, ask: Ask) -> None:
    model = onnx.load_model(renamed, load_external_data=False)
    for tensor in model.graph.initializer:
        next(entry for entry in tensor.external_data if entry.key == "location").value = location
    renamed.write_bytes(model.SerializeToString())
    (tmp_path / "outside.data").write_bytes((renamed.parent / "tiny_v1.onnx.data").read_bytes())
    (renamed.parent / "tiny_v1.onnx.data").unlink()
    _, said = ask("repair-onnx", renamed, "--out", tmp_path / "whole.onnx", code=exits.BAD_INPUT)
    assert "no *.data lies beside it" in said
