"""Click's options, made from the lines of a table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click
import pytest

from kit.core.errors import BadInput
from kit.options.click_options import options, texts
from kit.options.table import Option
from kit.options.values import FLAG, some_of, text, whole

LINES = (
    Option("rows", whole(1, 9), "Rows to read.", default=3, env="TEST_ROWS"),
    Option("names", some_of(("a", "b")), "Names to use.", otherwise="all"),
    Option("on", text("C=C"), "Columns to join.", repeats=True),
    Option("fill", FLAG, "Fill gaps.", flag="--fill/--no-fill", default=True),
    Option("id", text("ID"), "Name of the result.", required=True),
)


def call(decorate: Callable[..., Any], *argv: str) -> dict[str, Any]:
    @click.command()
    @decorate(*LINES)
    def command(**values: Any) -> dict[str, Any]:
        return values

    result: dict[str, Any] = command.main(list(argv), standalone_mode=False)
    return result


def test_a_command_receives_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TEST_ROWS", raising=False)
    assert call(options, "--id", "x") == {"rows": 3, "names": None, "on": (), "fill": True, "id": "x"}
    given = call(options, "--id", "x", "--rows", "4", "--names", "b,a", "--on", "c=d", "--on", "e=f", "--no-fill")
    assert given == {"rows": 4, "names": ("b", "a"), "on": ("c=d", "e=f"), "fill": False, "id": "x"}
    monkeypatch.setenv("TEST_ROWS", "7")
    assert call(options, "--id", "x")["rows"] == 7
    assert call(options, "--id", "x", "--rows", "1")["rows"] == 1


def test_a_command_receives_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_ROWS", "7")  # for the resolver, which names it as the origin
    assert call(texts) == {"rows": None, "names": None, "on": (), "fill": None, "id": None}
    given = call(texts, "--rows", "many", "--on", "c=d", "--no-fill")
    assert given == {"rows": "many", "names": None, "on": ("c=d",), "fill": "false", "id": None}


@pytest.mark.parametrize(
    ("argv", "values"),
    [(("--rows", "10"), ("--rows: ", "'10'", "1 to 9")), (("--names", "a,c"), ("--names: ", "c"))],
)
def test_a_bad_value_is_the_error_of_the_table(argv: tuple[str, ...], values: tuple[str, ...]) -> None:
    with pytest.raises(BadInput) as error:
        call(options, "--id", "x", *argv)
    for value in values:
        assert value in error.value.message


def test_a_required_option_is_required() -> None:
    with pytest.raises(click.MissingParameter):
        call(options)


def test_help_shows_defaults_variables_and_limits() -> None:
    @click.command()
    @options(*LINES)
    def command() -> None: ...

    shown = command.get_help(click.Context(command, terminal_width=100))
    lines = {line.split()[0]: line for line in shown.splitlines() if line.strip().startswith("--")}
    assert "[env var: TEST_ROWS; default: 3; 1 to 9]" in lines["--rows"]
    assert "[default: all]" in lines["--names"]
    assert "[may be repeated]" in lines["--on"]
    assert "[default: --fill]" in lines["--fill"]
    assert "[required]" in lines["--id"]
