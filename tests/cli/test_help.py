"""The stored help is the commands' own, and needs nothing to be shown."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import click
import pytest

from kit.options.click_options import TableOption
from kit.options.run_table import RUN, STEPS
from kit.options.session import KIT_ROOT
from kit.steps.pipeline import NAMES


def tool(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, KIT_ROOT / "tools" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_stored_help_is_that_of_the_commands() -> None:
    stored = json.loads((KIT_ROOT / "kit" / "cli" / "help.json").read_text(encoding="utf-8"))
    assert stored == tool("help_texts").help_texts(), "run `nox -s help`"


def test_every_option_of_the_issue_is_there() -> None:
    text = json.loads((KIT_ROOT / "kit" / "cli" / "help.json").read_text(encoding="utf-8"))["run"]
    for option in (
        "--ref-dir",
        "--encoders",
        "--teacher",
        "--cqs",
        "--seeds",
        "--epochs",
        "--out-dir",
        "--box",
        "--ffmpeg",
        "--vmaf-bin",
        "--no-anchor",
        "--shard-only",
        "--json",
        "--from",
        "--only",
        "--dry-run",
        "--config",
        "--geometry",
        "--scorer-backend",
        "--torch-index",
        "--wheels",
    ):
        assert option in text


@pytest.mark.parametrize(
    "argv", [["-m", "kit", "--help"], ["run_full_pipeline.py", "--help"], ["-m", "kit", "corpus", "--help"]]
)
def test_help_imports_nothing_heavy_and_leaves_no_trace(argv: list[str], tmp_path: Path) -> None:
    # an interpreter that sees no installed package at all
    before = sorted(path.name for path in KIT_ROOT.iterdir())
    done = subprocess.run(
        [
            sys.executable,
            "-I",
            "-S",
            "-X",
            "importtime",
            "-c",
            "import runpy, sys; sys.path.insert(0, sys.argv[1]); sys.argv = sys.argv[2:];"
            "runpy.run_module('kit', run_name='__main__', alter_sys=True) if sys.argv[0] == '-m' else "
            "runpy.run_path(sys.argv[0], run_name='__main__')",
            str(KIT_ROOT),
            *(["-m", *argv[2:]] if argv[0] == "-m" else [str(KIT_ROOT / argv[0]), *argv[1:]]),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Usage:" in done.stdout
    imported = {line.rsplit("|", 1)[-1].strip().split(".")[0] for line in done.stderr.splitlines() if "|" in line}
    assert not imported & {"torch", "numpy", "click", "rich", "pyarrow", "scipy", "pandas", "onnx"}
    assert sorted(path.name for path in KIT_ROOT.iterdir()) == before


def test_the_page_of_options_is_that_of_the_tables() -> None:
    assert (KIT_ROOT / "docs" / "options.md").read_text(encoding="utf-8") == tool("help_texts").options_page()


def test_every_option_is_a_line_of_a_table_and_every_line_is_used() -> None:
    help_texts = tool("help_texts")
    listed = {id(option): option for table in help_texts.TABLES for option in table}
    used = help_texts.users()
    assert used.keys() <= listed.keys()
    idle = [option for key, option in listed.items() if key not in used]
    assert all(option.env and not option.on_command_line for option in idle)
    for path, command, _ in help_texts.commands():
        strays = [
            parameter.name
            for parameter in command.params
            if isinstance(parameter, click.Option) and not isinstance(parameter, TableOption) and not parameter.hidden
        ]
        assert strays == (["version"] if path == "" else []), path


def test_a_help_text_is_a_short_phrase_without_the_default() -> None:
    for table in tool("help_texts").TABLES:
        for option in table:
            assert len(option.help.split()) <= 12, option.name
            assert option.help.endswith("."), option.name
            assert "efault:" not in option.help, option.name


def test_steps_and_options_agree() -> None:
    assert STEPS == NAMES
    assert {step for option in RUN for step in option.steps} == {*STEPS, "adopt", "worker"}
