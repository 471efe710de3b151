"""Write what follows from the tables of options: ``kit/cli/help.json`` and ``docs/options.md``.

The first lets ``--help`` answer without an environment.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import click  # noqa: E402 - the kit is beside this folder

from kit.cli.main import cli  # noqa: E402
from kit.cli.run import SETUP_NOTE  # noqa: E402
from kit.heads.config import FIT, HEAD_EXPORT, REPAIR, SEARCH, SHIP  # noqa: E402
from kit.options.click_options import TableOption  # noqa: E402
from kit.options.command_tables import BOX, BUNDLES, CLEAN, DATASETS, EXPORT, FEATURES, MANIFEST, MERGE, SCORE  # noqa: E402
from kit.options.run_table import JSON, RUN, RUN_COMMANDS  # noqa: E402
from kit.options.table import Option, Table  # noqa: E402
from kit.system.fsio import write_bytes, write_json  # noqa: E402

HELP = ROOT / "kit" / "cli" / "help.json"
PAGE = ROOT / "docs" / "options.md"

TABLES = (
    RUN,
    RUN_COMMANDS,
    MERGE,
    EXPORT,
    BUNDLES,
    SCORE,
    DATASETS,
    MANIFEST,
    FEATURES,
    FIT,
    SEARCH,
    HEAD_EXPORT,
    SHIP,
    REPAIR,
    BOX,
    CLEAN,
    Table(title="Every command with a result", options=(JSON,)),
)
SETUP = re.sub(r"(--[a-z-]+ [A-Z]+)", r"`\1`", SETUP_NOTE)
INTRODUCTION = f"""# Options

This page is generated: `nox -s help` writes it from the tables that the commands use.

The command line has precedence over the environment, the environment over the `--config` file, the file over what the
run folder remembers, and that over the default. The first table of a run shows each value and where it came from.

A `--config` file has option names as keys, with `_` or `-`, and lists or comma-separated texts as values. Runs read
TOML, `fit` reads YAML. An unknown key is an error.

{SETUP}
"""
#: An option of more commands than these is listed by the commands that do not have it.
_MANY = 12


def commands() -> Iterator[tuple[str, click.Command, click.Context]]:
    """Every command with its path (``""`` for the kit itself) and a context 100 columns wide."""

    def visit(
        command: click.Command, path: str, parent: click.Context | None
    ) -> Iterator[tuple[str, click.Command, click.Context]]:
        name = path.rsplit(" ", 1)[-1] or "python3 -m kit"
        context = click.Context(command, info_name=name, parent=parent, terminal_width=100, max_content_width=100)
        yield path, command, context
        if isinstance(command, click.Group):
            for child in command.list_commands(context):
                yield from visit(command.commands[child], f"{path} {child}".strip(), context)

    return visit(cli, "", None)


def help_texts() -> dict[str, str]:
    """Command path to the text that click prints for it."""
    return {path: command.get_help(context) + "\n" for path, command, context in commands()}


def users() -> dict[int, list[str]]:
    """The commands that have an option, by the identity of the option."""
    result: dict[int, list[str]] = {}
    for path, command, _ in commands():
        for parameter in command.params:
            if isinstance(parameter, TableOption):
                result.setdefault(id(parameter.spec), []).append(path)
    return result


def options_page() -> str:
    """The page of all options, one table for each group of commands."""
    sections = [INTRODUCTION]
    used = users()
    listed: set[int] = set()
    for table in TABLES:
        own = [option for option in table if id(option) not in listed]
        listed |= {id(option) for option in own}
        sections.append(f"## {table.title}\n\n{_markdown(own, used)}")
    return "\n".join(sections)


def _markdown(options: list[Option], used: dict[int, list[str]]) -> str:
    lines = ["| option | meaning | default | environment | applies to |", "|---|---|---|---|---|"]
    for option in options:
        cells = (_spelling(option), _meaning(option), _default(option), _code(option.env), _commands(option, used))
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _code(text: str) -> str:
    return f"`{text}`" if text else ""


def _spelling(option: Option) -> str:
    if not option.on_command_line:
        return _code(option.name)
    metavar = option.kind.metavar
    metavar = "NAME" if metavar.startswith("[") else metavar.replace("|", " or ")
    return ", ".join(_code(f"{flag} {metavar}".strip()) for flag in option.declaration.split("/"))


def _meaning(option: Option) -> str:
    texts = [option.help]
    if option.kind.choices:
        texts.append(f"{'Any' if option.kind.is_list else 'One'} of {', '.join(map(_code, option.kind.choices))}.")
    if option.kind.limits:
        texts.append(f"Allowed: {option.kind.limits}.")
    if option.repeats:
        texts.append("May be repeated.")
    return " ".join(texts)


def _default(option: Option) -> str:
    return "required" if option.required else option.shown_default


def _commands(option: Option, used: dict[int, list[str]]) -> str:
    names = used.get(id(option), [])
    if len(names) > _MANY:
        others = [path for path, command, _ in commands() if path not in names and not isinstance(command, click.Group)]
        return f"all commands but {', '.join(map(_code, others))}"
    return ", ".join(map(_code, names)) or ("config file, environment" if option.in_file else "environment")


if __name__ == "__main__":
    write_json(HELP, help_texts())
    write_bytes(PAGE, options_page().encode("utf-8"))
