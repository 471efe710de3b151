"""onnxruntime leaves nothing of its telemetry on the machine when the kit runs a model."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from kit.options.session import KIT_ROOT
from tests.cli.builders import Kit

VARIABLE = "ORT_DISABLE_TELEMETRY"
LOAD = "import sys, onnxruntime as o; o.InferenceSession(sys.argv[1], providers=['CPUExecutionProvider'])"


@pytest.fixture
def fresh(home: dict[str, str], tmp_path: Path) -> dict[str, str]:
    """The environment of a user who has never run a model."""
    places = {
        f"XDG_{name}_HOME": str(tmp_path / "home" / name.lower()) for name in ("CACHE", "STATE", "DATA", "CONFIG")
    }
    (tmp_path / "home").mkdir()
    # onnxruntime sends nothing where CI is set either
    kept = {name: value for name, value in home.items() if name not in (VARIABLE, "CI")}
    return kept | places | {"HOME": str(tmp_path / "home")}


def of_microsoft(env: dict[str, str]) -> list[Path]:
    names = ("microsoft", "onnxruntime", "deviceid")
    return [path for path in Path(env["HOME"]).rglob("*") if any(name in path.name.lower() for name in names)]


@pytest.mark.essential
def test_scoring_leaves_no_file(promoted: Path, fresh: dict[str, str], tmp_path: Path) -> None:
    model = next((promoted / "exports").glob("fr_regressor_v2_ensemble*_ensemble.onnx"))
    argv = [sys.executable, str(KIT_ROOT / "kit" / "__main__.py"), "score", "--model", str(model)]
    done = subprocess.run(
        [*argv, "--corpus", str(promoted), "--json"], cwd=tmp_path, env=fresh, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    assert of_microsoft(fresh) == []


def test_every_process_of_the_kit_inherits_the_variable(kit_here: Kit, tmp_path: Path) -> None:
    """An ffmpeg that prints the environment it was started with: also what the command within a test starts."""
    tool = tmp_path / "ffmpeg"
    tool.write_text(f'#!/bin/sh\necho "$ {VARIABLE}=${VARIABLE}" >> "{tmp_path}/seen"\nexit 1\n')
    tool.chmod(0o755)
    assert kit_here("platform", "--ffmpeg", str(tool), cwd=tmp_path, env={VARIABLE: "0"}).returncode == 2
    assert set((tmp_path / "seen").read_text().splitlines()) == {f"$ {VARIABLE}=1"}


def test_without_the_variable_the_files_appear(promoted: Path, fresh: dict[str, str]) -> None:
    """The counter-check, on the system where it was observed: the tests above would notice the files."""
    model = next((promoted / "exports").glob("fr_regressor_v2_ensemble*_ensemble.onnx"))
    subprocess.run([sys.executable, "-c", LOAD, str(model)], env=fresh, check=True)
    if not of_microsoft(fresh) and sys.platform != "linux":
        pytest.skip("onnxruntime leaves no such files on this system")
    assert {path.name for path in of_microsoft(fresh)} >= {"Microsoft", "deviceid"}
