"""What a page consists of, whatever it is written as. Pure.

Texts are plain: a writer escapes all of them, since names and messages may come from strangers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A cell of a table; ``key`` is what a number is sorted by, ``bad`` marks what is wrong besides its words."""

    text: str
    key: float | None = None
    bad: bool = False


def number(value: float | None, form: str = ".2f", *, bad: bool = False) -> Cell:
    """A number, or a dash where there is none."""
    return Cell(text="–") if value is None else Cell(text=format(value, form), key=float(value), bad=bad)


def percent(share: float, digits: int = 0) -> Cell:
    """A share as a percentage."""
    return Cell(text=f"{100 * share:.{digits}f} %", key=share)


@dataclass(frozen=True, kw_only=True)
class Text:
    """A paragraph."""

    text: str


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table; rows are as wide as ``columns``, and a plain text is a cell of its own."""

    caption: str
    columns: tuple[str, ...]
    rows: Sequence[Sequence[Cell | str]]

    @property
    def cells(self) -> list[list[Cell]]:
        """All rows, every cell a :class:`Cell`."""
        return [[Cell(text=cell) if isinstance(cell, str) else cell for cell in row] for row in self.rows]

    @property
    def numeric(self) -> list[bool]:
        """Which columns hold numbers."""
        return [any(row[index].key is not None for row in self.cells) for index in range(len(self.columns))]


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A picture.

    Attributes:
        name: of its file, without suffix; nothing of a stranger's is in it.
        alt: what it shows, with the figures of this run.
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
    """Pictures side by side as far as there is room."""

    figures: tuple[Figure, ...]


@dataclass(frozen=True, kw_only=True)
class Details:
    """A longer text as a machine said it, folded away under a title."""

    title: str
    text: str


Block = Text | Table | Figures | Details


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of the page; ``id`` is its anchor."""

    id: str
    title: str
    blocks: tuple[Block, ...] = field(default=())


def left_out(identity: str, title: str, why: str) -> Section:
    """A part that this run has nothing for."""
    return Section(id=identity, title=title, blocks=(Text(text=f"Left out: {why}"),))
