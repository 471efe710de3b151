"""The page as Markdown (GitHub's), its figures as files beside it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from kit.page.blocks import Block, Details, Figures, Section, Table, Text
from kit.page.headline import Asked, Headline

#: What Markdown or the HTML in it could take for more than a character.
_SPECIAL = re.compile(r"([\\`*_{}\[\]()#+!|~>-])")


def markdown(head: Headline, title: str, sections: Sequence[Section], folder: str) -> str:
    """The whole page.

    Args:
        folder: where the figures lie, relative to it.
    """
    lines = [f"# {head.word}: {plain(title)}", "", plain(head.recommendation), ""]
    lines += [f"- {plain(reason)}" for reason in head.reasons]
    lines.append("")
    if head.numbers:
        lines += _table("", [name for name, _ in head.numbers], [[value for _, value in head.numbers]])
        lines += [f"Worst source: {plain(head.worst)}.", ""]
    for asked in (head.asked, head.expert):
        lines += _asked(asked)
    for section in sections:
        lines += [f"## {plain(section.title)}", ""]
        for block in section.blocks:
            lines += _block(block, folder)
    return "\n".join(lines).rstrip() + "\n"


def plain(text: str) -> str:
    """A text on one line that stays what it is."""
    flat = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;")
    return _SPECIAL.sub(r"\\\1", flat)


def _asked(asked: Sequence[Asked]) -> list[str]:
    rows = [[one.name, one.found, one.wanted, "passed" if one.passed else "FAILED"] for one in asked]
    return _table("", ["condition", "found", "wanted", "result"], rows) if rows else []


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
