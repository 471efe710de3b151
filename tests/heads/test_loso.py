"""Tiny heads side by side with each source held out."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kit.core import exits
from kit.core.errors import BadInput
from kit.features import table
from kit.heads.loso import folds_of, lines
from kit.heads.scored import scored
from kit.options.session import KIT_ROOT
from tests.cli.builders import KIT, Command, load
from tests.features.builders import FILM, SCENES, TABLE
from tests.heads.builders import untrained


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("features") / "f.parquet"
    table.write(path, FILM, facts={})
    return path


def test_figures_of_all_clips_show_offsets_that_means_over_clips_hide() -> None:
    target = TABLE.frame["vmaf"].to_numpy(np.float64)
    offset = np.repeat([8.0, -8.0] * 4, 30)  # an offset per clip
    found: Any = scored(TABLE, TABLE.folds(TABLE.sources), {"0": target + offset})
    assert found["per_clip"]["plcc"] == pytest.approx(1)
    assert found["all_clips"]["plcc"] < 0.9
    assert found["per_clip"]["bias_std"] == pytest.approx(8)
    assert found["all_clips"]["rmse"] == pytest.approx(8)
    # the mean of the figures of each clip, against its own target
    each = np.repeat(np.arange(1.0, 9.0), 30)
    apart: Any = scored(TABLE, TABLE.folds(TABLE.sources), {"0": target + each})
    assert apart["per_clip"]["rmse"] == pytest.approx(4.5)
    assert apart["per_clip"]["bias_std"] == pytest.approx(np.std(np.arange(1, 9)))
    assert apart["all_clips"]["rmse"] == pytest.approx(np.sqrt(np.mean(np.arange(1, 9) ** 2)))
    flat: Any = scored(TABLE, TABLE.folds(TABLE.sources), {"0": np.full(len(target), 50.0), "1": target})
    assert flat["mean"]["plcc"] == pytest.approx({"mean": 1, "std_folds": 0, "std_seeds": 0, "undefined": 4})
    assert flat["per_clip"]["undefined"] == 4  # of eight clips, mean of two seeds


def test_heads_side_by_side_with_each_source_held_out(
    features: Path, tmp_path: Path, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = untrained(tmp_path / "checkpoint.safetensors", "mlp_small")
    assert command(["export", "--checkpoint", str(kept), "--out", str(tmp_path / "shipped.onnx")]) == exits.OK
    capsys.readouterr()
    out = tmp_path / "loso"
    argv = [
        "loso",
        "--features",
        str(features),
        "--arch",
        "linear,mlp-8",
        "--seeds",
        "0,1",
        "--epochs",
        "20",
        "--lr",
        "0.05",
        "--batch-size",
        "32",
        "--baseline",
        str(tmp_path / "shipped.onnx"),
        "--out",
        str(out),
        "--json",
    ]
    assert command(argv) == exits.OK
    found = json.loads(capsys.readouterr().out)
    assert found == load(out / "loso.json")
    assert [one["name"] for one in found["compared"]] == ["linear", "mlp-8", "shipped"]
    line, _, shipped = found["compared"]
    assert [fold["held_out"] for fold in line["folds"]] == ["ElFuente", "s0", "s3"]
    assert line["folds"][0]["sources"] == sorted(SCENES)
    assert [fold["n_train"] for fold in line["folds"]] == [120, 180, 180]
    assert all(fold["per_seed"].keys() == {"0", "1"} for fold in line["folds"])
    plccs = [[fold["per_seed"][seed]["plcc"] for fold in line["folds"]] for seed in ("0", "1")]
    assert line["mean"]["plcc"]["mean"] == pytest.approx(np.mean(plccs))
    assert line["mean"]["plcc"]["std_folds"] == pytest.approx(np.std(np.mean(plccs, axis=0)))
    assert line["mean"]["plcc"]["std_seeds"] == pytest.approx(np.std(np.mean(plccs, axis=1)))
    assert line["mean"]["plcc"]["mean"] > 0.9
    assert line["mean"]["plcc"]["std_seeds"] == pytest.approx(0, abs=1e-12)  # least squares have no seed
    assert shipped["model"]["corpus_sha256"] == TABLE.sha256
    assert found["run_provenance"]["inputs"].keys() == {"features", "baseline shipped.onnx"}
    assert found["run_provenance"]["args"] == {
        "arch": "linear,mlp-8",
        "folds": "source",
        "seeds": "0,1",
        "epochs": "20",
        "batch_size": "32",
        "lr": "0.05",
        "device": "auto",
    }
    text = (out / "loso.md").read_text()
    assert shipped["rows_fitted_on"] == 120
    assert "120 of the 240 rows" in text
    assert "| ElFuente |" in text


def test_a_disk_that_is_full_before_the_training(features: Path, tmp_path: Path, mounting: Sequence[str]) -> None:
    """Only a part of the rows for the workers fits."""
    out = tmp_path / "disk"
    out.mkdir()
    script = f"mount -t tmpfs -o size=4k none '{out}' && exec \"$@\""
    argv = ["loso", "--features", str(features), "--arch", "linear", "--epochs", "1", "--out", str(out)]
    done = subprocess.run(
        [*mounting, "sh", "-c", script, "-", *KIT, *argv], cwd=KIT_ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == exits.DISK_FULL, done.stderr
    assert "Traceback" not in done.stderr
    assert "Free disk space and run the same command" in done.stderr


def test_baselines_of_one_name_are_refused(features: Path, tmp_path: Path, command: Command) -> None:
    argv = ["loso", "--features", str(features), "--out", str(tmp_path / "loso")]
    for folder in "ab":
        argv += ["--baseline", str(tmp_path / folder / "m.onnx")]
    assert command(argv) == exits.BAD_INPUT
    assert not (tmp_path / "loso").exists()


def test_one_seed_has_no_deviation_over_seeds() -> None:
    found: Any = {
        "name": "x",
        "model": None,
        **scored(TABLE, TABLE.folds(TABLE.groups), {"0": TABLE.frame["vmaf"].to_numpy(np.float64) + 1}),
    }
    (line,) = lines({"compared": [found]})["Held out"]
    assert line == ("x", "1.0000", "0.0000", "-", "1.0000", "0.0000", "-", "1.00", "0.00", "-")


def test_folds_follow_from_a_column_of_whole_groups() -> None:
    assert [fold.held_out for fold in folds_of(TABLE, "column:fold")] == ["fold0", "fold1"]
    assert [len(fold.held) for fold in folds_of(TABLE, "source")] == [60] * 4
    assert [len(fold.held) for fold in folds_of(FILM, "column:group")] == [120, 60, 60]
    with pytest.raises(BadInput, match=r"ElFuente.*npd/ElFuente1.*fold1.*npd/ElFuente2.*fold0"):
        folds_of(FILM, "column:fold")
    for scheme, value in (
        ("column:nothing", "column:nothing"),
        ("kfold:3", "kfold:3"),
        ("column:clip", "npd/s0 in c000, npd/s0 in c001"),
        ("column:corpus", "npd"),
    ):
        with pytest.raises(BadInput, match=value):
            folds_of(TABLE, scheme)
