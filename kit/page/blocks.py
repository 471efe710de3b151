"""The building blocks of a page, independent of its format. Pure.

Texts are plain: a writer escapes all of them, since names and messages may come from another box.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from kit.core import texts

#: Rows of a table above which it is folded.
MOST_ROWS = 40
#: Characters above which a text in a table is broken.
LONG_TEXT = 40
#: A text that is so near to its number sorts like it.
_NEAR = 0.01


@dataclass(frozen=True, kw_only=True)
class TableCell:
    """A cell of a table.

    Attributes:
        key: sorts a number.
        bad: marks a failure in colour, in addition to the words.
        quiet: greys a figure that is no measure.
    """

    text: str
    key: float | None = None
    bad: bool = False
    quiet: bool = False

    @property
    def classes(self) -> str:
        """The classes of the cell in the page."""
        long = self.key is None and len(self.text) > LONG_TEXT
        names = {"number": self.key is not None, "bad": self.bad, "quiet": self.quiet, "long": long}
        return " ".join(name for name, applies in names.items() if applies)

    @property
    def sorted_by(self) -> str:
        """The key where the text is not the number itself; empty where it is."""
        if self.key is None:
            return ""
        try:
            shown = float(self.text)
        except ValueError:
            return f"{self.key:.6g}"
        return "" if abs(shown - self.key) <= _NEAR * max(1.0, abs(self.key)) else f"{self.key:.6g}"


def number(value: float | None, form: str = ".2f", *, bad: bool = False) -> TableCell:
    """Format a number, without a negative zero; None is a dash."""
    if value is None:
        return TableCell(text="–")
    text = format(value, form)
    if text.startswith("-") and not text.strip("-0."):
        text = text.replace("-", "+" if form.startswith("+") else "")
    return TableCell(text=text, key=float(value), bad=bad)


def correlation(value: float | None, *, bad: bool = False) -> TableCell:
    """Format a correlation with as many decimals as differ from 1; None is a dash."""
    return TableCell(text=texts.correlation(value), key=value, bad=bad)


def difference(value: float | None) -> TableCell:
    """Format a difference of correlations with as many decimals as differ from 0; None is a dash."""
    return TableCell(text=texts.difference(value), key=value)


def percent(share: float, digits: int = 0) -> TableCell:
    """Format a share as a percentage."""
    return TableCell(text=f"{100 * share:.{digits}f} %", key=share)


@dataclass(frozen=True, kw_only=True)
class Text:
    """A paragraph."""

    text: str


@dataclass(frozen=True, kw_only=True)
class Items:
    """A list of texts, those after the first ``shown`` folded."""

    items: tuple[str, ...]
    shown: int = MOST_ROWS


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table; every row has as many cells or plain texts as ``columns``."""

    caption: str
    columns: tuple[str, ...]
    rows: Sequence[Sequence[TableCell | str]]

    @property
    def folded(self) -> bool:
        """Whether the table is too long to be shown at once."""
        return len(self.rows) > MOST_ROWS

    @property
    def title(self) -> str:
        """The caption, with the number of rows where the table is folded."""
        return f"{self.caption}: {len(self.rows)} rows" if self.folded else self.caption

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


Block = Text | Items | Table | Figures | Details


@dataclass(frozen=True, kw_only=True)
class Section:
    """A section of the page; ``id`` is its anchor."""

    id: str
    title: str
    blocks: tuple[Block, ...] = field(default=())
