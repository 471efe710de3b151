"""The building blocks of a page, independent of its format. Pure.

Texts are plain: a writer escapes all of them, since names and messages may come from another box.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class TableCell:
    """A cell of a table; a number is sorted by ``key``; ``bad`` marks a failure in colour, in addition to the words."""

    text: str
    key: float | None = None
    bad: bool = False


def number(value: float | None, form: str = ".2f", *, bad: bool = False) -> TableCell:
    """Format a number; None is a dash."""
    return TableCell(text="–") if value is None else TableCell(text=format(value, form), key=float(value), bad=bad)


def percent(share: float, digits: int = 0) -> TableCell:
    """Format a share as a percentage."""
    return TableCell(text=f"{100 * share:.{digits}f} %", key=share)


@dataclass(frozen=True, kw_only=True)
class Text:
    """A paragraph."""

    text: str


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table; every row has as many cells or plain texts as ``columns``."""

    caption: str
    columns: tuple[str, ...]
    rows: Sequence[Sequence[TableCell | str]]

    @property
    def cells(self) -> list[list[TableCell]]:
        """All rows, every text as a :class:`TableCell`."""
        return [[TableCell(text=cell) if isinstance(cell, str) else cell for cell in row] for row in self.rows]

    @property
    def numeric(self) -> list[bool]:
        """Whether each column has numbers."""
        return [any(row[index].key is not None for row in self.cells) for index in range(len(self.columns))]


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A picture.

    Attributes:
        name: of its file, without suffix; made by the kit alone.
        alt: a description with the figures of this run.
        svg: one ``<svg>`` element, the only markup that no writer escapes.
        png: the same on white.
    """

    name: str
    alt: str
    caption: str
    svg: str
    png: bytes


@dataclass(frozen=True, kw_only=True)
class Figures:
    """Pictures side by side, as many as fit."""

    figures: tuple[Figure, ...]


@dataclass(frozen=True, kw_only=True)
class Details:
    """Output of a program, folded under a title."""

    title: str
    text: str


Block = Text | Table | Figures | Details


@dataclass(frozen=True, kw_only=True)
class Section:
    """A section of the page; ``id`` is its anchor."""

    id: str
    title: str
    blocks: tuple[Block, ...] = field(default=())
