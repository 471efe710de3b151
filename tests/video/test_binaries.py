"""``binaries add`` keeps only what has proven itself here, ``binaries check`` finds what has changed since."""

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
def small() -> tuple[golden.Pair, ...]:
    return tuple(pair for pair in golden.pairs() if pair.name.startswith("natural"))


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: tuple[golden.Pair, ...]) -> Path:
    """A platform's folder in a kit of its own, proven with the small pairs alone."""
    monkeypatch.setattr(golden, "pairs", lambda: small)
    return own.folder(tmp_path / "kit", TAG)


def add(path: Path, place: Path, ffmpeg: Ffmpeg) -> own.Record:
    return own.add(path, place, ffmpeg=ffmpeg, processes=Processes())


def check(place: Path, ffmpeg: Ffmpeg, here: str = TAG) -> list[own.Checked]:
    return list(own.check_all(place.parent.parent, here, ffmpeg=ffmpeg, processes=Processes()))


def test_what_is_added_is_found_used_and_right(tmp_path: Path, place: Path, ffmpeg: Ffmpeg) -> None:
    path = write_tool(tmp_path / "build" / "vmaf-3.2", ffmpeg)
    # as a download leaves it
    path.chmod(0o644)
    record = add(path, place, ffmpeg)
    assert sorted(file.name for file in place.iterdir()) == ["vmaf", "vmaf.json"]
    assert stat.S_IMODE((place / "vmaf").stat().st_mode) == 0o755
    assert (place / "vmaf").read_bytes() == path.read_bytes()
    stored = json.loads((place / "vmaf.json").read_text())
    assert validation.problems("vmaf_tool", stored) == []
    assert stored.pop("schema_version") == contract.SCHEMA_VERSION
    assert own.Record(**stored) == record == own.read_record(place)
    assert (record.sha256, record.size) == (sha256_file(path), path.stat().st_size)
    assert (record.version, record.platform, record.golden_version) == ("3.2.0", TAG, golden.GOLDEN_VERSION)
    assert record.backends == {
        "cpu": {name: pytest.approx(golden.EXPECTED[name][-1], abs=2e-3) for name in ("natural-8bit", "natural-10bit")}
    }
    assert "was to use cuda and used cpu" in record.not_proven["cuda"]
    assert str(tmp_path / "build") not in (place / "vmaf.json").read_text()

    scorer = choose.located(None, origin="", folder=place, backend="cpu", ffmpeg=ffmpeg, processes=Processes())
    assert choose.described(scorer)["sha256"] == record.sha256
    (found,) = check(place, ffmpeg)
    assert found == own.Checked(platform=TAG, sha256=record.sha256, recorded=True, backends=("cpu",))


@pytest.mark.parametrize(("mode", "reason"), [("cuda", ""), ("cuda-wrong", "golden table"), ("no-gpu", "")])
def test_cuda_is_recorded_where_it_proves_itself(
    mode: str, reason: str, tmp_path: Path, place: Path, ffmpeg: Ffmpeg
) -> None:
    record = add(write_tool(tmp_path / "vmaf", ffmpeg, mode), place, ffmpeg)
    backends = ["cpu", "cuda"] if mode == "cuda" else ["cpu"]
    assert list(record.backends) == backends
    assert list(record.not_proven) == (["cuda"] if reason else [])
    assert reason in record.not_proven.get("cuda", "")
    assert check(place, ffmpeg)[0].backends == tuple(backends)


@pytest.mark.parametrize(
    ("mode", "told"),
    [
        ("wrong", "does not reproduce the golden table"),
        ("dies", "exit status 234"),
        ("refuses", "ignored an option"),
        ("beside", "does not run"),
        ("echo", "answers like another program"),
        ("text", "does not run"),
    ],
)
def test_what_does_not_prove_itself_leaves_nothing(
    mode: str, told: str, tmp_path: Path, place: Path, ffmpeg: Ffmpeg
) -> None:
    path = write_tool(tmp_path / "build" / "vmaf", ffmpeg, mode)
    if mode == "beside":  # a program that needs what lies beside it
        path.rename(path.with_name("real"))
        path.write_text('#!/bin/sh\nexec "$(dirname "$0")/real" "$@"\n')
        path.chmod(0o755)
    if mode == "echo":
        path.write_text("#!/bin/sh\necho 3.2.0\n")
    if mode == "text":
        path.write_text("no program")
    with pytest.raises(PrerequisiteFailed, match=told) as error:
        add(path, place, ffmpeg)
    assert "Nothing was kept" in error.value.hint
    assert not place.exists()

    good = add(write_tool(tmp_path / "good", ffmpeg), place, ffmpeg)
    with pytest.raises(PrerequisiteFailed):
        add(path, place, ffmpeg)
    assert own.read_record(place) == good
    assert check(place, ffmpeg)[0].problem == ""


def test_a_path_or_a_folder_that_cannot_be_used(tmp_path: Path, place: Path, ffmpeg: Ffmpeg) -> None:
    for path, told in ((tmp_path / "none", "is not there"), (tmp_path, "is a folder"), (Path("/dev/null"), "no regul")):
        with pytest.raises(BadInput, match=told):
            add(path, place, ffmpeg)
    # a file where the folder should be refuses everyone, root too
    place.parent.mkdir(parents=True)
    place.write_text("")
    with pytest.raises(BadInput, match=str(place)) as error:
        add(write_tool(tmp_path / "vmaf", ffmpeg), place, ffmpeg)
    assert "--vmaf-bin" in error.value.hint


def test_another_tool_takes_the_place_of_the_first(tmp_path: Path, place: Path, ffmpeg: Ffmpeg) -> None:
    first = add(write_tool(tmp_path / "vmaf", ffmpeg), place, ffmpeg)
    second = add(write_tool(tmp_path / "vmaf", ffmpeg, "3.1"), place, ffmpeg)
    assert (first.version, second.version) == ("3.2.0", "3.1.0")
    assert own.read_record(place) == second
    assert "does not tell whether it used CUDA" in second.not_proven["cuda"]
    assert add(place / "vmaf", place, ffmpeg).sha256 == second.sha256, "itself"
    assert check(place, ffmpeg)[0].problem == ""


def located(place: Path, ffmpeg: Ffmpeg) -> choose.CellScorer:
    return choose.located(None, origin="", folder=place, backend="cpu", ffmpeg=ffmpeg, processes=Processes())


def test_what_has_changed_since_is_an_error_for_a_run_too(tmp_path: Path, place: Path, ffmpeg: Ffmpeg) -> None:
    add(write_tool(tmp_path / "vmaf", ffmpeg), place, ffmpeg)
    tool, record = place / "vmaf", place / "vmaf.json"
    whole = record.read_text()

    def wanting(told: str) -> None:
        with pytest.raises((PrerequisiteFailed, BadInput), match=told) as error:
            located(place, ffmpeg)
        assert "remove" in error.value.hint.lower() or "Put the tool" in error.value.hint
        (found,) = check(place, ffmpeg)
        assert error.value.message == found.problem
        assert (found.backends, bool(found.remedy)) == ((), True)

    with tool.open("a") as stream:
        stream.write("# changed\n")
    wanting("is not the file that was added: its SHA-256 is")
    tool.unlink()
    wanting("the tool is not")
    for text, told in (
        ("{", "not valid JSON"),
        ("[]", "is no record"),
        ("{}", "is no record"),
        ('{"schema_version": 2}', "another schema version"),
        (whole.replace('"size"', '"sizes"'), "is no record"),
    ):
        record.write_text(text)
        wanting(told)
    record.unlink()
    assert check(place, ffmpeg) == []
    assert located(place, ffmpeg).name.startswith("libvmaf filter")
    tool.mkdir()
    wanting("is no regular file")
    tool.rmdir()
    tool.symlink_to("nowhere")
    wanting("is no regular file")


def test_a_tool_put_there_by_hand_is_used_and_checked(place: Path, ffmpeg: Ffmpeg) -> None:
    write_tool(place / "vmaf", ffmpeg)
    assert located(place, ffmpeg).name.startswith("vmaf tool 3.2.0, binaries/linux-x86_64-vulkan")
    (found,) = check(place, ffmpeg)
    assert (found.recorded, found.backends, found.problem) == (False, ("cpu",), "")
    write_tool(place / "vmaf", ffmpeg, "wrong")
    assert "does not reproduce" in check(place, ffmpeg)[0].problem
    # on another system it is not run; its hash is all there is to look at
    (elsewhere,) = check(place, ffmpeg, "darwin-arm64-cpu")
    assert (elsewhere.backends, elsewhere.problem) == ((), "")


def test_a_tool_that_has_lost_its_gpu_is_wanting(tmp_path: Path, place: Path, ffmpeg: Ffmpeg) -> None:
    """The file is the same, what it depends on is not."""
    switch = write_tool(tmp_path / "real", ffmpeg, "cuda")
    path = tmp_path / "vmaf"
    path.write_text(f'#!/bin/sh\nexec "{switch}" "$@"\n')
    add(path, place, ffmpeg)
    write_tool(switch, ffmpeg, "cuda-absent")
    (found,) = check(place, ffmpeg)
    assert found.backends == ("cpu",)
    assert "was to use cuda and used cpu" in found.problem


def facts(system: str, machine: str, **seen: object) -> HostFacts:
    return HostFacts(system=system, machine=machine, cores=1, memory_bytes=None, nvidia_problem="", **seen)  # type: ignore[arg-type]


def test_the_tags_are_those_that_boxes_get() -> None:
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
    """In a kit of their own: the commands write beside the code."""
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

    none = binaries("check", "--json")
    assert none.returncode == 0, none.stderr
    assert "There is no vmaf tool under binaries/" in none.stderr
    assert json.loads(none.stdout) == {"platform": tag, "tools": []}

    write_tool(tmp_path / "vmaf", ffmpeg)
    refused = binaries("add", "vmaf", "--platform", "amiga-68k-cpu")
    assert refused.returncode == 2
    assert tag in refused.stderr
    done = binaries("add", "vmaf", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["sha256"] == sha256_file(root / "binaries" / tag / "vmaf")
    assert told["backends"]["cpu"].keys() == golden.EXPECTED.keys()

    with (root / "binaries" / tag / "vmaf").open("a") as stream:
        stream.write("# changed\n")
    wanting = binaries("check", "--json")
    assert wanting.returncode == 3
    assert "is not the file that was added" in json.loads(wanting.stdout)["tools"][0]["problem"]
    assert sorted(path.name for path in (root / "binaries" / tag).iterdir()) == ["vmaf", "vmaf.json"]
