"""The page as Markdown (GitHub's) with its figures as files."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from kit.page.blocks import Block, Details, Figures, Section, Table, Text
from kit.page.headline import Headline

#: Characters with a meaning in Markdown or in the HTML in it.
_SPECIAL = re.compile(r"([\\`*_{}\[\]()#+!|~>-])")


def markdown(head: Headline, title: str, sections: Sequence[Section], folder: str) -> str:
    """Render the page.

    Args:
        folder: folder of the figures, relative to the page.
    """
    lines = [f"# {head.word}: {plain(title)}", "", plain(head.recommendation), ""]
    lines += [f"- {plain(reason)}" for reason in head.reasons]
    lines.append("")
    if head.numbers:
        lines += _table("", [name for name, _ in head.numbers], [[value for _, value in head.numbers]])
        lines += [f"Worst source: {plain(head.worst)}.", ""]
    for caption, conditions in head.conditions:
        rows = [[one.name, "passed" if one.passed else "FAILED", one.measured, one.required] for one in conditions]
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
        case Table():
            rows = [[cell.text for cell in row] for row in block.cells]
            yield from _table(block.caption, block.columns, rows)
        case Figures():
            for figure in block.figures:
                yield from (f"![{plain(figure.alt)}]({folder}/{figure.name}.png)", "")
        case Details():
            yield from (f"{plain(block.title)}:", "")
            yield from ("    " + line for line in block.text.splitlines())
            yield ""


def _table(caption: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [[*map(plain, columns)], ["---"] * len(columns), *([*map(plain, row)] for row in rows)]
    return [*([f"**{plain(caption)}**", ""] if caption else []), *(f"| {' | '.join(line)} |" for line in lines), ""]
