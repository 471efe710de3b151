"""``binaries add`` keeps only verified tools; ``binaries check`` verifies them again."""

from __future__ import annotations

import json
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from kit.core import contract
from kit.core.errors import BadInput, PrerequisiteFailed
from kit.options.session import KIT_ROOT
from kit.platforms.detect import classify, probe_host
from kit.platforms.facts import HostFacts, NvidiaGpu, RenderNode
from kit.system import validation
from kit.system.fsio import sha256_file
from kit.system.proc import Processes
from kit.video.ffmpeg import Ffmpeg
from kit.video.scorers import choose, golden, own
from tests.video.builders import write_tool

pytestmark = pytest.mark.ffmpeg

TAG = "linux-x86_64-vulkan"


@pytest.fixture(scope="module")
def small() -> tuple[golden.GoldenPair, ...]:
    return tuple(pair for pair in golden.pairs() if pair.name.startswith("natural"))


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: tuple[golden.GoldenPair, ...]) -> Path:
    """A platform's folder in a separate kit, with the small golden pairs only."""
    monkeypatch.setattr(golden, "pairs", lambda: small)
    return own.tool_folder(tmp_path / "kit", TAG)


def add(path: Path, place: Path, ffmpeg: Ffmpeg) -> own.ToolRecord:
    return own.add(path, place, ffmpeg=ffmpeg, processes=Processes())


def check(place: Path, ffmpeg: Ffmpeg, here: str = TAG) -> list[own.ToolCheck]:
    return list(own.check_all(place.parent.parent, here, ffmpeg=ffmpeg, processes=Processes()))


def test_an_added_tool_is_recorded_and_used(tmp_path: Path, place: Path, ffmpeg: Ffmpeg) -> None:
    path = write_tool(tmp_path / "build" / "vmaf-3.2", ffmpeg)
    # as downloaded: not executable
    path.chmod(0o644)
    record = add(path, place, ffmpeg)
    assert sorted(file.name for file in place.iterdir()) == ["vmaf", "vmaf.json"]
    assert stat.S_IMODE((place / "vmaf").stat().st_mode) == 0o755
    assert (place / "vmaf").read_bytes() == path.read_bytes()
    stored = json.loads((place / "vmaf.json").read_text())
    assert validation.problems("vmaf_tool", stored) == []
    assert stored.pop("schema_version") == contract.SCHEMA_VERSION
    assert own.ToolRecord(**stored) == record == own.read_record(place)
    assert (record.sha256, record.size) == (sha256_file(path), path.stat().st_size)
    assert (record.version, record.platform, record.golden_version) == ("3.2.0", TAG, golden.GOLDEN_VERSION)
    assert record.backends == {
        "cpu": {name: pytest.approx(golden.EXPECTED[name][-1], abs=2e-3) for name in ("natural-8bit", "natural-10bit")}
    }
    assert "used cpu" in record.not_proven["cuda"]
    assert str(tmp_path / "build") not in (place / "vmaf.json").read_text()

    scorer = choose.locate_scorer(None, origin="", folder=place, backend="cpu", ffmpeg=ffmpeg, processes=Processes())
    assert choose.describe_scorer(scorer)["sha256"] == record.sha256
    (result,) = check(place, ffmpeg)
    assert result == own.ToolCheck(platform=TAG, sha256=record.sha256, recorded=True, backends=("cpu",))


@pytest.mark.parametrize(("mode", "reason"), [("cuda", ""), ("cuda-wrong", "golden table"), ("no-gpu", "")])
def test_cuda_is_recorded_if_verified(mode: str, reason: str, tmp_path: Path, place: Path, ffmpeg: Ffmpeg) -> None:
    record = add(write_tool(tmp_path / "vmaf", ffmpeg, mode), place, ffmpeg)
    backends = ["cpu", "cuda"] if mode == "cuda" else ["cpu"]
    assert list(record.backends) == backends
    assert list(record.not_proven) == (["cuda"] if reason else [])
    assert reason in record.not_proven.get("cuda", "")
    assert check(place, ffmpeg)[0].backends == tuple(backends)


@pytest.mark.parametrize(
    ("mode", "reason"),
    [
        ("wrong", "golden table"),
        ("dies", "exit status 234"),
        ("refuses", "--threads"),
        ("other-files", "does not run"),
        ("echo", "another program"),
        ("text", "does not run"),
    ],
)
def test_a_tool_that_fails_the_check_is_not_added(
    mode: str, reason: str, tmp_path: Path, place: Path, ffmpeg: Ffmpeg
) -> None:
    path = write_tool(tmp_path / "build" / "vmaf", ffmpeg, mode)
    if mode == "other-files":  # a program that needs other files of its folder
        path.rename(path.with_name("real"))
        path.write_text('#!/bin/sh\nexec "$(dirname "$0")/real" "$@"\n')
        path.chmod(0o755)
    if mode == "echo":
        path.write_text("#!/bin/sh\necho 3.2.0\n")
    if mode == "text":
        path.write_text("no program")
    with pytest.raises(PrerequisiteFailed, match=reason) as error:
        add(path, place, ffmpeg)
    assert "--vmaf-bin" in error.value.hint
    assert not place.exists()

    good = add(write_tool(tmp_path / "good", ffmpeg), place, ffmpeg)
    with pytest.raises(PrerequisiteFailed):
        add(path, place, ffmpeg)
    assert own.read_record(place) == good
    assert check(place, ffmpeg)[0].problem == ""


def test_a_path_or_a_folder_that_cannot_be_used(tmp_path: Path, place: Path, ffmpeg: Ffmpeg) -> None:
    for path in (tmp_path / "none", tmp_path, Path("/dev/null")):
        with pytest.raises(BadInput, match=str(path)):
            add(path, place, ffmpeg)
    # a file instead of the folder: refused for root too
    place.parent.mkdir(parents=True)
    place.write_text("")
    with pytest.raises(BadInput, match=str(place)) as error:
        add(write_tool(tmp_path / "vmaf", ffmpeg), place, ffmpeg)
    assert "--vmaf-bin" in error.value.hint


def test_another_tool_replaces_the_first(tmp_path: Path, place: Path, ffmpeg: Ffmpeg) -> None:
    first = add(write_tool(tmp_path / "vmaf", ffmpeg), place, ffmpeg)
    second = add(write_tool(tmp_path / "vmaf", ffmpeg, "3.1"), place, ffmpeg)
    assert (first.version, second.version) == ("3.2.0", "3.1.0")
    assert own.read_record(place) == second
    assert "3.1.0" in second.not_proven["cuda"]
    assert add(place / "vmaf", place, ffmpeg).sha256 == second.sha256, "itself"
    assert check(place, ffmpeg)[0].problem == ""


def located(place: Path, ffmpeg: Ffmpeg) -> choose.CellScorer:
    return choose.locate_scorer(None, origin="", folder=place, backend="cpu", ffmpeg=ffmpeg, processes=Processes())


def test_a_changed_tool_is_an_error_for_a_run_too(tmp_path: Path, place: Path, ffmpeg: Ffmpeg) -> None:
    add(write_tool(tmp_path / "vmaf", ffmpeg), place, ffmpeg)
    tool, record = place / "vmaf", place / "vmaf.json"
    whole = record.read_text()

    def check_refused(reason: str) -> None:
        with pytest.raises((PrerequisiteFailed, BadInput), match=reason) as error:
            located(place, ffmpeg)
        assert error.value.hint
        (result,) = check(place, ffmpeg)
        assert error.value.message == result.problem
        assert (result.backends, bool(result.remedy)) == ((), True)

    with tool.open("a") as stream:
        stream.write("# changed\n")
    check_refused("SHA-256")
    tool.unlink()
    check_refused("vmaf.json, but no tool")
    for text in ("{", "[]", "{}", '{"schema_version": 2}', whole.replace('"size"', '"sizes"')):
        record.write_text(text)
        check_refused("vmaf.json")
    record.unlink()
    assert check(place, ffmpeg) == []
    assert located(place, ffmpeg).name.startswith("libvmaf filter")
    tool.mkdir()
    check_refused("not a regular file")
    tool.rmdir()
    tool.symlink_to("nowhere")
    check_refused("not a regular file")


def test_a_tool_added_by_hand_is_used_and_checked(place: Path, ffmpeg: Ffmpeg) -> None:
    write_tool(place / "vmaf", ffmpeg)
    assert located(place, ffmpeg).name.startswith("vmaf tool 3.2.0, binaries/linux-x86_64-vulkan")
    (result,) = check(place, ffmpeg)
    assert (result.recorded, result.backends, result.problem) == (False, ("cpu",), "")
    write_tool(place / "vmaf", ffmpeg, "wrong")
    assert "golden table" in check(place, ffmpeg)[0].problem
    # on another system only the hash is checked
    (elsewhere,) = check(place, ffmpeg, "darwin-arm64-cpu")
    assert (elsewhere.backends, elsewhere.problem) == ((), "")


def test_a_tool_that_has_lost_its_gpu_fails_the_check(tmp_path: Path, place: Path, ffmpeg: Ffmpeg) -> None:
    """The file is the same, its dependencies are not."""
    switch = write_tool(tmp_path / "real", ffmpeg, "cuda")
    path = tmp_path / "vmaf"
    path.write_text(f'#!/bin/sh\nexec "{switch}" "$@"\n')
    add(path, place, ffmpeg)
    write_tool(switch, ffmpeg, "cuda-absent")
    (result,) = check(place, ffmpeg)
    assert result.backends == ("cpu",)
    assert "used cpu" in result.problem


def facts(system: str, machine: str, **own_facts: object) -> HostFacts:
    return HostFacts(system=system, machine=machine, cores=1, memory_bytes=None, nvidia_problem="", **own_facts)  # type: ignore[arg-type]


def test_platform_tags() -> None:
    gpu = {"gpus": (NvidiaGpu(index=0, name="NVIDIA L4", driver="580"),)}
    intel = {"nodes": (RenderNode(name="renderD128", driver="iHD", version="23.4"),)}
    boxes = [
        facts("Linux", "x86_64", **gpu),
        facts("Linux", "x86_64", **intel),
        facts("Linux", "x86_64"),
        facts("Linux", "aarch64"),
        facts("Darwin", "arm64"),
        facts("Darwin", "x86_64"),
    ]
    assert tuple(classify(box).tag for box in boxes) == contract.PLATFORM_TAGS
    assert own.runs_on("linux-x86_64-cuda", "linux-x86_64-vulkan")
    assert not own.runs_on("linux-aarch64-cpu", "linux-x86_64-cuda")


def test_the_commands(tmp_path: Path, ffmpeg: Ffmpeg, home: dict[str, str]) -> None:
    """In a copy of the kit: the commands write next to the code."""
    root = tmp_path / "kit root"
    shutil.copytree(KIT_ROOT / "kit", root / "kit", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("requirements-frozen.txt", "pyproject.toml"):
        shutil.copy(KIT_ROOT / name, root)
    tag = classify(probe_host(Processes())).tag

    def binaries(*args: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, str(root / "kit" / "__main__.py"), "binaries", *args],
            cwd=tmp_path,
            env=home,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    empty = binaries("check", "--json")
    assert empty.returncode == 0, empty.stderr
    assert json.loads(empty.stdout) == {"platform": tag, "tools": []}

    write_tool(tmp_path / "vmaf", ffmpeg)
    refused = binaries("add", "vmaf", "--platform", "amiga-68k-cpu")
    assert refused.returncode == 2
    assert tag in refused.stderr
    done = binaries("add", "vmaf", "--json")
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert record["sha256"] == sha256_file(root / "binaries" / tag / "vmaf")
    assert record["backends"]["cpu"].keys() == golden.EXPECTED.keys()

    with (root / "binaries" / tag / "vmaf").open("a") as stream:
        stream.write("# changed\n")
    changed = binaries("check", "--json")
    assert changed.returncode == 3
    assert record["sha256"] in json.loads(changed.stdout)["tools"][0]["problem"]
    assert sorted(path.name for path in (root / "binaries" / tag).iterdir()) == ["vmaf", "vmaf.json"]
