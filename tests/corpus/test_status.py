"""``kit corpus status``: finished, failed, missing, damaged and outdated cells, without clips and without ffmpeg."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kit.core.errors import BadInput, Missing
from kit.corpus.inspect.status import Status, status
from kit.corpus.store import planned
from kit.corpus.store.shard import FailedCell, write_manifest
from kit.options.session import KIT_ROOT
from tests.cli.builders import Kit
from tests.corpus.builders import plan, shard_of, write_all
from tests.system.builders import below


def states(shard: Status) -> dict[str, tuple[str, str]]:
    return {str(cell.cell.id): (cell.state, cell.reason) for cell in shard.cells}


def test_every_state_has_its_reason(tmp_path: Path) -> None:
    cells = plan(["A", "B", "C"])
    write_all(tmp_path, plan(["C"], cqs=[37], build="x264 - core 163"))
    reason = "exit status 1: out of luck\nmore"
    failed = FailedCell(
        key=cells[1].key, source="A", encoder="libx264", cq=37, reason=reason, command="ffmpeg", stderr_tail=""
    )
    shard = shard_of(tmp_path, [cells[0], cells[2]], [failed])
    (tmp_path / shard.cells[1].path).write_bytes(b"PAR1")
    planned.write(tmp_path, cells)
    found = status(tmp_path)
    damage = states(found)["B/libx264/cq25"][1]
    assert "SHA-256" in damage
    assert states(found) == {
        "A/libx264/cq25": ("done", ""),
        "A/libx264/cq37": ("failed", reason),
        "B/libx264/cq25": ("damaged", damage),
        "B/libx264/cq37": ("missing", "not made yet"),
        "C/libx264/cq25": ("missing", "not made yet"),
        "C/libx264/cq37": ("outdated", "encoder build changed: x264 - core 163 → x264 - core 164"),
    }
    assert found.by_encoder() == {"libx264": {"done": 1, "failed": 1, "damaged": 1, "missing": 2, "outdated": 1}}
    assert not found.complete
    (other,) = found.others
    assert other.startswith("cells/C/libx264/cq37-")


def test_a_finished_shard_is_complete_with_or_without_its_plan(tmp_path: Path) -> None:
    cells = plan()
    shard_of(tmp_path, cells)
    assert (status(tmp_path).complete, status(tmp_path).known_from) == (True, "shard.json")
    planned.write(tmp_path, cells)
    assert (status(tmp_path).complete, status(tmp_path).known_from) == (True, "plan.json")


def test_without_a_plan_the_manifest_lists_the_cells(tmp_path: Path) -> None:
    failed = FailedCell(key="f" * 64, source="A", encoder="libx265", cq=9, reason="no")
    shard = shard_of(tmp_path, plan(["A"]), [failed])
    for path in (tmp_path / shard.cells[0].path).parent.glob(f"*{shard.cells[0].key[:12]}*"):
        path.unlink()
    assert states(status(tmp_path)) == {
        "A/libx264/cq25": ("missing", "its file is missing"),
        "A/libx264/cq37": ("done", ""),
        "A/libx265/cq09": ("failed", "no"),
    }


def test_all_cells_without_a_manifest_are_not_complete(tmp_path: Path) -> None:
    cells = plan()
    write_all(tmp_path, cells)
    planned.write(tmp_path, cells)
    found = status(tmp_path)
    assert (found.again, found.manifest, found.complete) == ((), False, False)


def test_a_corpus_with_waived_failures_is_complete(tmp_path: Path) -> None:
    cells = plan()
    failed = FailedCell(key=cells[3].key, source="B", encoder="libx264", cq=37, reason="no")
    shard = shard_of(tmp_path, cells[:3], [failed])
    planned.write(tmp_path, cells)
    assert not status(tmp_path).complete
    write_manifest(replace(shard, allow_partial=True))
    assert status(tmp_path).complete
    assert [cell.state for cell in status(tmp_path).again] == ["failed"]


def test_a_manifest_of_an_earlier_plan_is_not_complete(tmp_path: Path) -> None:
    cells = plan()
    shard_of(tmp_path, cells[:2])
    write_all(tmp_path, cells)
    planned.write(tmp_path, cells)
    assert not status(tmp_path).complete


def prereqs(run: Path, **change: Any) -> None:
    value = {
        "encoders": [{"name": "libx264", "build": "x264 - core 164"}],
        "scorer": {"id": "cpu/golden-1"},
        "teacher": {"id": "vmaf_made", "sha256": None},
    }
    (run / "prereqs.json").write_text(json.dumps(value | change))


def test_encoders_of_a_cluster_are_not_compared_with_this_box(tmp_path: Path) -> None:
    folder = tmp_path / "corpus"
    cells = plan(["A"], cqs=[25])
    shard_of(folder, cells)
    prereqs(tmp_path, encoders=[{"name": "libx264", "build": "x264 - core 165"}])
    planned.write(folder, cells)
    assert [cell.state for cell in status(tmp_path).cells] == ["outdated"]
    planned.write(folder, cells, elsewhere=True)
    assert [cell.state for cell in status(tmp_path).cells] == ["done"]
    prereqs(tmp_path, scorer={"id": "cuda/golden-1"})
    assert [cell.state for cell in status(tmp_path).cells] == ["outdated"]


def test_the_plan_is_compared_with_the_current_prerequisites(tmp_path: Path) -> None:
    folder = tmp_path / "corpus"
    cells = plan(["A"], cqs=[25])
    shard_of(folder, cells)
    planned.write(folder, cells)
    prereqs(tmp_path)
    assert status(tmp_path).complete
    prereqs(tmp_path, encoders=[{"name": "libx264", "build": "x264 - core 165"}])
    reason = "encoder build changed: x264 - core 164 → x264 - core 165"
    assert states(status(tmp_path)) == {"A/libx264/cq25": ("outdated", reason)}
    prereqs(tmp_path, scorer={"id": "cuda/golden-1"})
    assert not status(tmp_path).complete
    prereqs(tmp_path, teacher={"id": "mine", "sha256": "c" * 64})
    reason = f"teacher changed: vmaf_made → file {'c' * 12}"
    assert states(status(tmp_path)) == {"A/libx264/cq25": ("outdated", reason)}
    prereqs(tmp_path, scorer=None, encoders=[], teacher=None)
    assert status(tmp_path).complete
    prereqs(tmp_path, encoders=None)
    with pytest.raises(BadInput, match=r"prereqs\.json"):
        status(tmp_path)


def test_a_folder_without_a_shard_is_refused(tmp_path: Path, kit_here: Kit) -> None:
    with pytest.raises(Missing, match="shard"):
        status(tmp_path)
    done = kit_here("corpus", "status", str(tmp_path / "nowhere"), cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "nowhere" in done.stderr


def test_options_of_the_step_before_a_command_are_refused(tmp_path: Path, kit_here: Kit) -> None:
    for given in (["--cqs", "25"], ["--json"]):
        done = kit_here("corpus", *given, "status", str(tmp_path), cwd=tmp_path)
        assert done.returncode == 2
        assert "'status'" in done.stderr


def test_a_finished_run_is_complete(finished: Path, kit_here: Kit) -> None:
    done = kit_here("corpus", "status", str(finished), "--json", cwd=finished.parent)
    value = json.loads(done.stdout)
    assert (done.returncode, value["complete"], value["again"], value["counts"]) == (0, True, [], {"done": 12})
    assert value["known_from"] == "plan.json"
    assert "12 cells" in done.stderr


def test_after_another_build_the_cells_run_again_with_the_reason(run_copy: Path, kit_here: Kit) -> None:
    path = run_copy / "prereqs.json"
    value = json.loads(path.read_text())
    (encoder,) = value["encoders"]
    before, encoder["build"] = encoder["build"], "x264 - core 999"
    path.write_text(json.dumps(value))
    reason = f"encoder build changed: {before} → x264 - core 999"
    done = kit_here("corpus", "status", str(run_copy), cwd=run_copy.parent)
    assert done.returncode == 3
    files = sorted((run_copy / "corpus" / "cells").rglob("*.parquet"))
    done = kit_here("corpus", "--out-dir", str(run_copy), cwd=run_copy.parent)
    assert done.returncode == 0, done.stderr
    assert "12 cells (Bars/libx264/cq25 to " in done.stderr
    assert reason in done.stderr
    # the cells of the other build are kept
    after = sorted((run_copy / "corpus" / "cells").rglob("*.parquet"))
    assert len(after) == 24
    assert set(files) < set(after)
    done = kit_here("corpus", "status", str(run_copy), "--json", cwd=run_copy.parent)
    assert (done.returncode, len(json.loads(done.stdout)["others"])) == (0, 12)


def test_after_a_kill_the_missing_cells_are_listed(run_copy: Path, home: dict[str, str], kit: Kit) -> None:
    shutil.rmtree(run_copy / "corpus")
    with subprocess.Popen(
        [sys.executable, str(KIT_ROOT / "kit" / "__main__.py"), "corpus", "--out-dir", str(run_copy)],
        cwd=run_copy.parent,
        env=home,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as started:
        deadline = time.monotonic() + 60
        while not below(run_copy / "corpus", "cq*.parquet"):
            assert time.monotonic() < deadline
            assert started.poll() is None
            time.sleep(0.005)
        os.killpg(started.pid, signal.SIGKILL)
    done = kit("corpus", "status", str(run_copy), "--json", cwd=run_copy.parent)
    value = json.loads(done.stdout)
    files = len(list((run_copy / "corpus" / "cells").rglob("cq*.parquet")))
    assert (done.returncode, value["manifest"]) == (3, False)
    assert value["counts"] == {"done": files, "missing": 12 - files}
    assert 0 < files < 12
    assert all(cell["reason"] for cell in value["again"])
    done = kit("corpus", "--out-dir", str(run_copy), cwd=run_copy.parent)
    assert f"{files} of 12 cells" in done.stderr
    assert kit("corpus", "status", str(run_copy), cwd=run_copy.parent).returncode == 0
