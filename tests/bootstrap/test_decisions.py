"""What the start decides without processes: groups, options, folders, interpreters, and the shipped pins."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from kit.bootstrap import early, pins, start
from kit.bootstrap.pins import DamagedPins
from kit.core import exits
from kit.core.errors import BadInput
from tests.bootstrap.builders import ROOT, make_wheel, write_pins

PLATFORMS = [
    {"sys_platform": system, "platform_machine": machine, "python_full_version": f"3.{minor}.0"}
    for system, machine in [("linux", "x86_64"), ("linux", "aarch64"), ("darwin", "arm64"), ("darwin", "x86_64")]
    for minor in range(11, 15)
]


@pytest.mark.parametrize(
    ("argv", "needed", "installed"),
    [
        ("run", "base train", "base train"),
        ("run --shard-only", "base", "base"),
        ("run --shard-only --with-verdict", "base train", "base train"),
        ("prereqs --out-dir x --shard-only", "base", "base"),
        ("corpus status", "base", "base train"),
        ("clean --yes", "base", "base"),
        ("tune --out x", "base train tune", "base train tune"),
        ("selftest", "base train test", "base train test"),
        ("", "base train", "base train"),
        ("no-such-command", "base train", "base train"),
    ],
)
def test_groups_of_a_command(argv: str, needed: str, installed: str) -> None:
    assert start.groups_for(argv.split()) == (tuple(needed.split()), tuple(installed.split()))


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
def test_options_of_the_set_up(argv: str, index: str | None, rest: str) -> None:
    assert start.split_options(argv.split()) == (None, index, rest.split())


def test_the_folder_of_wheels_is_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "w").mkdir()
    monkeypatch.chdir(tmp_path)
    assert start.split_options(["--wheels=w"])[0] == tmp_path / "w"
    with pytest.raises(BadInput):
        start.split_options(["--wheels=v"])


@pytest.mark.parametrize(
    ("variable", "system", "folder"),
    [
        ("/x", "linux", "/x/vmaf-ensemble-kit"),
        ("", "linux", "~/.cache/vmaf-ensemble-kit"),
        (" ", "linux", "~/.cache/vmaf-ensemble-kit"),
        ("/x", "darwin", "~/Library/Caches/vmaf-ensemble-kit"),
    ],
)
def test_folders_for_the_environment(monkeypatch: pytest.MonkeyPatch, variable: str, system: str, folder: str) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", variable)
    monkeypatch.setattr(sys, "platform", system)
    beside, cache = start.folders_for(Path("/kit"), pins.read_pins(ROOT))
    assert (beside, cache.parent) == (Path("/kit/.venv"), Path(folder).expanduser())


@pytest.mark.parametrize(
    ("version", "build", "fits"),
    [
        ((3, 11), "cpython", True),
        ((3, 14), "cpython", True),
        ((3, 13), "cpythont", False),
        ((3, 10), "cpython", False),
        ((3, 15), "cpython", False),
        ((3, 12), "pypy", False),
        ((2, 7), "old", False),
    ],
)
def test_supported_interpreters(version: tuple[int, int], build: str, *, fits: bool) -> None:
    assert early.fits(version, build) == fits


def test_interpreters_on_path_in_order_of_preference(tmp_path: Path) -> None:
    for name in ("b/python3.12", "a/python3.14", "a/python3.12", "a/python3.10", "a/python3"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch(mode=0o755)
    (tmp_path / "a" / "python3.11").touch(mode=0o644)
    paths = early.on_path(f"{tmp_path / 'b'}:{tmp_path / 'a'}:{tmp_path / 'b'}:/nonexistent")
    assert [str(Path(path).relative_to(tmp_path)) for path in paths] == ["b/python3.12", "a/python3.12", "a/python3.14"]


# Pins


def test_difference(tmp_path: Path) -> None:
    make_wheel(tmp_path, "some_package", "1.0")
    make_wheel(tmp_path, "odd", "3")
    write_pins(tmp_path, tmp_path, {"base": ["some_package"], "train": ["odd"]}, torch="2.13.0")
    read = pins.read_pins(tmp_path)
    installed = {"some_package": "1.0", "torch": "2.13.0+cpu", "odd": "3"}
    assert pins.difference(read, ("base", "train"), installed.get) == ""
    assert "torch is 2.13.1" in pins.difference(read, ("base", "train"), (installed | {"torch": "2.13.1"}).get)
    assert pins.difference(read, ("base",), {"some_package": "1.0"}.get) == ""
    assert "odd" in pins.difference(read, ("base", "train"), {"some_package": "1.0"}.get)


@pytest.mark.parametrize("name", ["requirements-frozen.txt", "pyproject.toml"])
@pytest.mark.parametrize("content", [None, b"", b"\xff", b"x = 1\n# group: base\n"])
def test_damaged_pins(tmp_path: Path, name: str, content: bytes | None) -> None:
    write_pins(tmp_path, tmp_path, {})
    pins.read_pins(tmp_path)
    (tmp_path / name).unlink()
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DamagedPins) as caught:
        pins.read_pins(tmp_path)
    assert caught.value.exit_code == exits.INTERNAL


def requirements(groups: tuple[str, ...]) -> list[Requirement]:
    lines = re.findall(r"^[a-z].*(?= \\$)", pins.read_pins(ROOT).lines(groups), re.MULTILINE)
    return [Requirement(line) for line in lines]


def test_frozen_file_has_pins_with_hashes_and_nothing_else() -> None:
    text = (ROOT / pins.FILE).read_text()
    assert not re.search(r"://|^-|@|nvidia|triton|^torch|\+", text, re.MULTILINE)
    blocks = re.findall(
        r"^[a-z0-9-]+==[\w.]+( ; .+)? \\\n(    --hash=sha256:[0-9a-f]{64}( \\)?\n)+", text, re.MULTILINE
    )
    everything = requirements((pins.SETUP, *pins.GROUPS))
    assert len(blocks) == len(everything) == len({requirement.name for requirement in everything})
    assert len(text.splitlines()) - text.count("#") < 2 * text.count("--hash=") + 20


@pytest.mark.essential
@pytest.mark.parametrize("platform", PLATFORMS, ids=lambda platform: "-".join(platform.values()))
def test_frozen_file_matches_pyproject(platform: dict[str, str]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = project["project"]["optional-dependencies"]
    wanted = {"base": project["project"]["dependencies"], **extras, "setup": project["dependency-groups"]["setup"]}
    for group, lines in wanted.items():
        closure = ("setup",) if group == "setup" else ("base", "train", group)
        pinned = {
            requirement.name: requirement.specifier
            for requirement in requirements(tuple(dict.fromkeys(closure)) if group != "base" else ("base",))
            if requirement.marker is None or requirement.marker.evaluate(platform)
        }
        for requirement in map(Requirement, lines):
            name = canonicalize_name(requirement.name)
            if requirement.marker is not None and not requirement.marker.evaluate(platform):
                assert name not in pinned
            elif name != "torch":
                version = str(pinned[name]).removeprefix("==")
                assert requirement.specifier.contains(version), (group, name)
