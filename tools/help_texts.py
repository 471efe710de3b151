"""Write ``kit/cli/help.json``: the help text of every command, so that ``--help`` needs no environment."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import click  # noqa: E402 - the kit lies beside this folder

from kit.cli.main import cli  # noqa: E402
from kit.system.fsio import write_json  # noqa: E402

TARGET = ROOT / "kit" / "cli" / "help.json"


def help_texts() -> dict[str, str]:
    """Command path (``""`` for the kit itself) to the text that click prints for it, 100 columns wide."""
    texts: dict[str, str] = {}

    def visit(command: click.Command, path: str, parent: click.Context | None) -> None:
        name = path.rsplit(" ", 1)[-1] or "python3 -m kit"
        context = click.Context(command, info_name=name, parent=parent, terminal_width=100, max_content_width=100)
        texts[path] = command.get_help(context) + "\n"
        if isinstance(command, click.Group):
            for child in command.list_commands(context):
                visit(command.commands[child], f"{path} {child}".strip(), context)

    visit(cli, "", None)
    return texts


if __name__ == "__main__":
    write_json(TARGET, help_texts())
