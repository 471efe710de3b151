"""One function shows every result: lines and tables on stderr, JSON on stdout, the last line last."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import click
import pytest

from kit.cli.output import MOST_LINES, Result, Table, finish, json_option, names_line, option_texts, row
from kit.cli.run import _result_table
from kit.core import exits


@dataclass(frozen=True)
class Point:
    x: int
    where: Path


def run(result: Result, *args: str) -> int:
    """Run a command that ends with this result; return its exit code."""

    @click.group()
    def cli() -> None: ...

    @cli.command()
    @json_option
    def command() -> Result:
        return result

    cli.result_callback()(finish)
    return cli.main(["command", *args], standalone_mode=False).code  # type: ignore[no-any-return]


def test_data_goes_to_stdout_and_the_rest_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [row("a", 1), row("b", 2.5, style="red")]
    table = Table(title="Figures", columns=("name", "value"), rows=rows)
    result = Result(code=3, shown=("a line", table), data={"x": 1}, last_line="Send back: /x/y")
    assert run(result, "--json") == 3
    out, err = capsys.readouterr()
    assert json.loads(out) == {"x": 1}
    lines = err.splitlines()
    assert (lines[0], lines[1].strip(), lines[-1]) == ("a line", "Figures", "Send back: /x/y")
    assert "2.5" in err


def test_without_json_stdout_is_empty(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(Result(shown=("a line",), data={"x": 1})) == exits.OK
    assert capsys.readouterr() == ("", "a line\n")


def test_json_takes_dataclasses_paths_and_mappings(capsys: pytest.CaptureFixture[str]) -> None:
    run(Result(data=[Point(1, Path("/a")), MappingProxyType({"y": (1, 2)})]), "--json")
    assert json.loads(capsys.readouterr().out) == [{"x": 1, "where": "/a"}, {"y": [1, 2]}]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object(), {1, 2}])
def test_what_json_cannot_express_is_an_error(value: object) -> None:
    with pytest.raises((ValueError, TypeError)):
        run(Result(data={"x": value}), "--json")


def test_a_long_table_ends_with_the_number_of_further_lines(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [row(f"cell{number}") for number in range(MOST_LINES + 3)]
    table = Table(title="t", columns=("name",), rows=rows, limit=MOST_LINES, complete_in="the file lists all")
    run(Result(shown=(table, Table(title="empty", columns=("name",), rows=[]))))
    text = capsys.readouterr().err
    assert text.count("cell") == MOST_LINES
    assert text.endswith("and 3 more; the file lists all\n")
    assert "empty" not in text


def test_names_are_listed_up_to_a_limit() -> None:
    assert names_line("Missing", []) == ()
    assert names_line("Missing", ["a", "b"]) == ("Missing (2): a; b",)
    (line,) = names_line("Missing", [str(number) for number in range(MOST_LINES + 7)])
    assert line.startswith(f"Missing ({MOST_LINES + 7}): 0; 1; ")
    assert " and 7 more" in line


def test_options_as_texts() -> None:
    options = {"a": None, "b": (), "c": (1, "x"), "d": False, "e": Path("/x"), "f": 0}
    assert option_texts(options) == {"c": ("1", "x"), "d": "false", "e": "/x", "f": "0"}


def test_failed_cells_that_are_listed_already_are_counted(tmp_path: Path) -> None:
    reasons = [f"cell Road/libx264/cq{cq} failed: planted" for cq in (37, 43)]
    seeds = "2 seeds, at least 3 are needed"
    verdict = {
        "verdict": "INVALID",
        "recommendation": "",
        "gate": {"mean_plcc": None},
        "corpus": {"waived_cells": 0},
        "evidence": {"problems": [*reasons, seeds]},
    }
    listed, again = (_result_table(tmp_path, verdict, failed_above=count).rows for count in (0, 2))
    assert [row.cells[1] for row in listed if row.cells[0] == "missing"] == [*reasons, seeds]
    counted, other = [row.cells[1] for row in again if row.cells[0] == "missing"]
    assert counted.startswith("2 cells failed")
    assert other == seeds
    assert len(again) == len(listed) - 1
