"""What runs without the packages for training, as set up by ``run --shard-only``."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from kit.bootstrap.pins import read_pins
from kit.bootstrap.start import WITHOUT_TRAINING
from kit.core import exits
from kit.options.session import KIT_ROOT

#: Makes the modules named first unimportable, then runs the command lines one after the other in this process.
SCRIPT = """
import json, sys
sys.modules.update(dict.fromkeys(json.loads(sys.argv[1])))
from kit.cli.main import main
codes = [main(argv) for argv in json.loads(sys.argv[2])]
sys.exit(max(codes))
"""


def modules_for_training() -> list[str]:
    """The modules of the packages that are in no group but ``train``."""
    packages = {"torch", *re.findall(r"^([\w.-]+)==", read_pins(KIT_ROOT).sections["train"], re.MULTILINE)}
    normal = {re.sub(r"[-_.]+", "-", name).lower() for name in packages}
    return [
        module
        for module, owners in packages_distributions().items()
        if all(re.sub(r"[-_.]+", "-", owner).lower() in normal for owner in owners)
    ]


@pytest.mark.ffmpeg
def test_a_shard_needs_no_package_for_training(clips: Path, tmp_path: Path, home: dict[str, str]) -> None:
    blocked = modules_for_training()
    assert {"torch", "onnx", "onnxruntime", "matplotlib", "scipy"} <= set(blocked)
    places = ["--ref-dir", str(clips), "--out-dir", "runs/a"]
    commands = [
        ["run", "--shard-only", *places, "--encoders", "libx264", "--cqs", "31", "--box", "testbox"],
        ["prereqs", "--shard-only", *places],
        ["corpus", "status", "runs/a"],
        ["corpus", "info", "runs/a"],
        ["merge", "runs/a", "--out", "merged"],
        ["corpus", "export", "merged", "--format", "csv", "--out", "rows.csv"],
        ["bundle", "--show", "--out-dir", "runs/a"],
        ["dataset", "show", str(clips)],
        ["platform"],
        ["binaries", "check"],
        ["clean"],
    ]
    assert {argv[0] for argv in commands} == {"run", "prereqs", "clean", *WITHOUT_TRAINING} - {"worker"}
    start = [sys.executable, "-c", SCRIPT, json.dumps(blocked), json.dumps(commands)]
    environ = home | {"PYTHONPATH": str(KIT_ROOT)}
    done = subprocess.run(start, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == exits.OK, done.stderr
    assert (tmp_path / "rows.csv").is_file()
    assert list(tmp_path.glob("runs/ensemble-results-testbox-*.tar.gz"))


def test_the_worker_needs_no_package_for_training() -> None:
    """It runs with a scheduler only: here its modules are imported."""
    block = "import json, sys; sys.modules.update(dict.fromkeys(json.loads(sys.argv[1])))"
    script = f"{block}; import kit.cluster.worker, kit.prereqs.examine, kit.steps.step_01_prereqs"
    start = [sys.executable, "-c", script, json.dumps(modules_for_training())]
    done = subprocess.run(start, cwd=KIT_ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
