"""Whole runs, as processes, on clips made here."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from kit.core import contract, layout
from kit.core.canon import sha256_json
from kit.options.session import KIT_ROOT
from kit.steps.pipeline import NAMES
from kit.verdict.gate import apply_gate, thresholds_sha256
from kit.video.ffmpeg import Ffmpeg
from tests.cli.builders import Kit, last_line, on_terminal
from tests.steps.builders import QUICK
from tests.video.builders import FRAMES

pytestmark = pytest.mark.ffmpeg


def cell_files(run: Path) -> dict[Path, bytes]:
    return {path.relative_to(run): path.read_bytes() for path in sorted((run / "corpus" / "cells").rglob("*.parquet"))}


def verdict_of(run: Path) -> dict[str, object]:
    words = layout.verdicts_in(run)
    assert len(words) == 1
    value = json.loads((run / f"{words[0]}.json").read_text())
    assert value["verdict"] == words[0]
    return dict(value)


@pytest.mark.essential
def test_a_run_writes_every_row_of_every_cell(finished: Path) -> None:
    shard = json.loads((finished / "corpus" / "shard.json").read_text())
    # two quality points, and the anchor at cq 31 beside them
    assert Counter((cell["encoder"], cell["cq"]) for cell in shard["cells"]) == {
        ("libx264", 25): 4,
        ("libx264", 31): 4,
        ("libx264", 37): 4,
    }
    assert shard["failed"] == []
    tables = [pq.read_table(finished / "corpus" / cell["path"]) for cell in shard["cells"]]
    assert [table.num_rows for table in tables] == [FRAMES] * 12
    for table in tables:
        assert table.column("frame_index").to_pylist() == list(range(FRAMES))
        scores = table.column("vmaf").to_numpy()
        assert np.isfinite(scores).all()
        assert 0 <= scores.min() <= scores.max() <= 100


@pytest.mark.essential
def test_quality_falls_with_the_quality_point(finished: Path) -> None:
    shard = json.loads((finished / "corpus" / "shard.json").read_text())
    means: dict[str, dict[int, float]] = {}
    for cell in shard["cells"]:
        rows = pq.read_table(finished / "corpus" / cell["path"])
        means.setdefault(cell["source"], {})[cell["cq"]] = float(rows.column("vmaf").to_numpy().mean())
    for by_cq in means.values():
        assert by_cq[25] > by_cq[31] > by_cq[37]


@pytest.mark.essential
def test_the_verdict_has_the_fields_of_the_contract(finished: Path) -> None:
    value = verdict_of(finished)
    assert set(value) == {
        "schema_version",
        "verdict",
        "generated_at_utc",
        "seeds",
        "decided_by",
        "gate",
        "expert_gate",
        "corpus",
        "evidence",
        "demo",
        "recommendation",
        "may_ship",
        "headline",
        "ship_reasons",
        "ship_encoders",
        "run_provenance",
    }
    gate = value["gate"]
    assert isinstance(gate, dict)
    assert set(gate) == {
        "passed",
        "mean_plcc",
        "mean_plcc_threshold",
        "mean_plcc_pass",
        "plcc_spread",
        "plcc_spread_max",
        "plcc_spread_pass",
        "per_seed_plccs",
        "per_seed_min",
        "per_seed_pass",
        "failing_seeds",
        "left_out_folds",
        "thresholds_sha256",
    }
    assert gate["thresholds_sha256"] == thresholds_sha256(contract.GATE_THRESHOLDS)
    assert value["corpus"]["rows"] == 12 * FRAMES  # type: ignore[index]
    assert value["demo"] is False


@pytest.mark.essential
def test_the_verdict_can_be_replayed_from_the_predictions(finished: Path) -> None:
    table = pq.read_table(finished / layout.PREDICTIONS).to_pandas()
    per_seed = {}
    for seed, rows in table.groupby("seed"):
        folds = [
            float(np.corrcoef(fold["prediction"].astype(float), fold["target"].astype(float))[0, 1])
            for _, fold in rows.groupby("fold")
        ]
        assert len(folds) == 4
        per_seed[int(seed)] = float(np.mean(folds))
    value = verdict_of(finished)
    again = apply_gate(per_seed)
    assert value["gate"]["mean_plcc"] == pytest.approx(again.mean_plcc, abs=1e-12)  # type: ignore[index]
    assert value["verdict"] == ("PROMOTE" if again.passed else "HOLD")
    for seed, plcc in per_seed.items():
        report = json.loads((finished / layout.seed_report(seed)).read_text())
        assert report["mean_plcc"] == pytest.approx(plcc, abs=1e-12)
        assert report["n_folds"] == 4


def test_the_reports_have_the_figures_of_seeds_and_ensemble(finished: Path) -> None:
    table = pq.read_table(finished / layout.PREDICTIONS).to_pandas().astype({"target": float, "prediction": float})
    mean = table.groupby(["fold", "cell_key", "frame_index"], as_index=False)[["target", "prediction"]].mean()
    mean["prediction"] = mean["prediction"].astype(np.float32).astype(float)
    ensemble = json.loads((finished / layout.ENSEMBLE_REPORT).read_text())
    of_seed = json.loads((finished / layout.seed_report(1)).read_text())
    for report, rows in ((ensemble, mean), (of_seed, table[table["seed"] == 1])):
        for fold in report["folds"]:
            held = rows[rows["fold"] == fold["held_out"]]
            error = held["prediction"] - held["target"]
            assert fold["groups"] == [fold["held_out"]]
            assert fold["n_val"] == len(held)
            assert fold["plcc"] == pytest.approx(held["prediction"].corr(held["target"]), abs=1e-6)
            assert fold["krocc"] == pytest.approx(held["prediction"].corr(held["target"], method="kendall"), abs=1e-6)
            assert fold["mae"] == pytest.approx(error.abs().mean(), abs=1e-4)
        assert len(report["per_source_encoder"]) == 4
        assert {slice_["n"] for slice_ in report["per_source_encoder"].values()} == {3 * FRAMES}
    assert (ensemble["seed"], of_seed["seed"]) == (None, 1)


@pytest.mark.essential
def test_no_member_was_trained_on_what_it_predicts(finished: Path) -> None:
    table = pq.read_table(finished / layout.PREDICTIONS).to_pandas()
    shard = json.loads((finished / "corpus" / "shard.json").read_text())
    group = {cell["key"]: cell["group"] for cell in shard["cells"]}
    assert (table["fold"] == table["cell_key"].map(group)).all()
    assert len(table) == 3 * 12 * FRAMES


@pytest.mark.essential
def test_the_bundle_matches_its_manifest(finished: Path) -> None:
    (bundle,) = finished.parent.glob("ensemble-results-testbox-*.tar.gz")
    with tarfile.open(bundle) as tar:
        top = bundle.name.removesuffix(".tar.gz")
        content = {}
        for member in tar:
            assert member.isfile()
            assert member.name.startswith(f"{top}/")
            content[member.name.removeprefix(f"{top}/")] = tar.extractfile(member).read()  # type: ignore[union-attr]
    manifest = json.loads(content.pop("manifest.json"))
    assert {entry["path"]: (entry["size"], entry["sha256"]) for entry in manifest["files"]} == {
        name: (len(data), hashlib.sha256(data).hexdigest()) for name, data in content.items()
    }
    reports = (layout.seed_report(0), layout.seed_report(1))
    for needed in ("prereqs.json", "corpus/shard.json", layout.PREDICTIONS, *reports):
        assert needed in content
    assert len([name for name in content if name.endswith(".parquet")]) == 12 + 4
    assert len([name for name in content if name.startswith("logs/")]) == 1


@pytest.mark.essential
def test_the_bundle_names_no_folder_of_this_machine(finished: Path, home: dict[str, str]) -> None:
    (bundle,) = finished.parent.glob("ensemble-results-testbox-*.tar.gz")
    with tarfile.open(bundle) as tar:
        for member in tar:
            data = tar.extractfile(member).read()  # type: ignore[union-attr]
            assert str(finished.parent).encode() not in data, member.name
            assert home["HOME"].encode() not in data, member.name


@pytest.mark.essential
def test_each_step_can_be_run_again_alone(run_copy: Path, kit: Kit) -> None:
    before = verdict_of(run_copy)
    cells = cell_files(run_copy)
    for name in NAMES:
        done = kit(name, "--out-dir", str(run_copy), cwd=run_copy.parent)
        expected = (0, 1) if name == "verdict" else (0,)
        assert done.returncode in expected, f"{name}: {done.stderr}"
        assert done.stdout == ""  # nothing without --json
    assert cell_files(run_copy) == cells
    after = verdict_of(run_copy)
    assert after["gate"] == before["gate"]
    assert after["corpus"] == before["corpus"]


@pytest.mark.essential
def test_the_same_run_again_makes_no_cell_twice_and_trains_the_same_bits(run_copy: Path, kit: Kit) -> None:
    stamps = {path: path.stat().st_mtime_ns for path in (run_copy / "corpus" / "cells").rglob("*.parquet")}
    predictions = (run_copy / layout.PREDICTIONS).read_bytes()
    shutil.rmtree(run_copy / layout.CHECKPOINTS)
    done = kit("run", "--json", "--out-dir", str(run_copy), cwd=run_copy.parent)
    assert done.returncode in (0, 1), done.stderr
    assert "12 of 12 cells" in done.stderr
    # the JSON goes to stdout, everything else to stderr
    value = json.loads(done.stdout)
    assert value["verdict"] == verdict_of(run_copy)
    assert Path(value["bundle"]["path"]).is_file()
    assert last_line(done) == f"Send back: {value['bundle']['path']}"
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps
    assert (run_copy / layout.PREDICTIONS).read_bytes() == predictions


def test_a_fresh_run_gives_the_same_cells_to_the_byte(finished: Path, clips: Path, tmp_path: Path, kit: Kit) -> None:
    done = kit("run", "--shard-only", "--ref-dir", str(clips), "--out-dir", "again", *QUICK, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert cell_files(tmp_path / "again") == cell_files(finished)
    assert layout.verdicts_in(tmp_path / "again") == []
    (bundle,) = tmp_path.glob("ensemble-results-*.tar.gz")
    assert last_line(done) == f"Send back: {bundle}"
    with tarfile.open(bundle) as tar:
        assert not [name for name in tar.getnames() if "loso" in name]


def test_a_damaged_cell_is_made_again(run_copy: Path, kit_here: Kit) -> None:
    cells = cell_files(run_copy)
    victim = min(cells)
    (run_copy / victim).write_bytes(cells[victim][:-40])
    done = kit_here("corpus", "--out-dir", str(run_copy), cwd=run_copy.parent)
    assert done.returncode == 0, done.stderr
    assert "SHA-256" in done.stderr
    assert cell_files(run_copy) == cells


def test_the_seeds_given_are_trained(run_copy: Path, kit_here: Kit) -> None:
    done = kit_here("train", "--seeds", "7,8,9", "--out-dir", str(run_copy), cwd=run_copy.parent)
    assert done.returncode == 0, done.stderr
    names = {path.name for path in (run_copy / "loso").glob("loso_seed*.json")}
    assert names == {f"loso_seed{seed}.json" for seed in (7, 8, 9)}
    assert set(pq.read_table(run_copy / layout.PREDICTIONS).column("seed").to_pylist()) == {7, 8, 9}
    assert kit_here("verdict", "--out-dir", str(run_copy), cwd=run_copy.parent).returncode in (0, 1)
    assert verdict_of(run_copy)["seeds"] == [7, 8, 9]


def test_fewer_than_three_seeds_are_invalid_and_nothing_is_trained(run_copy: Path, kit_here: Kit) -> None:
    done = kit_here("train", "--seeds", "7,8", "--out-dir", str(run_copy), cwd=run_copy.parent)
    assert done.returncode == 3, done.stderr
    assert not (run_copy / layout.PREDICTIONS).exists()
    done = kit_here("verdict", "--out-dir", str(run_copy), cwd=run_copy.parent)
    assert done.returncode == 3, done.stderr
    verdict = verdict_of(run_copy)
    assert (verdict["verdict"], verdict["may_ship"], verdict["headline"][:16]) == ("INVALID", False, "INVALID: 2 seeds")


def test_more_quality_points_keep_finished_cells(run_copy: Path, kit_here: Kit) -> None:
    cells = cell_files(run_copy)
    done = kit_here("corpus", "--cqs", "25,31,37,43", "--out-dir", str(run_copy), cwd=run_copy.parent)
    assert done.returncode == 0, done.stderr
    after = cell_files(run_copy)
    assert len(after) == 16
    assert {path: after[path] for path in cells} == cells
    # what was trained on the smaller corpus is no evidence for the larger one
    done = kit_here("verdict", "--out-dir", str(run_copy), cwd=run_copy.parent)
    assert done.returncode == 2
    assert "corpus has changed" in done.stderr
    assert layout.verdicts_in(run_copy) == []


def test_a_failed_cell_makes_the_evidence_invalid_and_is_bundled(run_copy: Path, kit_here: Kit) -> None:
    manifest = run_copy / "corpus" / "shard.json"
    value = json.loads(manifest.read_text())
    lost = value["cells"].pop()
    value["failed"] = [
        {key: lost[key] for key in ("key", "source", "encoder", "cq")}
        | {"reason": "planted", "command": "ffmpeg", "stderr_tail": ""}
    ]
    value["corpus_sha256"] = sha256_json(sorted([cell["key"], cell["content_sha256"]] for cell in value["cells"]))
    manifest.write_text(json.dumps(value))
    done = kit_here("run", "--from", "3", "--out-dir", str(run_copy), cwd=run_copy.parent)
    assert done.returncode == 3, done.stderr
    found = verdict_of(run_copy)
    assert found["verdict"] == "INVALID"
    assert found["evidence"]["problems"] == [  # type: ignore[index]
        f"cell {lost['source']}/libx264/cq{lost['cq']} failed: planted"
    ]
    (bundle,) = run_copy.parent.glob("ensemble-results-*.tar.gz")
    assert last_line(done) == f"Send back: {bundle}"
    assert done.stderr.count("libx264/cq") == 1  # the reason is shown once
    with tarfile.open(bundle) as tar:
        assert [name for name in tar.getnames() if name.endswith("/INVALID.json")]
    assert (found["corpus"]["failed_cells"], found["corpus"]["waived_cells"]) == (1, 0)  # type: ignore[index]
    # once waived, it is only reported
    manifest.write_text(json.dumps(value | {"allow_partial": True}))
    done = kit_here("run", "--from", "3", "--out-dir", str(run_copy), cwd=run_copy.parent)
    assert done.returncode in (0, 1), done.stderr
    assert "1 failed cells, waived by --allow-partial" in done.stderr
    found = verdict_of(run_copy)
    assert found["evidence"]["problems"] == []  # type: ignore[index]
    assert (found["corpus"]["failed_cells"], found["corpus"]["waived_cells"]) == (1, 1)  # type: ignore[index]


def test_old_predictions_are_not_bundled_with_invalid_evidence(run_copy: Path, kit_here: Kit) -> None:
    for source in ("Bars", "Life"):
        shutil.rmtree(run_copy / "corpus" / "cells" / source)
    manifest = json.loads((run_copy / "corpus" / "shard.json").read_text())
    manifest["cells"] = [cell for cell in manifest["cells"] if cell["source"] not in ("Bars", "Life")]
    manifest["corpus_sha256"] = sha256_json(sorted([c["key"], c["content_sha256"]] for c in manifest["cells"]))
    (run_copy / "corpus" / "shard.json").write_text(json.dumps(manifest))
    done = kit_here("run", "--from", "3", "--out-dir", str(run_copy), cwd=run_copy.parent)
    assert done.returncode == 3, done.stderr
    assert verdict_of(run_copy)["evidence"]["predictions_sha256"] is None  # type: ignore[index]
    assert [path.name for path in (run_copy / "loso").iterdir() if path.is_file()] == ["training.json"]


def test_failed_cells_fail_the_check_until_they_are_waived(run_copy: Path, kit: Kit, ffmpeg: Ffmpeg) -> None:
    """An ffmpeg that fails on one quality point and hangs on one of its sources, everything else real."""
    script, repaired = run_copy.parent / "ffmpeg", run_copy.parent / "repaired"
    script.write_text(
        f'#!/bin/sh\n[ -e "{repaired}" ] || case "$*" in *Fractal*"-crf 43"*streamhash*) exec sleep 60;; '
        '*"-crf 43"*streamhash*) echo "[x @ 0x1] [error] planted" >&2; exit 9;; esac\n'
        f'exec "{ffmpeg.path}" "$@"\n'
    )
    script.chmod(0o755)
    shutil.rmtree(run_copy / "loso")
    options = ("--cqs", "37,43", "--ffmpeg", str(script), "--shard-only", "--out-dir", str(run_copy))
    done = kit("run", *options, "--stall-timeout", "2", cwd=run_copy.parent)
    assert done.returncode == 3, done.stderr
    shard = json.loads((run_copy / "corpus" / "shard.json").read_text())
    assert len(shard["cells"]) == 8  # the others went on
    assert {cell["source"]: (cell["tries"], cell["reason"].rpartition(": ")[2]) for cell in shard["failed"]} == {
        "Bars": (4, "planted"),
        "Cells": (4, "planted"),
        "Life": (4, "planted"),
        "Fractal": (4, "no progress for 2 s"),
    }
    assert [cell["stderr_tail"] for cell in shard["failed"]].count("[x @ 0x1] [error] planted") == 3
    assert all("-crf 43" in cell["command"] for cell in shard["failed"])
    assert str(run_copy) not in json.dumps(shard["failed"])
    for text in ("Fractal/libx264/cq43", "no progress for 2 s", "planted", "--allow-partial"):
        assert text in done.stderr
    # the shard alone can be given as it is; the option is remembered, and taken back
    partial = kit("run", "--allow-partial", *options, "--stall-timeout", "1", cwd=run_copy.parent)
    assert partial.returncode == 0, partial.stderr
    assert "waived" in partial.stderr
    repaired.touch()
    done = kit("corpus", "--no-allow-partial", "--out-dir", str(run_copy), cwd=run_copy.parent)
    assert done.returncode == 0, done.stderr
    assert "8 of 12 cells" in done.stderr
    shard = json.loads((run_copy / "corpus" / "shard.json").read_text())
    assert (len(shard["cells"]), shard["failed"], shard["allow_partial"]) == (12, [], False)


def test_two_groups_are_no_evidence(clips: Path, tmp_path: Path, kit_here: Kit) -> None:
    (tmp_path / "two").mkdir()
    for name in ("Fractal.mkv", "Cells.y4m"):
        shutil.copy(clips / name, tmp_path / "two")
    done = kit_here("run", "--ref-dir", "two", "--cqs", "31", "--epochs", "1", "--out-dir", "out", cwd=tmp_path)
    assert done.returncode == 3, done.stderr
    assert "needs at least 3" in done.stderr
    assert verdict_of(tmp_path / "out")["verdict"] == "INVALID"


def test_a_forged_verdict_is_not_bundled(run_copy: Path, kit_here: Kit) -> None:
    word = layout.verdicts_in(run_copy)[0]
    shutil.copy(run_copy / f"{word}.json", run_copy / "INVALID.json")
    done = kit_here("bundle", "--out-dir", str(run_copy), cwd=run_copy.parent)
    assert done.returncode == 2
    assert "INVALID" in done.stderr
    assert word in done.stderr
    (run_copy / "INVALID.json").unlink()
    (run_copy / layout.PREDICTIONS).write_bytes(b"other predictions")
    done = kit_here("bundle", "--out-dir", str(run_copy), cwd=run_copy.parent)
    assert done.returncode == 2
    assert f"{word}.json" in done.stderr


@pytest.mark.essential
def test_hold_is_1_and_only_with_its_file(run_copy: Path, kit: Kit) -> None:
    # noise instead of predictions: the gate cannot pass
    path = run_copy / layout.PREDICTIONS
    from dataclasses import replace

    from kit.training import predictions

    found = predictions.read(path)
    noise = np.random.default_rng(0).uniform(0, 100, len(found)).astype(np.float32)
    predictions.write(path, replace(found, prediction=noise))
    done = kit("verdict", "--out-dir", str(run_copy), cwd=run_copy.parent)
    assert done.returncode == 2
    training = json.loads((run_copy / layout.TRAINING).read_text())
    assert training["predictions_sha256"][:12] in done.stderr
    training["predictions_sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    (run_copy / layout.TRAINING).write_text(json.dumps(training))
    done = kit("verdict", "--out-dir", str(run_copy), cwd=run_copy.parent)
    assert done.returncode == 1, done.stderr
    assert layout.verdicts_in(run_copy) == ["HOLD"]
    assert kit("bundle", "--out-dir", str(run_copy), cwd=run_copy.parent).returncode == 0
    done = kit("run", "--only", "5", "--out-dir", str(run_copy), cwd=run_copy.parent)
    assert done.returncode == 1
    assert Path(last_line(done).removeprefix("Send back: ")).is_file()


@pytest.mark.parametrize("entry", ["run_full_pipeline.py", "kit/__main__.py"])
def test_the_provenance_names_the_file_that_was_started(entry: str, run_copy: Path, home: dict[str, str]) -> None:
    command = () if entry == "run_full_pipeline.py" else ("run",)
    # the value that another process has left is not this one's
    env = home | {"VMAF_KIT_ENTRY": f"{os.getpid()}:run_full_pipeline.py"}
    argv = [sys.executable, str(KIT_ROOT / entry), *command, "--only", "4", "--out-dir", str(run_copy)]
    assert subprocess.run(argv, env=env, cwd=run_copy, check=False, capture_output=True).returncode in (0, 1)
    (word,) = layout.verdicts_in(run_copy)
    found = json.loads((run_copy / layout.verdict_file(word)).read_text())["run_provenance"]["entrypoint"]
    assert found == {"path": entry, "sha256": hashlib.sha256((KIT_ROOT / entry).read_bytes()).hexdigest()}


def test_the_last_line_of_a_run_is_never_wrapped(run_copy: Path, home: dict[str, str]) -> None:
    long = run_copy.rename(run_copy.with_name("a-folder-whose-name-is-longer-than-the-screen-of-this-test-is-wide"))
    argv = [sys.executable, "-m", "kit", "run", "--from", "4", "--out-dir", str(long)]
    code, lines = on_terminal(argv, columns=60, cwd=KIT_ROOT, env=home)
    assert code in (0, 1), lines
    (bundle,) = long.parent.glob("ensemble-results-*.tar.gz")
    assert lines[-1] == f"Send back: {bundle}"
    table = [line for line in lines if line.startswith("│")]
    assert max(map(len, table)) <= 60
    # the path is a word without a break: the column with it gets the room that the others do not need
    pieces = [cell.strip() for line in table for cell in line.strip("│").split("│")]
    assert "".join(pieces).count(str(long)) >= 2  # the options and the result
    assert max(len(piece) for piece in pieces if piece in str(long)) >= 30


def test_a_failed_prerequisite_is_shown_once(tmp_path: Path, kit_here: Kit) -> None:
    args = ("--encoders", "hevc_nvenc", "--no-anchor", "--out-dir", "out")
    done = kit_here("prereqs", *args, cwd=tmp_path)
    assert done.returncode == 2
    (failed,) = [
        finding
        for finding in json.loads((tmp_path / "out" / layout.PREREQS).read_text())["findings"]
        if finding["status"] == "failure" and finding["check"] == "encoder hevc_nvenc"
    ]
    assert done.stderr.count(failed["found"]) == 1
    assert " ".join(done.stderr.replace("│", " ").split()).count(failed["found"]) == 1  # in no table
