"""The decisions of the start, without processes: pins, markers, sizes, options, places, and what pip's words become."""

from __future__ import annotations

import importlib.util
import io
import re
import shutil
import sys
import tomllib
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
from packaging.requirements import Requirement
from packaging.tags import Tag

from kit.bootstrap import early, environment, pins, start
from kit.bootstrap.environment import Job
from kit.bootstrap.pins import BadPins, Platform, Requirements
from kit.bootstrap.pip import Progress, translated
from kit.bootstrap.start import Facts, Options, Place
from kit.core import exits
from kit.core.errors import BadInput, DiskFull, SetupFailed

ROOT = Path(__file__).resolve().parents[2]
FROZEN = ROOT / "requirements-frozen.txt"
LINUX = Platform(system="linux", machine="x86_64", python="3.12")
INTEL_MAC = Platform(system="darwin", machine="x86_64", python="3.11")
PLATFORMS = [
    Platform(system=system, machine=machine, python=python)
    for system, machine in [("linux", "x86_64"), ("linux", "aarch64"), ("darwin", "arm64"), ("darwin", "x86_64")]
    for python in ("3.11", "3.12", "3.13", "3.14")
]
NOT_INTEL_MAC = 'sys_platform != "darwin" or platform_machine != "x86_64"'
TEXT = f"""\
# CUDA packages of torch: 2000.0 MB linux-x86_64
Some_Package==1.0 # 0.5 MB
torch==2.13.0 ; {NOT_INTEL_MAC}  # 500.0 MB linux-x86_64, 100 MB darwin-arm64
odd==3
"""


# Pins and markers


def test_parse() -> None:
    found = pins.parse(TEXT)
    assert [(pin.name, pin.version, pin.marker) for pin in found.pins] == [
        ("some-package", "1.0", ""),
        ("torch", "2.13.0", NOT_INTEL_MAC),
        ("odd", "3", ""),
    ]
    assert found.pins[1].megabytes == {"linux-x86_64": 500.0, "darwin-arm64": 100.0}
    assert found.cuda_megabytes == {"linux-x86_64": 2000.0}
    assert [pin.name for pin in found.on(INTEL_MAC)] == ["some-package", "odd"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# nothing",
        "a>=1",
        "a",
        "a==1 --hash=sha256:0",
        "-r other.txt",
        "--index-url x",
        "a @ file:///a",
        "a==1+cpu",
    ],
)
def test_what_is_no_exact_pin_is_refused(text: str) -> None:
    with pytest.raises(BadPins) as caught:
        pins.parse(text)
    assert caught.value.exit_code == exits.INTERNAL


@pytest.mark.parametrize(
    ("marker", "where"),
    [
        ("", "linux mac"),
        ('sys_platform == "linux"', "linux"),
        ('platform_machine == "x86_64"', "linux mac"),
        (NOT_INTEL_MAC, "linux"),
        ('python_version < "3.12"', "mac"),
        ('python_version >= "3.9"', "linux mac"),
        ('sys_platform == "win32" or sys_platform == "darwin" and python_version == "3.11"', "mac"),
        ('sys_platform == "darwin" and python_version > "3.11" or sys_platform == "linux"', "linux"),
    ],
)
def test_markers(marker: str, where: str) -> None:
    assert pins.applies(marker, LINUX) == ("linux" in where)
    assert pins.applies(marker, INTEL_MAC) == ("mac" in where)


@pytest.mark.parametrize(
    "marker",
    [
        'os_name == "posix"',
        '(sys_platform == "linux")',
        "sys_platform == 'linux'",
        'sys_platform < "linux"',
        'python_version >= "3"',
        'python_version ~= "3.11"',
        'sys_platform == "linux" or',
        'sys_platform == "linux" or extra == "x"',
        'not sys_platform == "linux"',
    ],
)
def test_markers_outside_the_language_are_refused(marker: str) -> None:
    with pytest.raises(BadPins):
        pins.applies(marker, LINUX)


def test_lacking() -> None:
    some = pins.parse(TEXT).on(LINUX)
    there = {"some-package": "1.0", "torch": "2.13.0+cpu", "odd": "3"}
    assert pins.lacking(some, there.get) == ""
    assert pins.lacking(some, (there | {"torch": "2.13.1"}).get) == "torch is 2.13.1, not 2.13.0"
    del there["odd"]
    assert pins.lacking(some, there.get) == "odd 3 is not installed"


def test_to_download() -> None:
    some = pins.parse(TEXT)
    size = pins.to_download(some, LINUX, torch_from_elsewhere=False)
    assert (size.packages, size.megabytes, size.cuda_megabytes, size.unknown) == (3, 2500.5, 2000.0, ("odd",))
    size = pins.to_download(some, LINUX, torch_from_elsewhere=True)
    assert (size.megabytes, size.cuda_megabytes, size.unknown) == (0.5, 0.0, ("torch", "odd"))
    assert pins.to_download(some, INTEL_MAC, torch_from_elsewhere=False).megabytes == 0.5


# The file as it is shipped


@pytest.fixture(scope="module")
def frozen() -> Requirements:
    return pins.parse(FROZEN.read_text())


def test_frozen_file_holds_nothing_but_pins(frozen: Requirements) -> None:
    text = FROZEN.read_text()
    assert not re.search(r"://|--|sha256|\+|nvidia|triton", text)
    assert len({pin.name for pin in frozen.pins}) == len(frozen.pins)


@pytest.mark.parametrize("platform", PLATFORMS, ids=lambda platform: f"{platform.key}-{platform.python}")
def test_frozen_file_answers_to_pyproject(frozen: Requirements, platform: Platform) -> None:
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    pinned = {pin.name: pin.version for pin in frozen.on(platform)}
    for requirement in map(Requirement, wanted):
        name = pins.normal(requirement.name)
        if platform.key == "darwin-x86_64" and name in {"torch", "onnxruntime"}:
            assert name not in pinned
        else:
            assert requirement.specifier.contains(pinned[name]), name


@pytest.mark.parametrize("platform", PLATFORMS, ids=lambda platform: f"{platform.key}-{platform.python}")
def test_frozen_file_knows_every_size(frozen: Requirements, platform: Platform) -> None:
    size = pins.to_download(frozen, platform, torch_from_elsewhere=False)
    assert size.unknown == ()
    assert 50 < size.megabytes - size.cuda_megabytes < 1500
    assert (size.cuda_megabytes > 0) == (platform.system == "linux")


# Options, words, interpreters


@pytest.mark.parametrize(
    ("argv", "index", "rest"),
    [
        ("run a --b", None, "run a --b"),
        ("run --torch-index U a", "U", "run a"),
        ("--torch-index=U=V run", "U=V", "run"),
        ("--torch-index U --torch-index V", "V", ""),
        ("run -- --torch-index U", None, "run -- --torch-index U"),
        ("run --torch-indexes U", None, "run --torch-indexes U"),
    ],
)
def test_split_options(argv: str, index: str | None, rest: str) -> None:
    assert start.split_options(argv.split()) == (Options(wheels=None, torch_index=index), rest.split())


def test_wheels_folder_is_remembered_in_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "w").mkdir()
    monkeypatch.chdir(tmp_path)
    assert start.split_options(["--wheels", "w"])[0].wheels == tmp_path / "w"
    with pytest.raises(BadInput, match="no folder"):
        start.split_options(["--wheels", "x"])


@pytest.mark.parametrize(
    ("argv", "found"),
    [
        ("run x", "run"),
        ("corpus status --x", "corpus status"),
        ("corpus --x status", "corpus"),
        ("status", ""),
    ],
)
def test_command_in(argv: str, found: str) -> None:
    known = dict.fromkeys(("", "run", "corpus", "corpus status"), "text")
    assert early.command_in(argv.split(), known) == found


@pytest.mark.parametrize(
    ("version", "tag", "fits"),
    [
        ((3, 11), "cpython", True),
        ((3, 14), "cpythond", True),
        ((3, 13), "cpythont", False),
        ((3, 12), "pypy", False),
        ((3, 10), "cpython", False),
        ((3, 15), "cpython", False),
    ],
)
def test_fits(version: tuple[int, int], tag: str, *, fits: bool) -> None:
    assert early.fits(version, tag) is fits


def test_interpreters_on_path_in_order_of_preference(tmp_path: Path) -> None:
    for name in ("a/python3.11", "a/python3.14", "b/python3.13", "b/python3.11", "b/python3"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch(0o755)
    (tmp_path / "a" / "python3.12").touch(0o644)
    found = early.on_path(f"{tmp_path}/a:{tmp_path}/nowhere:{tmp_path}/b:{tmp_path}/a")
    names = [str(Path(path).relative_to(tmp_path)) for path in found]
    assert names == ["b/python3.13", "a/python3.11", "b/python3.11", "a/python3.14"]


# What to do


HERE = Path("/usr/bin/python3")
BESIDE = Place(path=Path("/kit/.venv"), writable=True, complete=False)
CACHED = Place(path=Path("/home/me/.cache/vmaf-ensemble-kit/venv-1"), writable=True, complete=False)
FACTS = Facts(
    executable=HERE,
    base=HERE,
    prefix=Path("/usr"),
    entered=False,
    lacking="click 8 is not installed",
    places=(BESIDE, CACHED),
)
INSIDE = replace(FACTS, executable=BESIDE.path / "bin" / "python", prefix=BESIDE.path)


@pytest.mark.parametrize(
    ("facts", "action", "venv", "python"),
    [
        (FACTS, "make", BESIDE, HERE),
        (replace(FACTS, lacking=""), "stay", None, HERE),
        (replace(FACTS, places=(replace(BESIDE, complete=True), CACHED)), "enter", BESIDE, BESIDE.path / "bin/python"),
        (replace(FACTS, places=(replace(BESIDE, writable=False), CACHED)), "make", CACHED, HERE),
        (replace(FACTS, places=(BESIDE, replace(CACHED, complete=True))), "enter", CACHED, CACHED.path / "bin/python"),
        (replace(INSIDE, places=(replace(BESIDE, complete=True),)), "stay", BESIDE, INSIDE.executable),
        (replace(INSIDE, places=(replace(BESIDE, complete=True),), entered=True), "stay", BESIDE, INSIDE.executable),
        (INSIDE, "leave", BESIDE, HERE),
    ],
)
def test_choose(facts: Facts, action: str, venv: Place | None, python: Path) -> None:
    plan = start.choose(facts)
    assert (plan.action, plan.python) == (action, python)
    assert plan.venv == (venv.path if venv else facts.prefix)
    assert plan.why


@pytest.mark.parametrize(
    "facts",
    [
        replace(FACTS, places=(replace(BESIDE, writable=False), replace(CACHED, writable=False))),
        replace(FACTS, entered=True),
        replace(INSIDE, entered=True),
        replace(FACTS, entered=True, lacking=""),
    ],
)
def test_choose_refuses(facts: Facts) -> None:
    with pytest.raises(SetupFailed) as caught:
        start.choose(facts)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("environ", "system", "folder"),
    [
        ({"XDG_CACHE_HOME": "/x"}, "linux", "/x/vmaf-ensemble-kit"),
        ({}, "linux", "~/.cache/vmaf-ensemble-kit"),
        ({"XDG_CACHE_HOME": " "}, "linux", "~/.cache/vmaf-ensemble-kit"),
        ({"XDG_CACHE_HOME": "/x"}, "darwin", "~/Library/Caches/vmaf-ensemble-kit"),
    ],
)
def test_cache_folder(environ: dict[str, str], system: str, folder: str) -> None:
    assert start.cache_folder(environ, system) == Path(folder).expanduser()


def test_places_where_venv_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "a:b").mkdir()
    assert start.can_write(tmp_path / "a" / "b" / ".venv")
    assert not start.can_write(tmp_path / "a:b" / ".venv")


# The making, as far as it is decided without starting anything


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job(
        venv=tmp_path / "env",
        python=HERE,
        requirements=pins.parse(TEXT),
        file=tmp_path / "requirements-frozen.txt",
        platform=LINUX,
        wheels=None,
        torch_index=None,
        why="",
    )


def test_commands(job: Job, tmp_path: Path) -> None:
    plain = [command for _, command in environment.commands(job)]
    assert [command[command.index("-m") + 1] for command in plain] == ["venv", "ensurepip", "pip"]
    assert "torch==2.13.0" in list(environment.commands(replace(job, torch_index="U")))[2][1]
    assert len(list(environment.commands(replace(job, torch_index="U", platform=INTEL_MAC)))) == len(plain)
    offline = list(environment.commands(replace(job, wheels=tmp_path)))[-1][1]
    assert offline[offline.index("--no-index") :][:3] == ["--no-index", "--find-links", str(tmp_path)]


def test_space_is_asked_for_before_anything_is_made(job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=3_000_000_000))
    with pytest.raises(DiskFull, match=r"needs about 7\.6 GB .* there are 3\.0 GB") as caught:
        environment.check_space(job)
    assert "--torch-index" in caught.value.hint
    environment.check_space(replace(job, torch_index="U"))
    (tmp_path / "torch-2.13.0+cpu-cp312-cp312-linux_x86_64.whl").touch()
    environment.check_space(replace(job, wheels=tmp_path))


def test_variables_that_send_packages_elsewhere_are_dropped(tmp_path: Path) -> None:
    given = {"PATH": "p", "PYTHONPATH": "x", "PIP_TARGET": "x", "PIP_USER": "1", "TMPDIR": "x", "PIP_INDEX_URL": "i"}
    found = environment.setup_environment(given, tmp_path)
    assert {name: found.get(name) for name in given} == {
        "PATH": "p",
        "PYTHONPATH": None,
        "PIP_TARGET": None,
        "PIP_USER": "0",
        "TMPDIR": str(tmp_path),
        "PIP_INDEX_URL": "i",
    }


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("Collecting numpy==2.4.6 (from -r requirements-frozen.txt (line 17))", "collecting numpy"),
        ("  Downloading torch-2.13.0-cp313-cp313-manylinux_2_28_x86_64.whl (526.6 MB)", "downloading torch 526.6 MB"),
        (
            "  Using cached https://x.invalid/a/onnx-1.23.2-cp312-abi3-linux.whl (8.9 MB)",
            "using the cached onnx 8.9 MB",
        ),
        ("Processing /some where/jinja2-3.1.6-py3-none-any.whl (from x)", ""),
        ("Processing /somewhere/jinja2-3.1.6-py3-none-any.whl (from x)", "reading jinja2"),
        ("  Downloading numpy-2.4.6-cp313-cp313-linux.whl.metadata (6.6 kB)", ""),
        ("Installing collected packages: a, b", "unpacking and installing"),
        ("", ""),
    ],
)
def test_what_pip_says(line: str, said: str) -> None:
    assert translated(line) == said


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_off_a_terminal_leaves_time_between_lines() -> None:
    now = [0.0]
    stream = io.StringIO()
    progress = Progress(stream, {"TERM": "xterm"}, lambda: now[0])
    for second in range(100):
        now[0] = float(second)
        if second < 10:
            progress.show(f"collecting package{second}")
        progress.tick()
    progress.note("done")
    lines = stream.getvalue().splitlines()
    assert lines[:2] == ["setup: collecting package0", "setup: collecting package5"]
    assert lines[2:-1] == [
        "setup: collecting package9 (1 s)",
        "setup: collecting package9 (31 s)",
        "setup: collecting package9 (61 s)",
    ]
    assert lines[-1] == "setup: done"


def test_progress_on_a_terminal_is_one_line() -> None:
    stream = Terminal()
    progress = Progress(stream, {"TERM": "xterm"}, lambda: 0.0)
    progress.show("collecting a")
    progress.show("collecting b")
    progress.clear()
    assert stream.getvalue() == "\r\x1b[Ksetup: collecting a\r\x1b[Ksetup: collecting b\r\x1b[K"
    dumb = Terminal()
    Progress(dumb, {}, lambda: 0.0).show("collecting a")
    assert dumb.getvalue() == "setup: collecting a\n"


# The tool that writes the file


@pytest.fixture(scope="module")
def freeze() -> ModuleType:
    spec = importlib.util.spec_from_file_location("freeze", ROOT / "tools" / "freeze.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["freeze"] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("tag", "platform", "installs"),
    [
        ("py3-none-any", LINUX, True),
        ("cp312-cp312-manylinux_2_28_x86_64", LINUX, True),
        ("cp312-cp312-manylinux_2_34_x86_64", LINUX, False),
        ("cp312-cp312t-manylinux_2_28_x86_64", LINUX, False),
        ("cp311-cp311-manylinux2014_x86_64", LINUX, False),
        ("cp310-abi3-manylinux2014_x86_64", LINUX, True),
        ("cp313-abi3-manylinux2014_x86_64", LINUX, False),
        ("pp311-pypy311_pp73-macosx_10_15_x86_64", INTEL_MAC, False),
        ("cp311-cp311-macosx_10_9_universal2", INTEL_MAC, True),
        ("cp311-cp311-macosx_14_0_arm64", INTEL_MAC, False),
        ("cp311-cp311-macosx_15_0_x86_64", INTEL_MAC, False),
    ],
)
def test_wheel_tags(freeze: ModuleType, tag: str, platform: Platform, *, installs: bool) -> None:
    assert freeze.installs(Tag(*tag.split("-")), platform) is installs


def test_marker_for(freeze: ModuleType) -> None:
    assert freeze.marker_for(freeze.CELLS) == ""
    cells = tuple(cell for cell in freeze.CELLS if cell.key != "darwin-x86_64")
    assert freeze.marker_for(cells) == NOT_INTEL_MAC
    cells = tuple(cell for cell in freeze.CELLS if cell.python == "3.11")
    assert freeze.marker_for(cells) == 'python_version < "3.12"'
