"""The page as Markdown (GitHub's) with its figures as files."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from html import escape

from kit.page.blocks import Block, Details, Figures, Items, Section, Table, Text
from kit.page.headline import Headline

#: Characters with a meaning in Markdown or in the HTML in it.
_SPECIAL = re.compile(r"([\\`*_{}\[\]()#+!|~>-])")


def markdown(head: Headline, title: str, sections: Sequence[Section], folder: str) -> str:
    """Render the page.

    Args:
        folder: folder of the figures, relative to the page.
    """
    lines = [f"# {plain(head.text)}", "", plain(title), "", plain(head.recommendation), ""]
    lines += _list("What is missing" if head.word == "INVALID" else "", head.reasons)
    lines += [line for warning in head.warnings for line in (f"**{plain(warning)}**", "")]
    lines += _list("What to try next", head.next_steps)
    if head.numbers:
        lines += _table("", [name for name, _ in head.numbers], [[value for _, value in head.numbers]])
        lines += [f"Worst source: {plain(head.worst)}.", ""]
    lines += [plain(head.target), ""] if head.target else []
    for caption, conditions in head.conditions:
        rows = [[one.name, one.result, one.measured, one.required] for one in conditions]
        lines += _table(caption, ["condition", "result", "measured", "required"], rows)
    for section in sections:
        lines += [f"## {plain(section.title)}", ""]
        for block in section.blocks:
            lines += _block(block, folder)
    return "\n".join(lines).rstrip() + "\n"


def plain(text: str) -> str:
    """Escape a text and put it on one line."""
    flat = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;")
    return _SPECIAL.sub(r"\\\1", flat)


def _block(block: Block, folder: str) -> Iterator[str]:
    match block:
        case Text():
            yield from (plain(block.text), "")
        case Items():
            yield from _list("", block.items)
        case Table():
            rows = [[cell.text for cell in row] for row in block.cells]
            if block.folded:
                yield from (f"<details><summary>{escape(block.title)}</summary>", "")
                yield from (*_table("", block.columns, rows), "</details>", "")
            else:
                yield from _table(block.caption, block.columns, rows)
        case Figures():
            for figure in block.figures:
                yield from (f"![{plain(figure.alt)}]({folder}/{figure.name}.png)", "")
        case Details():
            yield from (f"{plain(block.title)}:", "")
            yield from ("    " + line for line in block.text.splitlines())
            yield ""


def _list(caption: str, items: Sequence[str]) -> list[str]:
    if not items:
        return []
    return [*([f"**{plain(caption)}**", ""] if caption else []), *(f"- {plain(item)}" for item in items), ""]


def _table(caption: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [[*map(plain, columns)], ["---"] * len(columns), *([*map(plain, row)] for row in rows)]
    return [*([f"**{plain(caption)}**", ""] if caption else []), *(f"| {' | '.join(line)} |" for line in lines), ""]
